"""Six years of hours by REST: the whole command against a bare loop, python-binance and ccxt; and by the archive.

Every contender starts as a process of its own with an empty store and ends with the same 46,591 bars in it.
With real data where it is there (`../shared/data`), else with as many made-up bars.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS
from barfeed.machine.clock import SystemClock
from barfeed.replay.archive.service import Far, ReplayArchive, WithArchive
from barfeed.replay.clocks import ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from benchmarks.ground import ROOT, SERIES, environment, rows_in
from benchmarks.report import Bound, Ratio, Section, Timing

BARS = 46_591
FIRST_MS = 1_567_962_000_000  # 2019-09-08 17:00, the first of BTCUSDT
NEAR_SEC, FAR_SEC = 0.0, 0.05
REAL = ROOT.parent / "shared" / "data" / "rest" / "BTCUSDT-1h.parquet"
BARE, BINANCE, CCXT = "bare_loop.py", "python_binance_loop.py", "ccxt_loop.py"


class Contender(NamedTuple):
    """One way to fetch it all."""

    name: str
    command: Sequence[str]

    def fill(self, url: str, store: Path) -> float:
        """Seconds from start to exit; anything but all bars in the store ends the benchmark."""
        store.unlink(missing_ok=True)
        words = [word.format(url=url, store=store) for word in self.command]
        begin = time.perf_counter()
        run = subprocess.run(words, cwd=ROOT, env=environment(url), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - begin
        if run.returncode or rows_in(store) != BARS:
            raise RuntimeError(f"{self.name}: {run.returncode}, {rows_in(store)} bars\n{run.stdout}{run.stderr}")
        return seconds


def measure(work: Path, rounds: int) -> Section:
    """Each latency with every contender in turn; then the archive."""
    timings: list[Timing] = []
    ratios: list[Ratio] = []
    for latency_sec in (NEAR_SEC, FAR_SEC):
        with serving(latency_sec) as url:
            mine, bare, binance, ccxt = (
                Timing(f"{each.name}, {latency_sec * 1000:.0f} ms away", []) for each in CONTENDERS
            )
            for number in range(rounds):
                for place in range(len(CONTENDERS)):
                    at = (number + place) % len(CONTENDERS)
                    seconds = CONTENDERS[at].fill(url, work / "bench.duckdb")
                    (mine, bare, binance, ccxt)[at].seconds.append(seconds)  # type: ignore[attr-defined]
        timings += [mine, bare, binance, ccxt]
        ratios += [Ratio(mine, bare, Bound("at most", 1.3))]
        ratios += [Ratio(binance, mine, Bound("at least", 1.5)), Ratio(ccxt, mine, Bound("at least", 4))]
    with serving(NEAR_SEC) as url:
        archive = Timing("barfeed, archive", [ARCHIVE.fill(url, work / "bench.duckdb") for _ in range(max(2, rounds))])
    rate = BARS / sorted(archive.seconds)[len(archive.seconds) // 2]
    note = f"The archive's monthly files: {rate:,.0f} bars a second, process start included."
    return Section(f"A backfill of {BARS:,} hours, {rounds} rounds", [*timings, archive], ratios, note)


def _barfeed(source: str) -> tuple[str, ...]:
    program = "from barfeed.cli.main import main; main()"
    flags = ("--source", source, "--duckdb", "{store}", "--archive-url", "{url}")
    return (sys.executable, "-c", program, "backfill", *flags, "--to", "2025-01-01")


def _script(name: str) -> Contender:
    return Contender(name, (sys.executable, "-m", f"benchmarks.{name.removesuffix('.py')}", "{url}", "{store}"))


CONTENDERS = (Contender("barfeed", _barfeed("rest")), _script(BARE), _script(BINANCE), _script(CCXT))
ARCHIVE = Contender("barfeed, archive", _barfeed("archive"))


@contextmanager
def serving(latency_sec: float) -> Iterator[str]:
    """The exchange and the archive in a process of their own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.backfill", str(latency_sec)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout
    try:
        yield process.stdout.readline().strip()
    finally:
        # It ends where its input ends.
        process.communicate(timeout=10)


def _serve(latency_sec: float) -> None:
    tapes = Tape.load([str(REAL)]) if REAL.exists() else [generate(SERIES.symbol, SERIES.interval, FIRST_MS, BARS, 1)]
    # It runs, so that nobody's minute of weight is for ever.
    clock = ReplayClock(FIRST_MS + (BARS + 72) * HOUR_MS, 1.0, SystemClock())
    served = WithArchive(ReplayExchange(tapes, clock.now_ms, (), 1_000_000), ReplayArchive(tapes, clock.now_ms))
    with ReplayServer(Far(served, latency_sec) if latency_sec else served) as server:
        print(server.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    _serve(float(sys.argv[1]))
