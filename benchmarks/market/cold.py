"""A pass over a market as a whole process: an hour, and the first start of all; its seconds, and its memory.

`run/ohlcv_feed_binance.py --symbols all` beside the bare loop as a process. The first start has no rival: it is there
for its memory, the most that a pass ever takes.
"""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import MINUTE_MS
from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT, environment
from benchmarks.market.ground import GROUNDS, REAL
from benchmarks.market.warm import AFTER_CLOSE_MS, BARE
from benchmarks.report import Bound, Figure, Ratio, Section, Timing, Verdict

BOUND = Bound("at most", 2.0)
MEMORY_MAX_MB = 300
# So that nobody waits for a minute: what is measured is work.
_NO_LIMIT = 1_000_000


class Cost(NamedTuple):
    """What a process took: seconds, those of a processor, and its most memory."""

    wall_sec: float
    cpu_sec: float
    memory_mb: float


def measure(work: Path, rounds: int) -> Section:
    market = "real" if REAL.exists() else "made-up"
    made = GROUNDS[market].make_store(work / "made.duckdb")
    stores = [Path(shutil.copy(made, work / f"{name}.duckdb")) for name in ("barfeed", "bare")]
    with Exchange(market, weight_limit=_NO_LIMIT) as exchange:
        commands = [
            barfeed(exchange.url, stores[0], work / "feed"),
            ("-m", "benchmarks.market.bare", exchange.url, str(stores[1]), str(work / "bare"), "once"),
        ]
        costs = alternate(exchange, market, commands, rounds)
        first = cost((*barfeed(exchange.url, work / "first.duckdb", work / "first"), "--catch-up"))
    walls = [Timing(name, [each.wall_sec for each in its]) for name, its in zip(("barfeed", BARE), costs, strict=True)]
    cpus = [
        Timing(f"{name}, CPU", [each.cpu_sec for each in its])
        for name, its in zip(("barfeed", BARE), costs, strict=True)
    ]
    verdicts: list[Verdict] = [
        *(Ratio(ours, bare, BOUND) for ours, bare in (walls, cpus)),
        Figure("memory in an hour", max(each.memory_mb for each in costs[0]), MEMORY_MAX_MB, "MB"),
        Figure("memory in the first start of all", first.memory_mb, MEMORY_MAX_MB, "MB"),
    ]
    note = f"- The first start of all takes {first.cpu_sec:.0f} s of a processor."
    return Section(f"A cold pass over a market, {rounds} rounds", [*walls, *cpus], verdicts, note)


def barfeed(url: str, store: Path, folder: Path) -> tuple[str, ...]:
    """The hourly command over all perpetuals."""
    # The replayed hours are long past, and each pass would say so.
    flags = ("--symbols", "all", "--base-url", url, "--max-skew-sec", "1e10")
    return ("run/ohlcv_feed_binance.py", *flags, "--duckdb", str(store), "--persist-dir", str(folder))


def alternate(
    exchange: Exchange, market: str, commands: Sequence[Sequence[str]], rounds: int, warm_ups: int = 1
) -> list[list[Cost]]:
    """What each command cost, round by round: an hour a round, each of them living it in turn."""
    costs: list[list[Cost]] = [[] for _ in commands]
    for bar in range(warm_ups + rounds):
        for turn in range(len(commands)):
            exchange.stand(GROUNDS[market].close_ms(bar) + AFTER_CLOSE_MS + turn * MINUTE_MS)
            place = (bar + turn) % len(commands)
            costs[place].append(cost(commands[place]))
    return [its[warm_ups:] for its in costs]


def cost(command: Sequence[str]) -> Cost:
    """A process from start to exit; any that fails ends the benchmark."""
    program = (sys.executable, "benchmarks/market/cost.py", *command)
    run = subprocess.run(program, cwd=ROOT, env=environment(""), stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        raise RuntimeError(f"{command} ended with {run.returncode}; see above")
    return Cost(*map(float, run.stdout.split()))
