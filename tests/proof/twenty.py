"""Twenty feeds on one store for a simulated day: `python -m proof.twenty [--hours N] [--feeds N] [--market] [--write]`.

Real processes against an exchange on a socket. Meanwhile readers open the same DuckDB file read-only, as a
notebook would, and measure how long each look took from the first try to the answer.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Thread
from time import monotonic
from typing import NamedTuple

from market_world import market_machine, small_market
from process import Machine, machine
from proof.soak_report import put_between
from world import hours, ms

BEGIN, END = "<!-- twenty: make twenty ARGS=--write -->", "<!-- end of twenty -->"
MARKET_MARKS = (
    "<!-- twenty on a market: make twenty ARGS='--market --write' -->",
    "<!-- end of twenty on a market -->",
)
FIRST_TARGET_MS = ms(2024, 2, 10, 13)
READERS = 2
_BETWEEN_LOOKS_SEC = 0.02
_RETRY_SEC = 0.002
# What a reader does: open the file, ask, let it go; a locked file is tried again at once.
_READER = """
import sys, time, duckdb
path, stop = sys.argv[1:3]
import pathlib
while not pathlib.Path(stop).exists():
    begin = time.monotonic()
    while True:
        try:
            with duckdb.connect(path, read_only=True) as store:
                # To DuckDB a script without a file is a person's prompt: it draws how far a long look is.
                store.execute("SET enable_progress_bar = false")
                rows = store.execute("SELECT count(*), max(timestamp) FROM {table}").fetchall()
            break
        except duckdb.IOException as problem:
            assert "lock" in str(problem), problem
            time.sleep({retry})
    print(time.monotonic() - begin, rows[0][0], flush=True)
    time.sleep({pause})
"""


class Day(NamedTuple):
    """What came of it; times in seconds, ascending."""

    feeds: int
    hours: int
    codes: set[int]
    appended: list[int]
    manifests: list[int]
    complaints: set[str]
    cycle_sec: list[float]
    looks_sec: list[float]

    @property
    def readers_wait_no_longer(self) -> bool:
        """Than a cycle of the same day takes: whatever else the machine does strikes both. No test's matter."""
        middle, last = len(self.looks_sec) // 2, len(self.cycle_sec) // 2
        return self.looks_sec[-1] <= self.cycle_sec[-1] and self.looks_sec[middle] <= self.cycle_sec[last]

    def markdown(self) -> str:
        """For people."""
        each_hour = (
            f"bars appended an hour {sorted(set(self.appended))}, manifests an hour {sorted(set(self.manifests))}"
        )
        return (
            f"{self.feeds} processes an hour for {self.hours} hours on {os.cpu_count()} cores: exit codes"
            f" {sorted(self.codes)}, {each_hour}, warnings and errors on stderr: {len(self.complaints)}.\n\n"
            "| seconds | median | 99 of 100 | most |\n| --- | ---: | ---: | ---: |\n"
            f"| a process, from start to exit | {_row(self.cycle_sec)} |\n"
            f"| a reader's look, waiting for the lock included ({len(self.looks_sec):,}) | {_row(self.looks_sec)} |\n"
        )


def of_one_series(folder: Path) -> AbstractContextManager[Machine]:
    """A machine whose feeds are of one series."""
    return machine(folder, FIRST_TARGET_MS)


def of_a_market(folder: Path) -> AbstractContextManager[Machine]:
    """A machine whose feeds are of a market, a small one."""
    tapes = small_market(FIRST_TARGET_MS + hours(40), 800)
    return market_machine(folder, tapes, FIRST_TARGET_MS + hours(1) + 30_000)


def live(feeding: Machine, feeds: int, day_hours: int) -> Day:
    """A day of it."""
    started = feeding.feed("--catch-up")
    assert started.code == 0, started.err
    stop = feeding.folder / "stop"
    readers = [_start_reader(feeding, stop) for _ in range(READERS)]
    day = Day(feeds, day_hours, set(), [], [], set(), [], [])
    try:
        for _ in range(day_hours):
            _live_an_hour(feeding, day)
    finally:
        stop.touch()
        looks = [reader.communicate(timeout=60)[0].split() for reader in readers]
    assert all(reader.returncode == 0 for reader in readers)
    seen = [float(each) for look in looks for each in look[::2]]
    return day._replace(looks_sec=sorted(seen), cycle_sec=sorted(day.cycle_sec))


def _live_an_hour(feeding: Machine, day: Day) -> None:
    feeding.clock.advance(hours(1))
    before = set(feeding.artifacts.glob("*_run.json"))
    # On a busy machine twenty may take longer than the thirty seconds that each waits for the others.
    ran = [_Timed(feeding.start("--lock-timeout-sec", "600")) for _ in range(day.feeds)]
    ended = [each.end() for each in ran]
    day.codes.update(code for code, _, _ in ended)
    day.appended.append(sum(int(each) for _, out, _ in ended for each in re.findall(r"appended=(\d+)", out)))
    day.complaints.update(f"exit {code}, nothing said" for code, out, err in ended if not (out or err))
    day.complaints.update(line for _, _, err in ended for line in err.splitlines() if not line.startswith("INFO "))
    day.manifests.append(len(set(feeding.artifacts.glob("*_run.json")) - before))
    day.cycle_sec.extend(each.took_sec for each in ran)


class _Timed:
    """A process, and when it ended by a thread that waits for nothing else."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self._begin_sec = monotonic()
        self.took_sec = 0.0
        self._told = ("", "")
        self._thread = Thread(target=self._wait)
        self._thread.start()

    def _wait(self) -> None:
        self._told = self._process.communicate(timeout=600)
        self.took_sec = monotonic() - self._begin_sec

    def end(self) -> tuple[int, str, str]:
        self._thread.join()
        return (self._process.returncode, *self._told)


def _start_reader(feeding: Machine, stop: Path) -> "subprocess.Popen[str]":
    code = _READER.format(table=feeding.table, retry=_RETRY_SEC, pause=_BETWEEN_LOOKS_SEC)
    command = [sys.executable, "-c", code, str(feeding.duckdb), str(stop)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _row(seconds: Sequence[float]) -> str:
    at = (len(seconds) // 2, len(seconds) * 99 // 100, -1)
    return " | ".join(f"{seconds[each]:.2f}" for each in at)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m proof.twenty", description=__doc__)
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--feeds", type=int, default=20)
    parser.add_argument("--market", action="store_true", help="feeds of a small market, not of one series")
    parser.add_argument("--write", action="store_true", help="put the report into docs/proof.md")
    said = parser.parse_args()
    opening = of_a_market if said.market else of_one_series
    with tempfile.TemporaryDirectory() as folder, opening(Path(folder)) as feeding:
        day = live(feeding, said.feeds, said.hours)
    print(day.markdown(), *sorted(day.complaints), sep="\n")  # noqa: T201 - a command's output
    if said.write:
        put_between(*(MARKET_MARKS if said.market else (BEGIN, END)), day.markdown())
    return 0 if day.codes == {0} and not day.complaints and day.readers_wait_no_longer else 1


if __name__ == "__main__":
    sys.exit(main())
