"""The archive's files of every kind: which hold what, and their rows as REST would tell them. Pure.

One file of `metrics` has five kinds. A row that is told twice, or with a value that nobody can read, is left out and
told: the archive's checksums hold for files that are wrong, too.
"""

import csv
import math
from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Archived, Column, Kind, Row, Stamp
from barfeed.domain.sources import Note
from barfeed.exchange import archive
from barfeed.exchange.archive import DAY_MS, FileBroken, Period

# Files of klines without a header have these columns.
_KLINES = (
    "open_time", "open", "high", "low", "close", "volume", "close_time", "quote_volume", "count", "taker_buy_volume",
    "taker_buy_quote_volume", "ignore",
)  # fmt: skip
# A number of so many digits is microseconds.
_MICROSECONDS_FROM = 10**14


class KindFile(NamedTuple):
    """A file of the archive: of which kinds' rows it has, of one series, and of which month or day."""

    archived: Archived
    series: Series
    period: Period

    @property
    def path(self) -> str:
        """Where it is, below `/data/`."""
        return self.archived.path(self.series.symbol, self.series.interval, self.period.kind, self.period.name)

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.path.rpartition("/")[2]

    @property
    def rows_max(self) -> int:
        """More rows than it can have: of what is told twice, both."""
        step_ms = self._step_ms
        return 2 * (self.period.to_ms - self.period.from_ms) // step_ms + 1

    @property
    def _step_ms(self) -> int:
        if self.archived.stamp is Stamp.MOMENT:
            return HOUR_MS
        return (self.archived.period or self.series.interval).ms


class Held(NamedTuple):
    """What a file has of one kind: rows ascending, each `timestamp` once, and what is odd about the others."""

    rows: list[Row]
    notes: list[Note]


def has(kind: Kind, series: Series) -> bool:
    """Whether the archive can have this kind at this interval: an hour's flow is no sum of ratios."""
    period = kind.archived.period
    return period is None or period is series.interval or kind.is_snapshot


def files(kind: Kind, series: Series, spans: Sequence[Gap], now_ms: int) -> list[KindFile]:
    """The files that hold the rows of ascending spans of `timestamp`s, as far as there are any by `now_ms`."""
    if not has(kind, series):
        return []
    found: dict[Period, None] = {}
    for span in spans:
        # The row of a longer period than the archive's is the last of its own.
        ends_ms = kind.end_ms(span.last_ms, series.interval) - 1
        found |= dict.fromkeys(_periods(kind.archived, Gap(span.first_ms, max(span.first_ms, ends_ms), 1), now_ms))
    return [KindFile(kind.archived, series, period) for period in sorted(found, key=attrgetter("from_ms"))]


def _periods(archived: Archived, span: Gap, now_ms: int) -> list[Period]:
    if archived.has_months and archived.has_days:
        return archive.periods([span], now_ms)
    trusted_ms = now_ms - archive.TRUSTED_AFTER_MS
    first_ms = max(span.first_ms, archive.FIRST_MS)
    if first_ms > span.last_ms:
        return []
    periods = (archive.months if archived.has_months else archive.days)(first_ms, span.last_ms)
    return [each for each in periods if each.to_ms <= trusted_ms]


