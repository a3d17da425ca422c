"""What goes in and out of the replay exchange: a request, a reply, and what the wire does to it."""

from collections.abc import Mapping
from typing import NamedTuple

JSON = "application/json"
HTML = "text/html"

Headers = tuple[tuple[str, str], ...]


class Reset(NamedTuple):
    """The connection is reset instead of an answer."""


class Hang(NamedTuple):
    """Silence for so long, then the answer."""

    sec: float


class Truncate(NamedTuple):
    """The connection is closed in the middle of the body."""


class Drip(NamedTuple):
    """The body comes slowly."""

    bytes_per_sec: int


Effect = Reset | Hang | Truncate | Drip


class Request(NamedTuple):
    """What the client asks; `headers` by lower-case name."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]


class Reply(NamedTuple):
    """What the exchange answers, and what the wire does on the way."""

    status: int
    headers: Headers
    body: bytes
    effect: Effect | None = None


def reply(status: int, body: str, content_type: str = JSON, *headers: tuple[str, str]) -> Reply:
    """A reply as its maker sees it; what every reply carries is added at the door."""
    return Reply(status, (("Content-Type", content_type), *headers), body.encode())
