"""Fill in the history of kinds: what the exchange remembers by REST, what is beyond from the archive, at the same time.

Only what is missing is asked for, and what comes is stored by the block: killed anywhere, the same command goes on
behind the last block. A stored row stays as it is.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from typing import NamedTuple, Protocol

from barfeed.domain import sources
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.plan import Subject
from barfeed.domain.market.selection import Selection
from barfeed.domain.sources import Note
from barfeed.exchange import paging
from barfeed.exchange.refusals import SYMBOL_CODES
from barfeed.exchange.steps import AskEach, Crowd
from barfeed.history.filling.decisions import KEEP_ROWS, no_bar_yet
from barfeed.history.kinds import answers, jobs
from barfeed.history.kinds.answers import Judged
from barfeed.history.kinds.asking import Answer, Asking, Content, First, Rows, Trouble
from barfeed.history.kinds.jobs import File, Filled, KindsOrder, Page
from barfeed.history.kinds.report import FillReport
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import heard
from barfeed.store.kinds.tables import Late
from barfeed.store.port.kinds import KeptKinds

# How long what has come may wait to be stored: a block is worth a transaction.
KEEP_AFTER_SEC = 5.0
# So many files at once, each of some tens of kilobytes.
FILES_AT_ONCE = 16
# So many questions one after the other that came to nothing, and it is the exchange that cannot be had.
_UNANSWERED_MAX = 20


class KindsTools(NamedTuple):
    """What it works with: `at_once` requests are in flight; of `of_one`, a series alone, readers find views."""

    kept: KeptKinds
    asking: Asking
    ask: AskEach
    clock: Clock
    at_once: int
    of_one: Series | None = None


class Progress(Protocol):
    """Whoever wants to see how far it is."""

    def start(self, bars: int) -> None:
        """So many rows are missing."""
        ...

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None:
        """So many more have come, up to this moment."""
        ...


class _Nobody:
    """Shows nothing."""

    def start(self, bars: int) -> None: ...

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None: ...


NOBODY: Progress = _Nobody()


def begin(asking: Asking, tools: KindsTools, selection: Selection, order: KindsOrder) -> list[First]:
    """Ask what time it is, what is allowed and listed, and when each symbol that is meant began.

    Raises what ends it for all of them.
    """
    info = asking.begin(order.interval)
    selection.expect_any(info.listings, ())
    series = [Series(symbol, order.interval) for symbol in selection.of_list(info.listings)]
    asked = tools.ask(Crowd(map(asking.first, series), tools.at_once))
    with closing(asked) as came:
        found = [each for each in came if isinstance(each, First)]
    if asking.refusal:
        raise asking.refusal
    return sorted(found, key=lambda each: each.series.symbol)


def filled(order: KindsOrder, firsts: Sequence[First], now_ms: int) -> list[Filled]:
    """Every kind of every series that has some in the span; of what has no bar, why."""
    found = []
    for each in firsts:
        for kind in order.kinds:
            has_it = Subject(each.series, now_ms).has(kind)
            span = jobs.wanted(order, kind, each.first_ms, now_ms) if has_it and each.first_ms is not None else None
            if span:
                found.append(Filled(kind, each.series, span))
            elif each.first_ms is None:
                nothing = Filled(kind, each.series, Gap(now_ms, now_ms, 0))
                nothing.failure = each.trouble or no_bar_yet(each.series)
                found.append(nothing)
    return found


class KindsBackfill:
    """One backfill of kinds: `run` it; `report` says, also after an error, what was done of each."""

    def __init__(
        self, order: KindsOrder, selection: Selection, tools: KindsTools, progress: Progress | None = None
    ) -> None:
        self.report = FillReport(str(selection), order.interval, order.source)
        self._order = order
        self._selection = selection
        self._tools = tools
        self._asking = tools.asking
        self._progress = progress or NOBODY
        # By the kind's name, and of it by symbol.
        self._came: dict[str, dict[str, list[Judged]]] = {}
        self._rows = 0
        self._kept_sec = 0.0
        self._unanswered = 0

    def watch(self, progress: Progress) -> None:
        """Show how far it is there."""
        self._progress = progress

    def run(self) -> None:
        """Fill what is missing. Raises what ends it for all at once; what had come before is stored."""
        with self.report.measured(self._tools.clock):
            try:
                with heard():
                    self._begin()
                    self._fill()
                    self._look()
            except (BarfeedError, KeyboardInterrupt):
                # Whatever ended it is told.
                with suppress(BarfeedError):
                    self._keep()
                raise
            finally:
                self.report.requests = self._asking.requests

    @property
    def _now_ms(self) -> int:
        return paging.settled_ms(self._asking.talk)

    def _begin(self) -> None:
        firsts = begin(self._asking, self._tools, self._selection, self._order)
        self.report.filled = filled(self._order, firsts, self._now_ms)
        self.report.not_due = jobs.not_due(self._order, self.report.filled, self._asking.talk.now_ms)
        for each, missing in self._lacking():
            each.missing = missing
            each.rows_missing = sources.bars_in(missing)
        self._progress.start(sum(each.rows_missing for each in self.report.filled))

    def _lacking(self) -> list[tuple[Filled, list[Gap]]]:
        """What the store lacks of each, of what is wanted."""
        found: list[tuple[Filled, list[Gap]]] = []
        interval = self._order.interval
        for kind in self._order.kinds:
            own = [each for each in self.report.filled if each.kind is kind and not each.failure]
            wanted = {each.series.symbol: each.wanted for each in own}
            with self._tools.kept.reading(kind, interval) as table:
                gaps = table.lacking(wanted, jobs.step_ms(kind, interval), jobs.reach_ms(kind, interval))
            found += [(each, gaps[each.series.symbol]) for each in own]
        return found

    def _fill(self) -> None:
        pages, files = jobs.planned(self._order, self.report.filled, self._now_ms)
        self._ask_for(pages, files)
        self._ask_for(jobs.left_over(self._order, self.report.filled, self._now_ms), [])

    def _ask_for(self, pages: Sequence[Page], files: Sequence[File]) -> None:
        """Take what comes, and store it by the block."""
        tools = self._tools
        self._kept_sec = tools.clock.steady_sec()
        # A page of requests that are counted may wait for minutes, and one of weight must not wait behind it.
        by_limit: dict[str, list[Page]] = {}
        for page in pages:
            by_limit.setdefault(page.of.kind.limit.name, []).append(page)
        crowds = [Crowd(map(self._asking.page, each), tools.at_once) for each in by_limit.values()]
        asked = tools.ask(*crowds, Crowd(map(self._asking.file, files), FILES_AT_ONCE))
        with closing(asked) as came:
            for answer in came:
                if answer is not None:
                    self._take(answer)
                if self._rows >= KEEP_ROWS or tools.clock.steady_sec() >= self._kept_sec + KEEP_AFTER_SEC:
                    self._keep()
        self._keep()

    def _take(self, answer: Answer) -> None:
        if isinstance(answer, Trouble):
            self._fail(answer)
            return
        self._unanswered = 0
        try:
            if isinstance(answer, Rows):
                self._add(answers.of_page(answer.page, answer.rows, self._asking.talk.now_ms))
            elif isinstance(answer, Content):
                for judged in answers.of_file(answer, self._asking.talk.now_ms):
                    self._add(judged)
                    judged.of.unfiled += judged.absent
        except BarfeedError as broken:
            assert isinstance(answer, Rows), "a file is never refused"
            answer.page.of.failure = broken

    def _add(self, judged: Judged) -> None:
        each = judged.of
        each.notes += judged.notes
        self._rows += len(judged.rows)
        if judged.rows:
            self._came.setdefault(each.kind.name, {}).setdefault(each.series.symbol, []).append(judged)
            self._progress.reached(len(judged.rows), judged.rows[-1].timestamp_ms, self._asking.talk.used_weight or 0)

    def _fail(self, trouble: Trouble) -> None:
        """What failed of one is no other's trouble; raises what is all of theirs."""
        if self._asking.refusal:
            raise self._asking.refusal
        self._unanswered += isinstance(trouble.error, ExchangeUnavailable)
        if self._unanswered >= _UNANSWERED_MAX:
            raise trouble.error
        for each in trouble.of:
            if isinstance(trouble.error, ExchangeRefused) and trouble.error.code in SYMBOL_CODES:
                # Not every contract has a spot market of its name, nor statistics.
                each.has_none = True
                each.notes.append(Note("none", str(each), f"the exchange has none: {trouble.error}"))
            else:
                each.failure = each.failure or trouble.error

    def _keep(self) -> None:
        """Store what has come, a transaction a kind."""
        for kind in self._order.kinds:
            if came := self._came.pop(kind.name, {}):
                appended = self._append(kind, came)
                for symbol, judged in came.items():
                    judged[0].of.appended += appended[symbol]
        self._rows = 0
        self._kept_sec = self._tools.clock.steady_sec()

    def _append(self, kind: Kind, came: Mapping[str, Sequence[Judged]]) -> dict[str, int]:
        rows = {symbol: [row for each in judged for row in each.rows] for symbol, judged in came.items()}
        first_ms = min(row.timestamp_ms for told in rows.values() for row in told)
        with self._tools.kept.writing(kind, self._order.interval) as table:
            was_late = table.was_late(first_ms)
            known = {symbol: self._known(kind, told, was_late.get(symbol, ())) for symbol, told in rows.items()}
            appended = table.append(known)
            if self._tools.of_one:
                table.make_views([self._tools.of_one.symbol])
        return appended

    def _known(self, kind: Kind, rows: Sequence[Row], late: Sequence[Late]) -> list[Row]:
        """What a pass ended without is known from now on: no model was given it before."""
        now_ms = self._asking.talk.now_ms
        return [
            row._replace(known_at_ms=kind.known_at_ms(row.timestamp_ms, self._order.interval, now_ms))
            if any(each.since_ms < row.timestamp_ms <= each.until_ms for each in late)
            else row
            for row in rows
        ]

    def _look(self) -> None:
        """What is still missing of each."""
        for each, holes in self._lacking():
            if each.has_none:
                continue
            each.holes = holes
