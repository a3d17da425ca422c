"""`--on-mismatch accept`: what an operator would do at night, within bounds, and loudly."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.acceptance import Terms
from barfeed.feed.record import Record
from barfeed.feed.watch import Pace, watch
from barfeed.replay.faults.script import parse_faults
from barfeed.store import revisions
from barfeed.store.revisions import Revision
from world import BTCUSDT_1H, HourIsOver, World, ends_after, hours, ms

TARGET_MS = ms(2024, 2, 10, 14)
# The bars of the N window have this volume, and this low, in the made-up history.
TERMS = Terms(price=0.001, volume=0.2, pause_sec=5.0)


@pytest.fixture
def due(lived: World) -> World:
    """An hour later: 14:00 is to be appended, 09:00 to 13:00 are the window."""
    lived.clock.go_to(TARGET_MS + hours(1) + 30_000)
    return lived


def stored(world: World, hour: int) -> Any:
    return next(bar for bar in world.bars() if bar.open_time_ms == ms(2024, 2, 10, hour))


def volume_times(world: World, hour: int, factor: float, more: str = "") -> str:
    volume = round(stored(world, hour).volume * factor, 3)
    return f'[[fault]]\nkind = "revise"\nbar = 2024-02-10T{hour:02d}:00:00\nvolume = {volume}\n{more}\n'


def listed(world: World) -> list[Revision]:
    with world.store.session(write=False) as connection:
        return revisions.listed(connection, BTCUSDT_1H)


def manifest(record: Record) -> dict[str, Any]:
    assert record.manifest_path
    read: dict[str, Any] = json.loads(Path(record.manifest_path).read_text())
    return read


def test_without_it_a_mismatch_fails_as_ever(due: World) -> None:
    before = due.bars()
    record = due.run(volume_times(due, 11, 1.1))
    assert (record.status, record.exit_code, record.line().count("revised")) == ("mismatch", 1, 0)
    assert due.bars() == before
    assert listed(due) == []


def test_a_small_revision_is_accepted_and_the_hour_goes_on(due: World) -> None:
    old = stored(due, 11)
    fault = volume_times(due, 11, 1.1)
    record = due.run(fault, accept=TERMS)
    assert (record.status, record.exit_code, record.validated, record.appended) == ("appended", 0, 5, 1)
    new = stored(due, 11)
    assert new == old._replace(volume=round(old.volume * 1.1, 3))
    assert due.bars()[-1].open_time_ms == TARGET_MS
    (told,) = listed(due)
    assert (told.change, told.reason, told.run) == ((old, new), "--on-mismatch accept", record.run_time)
    # Seen before the pause, accepted behind it; the second is DuckDB's own time.
    assert told.seen_at_ms == TARGET_MS + hours(1) + 30_000
    assert due.run(fault).status == "up_to_date"


def test_what_is_accepted_is_loud_in_the_log_the_manifest_and_the_exit_line(
    due: World, caplog: pytest.LogCaptureFixture
) -> None:
    old = stored(due, 11)
    with caplog.at_level(logging.WARNING):
        record = due.run(volume_times(due, 11, 1.1), accept=TERMS)
    new = stored(due, 11)
    assert " appended=1 revised=1 target=2024-02-10 14:00 " in record.line()
    (told,) = manifest(record)["revisions"]
    assert told == {
        "bar": "2024-02-10 11:00",
        "stored": dict(zip(("open", "high", "low", "close", "volume"), old.values, strict=True)),
        "exchange": dict(zip(("open", "high", "low", "close", "volume"), new.values, strict=True)),
    }
    assert manifest(record)["status"] == "appended"
    asked, accepted = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    difference = f"2024-02-10 11:00 volume stored {old.volume}, exchange {new.volume}"
    assert asked == (
        f"BTCUSDT 1h: 1 of 5 stored bars differ from the exchange; first: {difference};"
        " asking again in 5 s, as --on-mismatch says"
    )
    assert accepted == f"BTCUSDT 1h: accepted the exchange's word, as --on-mismatch says: {difference}"


def test_an_hour_without_a_mismatch_has_no_revisions_in_its_manifest(due: World) -> None:
    record = due.run(accept=TERMS)
    assert manifest(record)["revisions"] == []
    assert "revised" not in record.line()


def test_the_inference_csv_has_the_accepted_version(due: World) -> None:
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS)
    assert record.inference is not None
    rows = (due.feed.folder / record.inference.file).read_text().splitlines()
    assert rows[-4].startswith("2024-02-10 11:00:00,")
    assert float(rows[-4].split(",")[-1]) == stored(due, 11).volume


def test_two_revisions_are_accepted_together(due: World) -> None:
    record = due.run(volume_times(due, 11, 1.1) + volume_times(due, 9, 0.9), accept=TERMS)
    assert " revised=2 " in record.line()
    assert len(listed(due)) == 2


@pytest.mark.parametrize("factor", [1.3, 0.7])
def test_a_change_beyond_the_bounds_fails_as_ever(due: World, factor: float) -> None:
    before = due.bars()
    record = due.run(volume_times(due, 11, factor), accept=TERMS)
    assert (record.status, record.exit_code) == ("mismatch", 1)
    assert record.failure is not None
    assert "; not accepted: 2024-02-10 11:00 volume is off by 0.3, --accept-volume-within is 0.2" in (
        record.failure.message
    )
    assert len(record.failure.findings) == 1
    assert due.bars() == before
    assert listed(due) == []


def test_one_bar_beyond_the_bounds_leaves_the_others_as_they_are_too(due: World) -> None:
    before = due.bars()
    assert due.run(volume_times(due, 11, 1.1) + volume_times(due, 9, 2), accept=TERMS).status == "mismatch"
    assert due.bars() == before


@pytest.mark.parametrize("second", ["", "other", "down", "forming"])
def test_a_second_answer_that_is_not_the_first_fails_as_ever(due: World, second: str) -> None:
    before = due.bars()
    # A forming bar is not told by endTime; what strikes only the second answer begins after the pause.
    later = "from = 2024-02-10T15:00:32"
    first = volume_times(due, 11, 1.1, "until = 2024-02-10T15:00:32" if second in {"", "other"} else "")
    then = {
        "": "",
        "other": volume_times(due, 11, 1.15, later),
        "down": f'[[fault]]\nkind = "status"\nstatus = 451\n{later}',
        "forming": f'[[fault]]\nkind = "forming"\n{later}',
    }[second]
    record = due.run(first + then, accept=TERMS)
    assert (record.status, record.exit_code) == ("mismatch", 1)
    assert record.failure is not None
    assert "; not accepted: asked again, " in record.failure.message
    assert due.bars() == before


def test_a_stored_bar_that_the_exchange_does_not_know_is_not_accepted(due: World) -> None:
    due.execute("INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-02-10 11:00:00.001', 1, 1, 1, 1, 1, now())")
    record = due.run(accept=TERMS)
    assert record.failure is not None
    assert record.failure.message.endswith("not accepted: 2024-02-10 11:00:00.001 is no bar of the exchange")


def test_a_bar_outside_the_n_window_is_not_touched(due: World) -> None:
    fault = volume_times(due, 3, 1.1)
    assert due.run(fault, accept=TERMS).status == "appended"
    assert listed(due) == []


def test_a_gap_beside_an_accepted_mismatch_still_fails_and_nothing_is_changed(due: World) -> None:
    due.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 12:00:00'")
    before = due.bars()
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS)
    assert (record.status, record.revised) == ("mismatch", [])
    assert record.failure is not None
    assert "2024-02-10 12:00 is missing too" in record.failure.message
    assert due.bars() == before
    assert listed(due) == []


def test_a_dry_run_tells_what_it_would_accept_and_changes_nothing(due: World) -> None:
    before = due.bars()
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS, dry_run=True)
    assert (record.status, record.would_append) == ("dry_run", 1)
    assert " would_append=1 would_revise=1 " in record.line()
    assert due.bars() == before
    assert listed(due) == []


def test_an_hour_that_is_done_already_accepts_too(due: World) -> None:
    assert due.run().status == "appended"
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS)
    assert (record.status, record.appended, len(record.revised)) == ("revised", 0, 1)
    assert due.bars()[-1].open_time_ms == TARGET_MS


def test_catching_up_accepts_within_its_overlap(due: World) -> None:
    due.clock.go_to(TARGET_MS + hours(4) + 30_000)
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS, catch_up=True)
    assert (record.status, record.appended, len(record.revised)) == ("appended", 4, 1)


def test_a_watch_accepts_too(due: World) -> None:
    records: list[Record] = []
    due.exchange.faults = parse_faults(volume_times(due, 11, 1.1), "the test")
    with pytest.raises(HourIsOver):
        watch(due.feed, due.order._replace(accept=TERMS), due.rest, Pace(300.0, 60.0), ends_after(records, 2))
    assert [(record.status, len(record.revised)) for record in records] == [("appended", 1), ("appended", 0)]


def test_of_two_feeds_that_accept_the_slower_finds_it_done(due: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fault, sleep = volume_times(due, 11, 1.1), due.clock.sleep
    others: list[str] = []

    def sleeping(sec: float) -> None:
        sleep(sec)
        if sec == TERMS.pause_sec and not others:
            others.append("begun")
            others.append(due.run(fault, accept=TERMS).status)

    monkeypatch.setattr(due.clock, "sleep", sleeping)
    record = due.run(fault, accept=TERMS)
    assert others == ["begun", "appended"]
    assert (record.status, record.exit_code, record.revised) == ("up_to_date", 0, [])
    assert len(listed(due)) == 1


def test_the_pause_comes_on_top_of_what_the_exchange_may_take(due: World) -> None:
    now_ms = due.clock.now_ms
    record = due.run(volume_times(due, 11, 1.1), accept=TERMS._replace(pause_sec=60.0), max_wait_sec=10.0)
    assert record.status == "appended"
    assert due.clock.now_ms == now_ms + 60_000
    assert record.durations_sec["ask_again"] == 60.0
