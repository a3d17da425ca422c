"""A warm pass over a market: from a close that has settled to the table of windows on disk.

Each contender is a process that lives on, with a store of its own; hour by hour they take turns, while the exchange's
clock stands. Beside the seconds by the clock on the wall stand those of a processor: what a busy machine takes away
from a process is in the ones, not in the others. What the exchange itself needs to answer is in none of the latter.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import MINUTE_MS, Interval
from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT, environment
from benchmarks.market.ground import GROUNDS, REAL, Ground
from benchmarks.report import Bound, Ratio, Section, Timing

BARE, CCXT, PYTHON_BINANCE = "bare.py", "ccxt_loop.py", "python_binance_loop.py"
NEAR_SEC, FAR_SEC = 0.0, 0.05
# Uncounted: they open connections, load markets and fill caches.
WARM_UPS = 1
# Past the time that barfeed leaves a bar to settle, so that nobody waits.
AFTER_CLOSE_MS = 30_000
BARE_BOUND, PEERS_BOUND = Bound("at most", 1.5), Bound("at least", 3)


class Lived(NamedTuple):
    """What a pass took: seconds, those of a processor, and what it weighed, where somebody looked."""

    wall_sec: float
    cpu_sec: float
    weight: int


class Contender(NamedTuple):
    """One way to live passes: what it is called, and its process."""

    name: str
    process: "subprocess.Popen[str]"

    def live(self) -> Lived:
        """One pass."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        told = self.process.stdout.readline().split()
        if not told:
            raise RuntimeError(f"{self.name} ended; see above")
        return Lived(float(told[0]), float(told[1]), int(told[2]))


def measure(work: Path, rounds: int) -> Section:
    timings: list[Timing] = []
    ratios: list[Ratio] = []
    for name in [name for name in ("real", "made-up") if name != "real" or REAL.exists()]:
        for latency_sec in (NEAR_SEC, FAR_SEC):
            folder = work / f"{name}-{latency_sec}"
            folder.mkdir()
            walls, cpus = _compared(name, latency_sec, folder, rounds)
            timings += [*walls, *cpus]
            ratios += [*_judged(walls), *_judged(cpus)]
    return Section(f"A warm pass over a market, {rounds} rounds", timings, ratios)


def _judged(timings: Sequence[Timing]) -> list[Ratio]:
    ours, bare, *peers = timings
    return [Ratio(ours, bare, BARE_BOUND), *(Ratio(each, ours, PEERS_BOUND) for each in peers)]


def _compared(market: str, latency_sec: float, work: Path, rounds: int) -> tuple[list[Timing], list[Timing]]:
    """Everybody's seconds, and everybody's of a processor."""
    ground = GROUNDS[market]
    names = ["barfeed", *rivals()]
    made = ground.make_store(work / "made.duckdb")
    stores = [Path(shutil.copy(made, work / f"{each}.duckdb")) for each in names]
    before = ground.rows_in(stores[0])
    with Exchange(market, latency_sec) as exchange, ExitStack() as processes:
        contenders = [
            Contender(each, processes.enter_context(living(program(each, ground, exchange, store, work / each))))
            for each, store in zip(names, stores, strict=True)
        ]
        lived = alternate(exchange, ground, contenders, rounds)
    held = {ground.rows_in(each) for each in stores}
    if len(held) > 1 or held == {before}:
        raise RuntimeError(f"not everybody stored the same: {before} bars before, {sorted(held)} after")
    where = f"{market}, {latency_sec * 1000:.0f} ms away"
    walls = [
        Timing(f"{name}, {where}", [took.wall_sec for took in each]) for name, each in zip(names, lived, strict=True)
    ]
    cpus = [
        Timing(f"{name}, {where}, CPU", [took.cpu_sec for took in each])
        for name, each in zip(names, lived, strict=True)
    ]
    return walls, cpus


def rivals() -> list[str]:
    """Those whose libraries are here."""
    needs = {BARE: "aiohttp", CCXT: "ccxt", PYTHON_BINANCE: "binance"}
    return [name for name, needed in needs.items() if find_spec(needed)]


def program(name: str, ground: Ground, exchange: Exchange, store: Path, folder: Path) -> list[str]:
    """How a contender is started."""
    module = "passes" if name == "barfeed" else name.removesuffix(".py")
    # Of whole hours, 726 of them, as the rivals; of minutes twelve hours.
    more = [str(ground.interval), "0" if ground.interval is Interval.ONE_HOUR else "12"] if name == "barfeed" else []
    return ["-m", f"benchmarks.market.{module}", exchange.url, str(store), str(folder), *more]


@contextmanager
def living(words: Sequence[str]) -> Iterator["subprocess.Popen[str]"]:
    """A contender's process, which ends where its input does."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, env=environment(""), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.communicate(timeout=10)


def alternate(exchange: Exchange, ground: Ground, contenders: Sequence[Contender], rounds: int) -> list[list[Lived]]:
    """Each contender's passes, round by round: a bar a round, each of them living it in turn."""
    lived: list[list[Lived]] = [[] for _ in contenders]
    for bar in range(WARM_UPS + rounds):
        for turn in range(len(contenders)):
            # To each a minute of its own: what it may weigh is counted by the minute.
            exchange.stand(ground.close_ms(bar) + AFTER_CLOSE_MS + turn * MINUTE_MS)
            place = (bar + turn) % len(contenders)
            took = contenders[place].live()
            if bar >= WARM_UPS:
                lived[place].append(took)
    return lived
