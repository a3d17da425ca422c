"""The replay exchange in a process of its own, with a clock that the benchmark turns.

`python -m benchmarks.exchange MARKET LATENCY_SEC WEIGHT` prints its address, then reads lines: `stand MS` stops the
clock at a moment, `run MS` lets it run on from there at the machine's pace. Each is answered by the steady second
at which that moment was, which is the same clock in both processes. MARKET is `one` series, or one of
`benchmarks.market.ground`.
"""

import subprocess
import sys
from types import TracebackType
from typing import Self

from barfeed.machine.clock import SystemClock
from barfeed.replay.archive.service import Far
from barfeed.replay.clocks import HandClock, ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.stream import session
from benchmarks.ground import ROOT, close_ms, tape
from benchmarks.market.ground import GROUNDS


class Exchange:
    """The benchmark's end: starts the process, turns its clock, ends it."""

    def __init__(
        self, market: str = "one", latency_sec: float = 0.0, weight_limit: int = 2400, faults: str = ""
    ) -> None:
        """`faults` as TOML."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.exchange", market, str(latency_sec), str(weight_limit), faults],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url = self._line()

    @property
    def stream_root(self) -> str:
        """Where its streams begin, `ws://127.0.0.1:43121`."""
        return self.url.replace("http", "ws", 1)

    def stand(self, now_ms: int) -> None:
        """Stop the clock at a moment."""
        self._turn("stand", now_ms)

    def run(self, now_ms: int) -> float:
        """Let the clock run from a moment; the steady second at which that was."""
        return self._turn("run", now_ms)

    def _turn(self, how: str, now_ms: int) -> float:
        assert self._process.stdin
        self._process.stdin.write(f"{how} {now_ms}\n")
        self._process.stdin.flush()
        return float(self._line())

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the replay exchange ended; see above")
        return line

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        # It ends where its input ends.
        self._process.communicate(timeout=10)


class TurnedClock:
    """Stands or runs, as it was last told."""

    def __init__(self, now_ms: int) -> None:
        self._clock: HandClock | ReplayClock = HandClock(now_ms)

    def now_ms(self) -> int:
        """The exchange's time, in ms since 1970-01-01 UTC."""
        return self._clock.now_ms()

    def turn(self, how: str, now_ms: int) -> float:
        """Stand at a moment or run from it; the steady second at which that was."""
        clock = SystemClock()
        turned_sec = clock.steady_sec()
        self._clock = ReplayClock(now_ms, 1.0, clock) if how == "run" else HandClock(now_ms)
        return turned_sec


def _serve(market: str, latency_sec: float, weight_limit: int, faults: str) -> None:
    # An hour passes here in a second, and no connection is meant to end by it.
    session.LIFE_MS = sys.maxsize
    clock = TurnedClock(close_ms(0))
    tapes = [tape()] if market == "one" else GROUNDS[market].tapes()
    exchange = ReplayExchange(tapes, clock.now_ms, parse_faults(faults, "the benchmark"), weight_limit)
    served = Far(exchange, latency_sec) if latency_sec else exchange
    with ReplayServer(served, streams=exchange) as server:
        print(server.url, flush=True)
        for line in sys.stdin:
            how, now_ms = line.split()
            print(clock.turn(how, int(now_ms)), flush=True)


if __name__ == "__main__":
    _serve(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
