"""Fill a span of history of many series at once: archive and REST side by side, within one budget of weight.

What each series means is decided as for one alone. What comes is stored by the block, of all series in one transaction,
with what the exchange was seen to have none of: killed anywhere, the same command goes on behind the last block.
"""

from collections.abc import Mapping
from contextlib import closing, suppress
from typing import NamedTuple

from barfeed.domain import life, sources
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import BarfeedError, ExchangeUnavailable
from barfeed.domain.grid import Gap
from barfeed.domain.market import members
from barfeed.domain.sources import Note, Rows
from barfeed.exchange import paging
from barfeed.exchange.paging import WEIGHT_BUDGET_MIN
from barfeed.exchange.steps import AskEach, Crowd
from barfeed.history.filling import decisions, ending
from barfeed.history.filling.decisions import KEEP_ROWS
from barfeed.history.market import jobs
from barfeed.history.market.asking import Answer, Asking, First, Page, Trouble
from barfeed.history.market.block import Block
from barfeed.history.market.fill_report import NOBODY, FillReport, MarketProgress
from barfeed.history.market.jobs import Filled, Jobs, MarketFill
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import heard
from barfeed.store.port.whole import WholeHistory

# How long what has come may wait to be stored: a block is worth a transaction.
KEEP_AFTER_SEC = 5.0
# A month of minutes is some megabytes: fewer files of so many bars are asked for at once.
_BARS_AT_ONCE = 400_000
_FILES_AT_ONCE_MIN = 4
_MONTH_MS = 31 * 24 * HOUR_MS
# So many series one after the other that cannot be had, and it is the exchange that cannot.
_UNANSWERED_MAX = 20


class MarketTools(NamedTuple):
    """What it works with; `at_once` is how many requests are in flight."""

    store: WholeHistory
    asking: Asking
    ask: AskEach
    clock: Clock
    at_once: int


