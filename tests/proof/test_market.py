"""The real market of March 2026, pass by pass: the table and the windows are the file, bar for bar."""

import json
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from random import Random

import duckdb
import pytest

from barfeed.feed.market.record import MarketRecord
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.tape import Tape
from market_world import MarketMachine, MarketWorld
from process import BARFEED, ROOT, Ran
from world import hours, ms, shared, written

HOUR_MS = 3_600_000
MARKET = "market/klines-1h-2026q1.parquet"
# The store begins at the end of February.
FIRST_MS = ms(2026, 2, 28, 23)
WINDOW_BARS = 726
MOST = 400
# Of a pass, about so many are on the disk or in the database.
EFFECTS = 300
# CI has time for each eighth of them.
EVERY = 8
# By share of the symbols, others each hour: hidden, refused, late, in disorder, an answer cut; and of all requests the
# 150th is one too many.
STORM = """
[[fault]]
kind = "status"
status = 429
retry_after = 3
requests = "150"

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
    return started(tmp_path, tapes())


@pytest.fixture
def some(tmp_path: Path) -> MarketWorld:
    return started(tmp_path, tapes()[::EVERY])


def started(folder: Path, given: Sequence[Tape]) -> MarketWorld:
    world = MarketWorld(folder, given, FIRST_MS + hours(1) + 30_000)
    world.market = world.market._replace(reach=world.market.reach._replace(window_bars=WINDOW_BARS))
    # The window's limits cost some minutes of the exchange's weight; they pass at once here.
    assert world.run_pass(catch_up=True, max_wait_sec=3000.0).exit_code == 0
    return world


def lived(market: MarketWorld, hour: int, fault: str = "", *, catch_up: bool = False) -> MarketRecord:
    """The pass half a minute after the bar that opens so many hours after the first target has closed."""
    target_ms = FIRST_MS + hours(hour)
    market.clock.go_to(target_ms + hours(1) + 30_000)
    market.exchange.requests.clear()
    return market.run_pass(fault, 20.0, catch_up=catch_up)


def differing(market: MarketWorld, last_ms: int, every: int = 1) -> list[tuple[object, ...]]:
    """What store and windows have otherwise than the file, from the first window's first bar to `last_ms`."""
    fed = ", ".join(f"'{tape.series.symbol}'" for tape in tapes()[::every])
    first_ms, window_ms = (FIRST_MS - hours(WINDOW_BARS - 1), last_ms - hours(WINDOW_BARS - 1))
    with duckdb.connect(market.duckdb, read_only=True) as connection:
        columns = "symbol, timestamp, open, high, low, close, volume"
        when = f"epoch_ms(timestamp) BETWEEN {{}} AND {last_ms}"
        taped = f"(SELECT {columns} FROM '{shared(MARKET)}' WHERE symbol IN ({fed}) AND {when})"
        stored = f"(SELECT {columns} FROM ohlcv_1h)"
        windows = f"(SELECT {columns} FROM '{market.feed.folder / 'latest_for_inference.parquet'}')"
        whole = f"SELECT * FROM {taped.format(window_ms)} QUALIFY count(*) OVER (PARTITION BY symbol) = {WINDOW_BARS}"
        found: list[tuple[object, ...]] = []
        for one, other in ((stored, taped.format(first_ms)), (windows, f"({whole})")):
            found += connection.execute(f"FROM {one} EXCEPT ALL FROM {other}").fetchall()
            found += connection.execute(f"FROM {other} EXCEPT ALL FROM {one}").fetchall()
    return found


def lived_cold(market: MarketWorld, machine: MarketMachine, hour: int, *flags: str) -> Ran:
    """The same pass as a process."""
    market.clock.go_to(FIRST_MS + hours(hour + 1) + 30_000)
    return machine.call(machine.command(*flags))


def lived_killed(market: MarketWorld, machine: MarketMachine, hour: int, step: int) -> int:
    """The same pass as a process that kills itself at its `step`-th effect on the disk; how it ended."""
    market.clock.go_to(FIRST_MS + hours(hour + 1) + 30_000)
    _, _, *flags = machine.command("--catch-up", "--max-wait-sec", "5")
    words = [sys.executable, str(ROOT / "tests" / "killed.py"), "run", str(step), *flags]
    return subprocess.run(words, env=machine.environment(), capture_output=True, check=False, timeout=600).returncode


@pytest.mark.long
def test_some_passes_over_the_real_market_end_in_the_very_file(some: MarketWorld) -> None:
    for hour in range(1, 3):
        record = lived(some, hour)
        assert record.exit_code == 0, record.line()
    with some.served() as machine:
        cold = lived_cold(some, machine, 3)
        assert (cold.code, cold.err) == (0, "")
    assert differing(some, FIRST_MS + hours(3), EVERY) == []


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
def test_a_day_of_cold_processes_over_the_real_market_ends_in_the_very_file(market: MarketWorld) -> None:
    with market.served() as machine:
        for hour in range(1, 25):
            cold = lived_cold(market, machine, hour)
            assert (cold.code, "failed" in cold.out) == (0, False), cold
    assert differing(market, FIRST_MS + hours(24)) == []


@pytest.mark.proof
def test_a_storm_over_the_real_market_passes_and_leaves_nothing_wrong(market: MarketWorld) -> None:
    troubles: set[str] = set()
    dice = Random(5)
    with market.served() as machine:
        for hour in range(1, 49):
            target_ms = FIRST_MS + hours(hour)
            storm = STORM.format(bar=written(target_ms - 2 * HOUR_MS), before=written(target_ms - 3 * HOUR_MS))
            if hour % 4 == 0:
                market.exchange.faults = parse_faults(storm, "the test")
                assert lived_killed(market, machine, hour, dice.randint(1, EFFECTS)) in {-signal.SIGKILL, 1, 3, 5}
                continue
            record = lived(market, hour, storm, catch_up=True)
            troubles |= {each.status for each in record.troubles}
            # Whatever strikes some, most are fed.
            assert sum(each.appended > 0 for each in record.outcomes.values()) > MOST, record.line()
        assert troubles >= {"contract_broken", "mismatch", "exchange_unavailable", "bar_late"}
        told = json.loads(Path(record.manifest_path or "none").read_text())
        assert told["exchange"]["retries"]["http_429"] >= 1
        calm(market, machine, 49)
    assert differing(market, FIRST_MS + hours(49)) == []


def calm(market: MarketWorld, machine: MarketMachine, hour: int) -> None:
    """What an operator does once it is over: a pass, what its hints say, and a repair of what passed as new."""
    lived(market, hour, catch_up=True)
    for symbol in sorted({str(symbol) for symbol, *_ in differing(market, FIRST_MS + hours(hour))}):
        done = machine.call(repairing(machine, symbol))
        assert done.code == 0, done
    record = lived(market, hour, catch_up=True)
    assert (record.exit_code, record.troubles) == (0, []), record.line()


def repairing(machine: MarketMachine, symbol: str) -> list[str]:
    """What the hint of a mismatch says."""
    return [str(BARFEED), "repair", "--duckdb", str(machine.duckdb), "--symbol", symbol, "--yes", "--pause-sec", "0"]
