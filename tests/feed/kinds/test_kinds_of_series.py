"""Kinds beside the bars of one series: behind each cycle, and by themselves where the bar is fed already."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.domain.kinds.plan import Reach
from barfeed.domain.kinds.table import KINDS
from barfeed.exchange.kinds.asking import Limits
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.order import KindsOrder
from barfeed.feed.record import Record
from barfeed.feed.watch import Pace, watch
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.generator import generate
from holding import held
from world import HourIsOver, World, ends_after, ms

TARGET_MS = ms(2026, 3, 10, 13)
NOW_MS = TARGET_MS + HOUR_MS + 30_000
TAPE = generate("BTCUSDT", "1h", TARGET_MS - 40 * 24 * HOUR_MS, 41 * 24, seed=5)


class SeriesWorld(World):
    """One series whose feed has some kinds."""

    def __init__(self, folder: Path, *names: str, now_ms: int = NOW_MS) -> None:
        super().__init__(folder, [TAPE], now_ms)
        order = KindsOrder(tuple(KINDS[name] for name in names), Reach(6, 48), 15.0, views_of=("BTCUSDT",))
        self.feed = self.feed._replace(kinds=Kinds(order, self.store.kinds, self.rest, Limits(self.clock)))
        self.order = self.order._replace(catch_up=True, window_bars=48)

    def query(self, statement: str) -> list[tuple[Any, ...]]:
        """What a reader of the file has."""
        with duckdb.connect(self.duckdb, read_only=True) as connection:
            return connection.execute(statement).fetchall()

    def watch(self, cycles: int, fault: str = "") -> list[Record]:
        """What a watch told of its first cycles."""
        self.exchange.faults = parse_faults(fault, "the test")
        records: list[Record] = []
        with pytest.raises(HourIsOver):
            watch(self.feed, self.order, self.rest, Pace(300.0, 120.0), ends_after(records, cycles))
        return records


def test_readers_find_each_kind_under_the_series_own_name(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "klines", "premium_index", "open_interest", "funding")
    record = world.run()
    assert (record.status, record.exit_code) == ("appended", 0)
    assert " kinds=4 rows_of_kinds=" in record.line()
    assert "kinds" in record.durations_sec
    # What came with the bars is not asked for once more.
    assert world.exchange.requests["/fapi/v1/klines"] == 1
    assert world.query("SELECT count(*), max(timestamp) FROM premium_index_btcusdt_1h")[0][0] == 48
    assert world.query("SELECT epoch_ms(max(timestamp)) FROM open_interest_btcusdt_1h") == [(TARGET_MS - HOUR_MS,)]
    assert world.query("SELECT count(*) FROM klines_btcusdt_1h JOIN ohlcv_btcusdt_1h USING (timestamp)") == [(48,)]
    assert world.query("SELECT count(*) > 5 FROM funding_btcusdt") == [(True,)]


@pytest.mark.long
def test_a_watch_gives_the_model_each_bar_once(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "premium_index", "open_interest", now_ms=NOW_MS - 25_000)
    world.order = world.order._replace(then="true")
    records = world.watch(3)
    assert [record.target_ms for record in records] == [TARGET_MS, TARGET_MS, TARGET_MS + HOUR_MS]
    assert [bool(record.inference) for record in records] == [True, False, True]
    assert [bool(record.then) for record in records] == [True, False, True]
    assert [record.exit_code for record in records] == [0, 0, 0]
    known = f"SELECT epoch_ms(known_at) FROM open_interest_1h WHERE epoch_ms(timestamp) = {TARGET_MS}"
    assert world.query(known) == [(TARGET_MS + HOUR_MS + 5 * MINUTE_MS,)]


@pytest.mark.long
def test_a_kind_that_is_late_is_asked_for_again_and_the_bar_is_not(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "premium_index", now_ms=NOW_MS - 25_000)
    world.run()
    world.clock.go_to(NOW_MS + HOUR_MS)
    world.exchange.requests.clear()
    records = world.watch(3, '[[fault]]\nkind = "empty"\npath = "premiumIndexKlines"\nrequests = "1-9"\n')
    assert [record.status for record in records] == ["kind_late", "up_to_date", "appended"][: len(records)]
    assert world.exchange.requests["/fapi/v1/klines"] == 2


def test_where_a_bar_is_refused_other_kinds_are_fed_all_the_same(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "klines", "open_interest")
    world.run()
    world.execute(f"UPDATE ohlcv_btcusdt_1h SET close = close + 1 WHERE epoch_ms(timestamp) = {TARGET_MS}")
    world.clock.go_to(NOW_MS + HOUR_MS)
    record = world.run()
    assert (record.status, record.exit_code) == ("mismatch", 1)
    assert record.kinds
    assert [(each.kind, each.status) for each in record.kinds.kinds] == [
        ("klines", "up_to_date"), ("open_interest", "appended"),
    ]  # fmt: skip
    assert world.query("SELECT epoch_ms(max(timestamp)) FROM open_interest_btcusdt_1h") == [(TARGET_MS,)]


def test_the_store_is_as_it_was_where_no_kind_is_named(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "premium_index")
    world.feed = world.feed._replace(kinds=None)
    world.run()
    assert world.query("SELECT table_name FROM duckdb_tables()") == [("ohlcv_btcusdt_1h",)]


@pytest.mark.long
def test_a_reader_that_stays_takes_nobody_s_hour_and_the_next_cycle_has_all_of_it(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "klines", "premium_index", "open_interest")
    world.run()
    world.clock.go_to(NOW_MS + HOUR_MS)
    with held(world.duckdb):
        record = world.run()
    assert (record.status, record.exit_code) == ("pending", 0)
    assert record.kinds
    assert {each.status for each in record.kinds.kinds} == {"pending"}
    world.clock.go_to(NOW_MS + 2 * HOUR_MS)
    assert world.run().exit_code == 0
    since_ms = {"klines": TARGET_MS, "premium_index": TARGET_MS, "open_interest": TARGET_MS - HOUR_MS}
    for name, after_ms in since_ms.items():
        assert world.query(f"SELECT count(*) FROM {name}_1h WHERE epoch_ms(timestamp) > {after_ms}") == [(2,)]


@pytest.mark.long
def test_what_fails_of_a_kind_is_the_manifest_s_message(tmp_path: Path) -> None:
    world = SeriesWorld(tmp_path, "premium_index")
    world.run()
    world.clock.go_to(NOW_MS + HOUR_MS)
    record = world.run('[[fault]]\nkind = "empty"\npath = "premiumIndexKlines"\n')
    told = record.manifest(world.rest.conversation(1.0))
    assert (told["status"], told["exit_code"]) == ("kind_late", 3)
    assert told["message"] == "premium_index of 2026-03-10 14:00 is due, and the exchange does not show it yet"
