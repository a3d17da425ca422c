"""What is missing of a kind that the exchange forgets: told by status and doctor with the days that are left."""

import json
from pathlib import Path

import pytest

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.operate.doctor import market as market_doctor
from barfeed.store.kinds.holes import holes
from feed.kinds.kinds_world import LATER_MS, NOW_MS, ONE_HOUR, SYMBOLS, TARGET_MS, KindsWorld
from process import BARFEED

DAY_MS = 24 * HOUR_MS
INTEREST = KINDS["open_interest"]
SAID = (
    "open_interest 1h: 3 rows missing of 2 series (BTCUSDT, ETHUSDT), the first 2026-03-09 13:00 of BTCUSDT;"
    " 29.0 days are left before the exchange forgets it"
)


@pytest.fixture
def world(tmp_path: Path) -> KindsWorld:
    world = KindsWorld(tmp_path, NOW_MS + LATER_MS, "open_interest", "premium_index")
    assert world.run_pass(catch_up=True).exit_code == 0
    return world


def lose(world: KindsWorld, table: str = "open_interest_1h") -> None:
    """Three rows, the first of a day before the target."""
    world.execute(
        f"DELETE FROM {table} WHERE (symbol = 'BTCUSDT' AND epoch_ms(timestamp) = {TARGET_MS - DAY_MS})"
        f" OR (symbol = 'ETHUSDT' AND epoch_ms(timestamp) IN ({TARGET_MS - 2 * HOUR_MS}, {TARGET_MS}))"
    )


def test_where_every_bar_has_its_row_there_is_no_hole(world: KindsWorld) -> None:
    assert holes(world.store, ONE_HOUR, world.clock.now_ms) == []


def test_a_hole_is_told_with_the_days_that_are_left(world: KindsWorld) -> None:
    lose(world)
    [found] = holes(world.store, ONE_HOUR, world.clock.now_ms)
    assert [(each.symbol, each.rows) for each in found.holes] == [("BTCUSDT", 1), ("ETHUSDT", 2)]
    assert found.told(world.clock.now_ms) == SAID
    assert found.hint == "fill them while it remembers: barfeed backfill --kinds open_interest"
    forgotten_ms = INTEREST.forgotten_ms(TARGET_MS - 2 * HOUR_MS, ONE_HOUR)
    assert found.of({"ETHUSDT"}).left_ms(world.clock.now_ms) + world.clock.now_ms == forgotten_ms


@pytest.mark.long
def test_what_is_forgotten_is_told_no_more(world: KindsWorld) -> None:
    lose(world)
    days = {left: holes(world.store, ONE_HOUR, world.clock.now_ms + left * DAY_MS) for left in (28, 29, 31)}
    assert [[hole.symbol for hole in each.holes] for each in days[28]] == [["BTCUSDT", "ETHUSDT"]]
    assert [[hole.symbol for hole in each.holes] for each in days[29]] == [["ETHUSDT"]]
    assert days[31] == []


@pytest.mark.long
def test_what_the_exchange_keeps_for_ever_is_no_hole(world: KindsWorld) -> None:
    lose(world, "premium_index_1h")
    assert holes(world.store, ONE_HOUR, world.clock.now_ms) == []


def test_what_is_not_due_yet_is_no_hole(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, NOW_MS, "open_interest")
    world.run_pass(catch_up=True)
    assert holes(world.store, ONE_HOUR, world.clock.now_ms) == []


def test_a_symbol_without_bars_lacks_no_row(world: KindsWorld) -> None:
    world.execute(f"DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDT' AND epoch_ms(timestamp) = {TARGET_MS}")
    world.execute(f"DELETE FROM open_interest_1h WHERE symbol = 'BTCUSDT' AND epoch_ms(timestamp) = {TARGET_MS}")
    assert holes(world.store, ONE_HOUR, world.clock.now_ms) == []


@pytest.mark.long
def test_doctor_names_it_with_its_fix(world: KindsWorld) -> None:
    lose(world)
    [check] = market_doctor.kinds(world.store, ONE_HOUR, SYMBOLS, world.clock.now_ms)
    assert (check.name, check.state, check.seen) == ("open_interest 1h", "bad", SAID)
    assert check.fix == "fill them while it remembers: barfeed backfill --kinds open_interest"
    assert market_doctor.kinds(world.store, ONE_HOUR, {"1000PEPEUSDT"}, world.clock.now_ms) == []


@pytest.mark.long
def test_status_is_not_healthy_with_one(world: KindsWorld) -> None:
    lose(world)
    with world.served() as machine:
        where = ["--duckdb", str(world.duckdb), "--persist-dir", str(world.feed.folder.parent)]
        for symbol, expected in (("BTCUSDT", True), ("1000PEPEUSDT", False)):
            told = machine.call([str(BARFEED), "status", "--json", "--symbol", symbol, *where])
            [series] = json.loads(told.out)["series"]
            assert any("29.0 days are left" in each for each in series["troubles"]) is expected
        market = machine.call([str(BARFEED), "status", "--symbols", "all", *where])
        assert (market.code, f"  trouble     {SAID}; fill them while it remembers" in market.out) == (1, True)
