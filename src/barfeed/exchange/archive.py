"""The public archive of klines: zips by month and by day, each beside its checksum.

Nothing of it is taken on its word: a file answers for its period only once its sha256, its one member
and that member's size are as they should be, and even then it may lack days. What it lacks is told.
"""

import hashlib
import io
import logging
import lzma
import struct
import zipfile
import zlib
from calendar import timegm
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from time import gmtime, strftime
from typing import NamedTuple

from barfeed.domain import grid, sources
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import ArtifactsUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.sources import Csv, Note, Part
from barfeed.exchange.refusals import Answer, check_status
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.steps import Steps, drive
from barfeed.exchange.transport.parallel import in_order
from barfeed.machine.atomic import Unflushed, whole_file

DAY_MS = 24 * HOUR_MS
# Files are published, and mended, for about this long.
TRUSTED_AFTER_MS = 2 * DAY_MS
# A month's file may come as late as its middle: until then its days are there.
_MONTH_MAY_BE_LATE_MS = 31 * DAY_MS
# 2019-12-31, its first day of futures: before it there is only REST.
FIRST_MS = 1_577_750_400_000
# A bar of twelve columns is about 130 bytes: what unpacks to much more is no file of bars.
_BYTES_PER_BAR_MAX = 400
_HEADER_BYTES_MAX = 1000
_CHECKSUM_BYTES = 64
_HEX = frozenset("0123456789abcdef")

# RuntimeError: encrypted, or packed in a way that nobody here unpacks.
BROKEN_ZIP = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, OSError, ValueError,
)  # fmt: skip

_log = logging.getLogger(__name__)


class FileMissing(Exception):
    """The archive has no such file."""


class FileBroken(Exception):
    """A file is not what it should be; says why."""


class Period(NamedTuple):
    """A month or a day of the archive: its name as files write it, and its first and last instant in ms."""

    kind: str
    name: str
    from_ms: int
    to_ms: int


