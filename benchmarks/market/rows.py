"""The same cold pass over a market with ever more rows in the store: an hour must not pay for its past."""

from pathlib import Path

from benchmarks.exchange import Exchange
from benchmarks.market.cold import MEMORY_MAX_MB, alternate, barfeed
from benchmarks.market.ground import GROUNDS, REAL
from benchmarks.report import Bound, Ratio, Section, Timing

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
    most = [max(each.memory_mb for each in its) for its in costs]
    note = f"- Memory, at the most: {', '.join(f'{each:.0f}' for each in most)} MB (at most {MEMORY_MAX_MB})."
    return Section(f"A cold pass, more and more rows in the store, {rounds} rounds", [*walls, *cpus], ratios, note)
