"""A server on a real socket that answers as it likes."""

import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from waiting import LONGEST_SEC

Conduct = Callable[["Server", socket.socket], None]


class Server:
    """A small server on loopback that does to each connection what it is told."""

    def __init__(self, conduct: Conduct) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.over = threading.Event()
        self._conduct = conduct
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    def close(self) -> None:
        self.over.set()
        # A thread in accept() sleeps on after close() alone.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(LONGEST_SEC)

    def wait_for_goodbyes(self) -> None:
        """Until it has hung up on everybody."""
        for thread in self._threads[1:]:
            thread.join(LONGEST_SEC)

    def read_request(self, connection: socket.socket) -> bytes:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            some = connection.recv(65536)
            if not some:
                raise ConnectionError
            request += some
        self.requests.append(request)
        return request

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._threads.append(threading.Thread(target=self._live, args=(connection,)))
            self._threads[-1].start()

    def _live(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._conduct(self, connection)


def says(*parts: bytes, keep: bool = False) -> Conduct:
    """Answers each request with these bytes; `keep` leaves the connection open for more."""

    def conduct(server: Server, connection: socket.socket) -> None:
        while True:
            server.read_request(connection)
            for part in parts:
                connection.sendall(part)
            if not keep:
                return

    return conduct


def answer(body: bytes, status: str = "200 OK", headers: bytes = b"") -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n%s\r\n" % (status.encode(), len(body), headers) + body


BROKEN: dict[str, tuple[bytes, ...]] = {
    "nothing at all": (),
    "truncated body": (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[[1705",),
    "truncated chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n[[1705",),
    "no last chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",),
    "truncated head": (b"HTTP/1.1 20",),
    "no HTTP": (b"SSH-2.0-OpenSSH_9.2\r\n\r\n",),
    "bad status": (b"HTTP/1.1 abc\r\n\r\n",),
    "bad gzip": (answer(b"not packed", headers=b"Content-Encoding: gzip\r\n"),),
    "bad chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
    "endless head": (b"HTTP/1.1 200 OK\r\n", b"X: " + b"a" * 100_000),
    "too many headers": (b"HTTP/1.1 200 OK\r\n", b"X: a\r\n" * 1000, b"\r\n"),
}


def drip(head: bytes, byte: bytes, *, read: bool = True) -> Conduct:
    """A byte every 50 ms, far more often than any read times out, and no end."""

    def conduct(server: Server, connection: socket.socket) -> None:
        if read:
            server.read_request(connection)
        connection.sendall(head)
        while not server.over.wait(0.05):
            connection.sendall(byte)

    return conduct


LENGTHS = [b"Content-Length: 999\r\n", b""]