class MarketBackfill:
    """One backfill of many series: `run` it; `report` says, also after an error, what was done of each."""

    def __init__(self, order: MarketFill, tools: MarketTools, progress: MarketProgress | None = None) -> None:
        self.report = FillReport(str(order.selection), order.interval, order.source)
        self._order = order
        self._tools = tools
        self._asking = tools.asking
        self._progress = progress or NOBODY
        self._step_ms = order.interval.ms
        self._kept_sec = 0.0
        self._unanswered = 0
        self._block = Block(tools.store, order.interval, lambda: self._asking.talk.now_ms, order.repair, self._tell)

    def watch(self, progress: MarketProgress) -> None:
        """Show how far it is there."""
        self._progress = progress

    def run(self) -> None:
        """Fill what is missing. Raises what ends it for all series at once; what had come before is stored."""
        with self.report.measured(self._tools.clock):
            try:
                with heard():
                    self._begin()
                    self._fill()
            except (BarfeedError, KeyboardInterrupt):
                self._keep_what_came()
                raise
            finally:
                self.report.requests = self._asking.requests
                self.report.used_weight = self._asking.used_weight
            self._look()

    def _begin(self) -> None:
        """Ask what time it is, what is listed and what is allowed, then look into the store."""
        talk, order = self._asking.talk, self._order
        talk.ask_time()
        paging.refuse_astray(talk, Series("market", order.interval))
        info = talk.exchange_info()
        allowed = order.weight_budget or paging.told_limit(info.weight_limit) // 2
        talk.keep_within(max(WEIGHT_BUDGET_MIN, allowed))
        with self._tools.store.reading_market(order.interval) as table:
            stored, firsts, elsewhere = table.coverage(), table.first_bars(), table.elsewhere()
        order.selection.expect_any(info.listings, stored)
        self.report.series = jobs.due(order, info.listings, stored, talk.now_ms)
        for each in self.report.series:
            each.first_ms = firsts.get(each.symbol)
            if its := stored.get(each.symbol):
                each.oldest_ms, each.newest_ms = its.first_ms, its.last_ms
            if each.series.table in elsewhere:
                each.failure = members.stands_elsewhere(each.series)

    def _fill(self) -> None:
        order, series = self._order, self.report.series
        unknown = [each for each in series if jobs.needs_first(order, each)]
        self._ask(Crowd(map(self._asking.first, unknown), self._tools.at_once))
        self._plan()
        self._ask_for(jobs.planned(order, series, self._asking.talk.now_ms))
        self._ask_for(jobs.left_over(series))
        self._give_back()

    def _plan(self) -> None:
        settled_ms = paging.settled_ms(self._asking.talk)
        for each in self.report.series:
            each.report.wanted = jobs.wanted(self._order, each, settled_ms)
        gaps, known = self._gaps()
        for each in self.report.series:
            each.missing = sources.less(gaps.get(each.symbol, ()), known.get(each.symbol, ()), self._step_ms)
            each.report.missing = sources.bars_in(each.missing)
        self._progress.start(sum(each.report.missing for each in self.report.series))

    def _gaps(self) -> tuple[Mapping[str, list[Gap]], Mapping[str, list[Gap]]]:
        """What the store lacks of what is wanted of each series, and where the exchange was seen to have none."""
        wanted = {each.symbol: each.wanted for each in self.report.series if each.wanted}
        with self._tools.store.reading_market(self._order.interval) as table:
            known = table.exchange_gaps(list(wanted))
        return self._tools.store.gaps_of_all(self._order.interval, wanted), known

    def _ask_for(self, asked: Jobs) -> None:
        at_once = self._tools.at_once
        files_at_once = max(_FILES_AT_ONCE_MIN, min(at_once, _BARS_AT_ONCE * self._step_ms // _MONTH_MS))
        pages, files = map(self._asking.page, asked.rest), map(self._asking.file, asked.archive)
        self._ask(Crowd(pages, at_once), Crowd(files, files_at_once))

    def _ask(self, *crowds: Crowd[Answer]) -> None:
        """Take what comes, and store it by the block."""
        self._kept_sec = self._tools.clock.steady_sec()
        asked = self._tools.ask(*crowds)
        with closing(asked) as answers:
            for answer in answers:
                if answer is not None:
                    self._take(answer)
                is_due = self._tools.clock.steady_sec() >= self._kept_sec + KEEP_AFTER_SEC
                if is_due or self._block.rows >= KEEP_ROWS:
                    self._keep()
                if is_due or answer is None:
                    self._progress.slow(self._asking.slow)
        self._keep()

    def _take(self, answer: Answer) -> None:
        if isinstance(answer, Trouble):
            self._fail(answer.of, answer.error)
            return
        self._unanswered = 0
        if isinstance(answer, First):
            self._begins(answer)
        elif isinstance(answer, Page):
            self._reached(self._block.add_page(answer), answer.job.span.last_ms)
        else:
            for file in answer:
                self._reached(self._block.add_file(file), file.part.span.last_ms)

    def _begins(self, answer: First) -> None:
        if answer.bar:
            self._block.begins(answer.of, answer.bar.open_time_ms)
        else:
            answer.of.failure = decisions.no_bar_yet(answer.of.series)

    def _reached(self, bars: int, at_ms: int) -> None:
        self._progress.reached(bars, at_ms, self._asking.used_weight)

    def _fail(self, each: Filled, error: BarfeedError) -> None:
        """One series has failed, which is no other's trouble; raises what is all of theirs."""
        if each.failure:
            return
        if self._asking.refusal:
            raise self._asking.refusal
        self._unanswered += isinstance(error, ExchangeUnavailable)
        if self._unanswered >= _UNANSWERED_MAX:
            raise error
        told = jobs.by_its_life(self._order, each, error)
        if told is error or (each.is_named and each.now.stage != "settled"):
            each.failure = told
        else:
            # What the exchange does to a symbol that nobody named is nobody's trouble.
            each.is_quiet = True
            self._tell(each, Note("quiet", str(each.series), str(told)))

    def _keep(self) -> None:
        self._block.keep()
        self._kept_sec = self._tools.clock.steady_sec()

    def _keep_what_came(self) -> None:
        # Whatever ended it is told; a store that failed is not asked again.
        if not self._block.is_storing:
            with suppress(BarfeedError):
                self._block.keep()

    def _give_back(self) -> None:
        """Store what was not traded of symbols that have ended, as far as it is theirs: up to the last trade."""
        held = [each for each in self.report.series if each.held]
        if not held:
            return
        traded = self._tools.store.last_traded(self._order.interval, [each.symbol for each in held])
        for each in held:
            self._end(each, traded.get(each.symbol))
        self._keep()

    def _end(self, each: Filled, traded_ms: int | None) -> None:
        bars = sorted(each.held)
        after_ms = [bar.open_time_ms for bar in bars if traded_ms is None or bar.open_time_ms > traded_ms]
        each.end_ms = life.ended_ms(each.now, after_ms[0]) if after_ms else None
        own = [bar for bar in bars if each.end_ms is None or bar.open_time_ms < each.end_ms]
        each.left_out, each.is_over = len(bars) - len(own), True
        if own:
            self._block.add_held(each, Rows(own))

    def _look(self) -> None:
        """What the store holds now of each series, and what even the source does not have."""
        gaps, _ = self._gaps()
        with self._tools.store.reading_market(self._order.interval) as table:
            coverage = table.coverage()
        for each in self.report.series:
            each.report.coverage = coverage.get(each.symbol)
            if not (each.failure or each.is_quiet):
                each.report.holes = jobs.holes(each, gaps.get(each.symbol, ()))
            for name, spans in each.flat:
                traded = self._tools.store.traded(each.series, spans)
                self._tell(each, decisions.flat(name, spans, len(traded)))
            self._tell_its_end(each)

    def _tell_its_end(self, each: Filled) -> None:
        ends_ms = jobs.end_of(each)
        has_news = each.report.appended or each.left_out
        stored_ms = each.report.coverage.last_ms if each.report.coverage else None
        said = ending.said(each.now, ends_ms, each.left_out, stored_ms, self._step_ms) if has_news else ""
        for note in decisions.last_notes(each.series, said, each.not_traded_ms):
            self._tell(each, note)

    def _tell(self, each: Filled, note: Note) -> None:
        each.report.notes.append(note)
        self._progress.told(note)
