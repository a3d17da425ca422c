"""A quarter of hours of a whole market, by REST and by the archive: the whole command against a bare loop.

Each starts as a process of its own with an empty store and ends with the same bars in it. With real data where it is
there (`../shared/data`), else with as many made-up symbols. The exchange counts what REST weighs in each of its
minutes; more than the budget ends the benchmark.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb

from barfeed.domain.bars import HOUR_MS, Interval, Series
from barfeed.machine.clock import SystemClock
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.messages import Reply, Request
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from benchmarks.ground import ROOT, environment
from benchmarks.report import Bound, Ratio, Section, Timing

REAL = ROOT.parent / "shared" / "data" / "market" / "klines-1h-2026q1.parquet"
FROM_MS = 1_767_225_600_000  # 2026-01-01
BARS = 77 * 24
SYMBOLS = 539
BUDGET = 100_000
_USED = "X-MBX-USED-WEIGHT-1M"


class Contender(NamedTuple):
    """One way to fetch it all."""

    name: str
    command: Sequence[str]

    def fill(self, url: str, store: Path) -> tuple[float, int]:
        """Seconds from start to exit, and how many bars are stored."""
        store.unlink(missing_ok=True)
        words = [word.format(url=url, store=store, to=FROM_MS + BARS * HOUR_MS) for word in self.command]
        begin = time.perf_counter()
        run = subprocess.run(words, cwd=ROOT, env=environment(url), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if run.returncode:
            raise RuntimeError(f"{self.name}: {run.returncode}\n{run.stdout}{run.stderr}")
        with duckdb.connect(store, read_only=True) as database:
            (rows,) = database.execute("SELECT count(*) FROM ohlcv_1h").fetchall()[0]
        return seconds, int(rows)


def measure(work: Path, rounds: int) -> Section:
    """REST, then the archive, each contender in turn."""
    timings: list[Timing] = []
    ratios: list[Ratio] = []
    for source in ("rest", "archive"):
        contenders = (Contender(f"barfeed, {source}", _barfeed(source)), Contender(f"bare, {source}", _bare(source)))
        mine, bare = (Timing(each.name, []) for each in contenders)
        with serving() as exchange:
            for number in range(rounds):
                for place in (0, 1) if number % 2 else (1, 0):
                    seconds, rows = contenders[place].fill(exchange.url, work / f"{place}.duckdb")
                    (mine, bare)[place].seconds.append(seconds)  # type: ignore[attr-defined]
                    _check(contenders[place].name, rows, exchange.most() if place == 0 else 0)
                    exchange.most()
        timings += [mine, bare]
        ratios.append(Ratio(mine, bare, Bound("at most", 1.3)))
    return Section(f"A market's history, {SYMBOLS} symbols x {BARS:,} hours, {rounds} rounds", timings, ratios)


def _check(name: str, rows: int, weight: int) -> None:
    if rows < SYMBOLS * BARS * 0.9:
        raise RuntimeError(f"{name}: {rows} bars")
    if weight > BUDGET:
        raise RuntimeError(f"{name}: the exchange counted {weight} in a minute, more than {BUDGET}")


def _barfeed(source: str) -> tuple[str, ...]:
    flags = ("--symbols", "all", "--source", source, "--duckdb", "{store}", "--archive-url", "{url}")
    span = ("--from", "2026-01-01", "--to", "2026-03-19", "--weight-budget", str(BUDGET))
    return (sys.executable, "-m", "barfeed", "backfill", *flags, *span)


def _bare(source: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "benchmarks.market.bare_loop", "{url}", "{store}", str(FROM_MS), "{to}", source)


class Counting:
    """The exchange and the archive; the most that one minute of REST has weighed."""

    def __init__(self, served: WithArchive) -> None:
        self._served = served
        self.most = 0

    def handle(self, request: Request) -> Reply:
        """As they answer."""
        reply = self._served.handle(request)
        self.most = max(self.most, *(int(value) for name, value in reply.headers if name == _USED), 0)
        return reply


class Exchange:
    """The benchmark's end of the exchange's process."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.url = self._line()

    def most(self) -> int:
        """The most that a minute has weighed since the last time."""
        assert self._process.stdin
        self._process.stdin.write("most\n")
        self._process.stdin.flush()
        return int(self._line())

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def serving() -> Iterator[Exchange]:
    """The exchange and the archive in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.market.backfill"],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield Exchange(process)
    finally:
        # It ends where its input ends.
        process.communicate(timeout=10)


def _tapes() -> list[Tape]:
    if REAL.exists():
        return list(Tape.load([str(REAL)]))
    series = [Series(f"S{number:03d}USDT", Interval.ONE_HOUR) for number in range(SYMBOLS)]
    return [generate(each.symbol, each.interval, FROM_MS, BARS, number) for number, each in enumerate(series)]


def _serve() -> None:
    tapes = _tapes()
    # Late enough for the archive to have every day, and running, so that nobody's minute of weight is for ever.
    clock = ReplayClock(FROM_MS + (BARS + 96) * HOUR_MS, 1.0, SystemClock())
    exchange = ReplayExchange(tapes, clock.now_ms, (), 1_000_000)
    counting = Counting(WithArchive(exchange, ReplayArchive(tapes, clock.now_ms)))
    with ReplayServer(counting) as server:
        print(server.url, flush=True)
        for _ in sys.stdin:
            print(counting.most, flush=True)
            counting.most = 0


if __name__ == "__main__":
    _serve()
