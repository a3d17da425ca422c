"""Where the page listens, and until when."""

import socket
from ipaddress import ip_address
from typing import NamedTuple

import uvicorn

from barfeed.domain.errors import UsageError
from barfeed.operate.metrics.server import Address
from barfeed.operate.web.app import Served, application
from barfeed.operate.web.guard import Guard
from barfeed.operate.web.live import Live
from barfeed.operate.web.views.sources import Sources

_BACKLOG = 128
_LEAVE_SEC = 1


class Door(NamedTuple):
    """Who may come in where: the address, and what is demanded of those who come to another than loopback."""

    at: Address
    token: str
    proxy_header: str


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def bound(door: Door) -> socket.socket:
    """The address, taken; `UsageError` where it cannot be had, or would be open to everybody."""
    if not is_loopback(door.at.host) and not (door.token or door.proxy_header):
        raise UsageError(
            f"--listen {door.at} can be reached from other machines, and everyone there could read all of it",
            hint="add --token TEXT, or --proxy-header NAME behind a reverse proxy that sets it; or listen at 127.0.0.1",
        )
    family = socket.AF_INET6 if ":" in door.at.host else socket.AF_INET
    taken = socket.socket(family, socket.SOCK_STREAM)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind((door.at.host, door.at.port))
        taken.listen(_BACKLOG)
    except (OSError, UnicodeError) as problem:
        taken.close()
        raise UsageError(
            f"--listen {door.at} cannot be had: {getattr(problem, 'strerror', None) or problem}",
            hint="end what listens there, or name another address of this machine, or another port",
        ) from problem
    return taken


def guard(door: Door, port: int) -> Guard:
    """Who may ask, once the port is known."""
    names = {door.at.host.lower(), "localhost", "127.0.0.1", "[::1]"} if is_loopback(door.at.host) else set()
    return Guard(frozenset(f"{name}:{port}" for name in names), door.token, door.proxy_header)


def server(sources: Sources, live: Live, door: Door, taken: socket.socket) -> uvicorn.Server:
    """What answers at the address; its `run` ends once a signal asks it to."""
    app = application(Served(sources, live, guard(door, taken.getsockname()[1])))
    config = uvicorn.Config(
        app, log_config=None, access_log=False, lifespan="on", timeout_graceful_shutdown=_LEAVE_SEC, server_header=False
    )
    return uvicorn.Server(config)
