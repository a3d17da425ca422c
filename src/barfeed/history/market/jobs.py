"""A market's backfill as requests: which series, which of their bars, whom to ask for what. Pure.

Times are ms since 1970-01-01 UTC.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge
from typing import NamedTuple

from barfeed.domain import grid, life, sources
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life, Listing, Seen
from barfeed.domain.market.selection import Selection
from barfeed.exchange import archive
from barfeed.exchange.archive import Period
from barfeed.exchange.paging import PAGE_ROWS
from barfeed.exchange.refusals import SYMBOL_CODES
from barfeed.history.filling import decisions
from barfeed.history.filling.decisions import SourceName
from barfeed.history.filling.report import Report
from barfeed.store.market import BEGINNING_MS

# Nothing trades in these any more, or yet.
_NOT_BEGUN = frozenset({"new", "pending"})


class MarketFill(NamedTuple):
    """What a backfill of many series is asked to do; `repair` and `backfill` are the commands for one symbol."""

    selection: Selection
    interval: Interval
    source: SourceName
    from_ms: int | None
    to_ms: int | None
    weight_budget: int | None
    repair: Callable[[str], str]
    backfill: Callable[[str], str]


@dataclass
class Filled:
    """One series of it: what its symbol is, what is wanted of it, and what came."""

    now: Life
    report: Report
    is_named: bool
    # The store's first and newest open_time, then the newest that has come; None where there is none.
    oldest_ms: int | None = None
    newest_ms: int | None = None
    first_ms: int | None = None
    missing: list[Gap] = field(default_factory=list)
    failure: BarfeedError | None = None
    # What REST has none of, and nobody has noted yet.
    absent: list[Gap] = field(default_factory=list)
    # What the archive has nothing of, and what of its files is to be put right: both are asked of REST.
    unfiled: list[Gap] = field(default_factory=list)
    unsound: list[Gap] = field(default_factory=list)
    flat: list[tuple[str, list[Gap]]] = field(default_factory=list)
    # What was not traded, of a symbol that has ended nobody tells when.
    held: list[Bar] = field(default_factory=list)
    is_over: bool = False
    # Whether the exchange gives no bar of it, and that is nobody's trouble.
    is_quiet: bool = False
    end_ms: int | None = None
    left_out: int = 0
    not_traded_ms: list[int] = field(default_factory=list)

    @property
    def series(self) -> Series:
        """Which it is."""
        return self.report.series

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.series.symbol

    @property
    def step_ms(self) -> int:
        """How long its bars are."""
        return self.series.interval.ms

    @property
    def wanted(self) -> Gap | None:
        """The bars that are wanted, None where there are none."""
        return self.report.wanted

    @property
    def ends_untold(self) -> bool:
        """Whether the symbol has ended, and only its bars tell when."""
        return life.ended_ms(self.now, 0) == 0

    @property
    def is_to_be_held(self) -> bool:
        """Whether what was not traded is held back, until all has come."""
        return self.ends_untold and not self.is_over

    def known(self, gaps: Sequence[Gap]) -> list[Gap]:
        """The gaps of it that the exchange is now known to have none of: it showed a later bar, or none will come."""
        newest_ms = self.newest_ms or 0
        return [gap for gap in gaps if gap.last_ms < newest_ms or self.now.stage == "settled"]


def due(order: MarketFill, listed: Mapping[str, Listing], stored: Iterable[str], now_ms: int) -> list[Filled]:
    """Every series that is meant, by symbol: those that trade, and those that did when they were stored."""
    kept = {symbol for symbol in stored if order.selection.includes(symbol)}
    return [
        Filled(
            life.life(listed.get(symbol), now_ms, order.interval.ms),
            Report(Series(symbol, order.interval), order.source),
            symbol in order.selection.names,
        )
        for symbol in sorted({*order.selection.of_list(listed), *kept})
    ]


def needs_first(order: MarketFill, each: Filled) -> bool:
    """Whether the exchange is to be asked for the symbol's first bar: what lies before it is no hole."""
    if each.failure or each.first_ms is not None or each.now.stage in _NOT_BEGUN:
        return False
    if order.from_ms is None:
        return True
    is_stored = each.oldest_ms is not None and each.oldest_ms <= order.from_ms
    return not is_stored and each.now.stage != "unlisted"


def wanted(order: MarketFill, each: Filled, settled_ms: int) -> Gap | None:
    """The bars of one series that are asked for, closed, and its own; None where there are none."""
    if each.failure or each.is_quiet or each.now.stage in _NOT_BEGUN:
        return None
    end_ms = decisions.end_ms(order.to_ms, settled_ms, each.step_ms)
    if (its_end_ms := end_of(each)) is not None:
        # One that opens then is none, though the exchange goes on showing flat ones.
        end_ms = min(end_ms, life.last_bar(its_end_ms, each.step_ms) + each.step_ms)
    return sources.between(max(order.from_ms or 0, each.first_ms or 0), end_ms, each.step_ms)


