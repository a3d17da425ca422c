"""Fill a span of history into the store, from REST, the archive or files: each bar by the feed's own rules.

What a source says is staged and checked beside the store, which is then opened for one short transaction:
what it lacks is appended, what it has is compared, nothing is overwritten. So a backfill that ends anywhere
is gone on with by the next call, which asks only for what is missing.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from barfeed.domain import grid, sources
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import BarfeedError, UsageError
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Lines, Note, Part, Rows
from barfeed.exchange.archive import Archive
from barfeed.exchange.paging import RestHistory
from barfeed.history.filling import decisions
from barfeed.history.filling.decisions import KEEP_ROWS, SourceName
from barfeed.history.filling.ending import Ending
from barfeed.history.filling.report import NOBODY, Progress, Report, difference_finding
from barfeed.history.imports import LEVEL_BREAK, NOTHING, Import, level_note, refuse_stranger, seam_notes
from barfeed.history.own_files import OwnFile
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import heard
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.staging import Break, Difference, Staging
from barfeed.store.place import Place
from barfeed.store.port.whole import WholeHistory

# How long what has come may wait to be stored.
KEEP_AFTER_SEC = 1.0
# How far from a file's bars stored ones are looked for that it may be of: a time zone, or a day's bar.
_REACH_MS = 24 * HOUR_MS


class Order(NamedTuple):
    """What a backfill is asked to do: the bars that open in `[from_ms, to_ms)`, None for as far as there are any."""

    series: Series
    source: SourceName
    from_ms: int | None = None
    to_ms: int | None = None
    files: tuple[OwnFile, ...] = ()
    weight_budget: int | None = None
    force_name: bool = False
    # The command that lets a bar pass whose columns contradict each other.
    repair: str = "barfeed repair"

    @property
    def is_own(self) -> bool:
        """Whether the bars are the user's own."""
        return self.source in {"csv", "table"}


class Tools(NamedTuple):
    """What a backfill works with."""

    store: WholeHistory
    rest: RestHistory
    archive: Archive
    clock: Clock


class _Stored(NamedTuple):
    """What came of what was staged: how many bars were appended, what differs, and what is odd."""

    appended: int
    differences: Sequence[Difference]
    breaks: Sequence[Break]
    flat_ms: Sequence[int]


