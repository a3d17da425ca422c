"""A machine for one page: its commands run there as a reader would type them, one after another.

There is a feed that has lived up to 13:00, and it is 14:00:30 on the exchange, which serves its archive too.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import ROOT
from world import BTCUSDT_1H, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)

# The address of a replay exchange that a page starts by itself.
DEFAULT_URL = "http://127.0.0.1:8080"

# Folders that a page speaks of, and where they are here.
_FOLDERS = {"/srv/barfeed": "{}", "/var/lib/prometheus": "{}/prometheus"}

# The archive's address is a flag alone, and its default would leave this machine.
# A flag of the page comes later, and wins.
_BARFEED = """\
#!/bin/sh
case "$1" in
  backfill|verify) verb=$1; shift; set -- "$verb" --archive-url "$ARCHIVE_URL" "$@" ;;
esac
exec "{python}" -m barfeed "$@"
"""

# What the pages take for granted that a reader has.
_YOUR_INFERENCE = "import sys; print(open(sys.argv[1]).readline())\n"
_FAULTS = '[[archive]]\nkind = "status"\nstatus = 503\nrequests = "1"\n'
# A market as the pages name it, and two other kinds of it: a symbol's is enough.
_MARKET_FILES = {
    "klines-1h-2026q1.parquet": "SELECT 'BTCUSDT' AS symbol, * EXCLUDE created_at FROM ohlcv_btcusdt_1h",
    "funding-2026q1.parquet": (
        "SELECT 'BTCUSDT' AS symbol, timestamp, 0.0001 AS funding_rate FROM ohlcv_btcusdt_1h "
        "WHERE hour(timestamp) % 8 = 0"
    ),
    "open-interest-4h-2026q1.parquet": (
        "SELECT 'BTCUSDT' AS symbol, timestamp, volume AS sum_open_interest, volume * close AS sum_open_interest_value "
        "FROM ohlcv_btcusdt_1h WHERE hour(timestamp) % 4 = 0"
    ),
}
# One bar that only the archive tells so: `verify --against archive` has something to say.
_ARCHIVE_DIFFERS = '[[archive]]\nkind = "revise"\nbar = 2024-01-27T12:00:00\nvolume = 6892.046\n'


class Sandbox:
    """A folder with a feed in it, a shell, and everything that was printed there."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.printed = ""
        self._ending = ExitStack()
        self._started: dict[str, str] = {}

    @contextmanager
    def copied(self, folder: Path) -> Iterator["Sandbox"]:
        """The same machine in another folder, for one page; what it starts ends with it."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        copy = Sandbox(folder, self.url)
        with copy._ending:
            yield copy

    def prepare(self) -> None:
        """Install the command, and let the feed live its first hour, at the time it is on the exchange."""
        self._install("barfeed", _BARFEED.format(python=sys.executable))
        self._install("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        (self.folder / ".venv").mkdir()
        (self.folder / ".venv" / "bin").symlink_to("../bin")
        (self.folder / "run").symlink_to(ROOT / "run")
        (self.folder / "prometheus" / "node-exporter").mkdir(parents=True)
        (self.folder / "your_inference.py").write_text(_YOUR_INFERENCE)
        (self.folder / "faults.toml").write_text(_FAULTS)
        assert self.run("barfeed backfill --source rest") == 0, self.printed
        assert self.run("barfeed run") == 0, self.printed
        with duckdb.connect(self.store) as connection:
            # Not today: the pages ask for the store as it stood in February 2024.
            connection.execute("UPDATE ohlcv_btcusdt_1h SET created_at = timestamp + INTERVAL 1 HOUR")
            connection.execute("COPY ohlcv_btcusdt_1h TO ? (FORMAT parquet)", [str(self.folder / "BTCUSDT-1h.parquet")])
            for name, rows in _MARKET_FILES.items():
                connection.execute(f"COPY ({rows}) TO '{self.folder / name}' (FORMAT parquet)")

    def _install(self, name: str, script: str) -> None:
        file = self.folder / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(script)
        file.chmod(0o755)

    @property
    def store(self) -> Path:
        return self.folder / "data" / "ohlcv.duckdb"

    def run(self, command: str) -> int:
        """Type a command, and wait for its end; a watch ends after its first hour, what serves with the sandbox."""
        for there, here in {**_FOLDERS, **self._started}.items():
            command = command.replace(there, here.format(self.folder))
        if re.match(r"barfeed (replay\b|web$|.*--watch\b)", command):
            return self._start(command)
        done = subprocess.run(
            ["sh", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        self.printed += done.stdout
        return done.returncode

    def _start(self, command: str) -> int:
        if command.startswith("barfeed replay") and "--port" not in command:
            command += " --port 0"
        if command == "barfeed web":
            command += " --listen 127.0.0.1:0"
        process = subprocess.Popen(
            ["sh", "-c", f"exec {_on_free_ports(command)}"],
            cwd=self.folder,
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self._ending.callback(_end, process)
        assert process.stdout is not None
        for line in process.stdout:
            self.printed += line
            if "listens on" in line:
                self._started[DEFAULT_URL] = line.split()[-1]
                return 0
            if line.startswith("http://"):
                return 0
            if "pulled=" in line:
                process.terminate()
                break
        return process.wait(timeout=60)

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("BARFEED_")}
        return kept | {
            "PATH": f"{self.folder / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}",
            "BARFEED_BASE_URL": self.url,
            "BARFEED_STREAM_URL": self.url.replace("http", "ws", 1) + "/market",
            "ARCHIVE_URL": self.url,
            # The machine lives today, the exchange in 2024; and nobody waits for a second word.
            "BARFEED_MAX_SKEW_SEC": "1e10",
            "BARFEED_PAUSE_SEC": "0",
            "BARFEED_SETTLE_SEC": "0",
        }


def _on_free_ports(command: str) -> str:
    return re.sub(r"(--port |--listen \S+:)[0-9]+", r"\g<1>0", command)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    process.communicate(timeout=60)


@contextmanager
def sandbox(folder: Path) -> Iterator[Sandbox]:
    """A machine that is ready to be copied for a page."""
    clock = HandClock(TARGET_MS + hours(1) + 30_000)
    tape = Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(10), 2010))
    archive = ReplayArchive([tape], clock.now_ms, parse_archive_faults(_ARCHIVE_DIFFERS, "the sandbox"))
    exchange = ReplayExchange([tape], clock.now_ms)
    served = WithArchive(exchange, archive)
    with ReplayServer(served, streams=exchange) as server:
        ready = Sandbox(folder, server.url)
        ready.prepare()
        yield ready
