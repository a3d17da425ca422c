"""The kline stream's words, and how a connection to it is kept. Pure: bytes and seconds in, decisions out.

A frame is believed in one thing only, that a bar's closing frame came: what the bar is, REST tells.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from barfeed.domain.bars import Series
from barfeed.exchange.refusals import FIRST_PAUSE_SEC

# Kept below the exchange's limit of connections for one address, 300 in five minutes, with room for others.
LONGEST_PAUSE_SEC = 60.0
# Who is refused by name, blocked or banned, would make it longer by knocking on.
REFUSED_PAUSE_SEC = 300.0

# The 1025th stream of a connection ends it, and all are lost: well below that.
STREAMS_FILLED = 1000
# So many names were taken in a message, and fifteen messages back to back: a dozen at most are said at a time.
NAMES_MAX = 200
SPEAK_EVERY_SEC = 2.0
CONTRACTS = "!contractInfo"

HOUR_SEC = 3600.0
# The exchange cuts every connection after 24 hours.
RENEW_AFTER_SEC = 22 * HOUR_SEC
RENEW_AT_LAST_SEC = 23.5 * HOUR_SEC
RENEW_SPREAD_SEC = 0.5 * HOUR_SEC

_CLIENT_ERRORS = range(400, 500)


class Frame(NamedTuple):
    """What a frame says of the series' bar that opened at `open_time_ms`: still forming, or closed."""

    open_time_ms: int
    is_closing: bool


class Followed(NamedTuple):
    """What has come of following a stream so far: counts, and how it is at this moment."""

    connections: int
    frames: int
    closes: int
    ignored: int
    silences: int
    is_connected: bool
    frame_age_sec: float


class _Kline(msgspec.Struct):
    t: int
    s: str
    i: str
    x: bool


class _Event(msgspec.Struct):
    e: str
    k: _Kline


class _OfMany(msgspec.Struct):
    e: str
    s: str
    k: _Kline | None = None
    cs: str = ""
    dt: int = 0


class _Combined(msgspec.Struct):
    data: _OfMany


class Closing(NamedTuple):
    """What a frame of a market's stream says: whose bar it is, by its name on the stream, and whether it closed."""

    stream: str
    frame: Frame


class Contract(NamedTuple):
    """What an event says of a symbol: how it is listed now."""

    symbol: str
    status: str
    delivery_ms: int


def stream_name(series: Series) -> str:
    """A series' klines, as the exchange calls them."""
    return f"{series.symbol.lower()}@kline_{series.interval}"


def stream_address(url: str, series: Series) -> str:
    """Where one series' klines are: the raw form, which needs no subscribing."""
    # Some symbols are Chinese.
    return f"{url.rstrip('/')}/ws/{quote(stream_name(series), safe='@')}"


def market_address(url: str) -> str:
    """Where many series' klines are: the combined form, on which each is subscribed to."""
    return f"{url.rstrip('/')}/stream"


def requests(method: str, names: Sequence[str], first_id: int) -> list[str]:
    """`SUBSCRIBE` or `UNSUBSCRIBE` these, in as many messages as it takes; each has an id, the first one `first_id`."""
    parts = [names[at : at + NAMES_MAX] for at in range(0, len(names), NAMES_MAX)]
    return [
        msgspec.json.encode({"method": method, "params": part, "id": number}).decode()
        for number, part in enumerate(parts, first_id)
    ]


def read_frame(data: bytes, series: Series) -> Frame | None:
    """The frame, None for anything that is no kline of this series."""
    try:
        event = msgspec.json.decode(data, type=_Event)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    kline = event.k
    if (event.e, kline.s, kline.i) != ("kline", series.symbol, str(series.interval)) or kline.t % series.interval.ms:
        return None
    return Frame(kline.t, kline.x)


def read_combined(data: bytes, followed: Mapping[str, Series]) -> Closing | Contract | None:
    """The frame or the event, None for anything that is neither of a series that is followed nor of a listing."""
    try:
        said = msgspec.json.decode(data, type=_Combined).data
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if said.e == "contractInfo":
        return Contract(said.s, said.cs, said.dt)
    if said.e != "kline" or said.k is None:
        return None
    name = f"{said.k.s.lower()}@kline_{said.k.i}"
    series = followed.get(name)
    if series is None or said.k.t % series.interval.ms:
        return None
    return Closing(name, Frame(said.k.t, said.k.x))


def reconnect_pause_sec(attempt: int, status: int | None, jitter: float) -> float:
    """How long to leave it after `attempt` connections in a row that did not last.

    `status` is the HTTP status that the last one was refused with, if it was; `jitter` in [0, 1) spreads
    clients that were cut off together.
    """
    growing = min(LONGEST_PAUSE_SEC, FIRST_PAUSE_SEC * 2.0 ** min(attempt, 16))
    least = REFUSED_PAUSE_SEC if status in _CLIENT_ERRORS else growing
    return max(growing, least) * (0.5 + jitter / 2)


def should_renew(age_sec: float, *, just_closed: bool, jitter: float) -> bool:
    """Whether to open a new connection before the exchange cuts this one.

    Best behind a closing frame, when the next is furthest; without one, in time anyway.
    """
    after_sec = RENEW_AFTER_SEC if just_closed else RENEW_AT_LAST_SEC
    return age_sec >= after_sec - jitter * RENEW_SPREAD_SEC


def is_silent(since_frame_sec: float, patience_sec: float) -> bool:
    """Whether nothing was heard for so long that the connection is taken for dead, whatever it looks like."""
    return since_frame_sec >= patience_sec