def months(first_ms: int, last_ms: int) -> list[Period]:
    """The months that hold the moments from `first_ms` to `last_ms`, ascending."""
    year, month = gmtime(first_ms // 1000)[:2]
    found: list[Period] = []
    while not found or found[-1].to_ms <= last_ms:
        following = (year + 1, 1) if month == 12 else (year, month + 1)  # noqa: PLR2004 - months
        begin, end = (timegm((*each, 1, 0, 0, 0)) * 1000 for each in ((year, month), following))
        found.append(Period("monthly", f"{year:04d}-{month:02d}", begin, end))
        year, month = following
    return found


def days(first_ms: int, last_ms: int) -> list[Period]:
    """The days that hold the moments from `first_ms` to `last_ms`, ascending."""
    begins = range(grid.floor(first_ms, DAY_MS), last_ms + 1, DAY_MS)
    return [Period("daily", strftime("%Y-%m-%d", gmtime(at // 1000)), at, at + DAY_MS) for at in begins]


def periods(spans: Sequence[Gap], now_ms: int) -> list[Period]:
    """The files that hold ascending `spans` as far as the archive can be trusted at `now_ms`: months, then days."""
    trusted_ms = grid.floor(now_ms - TRUSTED_AFTER_MS, DAY_MS)
    found: dict[Period, None] = {}
    for first_ms, last_ms, _ in spans:
        begin_ms, end_ms = max(first_ms, FIRST_MS), min(last_ms, trusted_ms - 1)
        for month in months(begin_ms, end_ms) if begin_ms <= end_ms else ():
            whole = month.from_ms >= FIRST_MS and month.to_ms <= trusted_ms
            inside = (max(begin_ms, month.from_ms), min(end_ms, month.to_ms - 1))
            found |= dict.fromkeys([month] if whole else days(*inside))
    return list(found)


class Archive:
    """The archive's bars of one series. `open_rest` makes one connection to it; each thread has one of its own."""

    def __init__(
        self,
        series: Series,
        open_rest: Callable[[], Rest],
        max_wait_sec: float,
        now_ms: Callable[[], int],
        *,
        cache_dir: Path | None = None,
        connections: int = 4,
    ) -> None:
        self.series = series
        self._open_rest = open_rest
        self._max_wait_sec = max_wait_sec
        self._now_ms = now_ms
        self._files = Files(now_ms, cache_dir)
        self._connections = connections

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self._files.requests

    def fetch(self, spans: Sequence[Gap]) -> Iterator[Part]:
        """A part for each file that holds some of ascending `spans`, in order, and for what no file holds.

        A part without data is one that has to come from elsewhere; its notes say why.
        Raises `ExchangeUnavailable`, `ExchangeRefused`, `ArtifactsUnusable` (the cache).
        """
        files = periods(spans, self._now_ms())
        at_ms = spans[0].first_ms if spans else 0
        for found in in_order(files, self._start_worker, max(1, min(self._connections, len(files)))):
            for part in found:
                yield from self._before(spans, at_ms, part.span.first_ms)
                yield part
                at_ms = part.span.last_ms + self.series.interval.ms
        yield from self._before(spans, at_ms, spans[-1].last_ms + 1 if spans else 0)

    def _before(self, spans: Sequence[Gap], from_ms: int, to_ms: int) -> Iterator[Part]:
        """What of `spans` no file was asked for: too old, or too new."""
        for each in sources.cut(spans, from_ms, to_ms - 1, self.series.interval.ms):
            yield Part("archive", each, None)

    def _start_worker(self) -> Callable[[Period], list[Part]]:
        rest = self._open_rest()

        def start() -> Conversation:
            return rest.conversation(self._max_wait_sec)

        def period(asked: Period) -> list[Part]:
            return drive(self._files.steps_of(self.series, asked, start), rest.transport, rest.clock)

        return period


class Files:
    """How the archive's files are asked for, proven and kept, whoever asks. `requests` counts them."""

    def __init__(self, now_ms: Callable[[], int], cache_dir: Path | None = None) -> None:
        self.requests = 0
        self._now_ms = now_ms
        self._cache = _Cache(cache_dir) if cache_dir else None

    def steps_of(self, series: Series, period: Period, start: Callable[[], Conversation]) -> Steps[list[Part]]:
        """A part for the period's file; for each of its days where a month is not there yet.

        `start` begins the conversation of one request. Raises `ExchangeUnavailable`, `ExchangeRefused`,
        `ArtifactsUnusable` (the cache).
        """
        part = yield from self._file(series, period, start)
        may_be_late = period.kind == "monthly" and period.to_ms + _MONTH_MAY_BE_LATE_MS >= self._now_ms()
        if not (may_be_late and any(note.rule == "missing" for note in part.notes)):
            return [part]
        found = []
        for day in days(period.from_ms, period.to_ms - 1):
            part = yield from self._file(series, day, start)
            found.append(part)
        return found

    def _file(self, series: Series, period: Period, start: Callable[[], Conversation]) -> Steps[Part]:
        step_ms = series.interval.ms
        stem = f"{series.symbol}-{series.interval}-{period.name}"
        span = sources.span(period.from_ms, period.to_ms - step_ms, step_ms)
        try:
            folder = f"futures/um/{period.kind}/klines/{series.symbol}/{series.interval}"
            content = yield from self.steps_of_content(f"{folder}/{stem}.zip", span.bars, start)
            return Part(f"{stem}.zip", span, Csv(content))
        except FileMissing:
            note = Note("missing", f"{stem}.zip", "is not in the archive")
        except FileBroken as problem:
            note = Note("broken", f"{stem}.zip", str(problem))
        return Part(f"{stem}.zip", span, None, (note,))

    def steps_of_content(self, path: str, rows: int, start: Callable[[], Conversation]) -> Steps[bytes]:
        """The CSV in the zip at a path below `/data/`, proven, which holds no more than so many rows.

        Raises `FileMissing` and `FileBroken`, and as `steps_of`.
        """
        packed = yield from self._verified(start, path)
        return unpack(packed, f"{path.rpartition('/')[2].removesuffix('.zip')}.csv", rows)

    def _verified(self, start: Callable[[], Conversation], name: str) -> Steps[bytes]:
        """A zip whose sha256 is the one that the archive tells; asked once more where it is another."""
        for _ in range(2):
            expected = _read_checksum((yield from self._checksum(start, name)))
            packed = self._cache.read(name, expected) if self._cache else None
            if packed is not None:
                return packed
            packed = yield from self._get(start, name)
            seen = hashlib.sha256(packed).hexdigest()
            if seen == expected:
                if self._cache:
                    self._cache.write(name, packed)
                return packed
            # It may have been replaced in between.
            _log.warning("%s: sha256 is %s, its CHECKSUM says %s; asking once more", name, seen, expected)
        raise FileBroken(f"its sha256 is {seen[:12]}..., but its CHECKSUM says {expected[:12]}...")

    def _checksum(self, start: Callable[[], Conversation], name: str) -> Steps[bytes]:
        """What the archive says of a zip; where it says nothing, the zip itself tells whether it is there."""
        try:
            return (yield from self._get(start, f"{name}.CHECKSUM"))
        except FileMissing:
            yield from self._get(start, name)
        raise FileBroken("its CHECKSUM is not in the archive, so nothing proves it")

    def _get(self, start: Callable[[], Conversation], name: str) -> Steps[bytes]:
        self.requests += 1
        talk = start()
        talk.check_status = _telling_missing
        return talk.steps_of_body(f"/data/{name}")


def _telling_missing(answer: Answer, now_ms: int) -> None:
    if answer.status == 404:  # noqa: PLR2004 - not found
        raise FileMissing
    check_status(answer, now_ms)


def _read_checksum(body: bytes) -> str:
    """Its first word: what follows differs from file to file."""
    word = next(iter(body[:200].split()), b"").decode("ascii", "replace").lower()
    if len(word) != _CHECKSUM_BYTES or not set(word) <= _HEX:
        raise FileBroken(f"its CHECKSUM is no sha256: {body[:80]!a}")
    return word


def unpack(packed: bytes, member: str, bars: int) -> bytes:
    """The one CSV in a zip, never more than `bars` bars can take; `FileBroken` for any other zip."""
    bytes_max = bars * _BYTES_PER_BAR_MAX + _HEADER_BYTES_MAX
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as file:
            names = file.namelist()
            if names != [member]:
                raise FileBroken(f"it holds {names[:3]!a}, expected only {member!r}")
            with file.open(member) as text:
                content = text.read(bytes_max + 1)
                # To its very end, where the checksum of the member is looked at.
                whole = not text.read(1)
    except BROKEN_ZIP as problem:
        raise FileBroken(f"it is no whole zip: {problem}") from None
    if len(content) > bytes_max or not whole:
        raise FileBroken(f"it unpacks to over {bytes_max} bytes, more than {bars} bars can take")
    return content


class _Cache:
    """A folder that keeps the zips under the archive's own names; each is proven again before it is used."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self, name: str, expected: str) -> bytes | None:
        """The zip, None where there is none or another than the archive has now."""
        try:
            packed = self._path(name).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as problem:
            raise self._unusable(problem) from problem
        return packed if hashlib.sha256(packed).hexdigest() == expected else None

    def write(self, name: str, packed: bytes) -> None:
        """Keep it, whole or not at all."""
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # It can be fetched again.
            with suppress(Unflushed), whole_file(path) as unfinished:
                unfinished.write_bytes(packed)
        except OSError as problem:
            raise self._unusable(problem) from problem

    def _path(self, name: str) -> Path:
        return self._folder / name.removeprefix("futures/um/")

    def _unusable(self, problem: OSError) -> ArtifactsUnusable:
        return ArtifactsUnusable(
            f"{self._folder} cannot be used as a cache: {problem.strerror or problem}",
            hint="check that --cache-dir is a folder you may write to and that its disk is not full",
        )
