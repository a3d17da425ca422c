"""The stream on a socket: a request for a websocket becomes one. The only module here that knows websockets."""

import socket
import threading
from contextlib import suppress

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as Opening
from websockets.server import ServerProtocol
from websockets.sync.server import ServerConnection

from barfeed.machine.clock import SystemClock
from barfeed.replay.messages import Request
from barfeed.replay.stream.session import Message, Out, Session

# How soon a frame that is due is sent. The ping and the pong that it waits for are the exchange's own.
POLL_SEC = 0.002
PING_EVERY_SEC, PONG_WITHIN_SEC = 180.0, 600.0
HEARD_BYTES_MAX = 64 * 1024
CLOSE_TIMEOUT_SEC = 1.0


def talk(line: socket.socket, request: Request, session: Session, stopping: threading.Event) -> None:
    """Shake hands on a connection whose request has been read, and talk until one of both goes."""
    # The connection closes its own socket; the server keeps the one that it can hang up on.
    connection = _opened(line.dup(), request)
    try:
        connection.handshake()
        connection.start_keepalive()
        with suppress(ConnectionClosed):
            _talk(connection, session, stopping)
    finally:
        connection.close()


def _opened(line: socket.socket, request: Request) -> ServerConnection:
    protocol = ServerProtocol(max_size=HEARD_BYTES_MAX)
    target = f"{request.path}?{request.query}" if request.query else request.path
    protocol.receive_data(Opening(target, Headers(request.headers)).serialize())
    connection = ServerConnection(
        line,
        protocol,
        ping_interval=PING_EVERY_SEC,
        ping_timeout=PONG_WITHIN_SEC,
        close_timeout=CLOSE_TIMEOUT_SEC,
    )
    for event in protocol.events_received():
        connection.process_event(event)
    return connection


def _talk(connection: ServerConnection, session: Session, stopping: threading.Event) -> None:
    clock = SystemClock()
    while not stopping.is_set():
        _say(connection, session.due())
        with suppress(TimeoutError):
            heard = connection.recv(timeout=POLL_SEC)
            _say(connection, session.hear(heard, clock.steady_sec()))


def _say(connection: ServerConnection, said: list[Out]) -> None:
    for each in said:
        if isinstance(each, Message):
            connection.send(each.data)
        elif each.code is None:
            connection.close_socket()
        else:
            connection.close(each.code, each.reason)
