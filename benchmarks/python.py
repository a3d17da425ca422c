"""A million stored bars as a Polars DataFrame, and as DuckDB's own Arrow export of the same file."""

import time
from collections.abc import Callable
from pathlib import Path

import duckdb

import barfeed
from benchmarks.ground import make_store
from benchmarks.measure import turns
from benchmarks.report import Bound, Ratio, Section, Timing

BARS = 1_000_000
NAMES = ("barfeed.open(...).bars(...).to_polars()", "DuckDB's own Arrow export")
NEARLY_AS_FAST = Bound("at most", 1.3)
_QUERY = "SELECT timestamp, open, high, low, close, volume FROM ohlcv_btcusdt_1h ORDER BY timestamp"


def measure(work: Path, rounds: int) -> Section:
    store = make_store(work / "million.duckdb", BARS)
    feed = barfeed.open(store)

    def exported() -> int:
        with duckdb.connect(store, read_only=True) as connection:
            return len(connection.sql(_QUERY).to_arrow_table())

    ways = (lambda: len(feed.bars("BTCUSDT", "1h").to_polars()), exported)
    seconds = turns([_timed(each) for each in ways], rounds)
    ours, rival = (Timing(name, each) for name, each in zip(NAMES, seconds, strict=True))
    title = f"{BARS:,} stored bars into memory, {rounds} rounds"
    return Section(title, [ours, rival], [Ratio(ours, rival, NEARLY_AS_FAST)])


def _timed(read: Callable[[], int]) -> Callable[[], float]:
    def run() -> float:
        begin = time.perf_counter()
        rows = read()
        seconds = time.perf_counter() - begin
        if rows != BARS:
            raise RuntimeError(f"{rows} bars were read, not {BARS}")
        return seconds

    return run
