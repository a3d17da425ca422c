"""The replay exchange: answers REST and speaks the stream as Binance does, from tapes, by a clock it is given."""

import logging
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.utils import formatdate
from functools import lru_cache, partial
from http import HTTPStatus
from threading import Lock

from barfeed.domain.bars import Series
from barfeed.domain.kinds.table import WEIGHT
from barfeed.replay.faults import tampering
from barfeed.replay.faults.script import OF_SYMBOLS, STREAM, Fault
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, Request
from barfeed.replay.refusals import refused
from barfeed.replay.rest import query
from barfeed.replay.rest.info import Listing
from barfeed.replay.rest.limits import Weighed
from barfeed.replay.rest.query import Ask
from barfeed.replay.rest.routes import NOWHERE, ROUTES, Route, limiters
from barfeed.replay.rest.venue import Venue
from barfeed.replay.rest.view import ABSENT, EDITS, View, concerns
from barfeed.replay.stream import contracts
from barfeed.replay.stream.channel import FRAME_MS, Channel
from barfeed.replay.stream.contracts import Contracts
from barfeed.replay.stream.session import Session, door
from barfeed.replay.stream.timetable import Speaker
from barfeed.replay.tapes.kinds.files import NOTHING, Recorded
from barfeed.replay.tapes.tape import Tape

__all__ = ["ReplayExchange", "Reply", "Request"]

logger = logging.getLogger("barfeed.replay")

GZIP_BITS, GZIP_MEMORY = 31, 5
# How much later than those of the stream before it a stream's frames come, on one connection: never all at once.
_PHASE_MS = 61
# Some request of the path: for faults that do not count them.
_ANY = {"klines": 1, "*": 1}


class ReplayExchange:
    """Binance's public market data as far as tapes have it.

    `now_ms` is asked once a request. `faults` may be set between requests; `requests` counts them by path, `limits`
    what they used of each limit, `connections` those to the stream, `streams` what was subscribed to, one by one.
    """

    def __init__(
        self,
        tapes: Iterable[Tape],
        now_ms: Callable[[], int],
        faults: Sequence[Fault] = (),
        weight_limit: int = 2400,
        recorded: Recorded = NOTHING,
    ) -> None:
        self.faults = faults
        self.requests: Counter[str] = Counter()
        self._of_symbols: Counter[tuple[str, str]] = Counter()
        self.connections = self.streams = 0
        self._venue = Venue(tapes, recorded)
        self._now_ms = now_ms
        self.limits = limiters(weight_limit)
        self._lock = Lock()

    def handle(self, request: Request) -> Reply:
        """What the exchange answers, and what the wire does to it."""
        case, verdict = self._admit(request)
        answer = _bent(tampering.BODIES, _answer(self._venue, request, case, verdict), case)
        used = verdict.used if _route(request).limit.is_weight else None
        whole = _bent(tampering.WIRE, _with_headers(answer, request, case.now_ms, used), case)
        shown = f"{request.path}?{request.query}" if request.query else request.path
        logger.info("%s %s %d weight %d", request.method, shown, whole.status, verdict.used)
        return whole

    def open(self, request: Request) -> Session | Reply:
        """A connection to the stream, or why there is none."""
        with self._lock:
            self.connections += 1
            number = self.connections
        now_ms = self._now_ms()
        struck = next((fault for fault in self._stream_faults(number, now_ms) if fault.kind == "refuse"), None)
        at = door(request.path, request.query)
        logger.info("connection %d at %s: %s", number, request.path, "refused" if struck or not at else "open")
        if struck or not at:
            return self._refused(request, struck, now_ms)
        return Session(at, self._speaker, self._now_ms, partial(self._stream_faults, number))

    def _speaker(self, name: str, streams: int, now_ms: int) -> Speaker | None:
        """Who speaks on a stream that is the connection's next after so many; None where nobody does."""
        self.streams += 1
        if name == contracts.NAME:
            return Contracts(self._listings, now_ms)
        series = self._venue.streams.get(name)
        return Channel(series, self, now_ms, streams * _PHASE_MS % FRAME_MS) if series else None

    def _listings(self, now_ms: int) -> dict[str, Listing]:
        faults = [fault for fault in self.faults if not fault.requests and fault.hits(now_ms, _ANY)]
        return self._venue.listed(faults, now_ms)

    def _stream_faults(self, number: int, now_ms: int) -> list[Fault]:
        return [fault for fault in self.faults if fault.hits(now_ms, {STREAM: number})]

    def _refused(self, request: Request, struck: Fault | None, now_ms: int) -> Reply:
        case = Case(now_ms, {}, (), self.limits[WEIGHT.name].limit)
        answer = refused(404, until_ms=0, limit=case.weight_limit)
        return _with_headers(tampering.status(answer, struck, case) if struck else answer, request, now_ms, 0)

    def row(self, series: Series, open_time_ms: int, now_ms: int) -> str | None:
        """What REST would say of one bar, once it says it at all: a stream may be quicker."""
        reel = self._venue.reels[series.symbol, str(series.interval)]
        bends = {*EDITS, *ABSENT, "hide"}
        faults = [
            fault
            for fault in self.faults
            if fault.kind in bends
            and concerns(fault, series, now_ms)
            and not fault.requests
            and fault.hits(now_ms, _ANY)
        ]
        ask = Ask(series.symbol, str(series.interval), open_time_ms, open_time_ms, 1)
        return next(iter(View(reel, now_ms, faults).rows(ask)), None)

    def pause_ms(self, series: Series, now_ms: int) -> int:
        """How long it is from one trade to the next; of what is no market's, nobody knows."""
        return self._venue.pause_ms(series, now_ms)

    def _admit(self, request: Request) -> tuple[Case, Weighed]:
        """Count the request and weigh it: all that requests share, and so under the lock."""
        route = _route(request)
        sent = query.parameters(request.query)
        limiter = self.limits[route.limit.name]
        with self._lock:
            now_ms = self._now_ms()
            self.requests[request.path] += 1
            numbers = {route.name: self.requests[request.path], "*": self.requests.total()}
            verdict = limiter.weigh(route.weight(sent), now_ms)
            if route.name in OF_SYMBOLS:
                symbol = sent.get("symbol", sent.get("pair", "")).upper()
                faults = self._faults_of(route.name, symbol, now_ms, numbers)
            else:
                faults = tuple(fault for fault in self.faults if fault.hits(now_ms, numbers))
        return Case(now_ms, sent, faults, limiter.limit, limiter.span), verdict

    def _faults_of(self, name: str, symbol: str, now_ms: int, numbers: Mapping[str, int]) -> tuple[Fault, ...]:
        """What strikes a request for a symbol's rows: of a fault that chooses symbols, each has its own count."""
        self._of_symbols[name, symbol] += 1
        own = dict.fromkeys(numbers, self._of_symbols[name, symbol])
        return tuple(
            fault
            for fault in self.faults
            if fault.hits(now_ms, own if fault.chooses else numbers) and fault.is_about(symbol, now_ms)
        )


