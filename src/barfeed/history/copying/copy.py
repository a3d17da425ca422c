"""A history copied month by month, each month proven equal by its sum; what is there already is not copied again."""

import calendar
import hashlib
import itertools
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.errors import StoreEmpty, Unrepaired
from barfeed.history.copying.chunk import Chunk
from barfeed.history.copying.content import Content
from barfeed.history.copying.sides import TABLES, Side

_DAY_MS = 24 * HOUR_MS


class Copied(NamedTuple):
    """A month of a table, or all of one that has no months: its rows, whether they were copied now, and their sum."""

    table: str
    month: str
    rows: int
    is_new: bool
    sha256: str


class Part(NamedTuple):
    """What is read at once, `[from_ms, to_ms)`, of a month: all of it, or a day where rows are many."""

    month: str
    from_ms: int
    to_ms: int


def copy(source: Side, target: Side, tell: Callable[[Copied], None]) -> None:
    """Copy everything, telling each month once it is proven.

    Raises `StoreEmpty`, `StoreUnusable`, and `Unrepaired` where the target holds something else.
    """
    extents = source.extents()
    if not extents:
        raise StoreEmpty(f"{source.name} holds no bar of a market or a series; nothing was copied")
    for content, first_ms, last_ms in extents:
        for month, parts in itertools.groupby(_parts(content.interval, first_ms, last_ms), lambda part: part.month):
            tell(_month(source, target, content, month, parts))
    for table in TABLES:
        tell(_table(source, target, table))


def _month(source: Side, target: Side, content: Content, month: str, parts: Iterator[Part]) -> Copied:
    copied = Copied(content.table, month, 0, is_new=False, sha256="")
    summing = hashlib.sha256()
    for part in parts:
        span = (content, part.from_ms, part.to_ms)
        wanted = source.chunk(*span)
        if _sum(target.chunk(*span)) != _sum(wanted):
            target.put_chunk(content, wanted)
            copied = copied._replace(is_new=True)
            # Read again: what was written is proven by what is there.
            if _sum(target.chunk(*span)) != _sum(wanted):
                raise _other(source, target, f"{copied.table} in {month}")
        wanted.add_to(summing)
        copied = copied._replace(rows=copied.rows + wanted.rows)
    return copied._replace(sha256=summing.hexdigest())


def _table(source: Side, target: Side, table: str) -> Copied:
    wanted, held = source.rows(table), target.rows(table)
    is_new = bool(wanted) and not held
    if is_new:
        target.put_rows(table, wanted)
        held = target.rows(table)
    # As text: -0.0 is not 0.0, and NaN is NaN.
    if repr(held) != repr(wanted):
        raise _other(source, target, table)
    return Copied(table, "", len(wanted), is_new, hashlib.sha256(repr(wanted).encode()).hexdigest())


def _sum(rows: Chunk) -> str:
    summing = hashlib.sha256()
    rows.add_to(summing)
    return summing.hexdigest()


def _other(source: Side, target: Side, what: str) -> Unrepaired:
    return Unrepaired(
        f"{target.name} holds something else than {source.name}: {what}",
        hint="copy into a new store; what was copied and told before this is proven",
    )


def _parts(interval: Interval, first_ms: int, last_ms: int) -> Iterator[Part]:
    """From the day, or the month, of the first row to that of the last."""
    at_ms = grid.floor(first_ms, _DAY_MS)
    while at_ms <= last_ms:
        end_ms = _next_month(at_ms) if interval.ms >= HOUR_MS else at_ms + _DAY_MS
        yield Part(grid.text(at_ms)[:7], at_ms, end_ms)
        at_ms = end_ms


def _next_month(at_ms: int) -> int:
    year, month, *_ = time.gmtime(at_ms // 1000)
    return calendar.timegm((year + month // 12, month % 12 + 1, 1, 0, 0, 0)) * 1000
