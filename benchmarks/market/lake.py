"""A market's pass with `--lake` beside one without: both on files of their own, turn by turn.

What a pass adds to a lake is asked for, not how a history of months becomes one: the past is there before the first.
"""

import shutil
from contextlib import ExitStack
from pathlib import Path

import duckdb

from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.lake.lake import Lake
from benchmarks.exchange import Exchange
from benchmarks.market.ground import GROUNDS, REAL, Ground
from benchmarks.market.warm import Contender, alternate, living
from benchmarks.report import Bound, Ratio, Section, Timing

BOUND = Bound("at most", 1.2)
WITH, WITHOUT = "barfeed with a lake", "barfeed without"


def measure(work: Path, rounds: int) -> Section:
    market = "real" if REAL.exists() else "made-up"
    ground = GROUNDS[market]
    made = ground.make_store(work / "made.duckdb")
    stores = {name: Path(shutil.copy(made, work / f"{name}.duckdb")) for name in (WITH, WITHOUT)}
    lake = work / "lake"
    _catch_up(lake, stores[WITH], ground)
    with Exchange(market, 0.0) as exchange, ExitStack() as processes:
        contenders = [
            Contender(name, processes.enter_context(living([
                "-m", "benchmarks.market.passes", exchange.url, str(store), str(work / name), "1h", "0",
                *([str(lake)] if name == WITH else []),
            ])))
            for name, store in stores.items()
        ]  # fmt: skip
        lived = alternate(exchange, ground, contenders, rounds)
    _expect_equal(lake, stores, ground)
    walls = [Timing(name, [took.wall_sec for took in each]) for name, each in zip(stores, lived, strict=True)]
    cpus = [Timing(f"{name}, CPU", [took.cpu_sec for took in each]) for name, each in zip(stores, lived, strict=True)]
    ratios = [Ratio(ours, plain, BOUND) for ours, plain in (walls, cpus)]
    return Section(f"A market's pass with a lake, {rounds} rounds", [*walls, *cpus], ratios)


def _catch_up(lake: Path, store: Path, ground: Ground) -> None:
    clock = SystemClock()
    while Lake(str(lake), clock).export(Store(store, clock, 5.0), ground.interval).left:
        pass


def _expect_equal(lake: Path, stores: dict[str, Path], ground: Ground) -> None:
    bars = f"{lake}/kind=ohlcv/**/*.parquet"
    (in_lake,) = duckdb.execute("SELECT count(*) FROM read_parquet(?)", [bars]).fetchall()[0]
    held = {in_lake, *map(ground.rows_in, stores.values())}
    if len(held) > 1:
        raise RuntimeError(f"not everybody stored the same: {sorted(held)}")
