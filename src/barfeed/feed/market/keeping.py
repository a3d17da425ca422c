"""What becomes of a pass's bars: compared and appended in one transaction, or left to the next pass."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial

from barfeed.domain import rules, verdict
from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import BarfeedError, Mismatch, StoreUnusable, WindowGap
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing
from barfeed.domain.market import members
from barfeed.domain.market.members import Member
from barfeed.domain.verdict import Held
from barfeed.exchange.rest import Conversation
from barfeed.feed.hour import Hour, but_once_more
from barfeed.feed.market.listings import noted
from barfeed.feed.market.order import Answers, MarketOrder, nothing_before
from barfeed.feed.market.record import MarketRecord, Outcome
from barfeed.feed.market.twice import Contested, Revision, Twice, contested
from barfeed.feed.order import Feed
from barfeed.feed.record import failure_of, pending_text
from barfeed.store.incoming.pulls import Pulls
from barfeed.store.port.history import MarketBars

_log = logging.getLogger(__name__)


class Keeping:
    """The store as one pass uses it; the record grows as it goes."""

    def __init__(
        self, feed: Feed, order: MarketOrder, talk: Conversation, twice: Twice, *, record: MarketRecord, hour: Hour
    ) -> None:
        self._feed = feed
        self._store = feed.store
        self._order = order
        self._talk = talk
        self._record = record
        self._hour = hour
        self._twice = twice
        self._contested: list[Contested] = []
        # Why the store itself is not asked any more, and something stands in for it.
        self.away: StoreUnusable | None = None
        # From which open_time (ms) on this pass has appended bars of a symbol: a first start's are too many to keep.
        self._appended_ms: dict[str, int] = {}
        self._pulled: Pulls | None = None

    def keep(self, listed: Mapping[str, Listing], answers: Answers, accepted: Sequence[Member], pulled: Pulls) -> None:
        """Compare every series, append what is good of each, note what is listed; or leave that to the next pass."""
        self._pulled = pulled
        with self._record.step("store"):
            try:
                # Whether a COMMIT that broke was made after all, no reading tells: what is inserted again is compared.
                but_once_more(partial(self._append, listed, answers, accepted, pulled))
            except StoreUnusable as trouble:
                if not (trouble.is_held or trouble.is_away):
                    raise
                self._give_way(accepted, pulled, trouble)
        if self._order.accept and self._contested:
            self._take_its_word(self._order.accept)

    def _take_its_word(self, terms: Terms) -> None:
        """Ask again about what the exchange contradicts; where it says the same, its word is taken over the store's."""
        seen_at_ms, agreed = self._feed.clock.utc_ms(), []
        with self._record.step("ask_again"):
            for each, trouble in self._twice.said_again(self._contested, terms.pause_sec):
                if trouble:
                    self._outcome(each.member).fail(trouble)
                else:
                    agreed.append(each)
        if not agreed:
            return
        try:
            with self._record.step("store"):
                Revision(self._order, self._record, seen_at_ms).make(self._writing(), agreed)
        except StoreUnusable as trouble:
            # The others are appended already.
            for each in agreed:
                self._outcome(each.member).fail(trouble)

    def _give_way(self, accepted: Sequence[Member], pulled: Pulls, held: StoreUnusable) -> None:
        """Judge by the store, read beside its readers, or by the last windows, what the next pass appends."""
        self._expect_catch_up(held)
        if held.is_away:
            self._stand_in(held)
        new: dict[str, Sequence[Bar]] = {}
        self._appended_ms = {}
        with self.reading() as table:
            for block in members.blocks(accepted):
                new |= self._judge(table, pulls_of_block(block, pulled))
        self._record.pending = {symbol: bars for symbol, bars in new.items() if bars}
        for symbol, bars in self._record.pending.items():
            self._record.outcomes[symbol].pending = len(bars)
        # Another time: nothing can be changed now.
        self._contested.clear()
        waiting = sum(map(len, self._record.pending.values()))
        if waiting or self.away:
            self.warn(f"{held}: {pending_text(waiting, held)}")

    def _expect_catch_up(self, trouble: StoreUnusable) -> None:
        """Return where the next pass appends what this one cannot; without, it would have to be told of it."""
        if not self._order.reach.catch_up:
            told = (
                f"{trouble.hint}; or let the models have their windows meanwhile: {self._order.remedies('').catch_up}"
            )
            raise StoreUnusable(str(trouble), hint=told) from trouble

    def _stand_in(self, away: StoreUnusable) -> None:
        """Go on with what the models were last given, where the store itself cannot be asked."""
        if not self.away:
            self._store = self._feed.store.stand_in(self._feed.folder, away)
            self.away = away
            self._record.away = failure_of(away)

    def _append(
        self, listed: Mapping[str, Listing], answers: Answers, accepted: Sequence[Member], pulled: Pulls
    ) -> None:
        """All of it in one transaction."""
        appended: dict[str, int] = {}
        self._contested.clear()
        self._appended_ms = {}
        with self._writing() as table:
            for block in members.blocks(accepted):
                appended |= self._insert(table, self._judge(table, pulls_of_block(block, pulled)))
            # What was listed some time ago is noted already, and may be so no more.
            events = [] if self._record.is_early else noted(table, self._order, listed, self._talk.now_ms)
            if not self._order.dry_run:
                table.note_exchange_gaps(nothing_before(answers), self._talk.now_ms)
        # Only here, behind the commit, is it true.
        for symbol, bars in appended.items():
            if not self._record.outcomes[symbol].failure:
                self._record.outcomes[symbol].has_all(bars, dry_run=self._order.dry_run)
        self._record.events = events
        for event in events:
            self.warn(str(event))

    def _insert(self, table: MarketBars, new: Mapping[str, Sequence[Bar]]) -> dict[str, int]:
        if self._order.dry_run:
            return {symbol: len(bars) for symbol, bars in new.items()}
        appended = table.append(new)
        self._compare(table, {symbol: bars for symbol, bars in new.items() if appended[symbol] < len(bars)})
        self._appended_ms |= {symbol: bars[0].open_time_ms for symbol, bars in new.items() if bars}
        return appended

    def _compare(self, table: MarketBars, second: Mapping[str, Sequence[Bar]]) -> None:
        """Compare with what another feeder, which was first, has stored meanwhile: to the bit, or it is a mismatch."""
        stored = table.bars({symbol: bars[0].open_time_ms for symbol, bars in second.items()})
        for symbol, bars in second.items():
            series = Series(symbol, self._order.interval)
            try:
                verdict.same_to_the_bit(series, bars, stored.get(symbol, ()), self._order.remedies(symbol))
            except Mismatch as other:
                self._record.outcomes[symbol].fail(other)

    def _judge(self, table: MarketBars, accepted: Mapping[Member, Pull]) -> dict[str, Sequence[Bar]]:
        """What to append of each series; why nothing of the others, is noted."""
        begins_ms = {member.symbol: verdict.judged_from(member.asked, pull.bars) for member, pull in accepted.items()}
        held = table.bars(begins_ms)
        newest_ms = {symbol: bars[-1].open_time_ms for symbol, bars in held.items()}
        self._hour.refuse_overtaken(self._record.target_ms or 0, max(newest_ms.values(), default=None))
        new: dict[str, Sequence[Bar]] = {}
        for member, pull in accepted.items():
            its = Held(held.get(member.symbol, ()), newest_ms.get(member.symbol, member.newest_ms))
            remedies = self._order.remedies(member.symbol)
            try:
                self._expect_history(pull, its)
                decided = verdict.judge(member.asked, pull.bars, its, catch_up=member.catch_up, remedies=remedies)
            except BarfeedError as trouble:
                self._refuse(member, pull, trouble)
                continue
            self._outcome(member).validated = decided.validated
            self._outcome(member).flat = rules.flat_runs(pull.bars, self._order.interval.ms)
            new[member.symbol] = decided.append
        return new

    def _expect_history(self, pull: Pull, its: Held) -> None:
        """Raise where a whole window would be the exchange's word alone: the store that is away may contradict it."""
        if self.away and not its.bars and len(pull.bars) >= self._order.reach.window_bars:
            raise self.away

    def _refuse(self, member: Member, pull: Pull, trouble: BarfeedError) -> None:
        self._outcome(member).fail(self.of_the_store(trouble))
        if isinstance(trouble, Mismatch) and self._order.accept:
            try:
                self._contested.append(contested(member, pull, trouble, self._order.accept))
            except Mismatch as beyond:
                self._outcome(member).fail(beyond)

    def of_the_store(self, trouble: BarfeedError) -> BarfeedError:
        """The trouble by its cause: what a window lacks that stands in for the store, the store may well have."""
        return self.away if self.away and isinstance(trouble, WindowGap) else trouble

    @contextmanager
    def reading(self) -> Iterator[MarketBars]:
        """The store, or what stands in for it while it is away, to look at; with what waits to be appended."""
        with ExitStack() as opened:
            try:
                table = opened.enter_context(self._opened())
            except StoreUnusable as away:
                if not away.is_away or self.away:
                    raise
                self._expect_catch_up(away)
                self._stand_in(away)
                table = opened.enter_context(self._opened())
            yield table

    def remember(self, absent: Sequence[tuple[str, Gap]]) -> None:
        """Note what the exchange has none of. What has to wait for the store is asked once more by the next pass."""
        if not absent or self._record.pending:
            return
        try:
            with self._store.writing_market(self._order.interval) as table:
                table.note_exchange_gaps(absent, self._talk.now_ms)
        except StoreUnusable as away:
            if not away.is_away:
                raise

    def _opened(self) -> AbstractContextManager[MarketBars]:
        return self._store.reading_market(self._order.interval, self._record.pending or self._appended())

    def _appended(self) -> dict[str, Sequence[Bar]]:
        """What this pass has appended, where the store itself can no longer show it."""
        if not (self.away and self._pulled):
            return {}
        since_ms, pulls_of = self._appended_ms, self._pulled.of(list(self._appended_ms))
        return {
            symbol: [bar for bar in pull.bars if bar.open_time_ms >= since_ms[symbol]]
            for symbol, pull in pulls_of.items()
        }

    def _writing(self) -> AbstractContextManager[MarketBars]:
        return self.reading() if self._order.dry_run else self._store.writing_market(self._order.interval)

    def _outcome(self, member: Member) -> Outcome:
        return self._record.outcomes[member.symbol]

    def warn(self, text: str) -> None:
        """Tell of what somebody should look at, in the log and in the manifest."""
        self._record.warnings.append(text)
        _log.warning("%s", text)


def pulls_of_block(block: Sequence[Member], pulled: Pulls) -> dict[Member, Pull]:
    """What was pulled of each of these."""
    pulls_of = pulled.of([each.symbol for each in block])
    return {each: pulls_of[each.symbol] for each in block}
