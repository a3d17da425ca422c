"""The same cold cycle with ever more rows in the store: an hour must not pay for its past."""

from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.ground import make_store
from benchmarks.measure import alternate, barfeed
from benchmarks.report import Bound, Ratio, Section, Timing

ROWS = (10_000, 1_000_000, 10_000_000)
FLAT = Bound("at most", 1.3)


def measure(work: Path, rounds: int) -> Section:
    contenders = [
        barfeed(f"{rows:,} rows", make_store(work / f"{rows}.duckdb", rows), work / str(rows)) for rows in ROWS
    ]
    with Exchange() as exchange:
        seconds = alternate(exchange, contenders, rounds)
    few, *more = (Timing(contender.name, each) for contender, each in zip(contenders, seconds, strict=True))
    ratios = [Ratio(many, few, FLAT) for many in more]
    return Section(f"A cold cycle, more and more rows in the store, {rounds} rounds", [few, *more], ratios)
