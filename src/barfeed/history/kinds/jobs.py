"""The history of kinds as requests: which rows are wanted of each series, and whom to ask for what is missing. Pure.

Times are ms since 1970-01-01 UTC; a row is named by its `timestamp`, one that is a moment by the hour it is in.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import Literal, NamedTuple

from barfeed.domain import grid, sources
from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval, Series
from barfeed.domain.errors import BarfeedError
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.holes import remembered_from_ms
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Note
from barfeed.exchange.kinds import archive
from barfeed.exchange.kinds.archive import KindFile
from barfeed.exchange.paging import PAGE_ROWS
from barfeed.history.filling import decisions

KindSource = Literal["auto", "rest", "archive"]

# Funding is settled every eight hours at most: what is further apart has a hole.
_SETTLED_EVERY_MS = 8 * HOUR_MS
# What is forgotten within so long may be so by the time that it is asked for.
_FORGOTTEN_SOON_MS = HOUR_MS


class KindsOrder(NamedTuple):
    """What is wanted: these kinds at one interval, from `from_ms` to before `to_ms`, and from whom.

    Without a `from_ms` it is all that the exchange remembers of what it forgets.
    """

    kinds: tuple[Kind, ...]
    interval: Interval
    source: KindSource
    from_ms: int | None = None
    to_ms: int | None = None


@dataclass
class Filled:
    """One kind of one series: what is wanted of it, what is missing, and what came of it."""

    kind: Kind
    series: Series
    wanted: Gap
    missing: list[Gap] = field(default_factory=list)
    # What had to come from a file that has it not.
    unfiled: list[Gap] = field(default_factory=list)
    rows_missing: int = 0
    appended: int = 0
    compared: int = 0
    holes: list[Gap] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    differences: list[Finding] = field(default_factory=list)
    failure: BarfeedError | None = None
    # The exchange has none of it, which is no trouble.
    has_none: bool = False

    @property
    def step_ms(self) -> int:
        """From one row to the next; of moments from one hour to the next."""
        return step_ms(self.kind, self.series.interval)

    def __str__(self) -> str:
        return f"{self.series} {self.kind.name}"


class Page(NamedTuple):
    """Rows to ask REST for."""

    of: Filled
    span: Gap


class File(NamedTuple):
    """A file to ask the archive for, and those that have rows in it."""

    file: KindFile
    of: tuple[Filled, ...]


def step_ms(kind: Kind, interval: Interval) -> int:
    """From one row to the next; of moments from one hour to the next."""
    return HOUR_MS if kind.stamp is Stamp.MOMENT else interval.ms


def named(kind: Kind, spans: Sequence[Gap]) -> str:
    """Spans as messages write them: rows are counted, of moments the hours in which they may be."""
    return sources.named(spans, "hours" if kind.stamp is Stamp.MOMENT else "rows")


def reach_ms(kind: Kind, interval: Interval) -> int:
    """What is further apart has a hole between."""
    return _SETTLED_EVERY_MS if kind.stamp is Stamp.MOMENT else interval.ms


def wanted(order: KindsOrder, kind: Kind, first_bar_ms: int, now_ms: int) -> Gap | None:
    """The rows of one series that are wanted: none before its first bar, and none that is not due."""
    own_ms = step_ms(kind, order.interval)
    end_ms = kind.newest_due_ms(now_ms, order.interval) + (0 if kind.stamp is Stamp.MOMENT else own_ms)
    from_ms = remembered_from_ms(kind, order.interval, now_ms) if order.from_ms is None else order.from_ms
    begin_ms = max(from_ms, grid.floor(first_bar_ms, own_ms))
    return sources.between(begin_ms, end_ms if order.to_ms is None else min(end_ms, order.to_ms), own_ms)


def not_due(order: KindsOrder, filled: Iterable[Filled], now_ms: int) -> list[Note]:
    """Why nothing is asked for of a kind, of none of the series."""
    asked = {each.kind.name for each in filled}
    return [Note("none", kind.name, _why_none(order, kind, now_ms)) for kind in order.kinds if kind.name not in asked]


def _why_none(order: KindsOrder, kind: Kind, now_ms: int) -> str:
    if order.from_ms is None or order.from_ms <= kind.newest_due_ms(now_ms, order.interval):
        return "none of these series has any in this span"
    now = grid.text(grid.floor(now_ms, MINUTE_MS))
    return f"nothing is due from {grid.text(order.from_ms)} on: it is {now} on the exchange"


def planned(order: KindsOrder, filled: Iterable[Filled], now_ms: int) -> tuple[list[Page], list[File]]:
    """Whom to ask for all that is missing; what nobody has any more is told of each."""
    pages: list[Iterator[Page]] = []
    files: dict[KindFile, list[Filled]] = {}
    for each in filled:
        by_rest, by_file = _parted(order, each, now_ms)
        kept = archive.files(each.kind, each.series, by_file, now_ms)
        covered = [archive.covers(file, each.kind) for file in kept]
        beyond = sources.less(by_file, covered, each.step_ms)
        asked = sorted([*by_rest, *still_there(each, beyond, now_ms)]) if order.source != "archive" else []
        pages.append(_pages(each, asked))
        for file in kept:
            files.setdefault(file, []).append(each)
    by_time = merge(*pages, key=lambda page: (page.span.first_ms, page.of.series.symbol))
    return list(by_time), [File(file, tuple(of)) for file, of in files.items()]


def _parted(order: KindsOrder, each: Filled, now_ms: int) -> tuple[list[Gap], list[Gap]]:
    """What is asked of REST, and what of the archive."""
    if order.source == "rest":
        return still_there(each, each.missing, now_ms), []
    if order.source == "archive":
        return [], each.missing
    if each.kind.remembered_ms is not None:
        there = still_there(each, each.missing, now_ms)
        return there, sources.less(each.missing, there, each.step_ms)
    if each.kind.stamp is Stamp.MOMENT:
        # A page has as many as a month's file, and tells more of each.
        return each.missing, []
    by_name: dict[str, list[Gap]] = {"rest": [], "archive": []}
    for name, spans in decisions.plan("auto", each.missing, now_ms, each.step_ms):
        by_name[name] += spans
    return by_name["rest"], by_name["archive"]


def still_there(each: Filled, spans: Sequence[Gap], now_ms: int) -> list[Gap]:
    """What of the spans the exchange remembers, and will for the time being."""
    remembered_ms = each.kind.remembered_ms
    if remembered_ms is None or not spans:
        return list(spans)
    first_ms = grid.floor(now_ms - remembered_ms + _FORGOTTEN_SOON_MS, each.step_ms) + each.step_ms
    return sources.cut(spans, first_ms, spans[-1].last_ms, each.step_ms)


def left_over(order: KindsOrder, filled: Iterable[Filled], now_ms: int) -> list[Page]:
    """What the archive's files did not bring and REST may have."""
    pages = []
    for each in filled:
        if order.source == "auto" and each.unfiled:
            pages += list(_pages(each, still_there(each, sorted(each.unfiled), now_ms)))
        each.unfiled = []
    return pages


def _pages(each: Filled, spans: Sequence[Gap]) -> Iterator[Page]:
    most = min(each.kind.rows_max, PAGE_ROWS)
    for span in sources.pages(spans, most, each.step_ms):
        yield Page(each, span)


def last_ms(each: Filled, span: Gap) -> int:
    """The last `timestamp` that a span can have: a moment is beside its hour by some ms."""
    return span.last_ms + (HOUR_MS - 1 if each.kind.stamp is Stamp.MOMENT else 0)
