"""The same cold pass over a market with ever more rows in the store: an hour must not pay for its past."""

from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.market.cold import MEMORY_MAX_MB, alternate, barfeed
from benchmarks.market.ground import GROUNDS, REAL
from benchmarks.report import Bound, Figure, Ratio, Section, Timing

ROWS = (1_000_000, 10_000_000, 50_000_000)
FLAT = Bound("at most", 1.2)


def measure(work: Path, rounds: int) -> Section:
    market = "real" if REAL.exists() else "made-up"
    stores = [GROUNDS[market].make_store(work / f"{rows}.duckdb", rows) for rows in ROWS]
    with Exchange(market) as exchange:
        commands = [barfeed(exchange.url, store, store.with_suffix("")) for store in stores]
        costs = alternate(exchange, market, commands, rounds)
    walls = [Timing(f"{rows:,} rows", [each.wall_sec for each in its]) for rows, its in zip(ROWS, costs, strict=True)]
    cpus = [
        Timing(f"{rows:,} rows, CPU", [each.cpu_sec for each in its]) for rows, its in zip(ROWS, costs, strict=True)
    ]
    ratios = [Ratio(many, few, FLAT) for few, *more in (walls, cpus) for many in more]
    most = [
        Figure(f"memory, {rows:,} rows", max(each.memory_mb for each in its), MEMORY_MAX_MB, "MB")
        for rows, its in zip(ROWS, costs, strict=True)
    ]
    title = f"A cold pass, more and more rows in the store, {rounds} rounds"
    return Section(title, [*walls, *cpus], [*ratios, *most])
