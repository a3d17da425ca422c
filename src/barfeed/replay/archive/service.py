"""The replay archive: `data.binance.vision` packed from tapes, with faults of its own."""

import hashlib
import io
import logging
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from http import HTTPStatus
from threading import Lock
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.archive import names, tables
from barfeed.replay.archive.names import PREFIX, File
from barfeed.replay.archive.tables import Row, Table, in_us
from barfeed.replay.faults.archive import ArchiveFault
from barfeed.replay.messages import Hang, Reply, Request
from barfeed.replay.rest.venue import Venue
from barfeed.replay.server import Answering
from barfeed.replay.tapes.kinds.files import NOTHING, Recorded
from barfeed.replay.tapes.tape import Tape

# What the archive has begins here, and is published at about this time of the next day.
FIRST_MS = 1_577_750_400_000  # 2019-12-31
PUBLISHED_AFTER_MS = 8 * HOUR_MS + HOUR_MS // 2

# Sound zips kept, per archive: each is some 30 KB for hours, 2 MB for minutes.
CACHED_FILES = 128

logger = logging.getLogger("barfeed.replay")


class Text(NamedTuple):
    """What goes into a zip, before it is packed: the member's name and its table; faults change it."""

    member: str
    table: Table

    def with_rows(self, rows: list[Row]) -> "Text":
        """The same with other rows."""
        return self._replace(table=self.table._replace(rows=rows))


class ReplayArchive:
    """Zips by month and day, and their checksums; `recorded` is what was found of funding and open interest.

    `now_ms` decides what is published. `faults` may be set between requests; `requests` counts them by path.
    """

    def __init__(
        self,
        tapes: Iterable[Tape],
        now_ms: Callable[[], int],
        faults: Sequence[ArchiveFault] = (),
        recorded: Recorded = NOTHING,
    ) -> None:
        self.faults = faults
        self.requests: Counter[str] = Counter()
        self._venue = Venue(tapes, recorded)
        self._now_ms = now_ms
        # Each is asked for twice at least: its checksum, itself.
        self._sound = lru_cache(maxsize=CACHED_FILES)(self._packed)
        self._lock = Lock()

    def handle(self, request: Request) -> Reply:
        """The file, its checksum, or 404."""
        with self._lock:
            self.requests[request.path] += 1
            number = self.requests[request.path]
        named = names.read(request.path)
        answer = self._answer(*named, number) if named else _reply(404, b"")
        logger.info("%s %s %d", request.method, request.path, answer.status)
        return answer

    def _answer(self, file: File, is_checksum: bool, number: int) -> Reply:
        faults = tuple(fault for fault in self.faults if fault.hits(file.folder, file.stem, number))
        for fault in faults:
            if fault.kind == "status":
                return _reply(int(fault.args["status"]), b"<html></html>")
        published = file.from_ms >= FIRST_MS and file.to_ms + PUBLISHED_AFTER_MS <= self._now_ms()
        if not (published and tables.is_kept(file)) or any(fault.kind == "missing" for fault in faults):
            return _reply(404, b"")
        packed = self._sound(file) if not faults else self._packed(file, faults)
        lacks_it = is_checksum and any(fault.kind == "no_checksum" for fault in faults)
        if packed is None or lacks_it:
            return _reply(404, b"")
        return _reply(200, _checksum(file, packed, faults) if is_checksum else packed)

    def _packed(self, file: File, faults: Sequence[ArchiveFault] = ()) -> bytes | None:
        """The zip, the same bytes each time; None where there is nothing to pack."""
        table = tables.table(self._venue, file, faults)
        return _zipped(Text(f"{file.stem}.csv", table), faults) if table else None


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


def _zipped(text: Text, faults: Sequence[ArchiveFault]) -> bytes:
    for fault in faults:
        if fault.kind in TEXTS:
            text = TEXTS[fault.kind](text, fault)
    header = [text.table.header] if text.table.has_header else []
    lines = [*header, *(",".join(row.cells) for row in text.table.rows)]
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr(zipfile.ZipInfo(text.member), "\n".join([*lines, ""]), zipfile.ZIP_DEFLATED)
    content = out.getvalue()
    return content[: len(content) // 2] if any(fault.kind == "truncated" for fault in faults) else content


def _checksum(file: File, packed: bytes, faults: Sequence[ArchiveFault]) -> bytes:
    told = hashlib.sha256(packed).hexdigest()
    if any(fault.kind == "wrong_checksum" for fault in faults):
        told = hashlib.sha256(b"another file").hexdigest()
    # Without a line's end, as seen.
    return f"{told}  {file.stem}.zip".encode()


def _lacks(text: Text, fault: ArchiveFault) -> Text:
    return text.with_rows([row for row in text.table.rows if not fault.touches(row.at_ms)])


def _doubled(text: Text, fault: ArchiveFault) -> Text:
    return text.with_rows([row for row in text.table.rows for _ in range(1 + fault.touches(row.at_ms))])


def _zero(text: Text, fault: ArchiveFault) -> Text:
    columns = text.table.header.split(",")
    zeroed = [place for place, name in enumerate(columns) if name in fault.args["columns"]]
    return text.with_rows([_zeroed(row, zeroed) if fault.touches(row.at_ms) else row for row in text.table.rows])


def _zeroed(row: Row, places: Sequence[int]) -> Row:
    return row._replace(cells=["0" if place in places else cell for place, cell in enumerate(row.cells)])


def _in_us(text: Text, _fault: ArchiveFault) -> Text:
    return text.with_rows([row._replace(cells=in_us(row.cells)) for row in text.table.rows])


def _bomb(text: Text, fault: ArchiveFault) -> Text:
    return text.with_rows([*text.table.rows, Row(0, ["0" * int(fault.args["megabytes"]) * 1_000_000])])


def _other_text(text: Text, fault: ArchiveFault) -> Text:
    said, *_, last = (str(fault.args["value"]), *text.table.rows)
    column = len(last.cells) - 1 if len(last.cells) < CLOSE + 1 else CLOSE
    cells = [*last.cells[:column], said, *last.cells[column + 1 :]]
    return text.with_rows([*text.table.rows[:-1], last._replace(cells=cells)])


# Of a kline's cells; of what has fewer, the last one.
CLOSE = 4

TEXTS: dict[str, Callable[[Text, ArchiveFault], Text]] = {
    "lacks": _lacks,
    "doubled": _doubled,
    "zero": _zero,
    "header": lambda text, fault: text._replace(table=text.table._replace(has_header=bool(fault.args["there"]))),
    "microseconds": _in_us,
    "member": lambda text, fault: text._replace(member=str(fault.args["value"])),
    "bomb": _bomb,
    "text": _other_text,
}


def _reply(status: int, body: bytes) -> Reply:
    kind = "text/html" if status != HTTPStatus.OK else "application/zip"
    return Reply(status, (("Content-Type", kind), ("Content-Length", str(len(body)))), body)
