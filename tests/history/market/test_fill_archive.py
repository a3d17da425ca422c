"""A market filled from the archive: what is wrong with a file is told, and put right, as of one series."""

from pathlib import Path

import pytest

from history.backfill.backfill_world import History
from history.backfill.test_backfill_faulty_archive import DECEMBER, FAULTY_MONTHS, MORE_FAULTY_MONTHS, MORE_ODD, ODD
from history.market.fill_world import BTC, ETH, WHOLE_WINTER, WINTER, FilledMarket, notes, of
from world import ms

ALL = [*FAULTY_MONTHS, *MORE_FAULTY_MONTHS, *((each, []) for each in [*ODD, *MORE_ODD])]


@pytest.mark.long
@pytest.mark.parametrize("fault", [fault for fault, _ in ALL])
def test_a_faulty_month_is_told_and_filled_as_of_one_series(fault: str, tmp_path: Path) -> None:
    archive_fault = f'[[archive]]\nfile = "{DECEMBER}"\n{fault}'
    alone, market = History(tmp_path / "alone"), FilledMarket(tmp_path, WHOLE_WINTER)
    alone.duckdb.parent.mkdir()
    told = [str(note) for note in alone.run("archive", archive_fault=archive_fault).report.notes]
    work = market.run("archive", archive_fault=archive_fault)
    assert market.held() == market.closed()
    assert (work.report.exit_code, sorted(notes(work, BTC)), notes(work, ETH)) == (0, sorted(told), [])
    market.asked.clear()
    assert market.run("archive").report.exit_code == 0
    assert not [url for url in market.asked if ".zip" in url]


def test_files_and_pages_side_by_side(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path, WHOLE_WINTER)
    market.run("archive")
    assert market.held() == market.closed()
    zips = {url.rpartition("/")[2] for url in market.asked if url.endswith(".zip")}
    assert {f"{symbol}-1h-2023-12.zip" for symbol in (BTC, ETH)} < zips
    # The last two days, of each symbol, are too young for the archive; and each has its first bar asked for.
    assert len(market.klines()) == 6


@pytest.mark.long
def test_what_rest_says_of_hours_that_a_file_has_no_trade_in_counts(tmp_path: Path) -> None:
    flat = 'kind = "flat"\nbar = 2023-12-05T01:00:00\nuntil_bar = 2023-12-05T03:00:00'
    market = FilledMarket(tmp_path, WHOLE_WINTER)
    work = market.run("archive", archive_fault=f'[[archive]]\nfile = "{DECEMBER}"\n{flat}')
    assert market.held()[BTC] == market.closed()[BTC]
    assert [note.rule for note in of(work, BTC).report.notes] == ["flat"]


@pytest.mark.long
def test_what_an_older_file_says_otherwise_is_told_by_its_name(tmp_path: Path) -> None:
    market = FilledMarket(tmp_path, WHOLE_WINTER)
    market.run()
    market.execute(
        "DELETE FROM ohlcv_1h WHERE symbol = 'ETHUSDT' AND timestamp = TIMESTAMP '2023-12-05 02:00:00'",
        "UPDATE ohlcv_1h SET volume = 7.25 WHERE symbol = 'ETHUSDT' AND timestamp = TIMESTAMP '2023-12-09 02:00:00'",
    )
    report = of(market.run("archive"), ETH).report
    assert (report.appended, report.compared) == (1, 31 * 24 - 1)
    stored = next(bar for bar in WINTER if bar.open_time_ms == ms(2023, 12, 9, 2))
    assert [found.message for found in report.mismatches] == [
        f"volume stored 7.25, ETHUSDT-1h-2023-12.zip {stored.volume}"
    ]