def end_of(each: Filled) -> int | None:
    """When the symbol ends, by the list or, where it tells no date, by its bars; None where it does not."""
    is_dated = each.now.stage in {"settled", "settling"}
    return each.now.at_ms if is_dated and each.now.at_ms is not None else each.end_ms


def holes(each: Filled, gaps: Sequence[Gap]) -> list[Gap]:
    """What is missing of it at the end, but for what comes after the symbol's own."""
    end_ms = end_of(each)
    return sources.cut(gaps, 0, life.last_bar(end_ms, each.step_ms), each.step_ms) if end_ms else list(gaps)


def nothing_before(first_ms: int, step_ms: int) -> Gap:
    """What there is to remember of a symbol's first bar: nothing was before it."""
    return sources.span(BEGINNING_MS, first_ms - step_ms, step_ms)


class Job(NamedTuple):
    """One request, or one file: of which series, the span that it answers for, and what of it is missing.

    `only` is what of its rows is kept, where that is not all; `period` is the file's, None for a page of REST.
    """

    of: Filled
    span: Gap
    asked: tuple[Gap, ...]
    only: tuple[Gap, ...] = ()
    period: Period | None = None


class Jobs(NamedTuple):
    """What to ask of whom, as it is asked: the oldest bars of all series first, as the table is written."""

    rest: Iterator[Job]
    archive: Iterator[Job]


def planned(order: MarketFill, series: Iterable[Filled], now_ms: int) -> Jobs:
    """All that is missing of all series."""
    pages, files = [], []
    for each in series:
        plan = decisions.plan(order.source, each.missing, now_ms, each.step_ms)
        by_name: dict[str, list[Gap]] = {"rest": [], "archive": []}
        for name, spans in plan:
            by_name[name] += spans
        periods = archive.periods(by_name["archive"], now_ms)
        unfiled = sources.less(by_name["archive"], [_span(period, each) for period in periods], each.step_ms)
        pages.append(_pages(each, sorted([*by_name["rest"], *unfiled])))
        files.append(_files(each, by_name["archive"], periods))
    return Jobs(_by_time(pages), _by_time(files))


def left_over(series: Iterable[Filled]) -> Jobs:
    """What the archive's files did not bring: whole where there was none, alone where one was to be put right."""
    pages = []
    for each in series:
        pages += [_pages(each, sorted(each.unfiled)), _pages(each, sorted(each.unsound), is_alone=True)]
        each.unfiled, each.unsound = [], []
    return Jobs(_by_time(pages), iter(()))


def _by_time(jobs: Sequence[Iterator[Job]]) -> Iterator[Job]:
    return merge(*jobs, key=lambda job: (job.span.first_ms, job.of.symbol))


def _pages(each: Filled, spans: Sequence[Gap], *, is_alone: bool = False) -> Iterator[Job]:
    for page in sources.pages(spans, PAGE_ROWS, each.step_ms):
        asked = tuple(sources.cut(spans, page.first_ms, page.last_ms, each.step_ms))
        yield Job(each, page, asked, asked if is_alone else ())


def _files(each: Filled, spans: Sequence[Gap], periods: Sequence[Period]) -> Iterator[Job]:
    for period in periods:
        span = _span(period, each)
        yield Job(each, span, tuple(sources.cut(spans, span.first_ms, span.last_ms, each.step_ms)), (), period)


def _span(period: Period, each: Filled) -> Gap:
    return sources.span(period.from_ms, period.to_ms - each.step_ms, each.step_ms)


def absent(asked: Sequence[Gap], opens_ms: Sequence[int], step_ms: int) -> list[Gap]:
    """What of the spans did not come."""
    expected = [at_ms for span in asked for at_ms in grid.opens(span.first_ms, span.last_ms, step_ms)]
    return grid.gaps(grid.missing(expected, opens_ms), step_ms)


def inside(spans: Sequence[Gap], opens_ms: Sequence[int], step_ms: int) -> list[Gap]:
    """Ascending open_times that lie in the spans, as maximal runs."""
    return grid.gaps([at for at in opens_ms if any(each.first_ms <= at <= each.last_ms for each in spans)], step_ms)


def by_its_life(order: MarketFill, each: Filled, trouble: BarfeedError) -> BarfeedError:
    """A refusal of the symbol by what the exchange's list says of it; any other trouble as it is."""
    is_refused = isinstance(trouble, ExchangeRefused) and trouble.code in SYMBOL_CODES
    if not is_refused or each.now.stage == "trading":
        return trouble
    # What is refused by REST the archive may have kept.
    seen = Seen(each.newest_ms, f"{order.backfill(each.symbol)} --source archive", str(trouble))
    return life.why_no_bar(each.series, each.now, seen)