class Backfill:
    """One backfill: `run` it; `report` says, also after an error, what was done."""

    def __init__(self, order: Order, tools: Tools, progress: Progress | None = None) -> None:
        self.report = Report(order.series, order.source)
        self._order = order
        self._tools = tools
        self._progress = progress or NOBODY
        self._step_ms = order.series.interval.ms
        self._missing: list[Gap] = []
        self._ending = Ending(order.series, tools.rest)
        # Open_times of what was appended without a trade.
        self._not_traded_ms: list[int] = []
        self._kept_sec = 0.0
        self._is_storing = False

    def watch(self, progress: Progress) -> None:
        """Show how far it is there."""
        self._progress = progress

    def run(self) -> None:
        """Fill what is missing. Raises what `errors` tells; what had come before is stored."""
        with self.report.measured(self._tools.clock):
            self._tools.rest.start(1 if self._order.is_own else self._order.weight_budget)
            wanted = self._wanted()
            if wanted is None:
                self._refuse_unread()
                return
            (self._open_beside if self._order.is_own else self._open)(wanted)
            try:
                with heard():
                    self._fill(wanted)
            except (BarfeedError, KeyboardInterrupt):
                self._keep_what_came()
                raise
            finally:
                self.report.requests = self._tools.rest.requests + self._tools.archive.requests
                self.report.used_weight = self._tools.rest.used_weight
            self._look(wanted)

    def _wanted(self) -> Gap | None:
        """The bars that were asked for and are closed; None where there are none."""
        order = self._order
        end_ms = decisions.end_ms(order.to_ms, self._tools.rest.settled_ms, self._step_ms)
        begin_ms = order.from_ms
        if begin_ms is None:
            begin_ms = 0 if order.is_own else self._first_ms()
        return sources.between(begin_ms, end_ms, self._step_ms)

    def _first_ms(self) -> int:
        first = self._tools.rest.first_bar()
        if first is None:
            raise decisions.no_bar_yet(self._order.series)
        return first.open_time_ms

    def _refuse_unread(self) -> None:
        if self._order.is_own:
            raise UsageError(
                f"{self._order.files[0]}: every bar of it is left out: between --from and --to no bar has closed",
                hint="give a --from and --to that its bars are in",
            )

    def _open_beside(self, wanted: Gap) -> None:
        """Only look: what is refused leaves no new store, nor table. Both are made with the first bar."""
        store, series = self._tools.store, self._order.series
        passed = store.let_pass(series) if store.exists() else []
        self.report.wanted, self.report.missing = wanted, sources.bars_in(store.gaps(series, wanted))
        self._staging = Staging(store.beside(), passed)
        self._progress.start(0)

    def _open(self, wanted: Gap) -> None:
        """Look into the store for what is missing, and make its table where there is none."""
        store, series = self._tools.store, self._order.series
        self._missing = store.lacking(series, wanted)
        # It lives in a memory that stays when the store is let go.
        self._staging = Staging(store.beside(), store.let_pass(series))
        self.report.wanted, self.report.missing = wanted, sources.bars_in(self._missing)
        self._kept_sec = self._tools.clock.steady_sec()
        self._progress.start(self.report.missing)

    def _fill(self, wanted: Gap) -> None:
        if self._order.is_own:
            for own in self._order.files:
                self._take_own(own, wanted)
            return
        for source, spans in decisions.plan(self._order.source, self._missing, self._tools.rest.now_ms, self._step_ms):
            if source == "rest":
                self._take_from_rest(spans)
            else:
                self._take_from_archive(spans, wanted)
        self._keep()
        self._ending.give_back(self._staging)
        self._store()

    def _take_from_rest(self, spans: Sequence[Gap]) -> None:
        for part in self._tools.rest.fetch(spans):
            self._put_rows(part)
            if self._tools.clock.steady_sec() >= self._kept_sec + KEEP_AFTER_SEC or self._staged >= KEEP_ROWS:
                self._keep()

    def _put_rows(self, part: Part, only: Sequence[Gap] = ()) -> None:
        assert isinstance(part.data, Lines | Rows)
        # A page reaches from one span to the next: what lies between has come from elsewhere.
        data = part.data.within(only) if only else part.data
        bars = len(data.opens_ms)
        self._staging.put(data)
        self._staged += bars
        self._is_proven = False
        self._progress.reached(bars, part.span.last_ms, self._tools.rest.used_weight)

    def _take_from_archive(self, spans: Sequence[Gap], wanted: Gap) -> None:
        for part in self._tools.archive.fetch(spans):
            asked = sources.cut(spans, part.span.first_ms, part.span.last_ms, self._step_ms)
            self._keep()
            self._tell(*part.notes)
            if part.data is None or not self._is_staged(part, wanted):
                self._take_from_rest(asked)
            else:
                self._mend(part, asked)
            self._keep(part.name)

    def _is_staged(self, part: Part, wanted: Gap) -> bool:
        """Whether a file of the archive is staged and keeps the rules; if not, that is told."""
        assert part.data is not None
        try:
            self._staging.put(part.data)
            broken = self._broken(part.span)
        except SourceUnreadable as problem:
            broken = str(problem)
        if broken:
            self._staging.clear()
            self._tell(Note("broken", part.name, broken))
            return False
        self._staging.keep_only(wanted)
        self._is_proven = True
        return True

    def _broken(self, span: Gap) -> str:
        """What is wrong with the bars of a file that holds `span`, empty where nothing is."""
        if beside := self._staging.keep_only(span):
            return decisions.not_of_its_time(beside)
        findings = self._findings()
        return decisions.broken_file(findings, self._count()) if findings else ""

    def _findings(self) -> list[Finding]:
        """What of what is staged breaks a rule, the first of it."""
        return self._staging.findings(self._step_ms, self._tools.rest.now_ms)

    def _count(self) -> int:
        return self._staging.broken_rules(self._step_ms, self._tools.rest.now_ms)

    def _mend(self, part: Part, asked: Sequence[Gap]) -> None:
        """Ask REST for what a file lacks, and for what it says was not traded: outages look like that."""
        # Of most files nothing is lacking: then it need not be looked for.
        rows = self._staging.rows()
        lacking = [] if rows == part.span.bars else self._staging.lacking(asked, self._step_ms)
        flat = grid.gaps(Rows(self._staging.flat_bars()).within(asked).opens_ms, self._step_ms)
        # Only from here on may it be stored, should Ctrl-C come.
        self._staged = rows - self._staging.take_out_flat()
        self._progress.reached(self._staged, part.span.last_ms, self._tools.rest.used_weight)
        if lacking:
            self._tell(decisions.lacking(part.name, lacking))
        spans = sorted([*lacking, *flat])
        for page in self._tools.rest.fetch(spans) if spans else ():
            self._put_rows(page, only=spans)
        if flat:
            traded = len([bar for bar in self._staging.bars(flat) if bar.volume > 0])
            self._tell(decisions.flat(part.name, flat, traded))

    def _take_own(self, own: OwnFile, wanted: Gap) -> None:
        users = Import(self._staging, self._order.series, self._order.force_name)
        self._tell(*users.stage(own, wanted))
        if findings := self._findings():
            broken = decisions.broken_file(findings, self._count())
            self._staging.clear()
            raise UsageError(
                f"{own}: {broken}",
                hint=f"{NOTHING}; mend it, or leave those bars out with --from and --to",
            )
        self._leave_out_what_is_none(own)
        self._own = own
        self._staged = self._staging.rows()
        self._progress.reached(self._staged, wanted.last_ms, 0)
        if span := self._staging.span(self._step_ms):
            self.report.answer_for(span)
        self._store(str(own))

    def _leave_out_what_is_none(self, own: OwnFile) -> None:
        self._ending.hold_back(self._staging)
        self._ending.give_back(self._staging)
        if not self._staging.rows():
            raise UsageError(f"{own}: every bar of it is left out: {self._ending.said()}", hint=NOTHING)

    def _keep(self, name: str = "exchange") -> None:
        """Store what is staged and keeps the rules, but for what may come after the symbol's end."""
        if self._staged:
            self._refuse_broken()
            self._ending.hold_back(self._staging)
            self._store(name)

    def _store(self, name: str = "exchange") -> None:
        """Compare what is staged with the store and append what it lacks, in one transaction."""
        staged = self._staging.rows()
        if not staged:
            self._forget()
            return
        self._is_storing = True
        beside, keep = self._beside_staged(), partial(self._stored, staged)
        stored = self._tools.store.filling_one(self._order.series, beside, keep)
        self._is_storing = False
        self._not_traded_ms += stored.flat_ms
        self.report.compared += staged - stored.appended
        self.report.appended += stored.appended
        self.report.mismatches += [difference_finding(each, name) for each in stored.differences]
        self._tell(*(level_note(name, each) for each in stored.breaks))
        self._forget()

    def _beside_staged(self) -> Gap:
        """The stored bars that what is staged is compared with."""
        span = self._staging.span(self._step_ms)
        assert span
        reach_ms = grid.floor(_REACH_MS, self._step_ms) if self._own else 0
        return sources.span(span.first_ms - reach_ms, span.last_ms + reach_ms, self._step_ms)

    def _stored(self, staged: int, place: Place) -> "_Stored":
        """Compare, and append, in a transaction."""
        differences = self._staging.mismatches(place)
        breaks = self._staging.breaks(place, self._step_ms, LEVEL_BREAK) if self._own else []
        if self._own:
            # Before its own bars are among the stored ones, with which they would all agree.
            shared, moved = self._staging.shared(place), partial(self._staging.moved_ms, place)
            refuse_stranger(self._own, differences, shared, staged - shared, moved)
        flat_ms = self._staging.flat_news(place)
        return _Stored(self._staging.append_new(place), differences, breaks, flat_ms)

    def _forget(self) -> None:
        self._staging.clear()
        self._staged = 0
        self._kept_sec = self._tools.clock.steady_sec()

    def _refuse_broken(self) -> None:
        if not self._is_proven and (findings := self._findings()):
            rules = self._count()
            self._forget()
            raise decisions.broken_answer(
                self._order.series, findings, rules, self._order.repair, is_begun=self.report.appended > 0
            )

    def _keep_what_came(self) -> None:
        # Whatever ended it is told; a store that failed is not asked again.
        if not self._is_storing:
            with suppress(BarfeedError):
                self._keep()

    def _look(self, wanted: Gap) -> None:
        """What the store holds now, and what even the source does not have."""
        span = self.report.answered if self._order.is_own else wanted
        store, series = self._tools.store, self._order.series
        with store.reading(series) as table:
            coverage = table.coverage()
        holes = store.gaps(series, span) if span else []
        if span and self._own:
            self._tell(*seam_notes(span, *store.neighbours(series, span), self._step_ms))
        self.report.coverage = coverage
        self.report.holes = self._ending.before(holes, wanted)
        ended = self._ending.said(coverage.last_ms)
        self._tell(*decisions.last_notes(self._order.series, ended, self._not_traded_ms))

    def _tell(self, *notes: Note) -> None:
        for note in notes:
            self.report.notes.append(note)
            self._progress.told(note)

    _staging: Staging
    _staged = 0
    # Whether it was judged: a file of the archive, out of which something was taken since at most.
    _is_proven = False
    # The user's own file that is staged.
    _own: OwnFile | None = None
