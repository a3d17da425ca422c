"""One hour: pull, keep the evidence, validate, append, publish. Readable top to bottom."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Literal

from barfeed.artifacts.writing import Run, has_published
from barfeed.domain import acceptance, grid, rules, verdict
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Pull
from barfeed.domain.errors import (
    ArtifactsUnusable,
    BarfeedError,
    BarLate,
    ExchangeRefused,
    Mismatch,
    StoreUnusable,
    Unrepaired,
    ValidationFailed,
    WindowGap,
)
from barfeed.domain.rules import NOTHING_KNOWN, Asked, Known
from barfeed.domain.verdict import Held
from barfeed.exchange.rest import Conversation
from barfeed.feed import cycle_log
from barfeed.feed.asking.confirmation import Confirmed, confirm
from barfeed.feed.asking.settling import Settling
from barfeed.feed.hour import Hour, Overtaken, but_once_more
from barfeed.feed.order import Feed, Order, Plan
from barfeed.feed.record import Record, failure_of, pending_text

if TYPE_CHECKING:
    from barfeed.feed.inquiry import Inquiry
    from barfeed.store.port.history import SeriesBars

_log = logging.getLogger(__name__)


def run_cycle(feed: Feed, order: Order, talk: Conversation) -> Record:
    """Live one hour; the record tells how it ended, failed or not.

    Nothing but a bug, or a signal to stop, raises.
    """
    while True:
        with suppress(Overtaken):
            return _Cycle(feed, order, talk).live()


def record_of(bug: Exception, feed: Feed, order: Order) -> Record:
    """What there is to tell of a cycle that a bug of ours ended."""
    record = Record(order.series, order.dataset, order.inference_source, feed.clock, dry_run=order.dry_run)
    record.fail(bug)
    return record


class _Cycle:
    """One hour: what it works with, and the record that grows as it goes."""

    def __init__(self, feed: Feed, order: Order, talk: Conversation) -> None:
        self._feed = feed
        self._order = order
        self._talk = talk
        self._settling = Settling(talk, order.series.interval, order.settle_sec, order.heard_ms)
        self._record = Record(order.series, order.dataset, order.inference_source, feed.clock, dry_run=order.dry_run)
        self._hour = Hour(feed, order, talk, self._settling, self._record)
        self._pulled: Pull | None = None
        # Why the store itself is not asked any more, and something stands in for it.
        self._away: StoreUnusable | None = None

    def live(self) -> Record:
        with cycle_log.of_cycle(self._record):
            try:
                self._hour.live(str(self._order.series), self._feed_all)
            except BarfeedError as error:
                _log.debug("the cycle failed", exc_info=True)
                self._record.fail(error)
        return self._record

    def _feed_all(self, run: Run) -> None:
        """The bars, then the other kinds: neither waits for what is wrong with the other."""
        kinds = self._feed.kinds
        if kinds is None:
            self._pull_and_explain(run)
            return
        from barfeed.feed.kinds.of_series import publish_window  # noqa: PLC0415 - most have bars alone

        try:
            if not self._is_fed():
                self._pull_and_explain(run)
        except (ValidationFailed, ArtifactsUnusable):
            self._gather(run, is_well=False)
            raise
        self._gather(run, is_well=True)
        publish_window(kinds, run, self._order, self._talk, self._record)

    def _is_fed(self) -> bool:
        """Whether an earlier cycle has fed the bar, and only other kinds are left of it."""
        now_ms = self._settling.wait_ms()
        target_ms = grid.last_closed(now_ms, self._step_ms)
        self._record.now_ms, self._record.target_ms = now_ms, target_ms
        return target_ms == self._order.fed_ms

    def _gather(self, run: Run, *, is_well: bool) -> None:
        from barfeed.feed.kinds.of_series import gathered  # noqa: PLC0415 - most have bars alone

        with self._record.step("kinds"):
            pulled, record = self._pulled, self._record
            record.kinds = gathered(self._feed, self._order, self._talk, record, run, pulled=pulled, is_well=is_well)

    def _pull_and_explain(self, run: Run) -> None:
        try:
            self._pull_to_publish(run)
        except (BarLate, ExchangeRefused) as trouble:
            raise self._inquiry().explained(trouble) from None

    def _inquiry(self) -> "Inquiry":
        # Imported only here: a good hour asks nothing of this.
        from barfeed.feed.inquiry import Inquiry  # noqa: PLC0415

        return Inquiry(self._feed, self._order, self._talk, self._record)

    def _pull_to_publish(self, run: Run) -> None:
        plan = self._plan()
        pull, trouble = self._pull(plan.asked)
        self._save_evidence(run, pull)
        now_ms = self._talk.now_ms
        verdict.trust_clock(plan.asked, now_ms, self._talk.dated_ms, self._settling.needed_sec(now_ms))
        self._hour.refuse_overtaken(plan.asked.target_ms)
        is_all = self._is_all_there_is(pull, plan.asked)
        verdict.accept_pull(
            pull, plan.asked, may_be_short=is_all, remedies=self._order.remedies, known=self._known(plan, pull),
            window_bars=self._order.window_bars,
        )  # fmt: skip
        if trouble:
            raise trouble
        if self._order.inference_source == "api":
            # The pull alone vouches for this CSV: the model gets it though the store be in trouble.
            self._publish_pulled(run, plan.asked, pull)
        with self._pulled_instead(run, plan.asked, pull), self._by_its_cause():
            stored = self._keep_or_accept(plan, pull)
            self._tell_flat(stored, pull)
            window = self._usable(plan.asked, stored)
        if self._order.inference_source != "api":
            self._publish(run, window, "db,api" if self._record.pending or self._record.away else "db")

    def _publish_pulled(self, run: Run, asked: Asked, pull: Pull) -> None:
        start_ms = self._start_ms(asked)
        window = [bar for bar in pull.bars if bar.open_time_ms >= start_ms]
        self._publish(run, self._usable(asked, window), "api")

    @contextmanager
    def _pulled_instead(self, run: Run, asked: Asked, pull: Pull) -> Iterator[None]:
        """With both as the source: the API's window where the store is out of reach or does not fit."""
        try:
            yield
        except (StoreUnusable, ValidationFailed) as trouble:
            if self._order.inference_source == "db,api":
                self._fall_back(run, asked, pull, trouble)
            raise

    @contextmanager
    def _by_its_cause(self) -> Iterator[None]:
        """What a window lacks that stands in for the store, the store may well have: why that is away is told."""
        try:
            yield
        except WindowGap:
            if self._away is None:
                raise
            raise self._away from None

    def _fall_back(self, run: Run, asked: Asked, pull: Pull, trouble: BarfeedError) -> None:
        try:
            self._publish_pulled(run, asked, pull)
        except BarfeedError as second:
            # The first trouble is the one to tell.
            _log.error("%s", second)
        if self._record.inference:
            text = f"the inference CSV is of the exchange's bars alone, not of the store's: {trouble.status}"
            self._record.warnings.append(text)
            _log.warning("%s: %s", asked.series, text)

    def _plan(self) -> Plan:
        # Looked at once more: the hour may have turned since, and the target is of this very moment.
        order, now_ms = self._order, self._settling.wait_ms()
        self._record.now_ms, self._record.target_ms = now_ms, grid.last_closed(now_ms, self._step_ms)
        bars = order.n_recent
        if order.catch_up:
            newest_ms = self._newest_stored()
            target_ms = self._record.target_ms
            bars = verdict.bars_to_pull(target_ms, newest_ms, order.n_recent, order.window_bars, self._step_ms)
        pulled_bars = max(bars, order.window_bars) if "api" in order.inference_source else bars
        return Plan(Asked(order.series, pulled_bars, now_ms), bars)

    def _newest_stored(self) -> int | None:
        # With the API as the source, a store in trouble is told after the CSV is out, not before.
        patient = suppress(StoreUnusable) if "api" in self._order.inference_source else nullcontext()
        with patient, self._reading() as table:
            return table.coverage().last_ms
        return None

    def _pull(self, asked: Asked) -> Confirmed:
        with self._record.step("pull"):
            pull = self._talk.closed_bars(asked)
        if self._order.confirm_sec is None or rules.is_late(pull, asked):
            return Confirmed(pull)
        with self._record.step("confirm"):
            return confirm(self._talk, asked, pull, self._order.confirm_sec)

    def _is_all_there_is(self, pull: Pull, asked: Asked) -> bool:
        """A young symbol has fewer bars than asked for; a broken answer hides some."""
        if not pull.bars or len(pull.bars) >= asked.bars:
            return False
        return not self._talk.newest_bars(asked.series, pull.bars[0].open_time_ms - 1, 1).bars

    def _save_evidence(self, run: Run, pull: Pull) -> None:
        self._pulled = pull
        with self._record.step("evidence"):
            self._record.pull = run.save_pull(pull.bars)

    def _known(self, plan: Plan, pull: Pull) -> Known:
        """What is odd in the pull and no news; looked up only where something is."""
        if rules.is_odd(pull, self._step_ms):
            return self._inquiry().known(pull, plan.judged(pull))
        return NOTHING_KNOWN

    def _keep_or_accept(self, plan: Plan, pull: Pull) -> list[Bar]:
        seen_at_ms = self._feed.clock.utc_ms()
        try:
            return self._keep(plan, pull)
        except Mismatch as mismatch:
            if not self._order.accept:
                raise
            changes = acceptance.acceptable(mismatch, plan.judged(pull), self._order.accept)
            self._ask_again(plan.asked, pull, mismatch, self._order.accept.pause_sec)
        try:
            window = self._keep(plan, pull, changes, seen_at_ms)
        except Unrepaired:
            # Another process changed the store during the pause: where it accepted the same, all is well.
            return self._keep(plan, pull)
        self._record.revised = changes
        for change in changes:
            _log.warning("%s: accepted the exchange's word, as --on-mismatch says: %s", plan.asked.series, change)
        return window

    def _ask_again(self, asked: Asked, first: Pull, mismatch: Mismatch, pause_sec: float) -> None:
        _log.warning("%s; asking again in %g s, as --on-mismatch says", mismatch, pause_sec)
        with self._record.step("ask_again"):
            self._talk.patience.wait_aside(pause_sec)
            try:
                second = self._talk.closed_bars(asked)
            except BarfeedError as error:
                raise acceptance.not_accepted(mismatch, f"asked again, {error}") from error
            if second != first:
                raise acceptance.not_accepted(mismatch, "asked again, the exchange said something else")

    def _keep(self, plan: Plan, pull: Pull, changes: Sequence[Change] = (), seen_at_ms: int = 0) -> list[Bar]:
        with self._record.step("store"):
            try:
                # Whether a COMMIT that broke was made after all, no reading tells: what is inserted again is compared.
                return but_once_more(partial(self._append, plan, pull, changes, seen_at_ms))
            except StoreUnusable as trouble:
                # Only reading goes beside another's reading: what was to be changed is not.
                if changes or not (trouble.is_held or trouble.is_away):
                    raise
                return self._give_way(plan, pull, trouble)

    def _append(self, plan: Plan, pull: Pull, changes: Sequence[Change], seen_at_ms: int) -> list[Bar]:
        with self._open_store(changes, seen_at_ms) as table:
            append = self._judge(table, plan, pull, changes)
            if self._order.dry_run:
                self._record.would_append = table.would_take(append)
                return self._as_if(table, append, plan.asked)
            appended = table.append(append)
            if appended < len(append):
                # Another feeder was first.
                theirs = table.bars(append[0].open_time_ms)
                verdict.same_to_the_bit(self._order.series, append, theirs, self._order.remedies)
            window = table.bars(self._start_ms(plan.asked))
        # Only here, behind the commit, is it true.
        self._record.appended = appended
        if self._record.coverage and not self._record.coverage.rows:
            self._warn_of_second_start()
        self._record.grow(append)
        return window

    def _give_way(self, plan: Plan, pull: Pull, held: StoreUnusable) -> list[Bar]:
        """The window as if the bars were appended, which the next cycle that gets the file does; `held` says by whom.

        Judged by the store itself, which can be read beside whoever reads it, or by what the model was last given.
        """
        self._expect_catch_up(held)
        self._stand_in(held)
        with self._reading() as table:
            append = self._judge(table, plan, pull, ())
            table.would_take(append)
            window = self._as_if(table, append, plan.asked)
        self._record.pending = len(append)
        if append or self._record.away:
            text = f"{held}: {pending_text(len(append), held)}"
            self._record.warnings.append(text)
            _log.warning("%s: %s", plan.asked.series, text)
        return window

    def _expect_catch_up(self, trouble: StoreUnusable) -> None:
        """Return where the next cycle appends what this one cannot; without, it would have to be told of it."""
        if not self._order.catch_up:
            told = f"{trouble.hint}; or let the model have its window meanwhile: {self._order.remedies.catch_up}"
            raise StoreUnusable(str(trouble), hint=told) from trouble

    @contextmanager
    def _reading(self) -> Iterator["SeriesBars"]:
        """The store, or what stands in for it while it is away, to look at."""
        with ExitStack() as opened:
            try:
                table = opened.enter_context(self._feed.store.reading(self._order.series))
            except StoreUnusable as away:
                if not away.is_away:
                    raise
                self._expect_catch_up(away)
                self._stand_in(away)
                table = opened.enter_context(self._feed.store.reading(self._order.series))
            yield table

    def _stand_in(self, away: StoreUnusable) -> None:
        """Go on with what the model was last given, where the store cannot be asked; a held file's has to be proven."""
        if away.is_away and not self._away:
            if away.is_held and self._order.inference_source == "api":
                raise away
            self._feed = self._feed._replace(store=self._feed.store.stand_in(self._feed.folder, away))
            self._away, self._record.away = away, failure_of(away)

    def _as_if(self, table: "SeriesBars", append: Sequence[Bar], asked: Asked) -> list[Bar]:
        start_ms = self._start_ms(asked)
        return [bar for bar in (*table.bars(start_ms), *append) if bar.open_time_ms >= start_ms]

    def _start_ms(self, asked: Asked) -> int:
        return grid.window_start(asked.target_ms, self._order.window_bars, asked.step_ms)

    def _warn_of_second_start(self) -> None:
        folder, store = self._feed.folder, self._feed.store
        if has_published(folder, but=self._record.run_time or ""):
            warning = (
                f"a new history is started in {store.name}, though {folder.absolute()} holds earlier runs of the series"
            )
            self._record.warnings.append(warning)
            _log.warning("%s; if the old one is elsewhere, point --duckdb there", warning)

    def _open_store(self, changes: Sequence[Change], seen_at_ms: int) -> AbstractContextManager["SeriesBars"]:
        if changes:
            # Imported only here: most hours accept nothing.
            from barfeed.store.revisions import Why  # noqa: PLC0415

            why = Why(seen_at_ms, "--on-mismatch accept", self._record.run_time or "")
            return self._feed.store.revising(self._order.series, changes, why, dry_run=self._order.dry_run)
        if self._order.dry_run:
            return self._reading()
        return self._feed.store.appending(self._order.series, create=self._order.catch_up)

    def _judge(self, table: "SeriesBars", plan: Plan, pull: Pull, changes: Sequence[Change]) -> Sequence[Bar]:
        order, coverage = self._order, table.coverage()
        self._record.coverage = coverage
        self._hour.refuse_overtaken(plan.asked.target_ms, coverage.last_ms)
        # From where it was asked, not from where the answer begins: what the exchange has forgotten is a mismatch, too.
        held = Held(acceptance.with_changes(table.bars(plan.judged_from_ms(pull)), changes), coverage.last_ms)
        pulled = plan.judged(pull)
        decided = verdict.judge(plan.asked, pulled, held, catch_up=order.catch_up, remedies=order.remedies)
        self._record.validated = decided.validated
        return decided.append

    def _publish(self, run: Run, window: Sequence[Bar], source: Literal["db", "api", "db,api"]) -> None:
        if not self._order.dry_run:
            with self._record.step("publish"):
                # Noted before the latest: a manifest tells every file that is there.
                self._record.inference = run.publish(window, self._record.short_hours)
                self._record.inference_from = source
                newest_ms = grid.last_closed(self._talk.now_ms, self._step_ms)
                run.replace_latest(self._record.inference, window[-1].open_time_ms, newest_ms)

    def _tell_flat(self, window: Sequence[Bar], pull: Pull) -> None:
        """Warn of bars without a trade: the exchange goes on showing such for a market that has ended."""
        self._record.note_flat(rules.flat_runs(window, self._step_ms), pull.bars[0].open_time_ms)
        if self._record.flat:
            _log.warning("%s: %s", self._order.series, self._record.flat_text)

    def _usable(self, asked: Asked, window: Sequence[Bar]) -> Sequence[Bar]:
        """The window, which is whole, or the newest bars of it where fewer will do; raises `WindowGap`."""
        start_ms = self._start_ms(asked)
        findings = rules.check_window(window, start_ms, asked.target_ms, asked.step_ms)
        if not findings:
            return window
        gap = verdict.window_gap(asked.series, start_ms, findings, self._order.remedies)
        return self._inquiry().usable(gap, asked.target_ms, window)

    @property
    def _step_ms(self) -> int:
        return self._order.series.interval.ms