def covers(file: KindFile, kind: Kind) -> Gap:
    """The `timestamp`s that a file answers for: the first and the last that it can have."""
    step_ms, (from_ms, to_ms) = file.series.interval.ms, file.period[2:]
    if kind.stamp is Stamp.MOMENT:
        return Gap(from_ms, to_ms - HOUR_MS, (to_ms - from_ms) // HOUR_MS)
    # A period that is longer than the day ends in the file, and began before it.
    first_ms = grid.floor(from_ms - 1, step_ms) if step_ms > DAY_MS else from_ms
    return Gap(first_ms, to_ms - step_ms, (to_ms - first_ms) // step_ms)


def read(kind: Kind, file: KindFile, content: bytes) -> Held:
    """The rows of one kind in a file's CSV; `FileBroken` where it is no such file."""
    columns, lines = _lines(file, content)
    wanted = [*(each.archived for each in kind.columns if each.archived), file.archived.time]
    if lacking := [name for name in wanted if name not in columns]:
        raise FileBroken(f"it has no column {lacking[0]}, but {', '.join(columns)[:100]!a}")
    places = [columns.index(each.archived) if each.archived else None for each in kind.columns]
    at = columns.index(file.archived.time)
    told = [_read(kind, file, places, at, cells) for cells in lines]
    rows = [each for each in told if each is not None]
    return _sound(kind, file, rows, len(told) - len(rows))


def _lines(file: KindFile, content: bytes) -> tuple[list[str], Iterator[list[str]]]:
    """The header's words, and the lines below it."""
    try:
        lines = csv.reader(content.decode("utf-8-sig").splitlines(), strict=True)
        first = next(lines, [])
        if first and first[0].isdigit() and file.archived.folder.endswith("lines"):
            return list(_KLINES), iter([first, *lines])
        return [each.strip() for each in first], iter(list(lines))
    except (UnicodeDecodeError, csv.Error) as problem:
        raise FileBroken(f"it is no CSV: {problem}") from None


def _read(kind: Kind, file: KindFile, places: Sequence[int | None], at: int, cells: Sequence[str]) -> Row | None:
    """A row, None where it cannot be read; of another period than the kind's, the one that ends it."""
    try:
        values = tuple(_value(each, place, cells) for each, place in zip(kind.columns, places, strict=True))
        start_ms = _start_ms(file, cells[at])
    except (ValueError, IndexError):
        return None
    interval = file.series.interval
    return Row(start_ms, kind.known_at_ms(start_ms, interval), values)


def _value(column: Column, place: int | None, cells: Sequence[str]) -> float | None:
    if place is None or (column.may_lack and not cells[place]):
        return None
    number = float(cells[place])
    if not math.isfinite(number):
        raise ValueError
    if column.is_count:
        return int(number)
    return number if column.decimals is None else round(number, column.decimals)


def _start_ms(file: KindFile, text: str) -> int:
    """The start of a row's own period, by its label."""
    if text.isdigit():
        number = int(text)
        stamp_ms = number // 1000 if number >= _MICROSECONDS_FROM else number
    else:
        stamp_ms = round(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)
    step_ms = (file.archived.period or file.series.interval).ms
    return file.archived.stamp_of(file.period.from_ms).start_ms(stamp_ms, step_ms)


def _sound(kind: Kind, file: KindFile, rows: Sequence[Row], unread: int) -> Held:
    """The rows of the file's own time, each once, as rows of the kind's period."""
    own = [row for row in rows if file.period.from_ms <= row.timestamp_ms < file.period.to_ms]
    once, doubled, two = _once(own)
    oddities = {
        "unread": (unread, "cannot be read"),
        "outside": (len(rows) - len(own), "are not of its time"),
        "twice": (doubled, "come twice, the same both times, and were taken once"),
        "two_versions": (len(two), "come twice with other values, and were left out"),
    }
    notes = [Note(rule, file.name, f"{count} rows {said}") for rule, (count, said) in oddities.items() if count]
    return Held([each for row in once if (each := _as_period(kind, file, row))], notes)


def _once(rows: Sequence[Row]) -> tuple[list[Row], int, Collection[int]]:
    """Each `timestamp` once and ascending; how many came again, and those whose values differ."""
    once, again, two = [], 0, set()
    for at_ms, group in groupby(sorted(rows, key=attrgetter("timestamp_ms")), attrgetter("timestamp_ms")):
        same = list(group)
        if any(each.values != same[0].values for each in same):
            two.add(at_ms)
            continue
        once.append(same[0])
        again += len(same) - 1
    return once, again, two


def _as_period(kind: Kind, file: KindFile, row: Row) -> Row | None:
    """The row of the kind's period that this one tells; None where it tells none."""
    interval = file.series.interval
    if file.archived.stamp is Stamp.MOMENT:
        return row
    own_ms = (file.archived.period or interval).ms
    end_ms = row.timestamp_ms + own_ms
    if end_ms % interval.ms or row.timestamp_ms % own_ms:
        return None
    start_ms = end_ms - interval.ms
    return row._replace(timestamp_ms=start_ms, known_at_ms=kind.known_at_ms(start_ms, interval))
