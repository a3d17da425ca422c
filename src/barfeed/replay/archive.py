"""The replay archive: `data.binance.vision`'s klines of futures, packed from tapes, with faults of its own."""

import hashlib
import io
import logging
import re
import zipfile
from calendar import monthrange, timegm
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple
from urllib.parse import unquote

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.faults.archive import VALUES, ArchiveFault
from barfeed.replay.messages import Hang, Reply, Request
from barfeed.replay.server import Answering
from barfeed.replay.tapes.klines import Kline
from barfeed.replay.tapes.rows import filled, row
from barfeed.replay.tapes.tape import Tape

PREFIX = "/data/futures/um/"
# What the archive has begins here, and is published at about this time of the next day.
FIRST_MS = 1_577_750_400_000  # 2019-12-31
PUBLISHED_AFTER_MS = 8 * HOUR_MS + HOUR_MS // 2
# As users saw it: files up to here have no header, later ones have.
HEADER_FROM_MS = 1_651_363_200_000  # 2022-05-01
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)

# Sound zips kept, per archive: each is some 30 KB for hours, 2 MB for minutes.
CACHED_FILES = 128

logger = logging.getLogger("barfeed.replay")

_NAME = re.compile(
    r"(?P<kind>daily|monthly)/klines/(?P<symbol>[^/]+)/(?P<interval>[^/]+)/"
    r"(?P<stem>(?P=symbol)-(?P=interval)-(?P<date>\d{4}-\d{2}(?P<day>-\d{2})?))\.zip(?P<checksum>\.CHECKSUM)?"
)


class _File(NamedTuple):
    """One zip of the archive: its stem, and its first instant and end in ms."""

    stem: str
    from_ms: int
    to_ms: int


class Text(NamedTuple):
    """What goes into a zip, before it is packed: the member's name and rows of cells; faults change it."""

    member: str
    header: bool
    rows: list[list[str]]


class ReplayArchive:
    """Zips of klines by month and day, and their checksums.

    `now_ms` decides what is published. `faults` may be set between requests; `requests` counts them by path.
    """

    def __init__(self, tapes: Iterable[Tape], now_ms: Callable[[], int], faults: Sequence[ArchiveFault] = ()) -> None:
        self.faults = faults
        self.requests: Counter[str] = Counter()
        self._tapes = {(tape.series.symbol, str(tape.series.interval)): tape for tape in tapes}
        self._now_ms = now_ms
        # Each is asked for twice at least: its checksum, itself.
        self._sound = lru_cache(maxsize=CACHED_FILES)(self._packed_once)
        self._lock = Lock()

    def handle(self, request: Request) -> Reply:
        """The file, its checksum, or 404."""
        with self._lock:
            self.requests[request.path] += 1
            number = self.requests[request.path]
        name = _NAME.fullmatch(unquote(request.path).removeprefix(PREFIX))
        answer = self._answer(name, number) if name else _reply(404, b"")
        logger.info("%s %s %d", request.method, request.path, answer.status)
        return answer

    def _answer(self, name: re.Match[str], number: int) -> Reply:
        tape = self._tapes.get((name["symbol"], name["interval"]))
        file = _file(name)
        faults = [fault for fault in self.faults if fault.hits(name["stem"], number)]
        for fault in faults:
            if fault.kind == "status":
                return _reply(int(fault.args["status"]), b"<html></html>")
        published = file and file.from_ms >= FIRST_MS and file.to_ms + PUBLISHED_AFTER_MS <= self._now_ms()
        if not (tape and file and published) or any(fault.kind == "missing" for fault in faults):
            return _reply(404, b"")
        packed = self._sound(tape, file) if not faults else _packed(tape, file, faults)
        if name["checksum"]:
            if any(fault.kind == "no_checksum" for fault in faults):
                return _reply(404, b"")
            return _reply(200, _checksum(file, packed, faults))
        return _reply(200, packed)

    def _packed_once(self, tape: Tape, file: _File) -> bytes:
        return _packed(tape, file, ())


class WithArchive:
    """An exchange and an archive behind one address."""

    def __init__(self, exchange: Answering, archive: Answering) -> None:
        self._exchange = exchange
        self._archive = archive

    def handle(self, request: Request) -> Reply:
        """Whoever the path belongs to answers."""
        return (self._archive if request.path.startswith(PREFIX) else self._exchange).handle(request)