def _route(request: Request) -> Route:
    return ROUTES.get(request.path, NOWHERE)


def _answer(venue: Venue, request: Request, case: Case, verdict: Weighed) -> Reply:
    """Refused for its weight, for its path, or answered."""
    if verdict.status != HTTPStatus.OK:
        return refused(verdict.status, until_ms=verdict.until_ms, limit=case.weight_limit, span=case.span)
    route = _route(request) if request.method == "GET" else NOWHERE
    return route.answer(venue, case)


def _bent(changes: dict[str, tampering.Change], answer: Reply, case: Case) -> Reply:
    for fault in case.faults:
        if fault.kind in changes:
            answer = changes[fault.kind](answer, fault, case)
    return answer


def _gzipped(body: bytes) -> bytes:
    # With a little memory: making room for the usual would take longer than packing.
    packing = zlib.compressobj(1, zlib.DEFLATED, GZIP_BITS, GZIP_MEMORY)
    return packing.compress(body) + packing.flush()


@lru_cache(maxsize=4)
def _date(now_sec: int) -> str:
    return formatdate(now_sec, usegmt=True)


def _with_headers(answer: Reply, request: Request, now_ms: int, used: int | None) -> Reply:
    """As it leaves the edge: packed where the client can unpack it, with what every answer says."""
    packed = "gzip" in request.headers.get("accept-encoding", "") and answer.body
    body = _gzipped(answer.body) if packed else answer.body
    headers = (
        ("Server", "nginx"),
        ("Date", _date(now_ms // 1000)),
        *answer.headers,
        ("Content-Length", str(len(body))),
        *((("Content-Encoding", "gzip"),) if packed else ()),
        *((("X-MBX-USED-WEIGHT-1M", str(used)),) if used is not None else ()),
        ("Cache-Control", "no-cache, no-store, must-revalidate"),
        ("Access-Control-Allow-Origin", "*"),
        ("X-Cache", "Miss from cloudfront"),
    )
    return answer._replace(headers=headers, body=body)
