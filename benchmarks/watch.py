"""A warm cycle: from the moment the exchange first serves the closed bar to the CSV on disk.

A real `--watch --settle-sec 0` process follows a replay exchange whose clock runs at the machine's
pace. Some seconds before each hour the clock is set anew, an hour further on. When a clock that starts
at a known steady second passes the hour is known to the millisecond; the CSV's appearance is seen by
listing its folder every half millisecond, in another process than the two that work.
"""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from barfeed.machine.clock import SystemClock
from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT, close_ms, environment, make_store
from benchmarks.report import Section, Timing

# The watch looks at the exchange's clock this often, and so finds it turned well before the close.
SLEEP_SEC = 1.0
LEAD_MS = 1_500
POLL_SEC = 0.0005
GIVE_UP_SEC = 30.0

_random = random.Random(1)


def measure(work: Path, rounds: int) -> Section:
    store, folder = make_store(work / "watch.duckdb"), work / "watch"
    with Exchange() as exchange:
        exchange.stand(close_ms(0))
        with running(barfeed(store, folder), exchange, folder):
            # The first cycle starts the process up and is no warm one.
            await_csv(folder, 1)
            seconds = [one_close(exchange, folder, hour, LEAD_MS) for hour in range(1, rounds + 1)]
    name = "close to CSV on disk"
    return Section(f"A warm cycle in watch mode, settle 0, {rounds} closes", [Timing(name, seconds)])


def one_close(exchange: Exchange, folder: Path, hour: int, lead_ms: int) -> float:
    """Seconds from the close of `hour` to its CSV, the clock turned some more than `lead_ms` before."""
    # Not always as long, so that no close falls in with the watch's own looks.
    lead_ms += _random.randrange(500)
    turned_sec = exchange.run(close_ms(hour) - lead_ms)
    seen_sec = await_csv(folder, hour + 1)
    if seen_sec < turned_sec + lead_ms / 1000:
        raise RuntimeError("a CSV appeared before its bar had closed")
    return seen_sec - turned_sec - lead_ms / 1000


def await_csv(folder: Path, count: int) -> float:
    """The steady second at which the folder was first seen to hold that many inference CSVs."""
    clock = SystemClock()
    end_sec = clock.steady_sec() + GIVE_UP_SEC
    while clock.steady_sec() < end_sec:
        seen = sum(1 for _ in folder.glob("*/[0-9]*_for_inference.csv"))
        seen_sec = clock.steady_sec()
        if seen >= count:
            return seen_sec
        time.sleep(POLL_SEC)
    raise RuntimeError(f"the watch wrote no CSV within {GIVE_UP_SEC:g} s")


def barfeed(store: Path, folder: Path, *more: str) -> tuple[str, ...]:
    """The watch's command."""
    # The replayed hours are long past, and the watch would say so at every close.
    flags = ("--watch", "--settle-sec", "0", "--sleep-sec", str(SLEEP_SEC), "--max-skew-sec", "1e10", *more)
    return ("run/ohlcv_feed_binance.py", *flags, "--duckdb", str(store), "--persist-dir", str(folder))


@contextmanager
def running(program: tuple[str, ...], exchange: Exchange, folder: Path) -> Iterator[None]:
    """A contender's process, from start to SIGTERM; where it fails, with what it said."""
    log = folder.with_suffix(".log")
    with log.open("w") as out:
        process = subprocess.Popen(
            (sys.executable, *program), cwd=ROOT, env=environment(exchange.url), stdout=out, stderr=out
        )
        try:
            yield
        except RuntimeError as error:
            error.add_note(log.read_text())
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=10)
