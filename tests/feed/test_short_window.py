"""A window that is short because the exchange has no more: told from when it is whole, or done with by who can."""

import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.domain.bars import Bar, Series
from barfeed.feed.record import Record
from barfeed.history.verification import Proven, check_runs
from barfeed.replay.tapes.tape import Tape
from world import BTCUSDT_1H, World, hours, made_up_bars, ms, shared

INFO, KLINES = "/fapi/v1/exchangeInfo", "/fapi/v1/klines"
TARGET_MS = ms(2024, 2, 10, 13)


def said(record: Record) -> tuple[str, int, str, str]:
    assert record.failure is not None
    return record.failure.status, record.exit_code, record.failure.message, record.failure.hint


def manifest(record: Record) -> dict[str, Any]:
    read: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text())
    return read


def youngest() -> list[Bar]:
    """The youngest perpetual of 2026-03-19, as it really was: 77 bars, the first at 2026-03-16 13:00."""
    query = (
        "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?) WHERE symbol = ("
        "SELECT symbol FROM read_parquet(?) GROUP BY symbol ORDER BY count(*) LIMIT 1) ORDER BY timestamp"
    )
    path = str(shared("market/klines-1h-2026q1.parquet"))
    return [Bar(*row) for row in duckdb.execute(query, [path, path]).fetchall()]


@pytest.fixture
def young(tmp_path: Path) -> World:
    bars = youngest()
    assert (len(bars), bars[0].open_time_ms) == (77, ms(2026, 3, 16, 13))
    return World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], ms(2026, 3, 19, 18) + 30_000)


@pytest.mark.parametrize("source", ["db", "api"])
def test_a_young_symbol_is_told_from_when_its_window_is_whole(young: World, source: str) -> None:
    record = young.run(catch_up=True, inference_source=source)
    assert said(record) == (
        "window_gap",
        1,
        (
            "BTCUSDT 1h: the inference window is not whole: 2026-02-17 12:00 and the next 648 are missing;"
            " first bar 2026-03-16 13:00; whole from 2026-04-15 19:00"
        ),
        (
            "no inference CSV was published, and there is nothing to fetch until then;"
            " a model that can do with less: --min-window-hours 77"
        ),
    )
    assert young.exchange.requests[INFO] == 1
    assert manifest(record)["short_window"] == {
        "bars": 77, "asked": 726, "first": "2026-03-16 13:00", "whole_from": "2026-04-15 19:00",
    }  # fmt: skip
    # The bars are in the store all the same, where it was opened.
    assert not young.duckdb.exists() if source == "api" else len(young.bars()) == 77


def test_the_moment_that_was_told_is_the_moment(tmp_path: Path) -> None:
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(800), 801))], TARGET_MS + hours(6.1))
    record = world.run(catch_up=True)
    # 2024-02-10 13:00 and 726 hours.
    assert record.failure is not None
    assert record.failure.message.endswith("first bar 2024-02-10 13:00; whole from 2024-03-11 19:00")
    world.clock.go_to(ms(2024, 3, 11, 19) - 3_600_000 + 30_000)
    assert world.run(catch_up=True).status == "window_gap"
    world.clock.go_to(ms(2024, 3, 11, 19) + 30_000)
    record = world.run(catch_up=True)
    assert (record.status, record.inference is not None and record.inference.rows) == ("appended", 726)


def test_where_the_exchange_has_more_the_rest_is_fetched_first(young: World) -> None:
    young.run(catch_up=True)
    young.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < '2026-03-18 00:00:00'")
    *_, message, hint = said(young.run(catch_up=True))
    assert message.endswith("first bar 2026-03-16 13:00; whole from 2026-04-15 19:00")
    assert hint == (
        "no inference CSV was published; fill what the exchange has: barfeed backfill --from '2026-03-16 13:00'"
    )


def without(world: World, *clauses: str) -> None:
    for clause in clauses:
        world.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '{clause}'")


