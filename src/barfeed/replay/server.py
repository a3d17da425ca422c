"""The replay exchange on a socket: HTTP/1.1 and websockets on loopback, and what the wire can do to an answer."""

import logging
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from threading import Event, Lock, Thread
from types import TracebackType
from typing import Any, Protocol, Self

from barfeed.replay.messages import Drip, Hang, Reply, Request, Reset, Truncate
from barfeed.replay.stream.session import Session

logger = logging.getLogger("barfeed.replay")

# How soon a stop is noticed, and how often a slow body says something.
POLL_SEC = 0.05
DRIP_SEC = 0.1

LINE_BYTES_MAX = 65_536

# On, and not a second of lingering: closing sends a reset.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Answering(Protocol):
    """What can stand behind a socket: the exchange, or it and more."""

    def handle(self, request: Request) -> Reply:
        """The answer, and what the wire does to it."""
        ...


class Streaming(Protocol):
    """What can stand behind a websocket."""

    def open(self, request: Request) -> Session | Reply:
        """A connection, or why there is none."""
        ...


class ReplayServer:
    """Serves an exchange from threads of its own between `start` and `stop`; `OSError` where it cannot listen.

    Without `streams` a request for a websocket is answered like any other.
    """

    def __init__(
        self, exchange: Answering, host: str = "127.0.0.1", port: int = 0, *, streams: Streaming | None = None
    ) -> None:
        self._http = _Server((host, port), exchange, streams)
        self._thread = Thread(target=self._http.serve_forever, args=(POLL_SEC,), daemon=True, name="barfeed-replay")

    @property
    def url(self) -> str:
        """Where it listens, `http://127.0.0.1:43121`."""
        return f"http://{self._address}"

    @property
    def stream_url(self) -> str:
        """Where its kline streams are, `ws://127.0.0.1:43121/market`."""
        return f"ws://{self._address}/market"

    @property
    def _address(self) -> str:
        host, port = self._http.server_address[:2]
        return f"{host!s}:{port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Close every connection, also one that hangs, and stop listening."""
        self._http.stopping.set()
        if self._thread.is_alive():
            self._http.shutdown()
            self._thread.join()
        self._http.hang_up()
        self._http.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


class _Server(ThreadingMixIn, TCPServer):
    """Knows its connections, so that it can hang up on them."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], exchange: Answering, streams: Streaming | None) -> None:
        self.exchange = exchange
        self.streams = streams
        self.stopping = Event()
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        # A polite goodbye would come before the reset.
        if request.getsockopt(socket.SOL_SOCKET, socket.SO_LINGER):
            self.close_request(request)
        else:
            super().shutdown_request(request)

    def hang_up(self) -> None:
        with self._lock:
            for each in self._open:
                # One that has closed by itself cannot be shut down.
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def handle_error(self, *_: Any) -> None:
        # A client that goes away in the middle is no error of ours.
        if not isinstance(sys.exception(), OSError):
            logger.exception("a request could not be answered")


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server
    raw_requestline: bytes
    sent: dict[str, str]

    def parse_request(self) -> bool:
        """A plain GET is read here: the library's own way, a parser of e-mails, takes as long as all the rest."""
        words = self.raw_requestline.decode("latin-1").split()
        if words[:1] != ["GET"] or words[2:] != [self.protocol_version]:
            is_good = super().parse_request()
            self.sent = {name.lower(): value for name, value in self.headers.items()} if is_good else {}
            return is_good
        self.command, self.path, self.request_version = words
        self.sent = dict(self._headers())
        self.close_connection = self.sent.get("connection", "").lower() == "close"
        return True

    def _headers(self) -> Iterator[tuple[str, str]]:
        while line := self.rfile.readline(LINE_BYTES_MAX).decode("latin-1").strip():
            name, _, value = line.partition(":")
            yield name.strip().lower(), value.strip()

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        # What else it may have sent is never read.
        self.close_connection |= self.command != "GET"
        request = Request(self.command, path, query, self.sent)
        if self.server.streams and self.sent.get("upgrade", "").lower() == "websocket":
            self._open(self.server.streams, request)
        else:
            self._reply(self.server.exchange.handle(request))

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 - http.server looks for these names

    def log_message(self, *_: Any) -> None:
        """The exchange logs its requests itself."""

    def _reply(self, answer: Reply) -> None:
        EFFECTS[type(answer.effect)](self, answer)

    def _open(self, streams: Streaming, request: Request) -> None:
        # Imported only here: an exchange that is only asked needs no websockets.
        from barfeed.replay.stream.socket import talk  # noqa: PLC0415

        opened = streams.open(request)
        if isinstance(opened, Reply):
            self._reply(opened)
        else:
            talk(self.connection, request, opened, self.server.stopping)
        self.close_connection = True

    def whole(self, answer: Reply) -> None:
        self.wfile.write(_head(answer) + answer.body)

    def truncate(self, answer: Reply) -> None:
        self.wfile.write(_head(answer) + answer.body[: len(answer.body) // 2])
        self.close_connection = True

    def reset(self, _answer: Reply) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close_connection = True

    def hang(self, answer: Reply) -> None:
        assert isinstance(answer.effect, Hang)
        if not self.server.stopping.wait(answer.effect.sec):
            self.whole(answer)

    def drip(self, answer: Reply) -> None:
        assert isinstance(answer.effect, Drip)
        rate = answer.effect.bytes_per_sec
        size = max(1, int(rate * DRIP_SEC))
        self.wfile.write(_head(answer))
        for start in range(0, len(answer.body), size):
            if self.server.stopping.wait(size / rate):
                return
            self.wfile.write(answer.body[start : start + size])


EFFECTS: dict[type, Callable[[_Handler, Reply], None]] = {
    type(None): _Handler.whole,
    Truncate: _Handler.truncate,
    Reset: _Handler.reset,
    Hang: _Handler.hang,
    Drip: _Handler.drip,
}


def _head(answer: Reply) -> bytes:
    """The status line and the headers."""
    lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
