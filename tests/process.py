"""The feed as a process of its own, against an exchange on a real socket."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import fork_server
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from world import hours, made_up_tape

ROOT = Path(__file__).resolve().parent.parent
FEED = (sys.executable, str(ROOT / "run" / "ohlcv_feed_binance.py"))
# What the feed's hints name: the command beside the Python that it runs in.
BARFEED = Path(sys.executable).with_name("barfeed")


class Ran(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


class Machine:
    """A machine with a feed on it, and the exchange that it can reach."""

    def __init__(self, folder: Path, exchange: ReplayExchange, clock: HandClock, url: str) -> None:
        self.folder = folder
        self.exchange = exchange
        self.clock = clock
        self.url = url
        self.duckdb = folder / "ohlcv.duckdb"
        self.artifacts = folder / "feed" / "BINANCE_BTCUSDT.P_60"
        self.table = "ohlcv_btcusdt_1h"

    def command(self, *flags: str) -> list[str]:
        paths = ("--duckdb", str(self.duckdb), "--persist-dir", str(self.folder / "feed"))
        return [*FEED, *paths, "--max-skew-sec", "1e10", *flags]

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BARFEED_")}
        return kept | {"BARFEED_BASE_URL": self.url} | more

    def feed(self, *flags: str, **environment: str) -> Ran:
        """Run the hourly command to its end."""
        return self.call(self.command(*flags), **environment)

    def call(self, command: list[str], **environment: str) -> Ran:
        """Run any command of ours to its end, with this machine's environment."""
        done = fork_server.run(command, self.environment(**environment))
        return Ran(done.returncode, done.stdout, done.stderr)

    def start(self, *flags: str, **environment: str) -> "subprocess.Popen[str]":
        """Start it and go on."""
        return subprocess.Popen(
            self.command(*flags),
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


@contextmanager
def machine(folder: Path, target_ms: int) -> Iterator[Machine]:
    """An exchange half a minute after `target_ms` closed, and a machine that has no store yet."""
    clock = HandClock(target_ms + hours(1) + 30_000)
    tape = made_up_tape(target_ms + hours(400), 1400)
    exchange = ReplayExchange([tape], clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        yield Machine(folder, exchange, clock, server.url)


@contextmanager
def lived_machine(folder: Path, target_ms: int, *, hours_later: float = 0, faults: str = "") -> Iterator[Machine]:
    """A machine whose feed has lived up to `target_ms`; so many hours later the exchange has these faults, as TOML."""
    with machine(folder, target_ms) as feeding:
        assert feeding.feed("--catch-up").code == 0
        feeding.exchange.faults = parse_faults(faults, "the test")
        feeding.clock.advance(hours(hours_later))
        yield feeding
