"""Whatever is wrong in the archive ends in the right table, and is told."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.errors import ArtifactsUnusable, ContractBroken, ExchangeRefused
from history.backfill.backfill_world import History, hourly
from world import ms

DECEMBER = "BTCUSDT-1h-2023-12"
MONTHS = ["BTCUSDT-1h-2023-12.zip", "BTCUSDT-1h-2024-01.zip"]
FEBRUARY = [f"BTCUSDT-1h-2024-02-{day:02d}.zip" for day in range(1, 8)]


# The faulty month and a sound one.
TWO_MONTHS = {"from_ms": ms(2023, 12, 1), "to_ms": ms(2024, 2, 1)}


def told(fault: str, tmp_path: Path, bars: int = 1488, **span: Any) -> list[str]:
    """What is told of an archive with this fault; the table has to be right."""
    history = History(tmp_path)
    report = history.run("archive", archive_fault=fault, **span).report
    first_ms, end_ms = span.get("from_ms", 0), span.get("to_ms", history.now_ms)
    assert history.held() == [bar for bar in history.closed() if first_ms <= bar.open_time_ms < end_ms]
    assert (report.exit_code, report.holes, report.appended) == (0, [], bars)
    return [str(note) for note in report.notes]


@pytest.mark.long
def test_a_sound_archive_is_taken_by_months_then_days_and_the_last_two_days_by_rest(tmp_path: Path) -> None:
    history = History(tmp_path)
    report = history.run("archive").report
    assert history.held() == history.closed()
    # The month of the first bar is a file too, and answers for its later part.
    assert sorted(history.zips()) == ["BTCUSDT-1h-2023-11.zip", *MONTHS[:1], *sorted([*MONTHS[1:], *FEBRUARY])]
    assert len([url for url in history.asked if "endTime" in url]) == 1
    assert report.notes == []
    # Without a cache nothing is kept.
    assert [path.name for path in tmp_path.iterdir()] == ["ohlcv.duckdb"]


FAULTY_MONTHS = [
    ('kind = "no_checksum"', ["its CHECKSUM is not in the archive, so nothing proves it"]),
    ('kind = "missing"', ["is not in the archive"]),
    ('kind = "bomb"\nmegabytes = 20', ["more than 744 bars can take"]),
    (
        'kind = "lacks"\nbar = 2023-12-05T00:00:00\nuntil_bar = 2023-12-05T23:00:00',
        ["lacks 2023-12-05 00:00..2023-12-05 23:00 (24 bars)"],
    ),
]
MORE_FAULTY_MONTHS = [
    ('kind = "wrong_checksum"', ["but its CHECKSUM says"]),
    ('kind = "truncated"', ["no whole zip"]),
    ('kind = "member"\nvalue = "../../etc/passwd"', ["'../../etc/passwd'"]),
    ('kind = "member"\nvalue = "BTCUSDT-1h-2023-11.csv"', ["'BTCUSDT-1h-2023-11.csv'"]),
    ('kind = "text"\nvalue = "n/a"', ["a row is no bar", "n/a"]),
    ('kind = "text"\nvalue = "NaN"', ["NaN or infinity"]),
    ('kind = "revise"\nbar = 2023-12-05T00:00:00\nlow = 999999', ["2023-12-05 00:00", "enclose"]),
    (
        'kind = "lacks"\nbar = 2023-12-20T00:00:00\nuntil_bar = 2023-12-31T23:00:00',
        ["lacks 2023-12-20 00:00..2023-12-31 23:00 (288 bars)"],
    ),
    (
        'kind = "flat"\nbar = 2023-12-05T01:00:00\nuntil_bar = 2023-12-05T03:00:00',
        ["nothing was traded in 2023-12-05 01:00..2023-12-05 03:00 (3 bars)", "REST says so of 0"],
    ),
]
ODD = ['kind = "microseconds"', 'kind = "status"\nstatus = 503\nrequests = "1"']
MORE_ODD = [
    'kind = "header"\nthere = false',
    'kind = "header"\nthere = true',
    'kind = "wrong_checksum"\nrequests = "1"',
]


@pytest.mark.parametrize(
    ("fault", "says"),
    [*FAULTY_MONTHS, *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_FAULTY_MONTHS)],
)
def test_a_faulty_month_is_told_and_filled_by_rest(fault: str, says: list[str], tmp_path: Path) -> None:
    (note,) = told(f'[[archive]]\nfile = "{DECEMBER}"\n{fault}', tmp_path, **TWO_MONTHS)
    assert note.startswith(f"{DECEMBER}.zip: ")
    for each in says:
        assert each in note


@pytest.mark.parametrize("fault", [*ODD, *(pytest.param(each, marks=pytest.mark.long) for each in MORE_ODD)])
def test_what_is_only_odd_is_read_as_it_is_meant(fault: str, tmp_path: Path) -> None:
    assert told(f"[[archive]]\n{fault}", tmp_path, **TWO_MONTHS) == []


@pytest.mark.long
def test_everything_wrong_at_once_ends_in_the_right_table(tmp_path: Path) -> None:
    fault = f"""
    [[archive]]
    kind = "microseconds"
    [[archive]]
    kind = "lacks"
    file = "{DECEMBER}"
    bar = 2023-12-05T00:00:00
    [[archive]]
    kind = "flat"
    file = "{DECEMBER}"
    bar = 2023-12-05T02:00:00
    [[archive]]
    kind = "truncated"
    file = "BTCUSDT-1h-2024-01"
    [[archive]]
    kind = "missing"
    file = "BTCUSDT-1h-2024-02-03"
    """
    assert len(told(fault, tmp_path, bars=1982)) == 4


def test_what_rest_tells_of_a_hole_in_a_sound_file_is_judged_too(tmp_path: Path) -> None:
    history, at = History(tmp_path), "bar = 2023-12-05T00:00:00"
    lacks = f'[[archive]]\nkind = "lacks"\nfile = "{DECEMBER}"\n{at}'
    with pytest.raises(ContractBroken, match=r"2023-12-05 00:00 .*enclose"):
        history.run("archive", f'[[fault]]\nkind = "revise"\n{at}\nlow = 999999', lacks, **TWO_MONTHS)
    assert history.held() == []


@pytest.mark.long
def test_flat_hours_that_the_exchange_has_too_are_stored(tmp_path: Path) -> None:
    bars = hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20))
    last = bars[399].close
    bars[400] = bars[400]._replace(open=last, high=last, low=last, close=last, volume=0.0)
    history = History(tmp_path, bars)
    report = history.run("archive").report
    assert history.held() == history.closed()
    (note,) = report.notes
    assert "2023-12-06 16:00; REST says so of 1 of them" in str(note)


@pytest.mark.long
def test_a_month_that_is_not_published_yet_is_taken_by_its_days(tmp_path: Path) -> None:
    # Its last week, so that there are not many days.
    history = History(tmp_path, hourly(ms(2024, 1, 25), ms(2024, 2, 10, 20)))
    report = history.run("archive", archive_fault='[[archive]]\nkind = "missing"\nfile = "BTCUSDT-1h-2024-01"').report
    assert history.held() == history.closed()
    assert "BTCUSDT-1h-2024-01-31.zip" in history.zips()
    assert report.notes == []


def test_an_archive_that_differs_from_what_is_stored_is_told_and_overwrites_nothing(tmp_path: Path) -> None:
    history = History(tmp_path)
    closed = [bar for bar in history.closed() if bar.open_time_ms < ms(2024, 1, 1)]
    history.fill(closed[:500])
    fault = f'[[archive]]\nkind = "revise"\nfile = "{DECEMBER}"\nbar = 2023-12-05T00:00:00\nvolume = 5.5'
    report = history.run("archive", archive_fault=fault, to_ms=ms(2024, 1, 1)).report
    assert history.held() == closed
    assert report.exit_code == 1
    (finding,) = report.mismatches
    assert "BTCUSDT-1h-2023-12.zip 5.5" in finding.message


def test_an_archive_that_blocks_us_is_not_asked_on(tmp_path: Path) -> None:
    with pytest.raises(ExchangeRefused):
        History(tmp_path).run("archive", archive_fault='[[archive]]\nkind = "status"\nstatus = 451')


@pytest.mark.long
def test_the_cache_saves_each_download_but_of_a_zip_that_rotted_or_was_replaced_in_the_archive(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.cache_dir = tmp_path / "cache"
    history.run("archive")
    kept = sorted(path.name for path in history.cache_dir.rglob("*.*"))
    assert kept == sorted(["BTCUSDT-1h-2023-11.zip", *MONTHS, *FEBRUARY])
    (path,) = history.cache_dir.rglob(f"{DECEMBER}.zip")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    history.duckdb.unlink()
    history.asked.clear()
    history.run("archive")
    assert history.zips() == [f"{DECEMBER}.zip"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert history.held() == history.closed()


def test_a_cache_that_cannot_be_written_is_told_by_its_flag(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.cache_dir = tmp_path / "file"
    history.cache_dir.write_text("")
    with pytest.raises(ArtifactsUnusable) as error:
        history.run("archive")
    assert "--cache-dir" in error.value.hint


def test_auto_asks_rest_where_that_is_as_fast(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run("auto")
    assert history.held() == history.closed()
    assert history.zips() == []