class Far:
    """Any of them from afar: each answer comes `latency_sec` later."""

    def __init__(self, near: Answering, latency_sec: float) -> None:
        self._near = near
        self._latency_sec = latency_sec

    def handle(self, request: Request) -> Reply:
        """The same answer, after a while."""
        answer = self._near.handle(request)
        return answer if answer.effect else answer._replace(effect=Hang(self._latency_sec))


def _file(name: re.Match[str]) -> _File | None:
    """None for a date that is none, or that does not fit its folder."""
    year, month, day = (*map(int, name["date"].split("-")), 1)[:3]
    if (name["day"] is None) != (name["kind"] == "monthly"):
        return None
    if not (1 <= month <= 12 and 1 <= day <= monthrange(year, month)[1]):  # noqa: PLR2004 - months
        return None
    begin = timegm((year, month, day, 0, 0, 0)) * 1000
    return _File(name["stem"], begin, begin + (1 if name["day"] else monthrange(year, month)[1]) * 24 * HOUR_MS)


def _packed(tape: Tape, file: _File, faults: Sequence[ArchiveFault]) -> bytes:
    """The zip, the same bytes each time."""
    text = Text(f"{file.stem}.csv", file.from_ms >= HEADER_FROM_MS, _rows(tape, file, faults))
    for fault in faults:
        if fault.kind in TEXTS:
            text = TEXTS[fault.kind](text, fault)
    lines = [*([HEADER] if text.header else []), *(",".join(cells) for cells in text.rows)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo(text.member), "\n".join([*lines, ""]), zipfile.ZIP_DEFLATED)
    content = out.getvalue()
    return content[: len(content) // 2] if any(fault.kind == "truncated" for fault in faults) else content


def _rows(tape: Tape, file: _File, faults: Sequence[ArchiveFault]) -> list[list[str]]:
    step_ms = tape.series.interval.ms
    klines = map(tape.kline, range(tape.first_from(file.from_ms), tape.first_from(file.to_ms)))
    edited = [_edited(kline, faults) for kline in klines if not _is_lacking(kline, faults)]
    cells = [row(filled(kline, tape.decimals), step_ms, tape.decimals)[1:-1].replace('"', "") for kline in edited]
    return [each.split(",") for each in cells]


def _is_lacking(kline: Kline, faults: Sequence[ArchiveFault]) -> bool:
    return any(fault.kind == "lacks" and fault.touches(kline.open_time_ms) for fault in faults)


def _edited(kline: Kline, faults: Sequence[ArchiveFault]) -> Kline:
    for fault in faults:
        if fault.kind == "flat" and fault.touches(kline.open_time_ms):
            kline = Kline(kline.open_time_ms, kline.open, kline.open, kline.open, kline.open, 0.0, 0.0, 0, 0.0, 0.0)
        elif fault.kind == "revise" and fault.touches(kline.open_time_ms):
            kline = Kline(kline.open_time_ms, *(float(fault.args.get(name, getattr(kline, name))) for name in VALUES))
    return kline


def _checksum(file: _File, packed: bytes, faults: Sequence[ArchiveFault]) -> bytes:
    told = hashlib.sha256(packed).hexdigest()
    if any(fault.kind == "wrong_checksum" for fault in faults):
        told = hashlib.sha256(b"another file").hexdigest()
    # Without a line's end, as seen.
    return f"{told}  {file.stem}.zip".encode()


def _in_us(text: Text, _fault: ArchiveFault) -> Text:
    return text._replace(rows=[[f"{cells[0]}000", *cells[1:6], f"{cells[6]}999", *cells[7:]] for cells in text.rows])


def _bomb(text: Text, fault: ArchiveFault) -> Text:
    return text._replace(rows=[*text.rows, ["0" * int(fault.args["megabytes"]) * 1_000_000]])


def _other_text(text: Text, fault: ArchiveFault) -> Text:
    said = str(fault.args["value"])
    return text._replace(rows=[*text.rows[:-1], [*text.rows[-1][:4], said, *text.rows[-1][5:]]])


TEXTS: dict[str, Callable[[Text, ArchiveFault], Text]] = {
    "header": lambda text, fault: text._replace(header=bool(fault.args["there"])),
    "microseconds": _in_us,
    "member": lambda text, fault: text._replace(member=str(fault.args["value"])),
    "bomb": _bomb,
    "text": _other_text,
}


def _reply(status: int, body: bytes) -> Reply:
    kind = "text/html" if status != HTTPStatus.OK else "application/zip"
    return Reply(status, (("Content-Type", kind), ("Content-Length", str(len(body)))), body)
