"""The real market of March 2026, pass by pass: the table and the windows are the file, bar for bar."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import duckdb
import pytest

from barfeed.feed.market.record import MarketRecord
from barfeed.replay.tapes.tape import Tape
from market_world import MarketWorld
from world import hours, ms, shared

HOUR_MS = 3_600_000
MARKET = "market/klines-1h-2026q1.parquet"
# The store begins at the end of February.
FIRST_MS = ms(2026, 2, 28, 23)
WINDOW_BARS = 726
# By share of the symbols, others each hour: hidden, refused, late, in disorder, an answer cut, too many requests.
STORM = """
[[fault]]
kind = "hide"
bar = {bar}
share = 0.03
seed = 1

[[fault]]
kind = "revise"
bar = {before}
volume = 1.5
share = 0.03
seed = 2

[[fault]]
kind = "status"
status = 503
share = 0.03
seed = 3

[[fault]]
kind = "disorder"
share = 0.03
seed = 4

[[fault]]
kind = "cut_json"
share = 0.03
seed = 5

[[fault]]
kind = "late"
sec = 3599
rows = 2
share = 0.02
seed = 6
"""


@lru_cache(maxsize=1)
def tapes() -> Sequence[Tape]:
    return Tape.load([str(shared(MARKET))])


@pytest.fixture
def market(tmp_path: Path) -> MarketWorld:
    world = MarketWorld(tmp_path, tapes(), FIRST_MS + hours(1) + 30_000)
    world.market = world.market._replace(reach=world.market.reach._replace(window_bars=WINDOW_BARS))
    # The window's limits cost some minutes of the exchange's weight; they pass at once here.
    assert world.run_pass(catch_up=True, max_wait_sec=3000.0).exit_code == 0
    return world


def lived(market: MarketWorld, hour: int, fault: str = "", *, catch_up: bool = False) -> MarketRecord:
    """The pass half a minute after the bar that opens so many hours after the first target has closed."""
    target_ms = FIRST_MS + hours(hour)
    market.clock.go_to(target_ms + hours(1) + 30_000)
    return market.run_pass(fault, 20.0, catch_up=catch_up)


def differing(market: MarketWorld, last_ms: int) -> list[tuple[object, ...]]:
    """What store and windows have otherwise than the file, from the first window's first bar to `last_ms`."""
    first_ms, window_ms = (FIRST_MS - hours(WINDOW_BARS - 1), last_ms - hours(WINDOW_BARS - 1))
    with duckdb.connect(market.duckdb, read_only=True) as connection:
        columns = "symbol, timestamp, open, high, low, close, volume"
        taped = f"(SELECT {columns} FROM '{shared(MARKET)}' WHERE epoch_ms(timestamp) BETWEEN {{}} AND {last_ms})"
        stored = f"(SELECT {columns} FROM ohlcv_1h)"
        windows = f"(SELECT {columns} FROM '{market.feed.folder / 'latest_for_inference.parquet'}')"
        whole = f"SELECT * FROM {taped.format(window_ms)} QUALIFY count(*) OVER (PARTITION BY symbol) = {WINDOW_BARS}"
        found: list[tuple[object, ...]] = []
        for one, other in ((stored, taped.format(first_ms)), (windows, f"({whole})")):
            found += connection.execute(f"FROM {one} EXCEPT ALL FROM {other} LIMIT 5").fetchall()
            found += connection.execute(f"FROM {other} EXCEPT ALL FROM {one} LIMIT 5").fetchall()
    return found


@pytest.mark.long
def test_some_passes_over_the_real_market_end_in_the_very_file(market: MarketWorld) -> None:
    # At 4 March 04:00 and 08:00 symbols were listed.
    for hour in range(1, 4):
        record = lived(market, hour)
        assert record.exit_code == 0, record.line()
    assert differing(market, FIRST_MS + hours(3)) == []


@pytest.mark.proof
def test_four_hundred_passes_over_the_real_market_end_in_the_very_file(market: MarketWorld) -> None:
    for hour in range(1, 401):
        record = lived(market, hour)
        assert (record.exit_code, record.troubles) == (0, []), record.line()
        if hour % 50 == 0:
            assert differing(market, FIRST_MS + hours(hour)) == []
    listed = [event for event in record.outcomes.values() if event.short]
    assert len(market.stored()) > 536
    assert listed


@pytest.mark.proof
def test_a_storm_over_the_real_market_passes_and_leaves_nothing_wrong(market: MarketWorld) -> None:
    troubles: set[str] = set()
    for hour in range(1, 49):
        target_ms = FIRST_MS + hours(hour)
        storm = STORM.format(bar=moment(target_ms - 2 * HOUR_MS), before=moment(target_ms - 3 * HOUR_MS))
        record = lived(market, hour, storm, catch_up=True)
        troubles |= {each.status for each in record.troubles}
        # Whatever strikes some, most are fed.
        assert sum(each.appended > 0 for each in record.outcomes.values()) > 400, record.line()
    assert troubles >= {"contract_broken", "mismatch", "exchange_unavailable", "bar_late"}
    record = lived(market, 49, catch_up=True)
    assert (record.exit_code, record.troubles) == (0, []), record.line()
    assert differing(market, FIRST_MS + hours(49)) == []


def moment(at_ms: int) -> str:
    return duckdb.execute("SELECT strftime(make_timestamp_ms(?), '%Y-%m-%dT%H:%M:%S')", [at_ms]).fetchall()[0][0]  # type: ignore[no-any-return]