HOLE = '[[fault]]\nkind = "hide"\nbar = 2024-02-09T03:00:00\n'
OUTAGE = '[[fault]]\nkind = "halt"\nat = 2024-02-09T03:00:00\nresume = 2024-02-09T06:00:00\n'
WHOLE = "2024-03-10 10:00"


def test_a_hole_of_the_exchanges_own_is_waited_for(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    assert said(lived.run(HOLE)) == (
        "window_gap",
        1,
        (
            "BTCUSDT 1h: the inference window is not whole: 2024-02-09 03:00 is missing;"
            " the exchange itself has no bar of 2024-02-09 03:00; whole from 2024-03-10 10:00"
        ),
        (
            "no inference CSV was published, and there is nothing to fetch until then;"
            " a model that can do with less: --min-window-hours 34"
        ),
    )
    assert lived.exchange.requests == {"/fapi/v1/time": 1, KLINES: 2, INFO: 1}


def test_a_hole_of_the_stores_own_is_repaired(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    *_, message, hint = said(lived.run())
    assert message == "BTCUSDT 1h: the inference window is not whole: 2024-02-09 03:00 is missing"
    assert hint == "no inference CSV was published; fill what is missing: barfeed repair"
    assert INFO not in lived.exchange.requests


def test_holes_of_both_are_told_apart(lived: World) -> None:
    without(lived, "2024-02-01 05:00:00", *(f"2024-02-09 0{hour}:00:00" for hour in (3, 4, 5)))
    *_, message, hint = said(lived.run(OUTAGE))
    assert message.endswith(
        "the exchange itself has no bar of 2024-02-09 03:00..2024-02-09 05:00 (3 bars); whole from 2024-03-10 12:00"
    )
    assert hint == "no inference CSV was published; fill what the exchange has: barfeed repair"


def test_a_window_whose_symbol_ends_before_is_never_whole(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    ending = '[[fault]]\nkind = "settle"\nat = 2024-03-01T09:00:00\n'
    assert said(lived.run(HOLE + ending))[2].endswith("; never whole: it trades until 2024-03-01 09:00")


def test_a_window_of_flat_bars_is_told_as_the_end_that_it_is(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    ended = '[[fault]]\nkind = "settle"\nat = 2024-02-10T12:00:00\n'
    lived.clock.go_to(TARGET_MS + hours(2) + 30_000)
    lived.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp >= '2024-02-10 12:00:00'")
    record = lived.run(HOLE + ended, catch_up=True)
    assert said(record)[:3] == (
        "symbol_gone",
        5,
        (
            "BTCUSDT 1h: settled since 2024-02-10 12:00 (SETTLING): its last bar is 2024-02-10 11:00;"
            " what is stored after it, up to 2024-02-10 14:00, was not traded"
        ),
    )


@pytest.mark.parametrize("source", ["db", "api"])
def test_who_can_do_with_less_gets_what_there_is(young: World, source: str) -> None:
    record = young.run(catch_up=True, inference_source=source, window_bars_min=48)
    assert (record.status, record.exit_code) == ("appended", 0)
    assert record.inference is not None
    assert (record.inference.file, record.inference.rows) == ("20260319_180030Z_for_inference_77h.csv", 77)
    lines = (young.feed.folder / record.inference.file).read_text().splitlines()
    assert (lines[1][:19], lines[-1][:19], len(lines)) == ("2026-03-16 13:00:00", "2026-03-19 17:00:00", 78)
    assert (young.feed.folder / "latest_for_inference.csv").read_text().splitlines() == lines
    told = manifest(record)
    assert told["short_window"] == {
        "bars": 77, "asked": 726, "first": "2026-03-16 13:00", "whole_from": "2026-04-15 19:00",
    }  # fmt: skip
    assert told["warnings"] == [
        "BTCUSDT 1h: the inference window has 77 of 726 bars, from 2026-03-16 13:00 on; whole from 2026-04-15 19:00"
    ]
    # That the exchange has no more is asked; what the symbol is, is not.
    assert INFO not in young.exchange.requests


def test_a_short_window_is_proven_folded_away_and_kept_like_any_other(young: World) -> None:
    for later in range(3):
        young.clock.go_to(ms(2026, 3, 19, 16) + hours(later) + 30_000)
        assert young.run(catch_up=True, window_bars_min=48).exit_code == 0
    folder = young.feed.folder
    assert check_runs(folder) == Proven(3, 6, [])
    done = prune(folder, young.clock.now_ms, Keep(days=0))
    # The newest good one stays where it is.
    assert (done.runs, done.kept, done.left) == (2, "20260319_180030Z", ())
    names = zipfile.ZipFile(folder / "2026-03_runs.zip").namelist()
    assert "20260319_160030Z_for_inference_75h.csv" in names
    assert check_runs(folder).findings == []
    (folder / "20260319_180030Z_for_inference_77h.csv").write_text("changed")
    assert {each.rule for each in check_runs(folder).findings} == {"file"}


def test_fewer_than_will_do_are_still_too_few(young: World) -> None:
    assert young.run(catch_up=True, window_bars_min=78).status == "window_gap"
    assert young.run(catch_up=True, window_bars_min=77).inference is not None


def test_after_a_hole_of_the_exchanges_there_is_what_came_since(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    record = lived.run(HOLE, window_bars_min=24)
    assert record.exit_code == 0
    assert record.inference is not None
    assert record.inference.file == "20240210_140030Z-2_for_inference_34h.csv"
    assert record.inference.rows == 34


def test_what_the_store_alone_lacks_is_never_left_out(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    *_, hint = said(lived.run(window_bars_min=24))
    assert hint == "no inference CSV was published; fill what is missing: barfeed repair"


def test_a_whole_window_is_whole_however_little_will_do(lived: World) -> None:
    record = lived.run(window_bars_min=24)
    assert record.inference is not None
    assert record.inference.rows == 726
    assert record.inference.file.endswith("Z-2_for_inference.csv")
    assert manifest(record)["short_window"] is None
    assert lived.exchange.requests == {"/fapi/v1/time": 1, KLINES: 1}


def test_an_exchange_that_does_not_tell_leaves_the_trouble_as_it_is(lived: World) -> None:
    without(lived, "2024-02-09 03:00:00")
    down = '[[fault]]\nkind = "status"\nstatus = 503\nrequests = "2-"\n'
    *_, message, hint = said(lived.run(HOLE + down))
    assert message == "BTCUSDT 1h: the inference window is not whole: 2024-02-09 03:00 is missing"
    assert hint == "no inference CSV was published; fill what is missing: barfeed repair"


def test_a_hole_among_the_newest_is_told_with_when_the_window_is_whole(lived: World) -> None:
    hole = '[[fault]]\nkind = "hide"\nbar = 2024-02-10T12:00:00\n'
    without(lived, "2024-02-10 12:00:00", "2024-02-10 13:00:00")
    status, _, _, hint = said(lived.run(hole))
    assert (status, hint) == (
        "contract_broken",
        (
            "nothing was appended; if it stays so, append what there is around it (the window is whole from"
            " 2024-03-11 19:00): barfeed backfill --from '2024-02-10 07:00'"
        ),
    )


def test_minutes_are_counted_in_hours_too(tmp_path: Path) -> None:
    series = Series.of("BTCUSDT", "15m")
    bars = made_up_bars(TARGET_MS + 3_600_000, 50, "BTCUSDT", "15m")
    world = World(tmp_path, [Tape.of(series, bars)], TARGET_MS + hours(1) + 30_000)
    record = world.run(series=series, window_bars=2904, window_bars_min=40, catch_up=True)
    assert record.inference is not None
    # 49 quarters of an hour have closed: twelve hours and one quarter.
    assert (record.inference.rows, record.inference.file) == (49, "20240210_140030Z_for_inference_12h.csv")
