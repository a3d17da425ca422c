"""Cold cycles in alternation: whole processes, from start to exit, that each append one bar."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT, close_ms, environment, rows_in

# Uncounted: the first runs compile modules and fill the machine's caches.
WARM_UPS = 2
# Past the time that barfeed leaves a bar to settle, so that nobody waits.
_AFTER_CLOSE_MS = 30_000


class Contender(NamedTuple):
    """One way to live the hour: what it is called, how it is started, and the store that is its own."""

    name: str
    command: tuple[str, ...]
    store: Path

    def live(self, base_url: str) -> float:
        """Seconds from start to exit; anything but one appended bar ends the benchmark."""
        begin = time.perf_counter()
        run = subprocess.run(
            self.command, cwd=ROOT, env=environment(base_url), capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - begin
        if run.returncode or "appended=1 " not in run.stdout:
            raise RuntimeError(f"{self.name} did not append one bar: {run.returncode}\n{run.stdout}{run.stderr}")
        return seconds


def barfeed(name: str, store: Path, folder: Path) -> Contender:
    """The hourly command, as cron runs it."""
    program = ("run/ohlcv_feed_binance.py", "--duckdb", str(store), "--persist-dir", str(folder))
    return Contender(name, (sys.executable, *program), store)


def script(path: str, base_url: str, store: Path, folder: Path) -> Contender:
    """A rival: a script of its own that takes the exchange, the store and the folder."""
    return Contender(path, (sys.executable, path, base_url, str(store), str(folder)), store)


def alternate(exchange: Exchange, contenders: Sequence[Contender], rounds: int) -> list[list[float]]:
    """Each contender's seconds, round by round: an hour a round, each of them living it in turn."""
    before = [rows_in(each.store) for each in contenders]
    seconds: list[list[float]] = [[] for _ in contenders]
    for hour in range(WARM_UPS + rounds):
        exchange.stand(close_ms(hour) + _AFTER_CLOSE_MS)
        for place in _in_turn(len(contenders), hour):
            lived = contenders[place].live(exchange.url)
            if hour >= WARM_UPS:
                seconds[place].append(lived)
    _check_stores(contenders, before, WARM_UPS + rounds)
    return seconds


def turns(contenders: Sequence[Callable[[], float]], rounds: int) -> list[list[float]]:
    """What each contender returns, round by round, in turn; what it returned first is not counted."""
    seconds: list[list[float]] = [[] for _ in contenders]
    for number in range(1 + rounds):
        for place in _in_turn(len(contenders), number):
            lived = contenders[place]()
            if number:
                seconds[place].append(lived)
    return seconds


def _in_turn(count: int, number: int) -> list[int]:
    """Everybody goes first as often: whoever follows ccxt finds colder caches."""
    return [(number + place) % count for place in range(count)]


def _check_stores(contenders: Sequence[Contender], before: Sequence[int], hours: int) -> None:
    for contender, rows in zip(contenders, before, strict=True):
        if (held := rows_in(contender.store)) != rows + hours:
            raise RuntimeError(f"{contender.name}: {held} bars after {hours} hours, expected {rows + hours}")


def newest_window(folder: Path) -> list[list[str | float]]:
    """The newest inference CSV under a folder, numbers as numbers."""
    newest = max(folder.rglob("[0-9]*_for_inference.csv"))
    lines = newest.read_text().splitlines()[1:]
    return [[cells[0], *map(float, cells[1:])] for cells in (line.split(",") for line in lines)]
