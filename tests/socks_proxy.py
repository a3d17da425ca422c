"""A SOCKS proxy as RFC 1928 and 1929 have it, on a real socket, that knows where `exchange.invalid` is."""

import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Thread

HOST = "exchange.invalid"


class Socks:
    """What it was asked for, and by whom."""

    def __init__(self, listening: socket.socket, password: str) -> None:
        self._listening = listening
        self._password = password
        self.port = listening.getsockname()[1]
        self.asked: list[tuple[str, int]] = []
        self.users: list[str] = []

    def serve(self) -> None:
        """Take each connection, until it is closed."""
        with suppress(OSError):
            while True:
                Thread(target=self._take, args=(self._listening.accept()[0],), daemon=True).start()

    def _take(self, client: socket.socket) -> None:
        with client, suppress(OSError, EOFError):
            _version, methods = struct.unpack("BB", exactly(client, 2))
            wanted = 2 if self._password else 0
            if wanted not in exactly(client, methods):
                client.sendall(b"\x05\xff")
                return
            client.sendall(bytes([5, wanted]))
            if self._password and not self._knows(client):
                return
            with self._connected(client) as server:
                client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
                Thread(target=pour, args=(server, client), daemon=True).start()
                pour(client, server)

    def _knows(self, client: socket.socket) -> bool:
        exactly(client, 1)
        user, password = (exactly(client, exactly(client, 1)[0]).decode() for _ in range(2))
        self.users.append(user)
        is_known = password == self._password
        client.sendall(bytes([1, 0 if is_known else 1]))
        return is_known

    def _connected(self, client: socket.socket) -> socket.socket:
        kind = exactly(client, 4)[3]
        host = exactly(client, exactly(client, 1)[0]).decode() if kind == 3 else socket.inet_ntoa(exactly(client, 4))
        (port,) = struct.unpack("!H", exactly(client, 2))
        self.asked.append((host, port))
        return socket.create_connection(("127.0.0.1" if host == HOST else host, port))


def exactly(line: socket.socket, length: int) -> bytes:
    """So many bytes; `EOFError` where they do not come."""
    read = b""
    while len(read) < length:
        if not (more := line.recv(length - len(read))):
            raise EOFError
        read += more
    return read


def pour(source: socket.socket, target: socket.socket) -> None:
    """All that comes from the one goes to the other, until either ends."""
    with suppress(OSError):
        while read := source.recv(65536):
            target.sendall(read)
        target.shutdown(socket.SHUT_WR)


@contextmanager
def socks(password: str = "") -> Iterator[Socks]:
    """A proxy of version 5; with a password it takes nobody without."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        proxy = Socks(listening, password)
        Thread(target=proxy.serve, daemon=True).start()
        yield proxy
