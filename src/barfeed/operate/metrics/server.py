"""A few pages over HTTP, from a thread of their own: whoever asks, and however, keeps nothing else waiting."""

import logging
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Lock, Thread
from typing import Any, NamedTuple

from barfeed.domain.errors import UsageError
from barfeed.machine.clock import Clock
from barfeed.machine.signals import ENDING

# A scraper needs one connection, for milliseconds.
CONNECTIONS_MAX = 16
CONNECTION_SEC = 10.0
_POLL_SEC = 0.5

_NOT_FOUND, _NOT_ALLOWED = 404, 405
_PORT_MAX = 65535
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]*)):([0-9]{1,5})")

_log = logging.getLogger(__name__)


class Page(NamedTuple):
    """What is answered."""

    status: int
    content_type: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]


class Address(NamedTuple):
    """Where to listen; an empty host is every address of the machine, port 0 any that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host or "0.0.0.0"  # noqa: S104 - it only names it
        return f"{host}:{self.port}"


def address(text: str) -> Address:
    """From `127.0.0.1:9464`, `[::1]:9464`, `localhost:9464` or `:9464`; raises `UsageError`."""
    found = _ADDRESS.fullmatch(text)
    if not found or int(found[3]) > _PORT_MAX:
        raise UsageError(f"--listen {text[:120]!r} is not an address like 127.0.0.1:9464")
    return Address(found[1] or found[2], int(found[3]))


class Listener:
    """Serves pages from `start` to `stop`."""

    def __init__(self, at: Address, pages: Pages, clock: Clock) -> None:
        """Take the address; raises `UsageError` where it cannot be had."""
        try:
            self._server = _Server(at, pages, clock)
        except (OSError, UnicodeError) as problem:
            raise UsageError(
                f"--listen {at} cannot be had: {getattr(problem, 'strerror', None) or problem}",
                hint="end what listens there, or name another address of this machine, or another port",
            ) from problem
        self._thread = Thread(target=self._serve, daemon=True, name="barfeed-listen")

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:9464`."""
        host, port = self._server.server_address[:2]
        return f"http://{Address(str(host), int(port))}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Hang up and let go of the address."""
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up(older_than_sec=0.0)
        self._server.server_close()

    def _serve(self) -> None:
        if os.name == "posix":
            # A signal is the feed's own: taken by this thread, or one that it starts, it would not end the feed's wait.
            signal.pthread_sigmask(signal.SIG_BLOCK, ENDING)
        self._server.serve_forever(_POLL_SEC)


class _Server(ThreadingMixIn, TCPServer):
    """One thread a connection, of which there are few, and none for long."""

    allow_reuse_address = os.name == "posix"
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS_MAX

    def __init__(self, at: Address, pages: Pages, clock: Clock) -> None:
        self.pages = pages
        self._clock = clock
        self._since_sec: dict[socket.socket, float] = {}
        self._lock = Lock()
        self.address_family = socket.AF_INET6 if ":" in at.host else socket.AF_INET
        super().__init__(at, _Handler)

    def verify_request(self, request: Any, client_address: Any) -> bool:  # noqa: ARG002 - socketserver's own signature
        with self._lock:
            if len(self._since_sec) >= CONNECTIONS_MAX:
                return False
            self._since_sec[request] = self._clock.steady_sec()
            return True

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._since_sec.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        self.hang_up(CONNECTION_SEC)

    def hang_up(self, older_than_sec: float) -> None:
        now_sec = self._clock.steady_sec()
        with self._lock:
            for each, since_sec in self._since_sec.items():
                if now_sec - since_sec >= older_than_sec:
                    # One that has gone by itself cannot be shut down.
                    with suppress(OSError):
                        each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        # A client that goes away in the middle is no error of ours.
        if not isinstance(sys.exception(), OSError):
            _log.exception("this is a bug in barfeed; report it")


class _Handler(BaseHTTPRequestHandler):
    """One connection, one request."""

    timeout = CONNECTION_SEC
    server_version = "barfeed"
    sys_version = ""
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(code)d %(message)s\n"
    server: _Server

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        self._answer(make() if make else self._not_found())

    do_HEAD = do_GET  # noqa: N815 - http.server looks for these names

    def do_POST(self) -> None:
        self._answer(Page(_NOT_ALLOWED, self.error_content_type, b"405 only GET and HEAD\n"), Allow="GET, HEAD")

    do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_POST  # noqa: N815 - http.server looks for these names

    def log_message(self, *_: Any) -> None:
        """A scrape is not worth a line."""

    def _not_found(self) -> Page:
        return Page(_NOT_FOUND, self.error_content_type, f"404 here are {', '.join(self.server.pages)}\n".encode())

    def _answer(self, page: Page, **headers: str) -> None:
        self.send_response(page.status)
        sent = {"Content-Type": page.content_type, "Content-Length": str(len(page.body)), "Cache-Control": "no-store"}
        for name, value in (sent | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)
