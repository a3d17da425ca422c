"""A feed that has lived one hour, and servers that are not what they should be."""

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from process import Machine, machine
from waiting import LONGEST_SEC
from world import ms

TARGET_MS = ms(2024, 2, 10, 13)


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first hour leaves."""
    folder = tmp_path_factory.mktemp("lived")
    with machine(folder, TARGET_MS) as each:
        assert each.feed("--catch-up").code == 0
    return folder


@pytest.fixture
def feeding(tmp_path: Path, lived: Path) -> Iterator[Machine]:
    shutil.copytree(lived, tmp_path, dirs_exist_ok=True)
    with machine(tmp_path, TARGET_MS) as each:
        yield each


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not hang may take its time on a busy machine."""
    monkeypatch.setattr("barfeed.operate.doctor.examination.LIMIT_SEC", 4 * LONGEST_SEC)
    monkeypatch.setattr("barfeed.operate.doctor.examination._ANSWER_SEC", LONGEST_SEC)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, _patient: None) -> None:
    """For an exchange that never answers. On a busy machine a handshake takes longer than this.

    Cut before its handshake, a connection also stays open until Python collects it: `SSLSocket._create` does not close
    what was reset so early, and the warning of that comes in whatever test is next.
    """
    monkeypatch.setattr("barfeed.operate.doctor.examination._ANSWER_SEC", 0.7)


@pytest.fixture(autouse=True)
def _no_proxy_around_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts who is not told to."""
    return trustme.CA()


@pytest.fixture
def secured(authority: trustme.CA) -> Iterator[str]:
    """The `host:port` of a server that shakes hands with TLS, says what time it is, and hangs up."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def say_time(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as line:
            line.recv(65536)
            line.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"serverTime":1707573630000}')

    with listening(say_time) as address:
        yield address


@pytest.fixture
def silent() -> Iterator[str]:
    """The `host:port` of a server that takes every connection and never says a word."""
    over = threading.Event()
    with listening(lambda _connection: over.wait()) as address:
        yield address
        over.set()


class listening:  # noqa: N801 - it is used as a function
    """A server on loopback that lives each connection in a thread of its own."""

    def __init__(self, live: Callable[[socket.socket], object]) -> None:
        self._live = live
        self._listener = socket.create_server(("127.0.0.1", 0))

    def __enter__(self) -> str:
        threading.Thread(target=self._serve, daemon=True).start()
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def __exit__(self, *_: object) -> None:
        # A thread in accept() sleeps on after close() alone.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._take, args=(connection,), daemon=True).start()

    def _take(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._live(connection)
