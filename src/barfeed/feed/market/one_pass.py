"""One pass over a market: ask for every series at once, append in one transaction. Readable top to bottom."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from barfeed.artifacts.writing import Run
from barfeed.domain import grid, rules, verdict
from barfeed.domain.bars import Pull, Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused, StoreEmpty
from barfeed.domain.life import Listing
from barfeed.domain.market import members, membership
from barfeed.domain.market.members import Member, Stored
from barfeed.domain.rules import NOTHING_KNOWN, Asked, Known
from barfeed.exchange.market import Branch
from barfeed.exchange.refusals import SYMBOL_CODES
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll
from barfeed.feed import cycle_log
from barfeed.feed.asking.settling import Settling
from barfeed.feed.hour import Hour, Overtaken, but_once_more
from barfeed.feed.inquiry import is_stored
from barfeed.feed.market.keeping import Keeping, pulls_of_block
from barfeed.feed.market.order import EARLY_WAIT_SEC, Answered, Answers, Early, MarketOrder, Pulled, pulling
from barfeed.feed.market.publication import Publication
from barfeed.feed.market.record import MarketRecord, Outcome
from barfeed.feed.market.twice import Twice
from barfeed.feed.order import Feed
from barfeed.store.incoming.pulls import Pulls, pulls

if TYPE_CHECKING:
    from barfeed.feed.kinds.gathering import Kinds

_WEIGHT_LIMIT = 2400

_log = logging.getLogger(__name__)


def run_pass(
    feed: Feed,
    order: MarketOrder,
    talk: Conversation,
    ask: AskAll,
    *,
    before: MarketRecord | None = None,
    early: Early | None = None,
) -> MarketRecord:
    """Live one hour of every series, or of those that are `early`; the record tells how it ended for each.

    What the pass `before`, over the same bar, did well is not asked again. Nothing but a bug, or a signal to stop,
    raises.
    """
    while True:
        with suppress(Overtaken):
            return _Pass(feed, order, talk, ask, before=before, early=early).live()


def record_of(bug: Exception, feed: Feed, order: MarketOrder) -> MarketRecord:
    """What there is to tell of a pass that a bug of ours ended."""
    record = _record(feed, order)
    record.fail(bug)
    return record


def _record(feed: Feed, order: MarketOrder) -> MarketRecord:
    return MarketRecord(order.interval, order.dataset, str(order.selection), order.dry_run, feed.clock)


class _Pass:
    """One hour of a market: what it works with, and the record that grows as it goes."""

    def __init__(
        self,
        feed: Feed,
        order: MarketOrder,
        talk: Conversation,
        ask: AskAll,
        *,
        before: MarketRecord | None,
        early: Early | None,
    ) -> None:
        self._feed = feed
        self._order = order
        self._talk = talk
        self._ask = ask
        self._before = before
        self._step_ms = order.interval.ms
        self._early = early if early and early.is_now(order, talk.now_ms) else None
        heard_ms = self._early.open_time_ms if self._early else None
        self._settling = Settling(talk, order.interval, order.settle_sec, heard_ms)
        self._record = _record(feed, order)
        self._record.is_early = self._early is not None
        self._hour = Hour(feed, order, talk, self._settling, self._record)
        self._twice = Twice(order, talk, ask)
        self._keeping = Keeping(feed, order, talk, self._twice, record=self._record, hour=self._hour)

    def live(self) -> MarketRecord:
        with cycle_log.of_cycle(self._record):
            try:
                self._hour.live(f"market {self._order.interval}", self._pull_to_publish)
            except BarfeedError as error:
                _log.debug("the pass failed", exc_info=True)
                self._record.fail(error)
        return self._record

    def _pull_to_publish(self, run: Run) -> None:
        order = self._order
        listed = self._listed()
        now_ms = self._settling.wait_ms()
        target_ms = grid.last_closed(now_ms, self._step_ms)
        self._record.now_ms, self._record.target_ms = now_ms, target_ms
        self._record.carry(self._before)
        stored = but_once_more(partial(self._stored, target_ms))
        due = self._due(listed, stored, now_ms)
        with pulls(self._feed.store.beside()) as pulled:
            answers = self._pull([each for each in due if each.symbol not in self._record.carried], pulled)
            answers |= self._unconfirmed(answers, pulled)
            self._save_evidence(run, pulled)
            everything = Asked(Series("market", order.interval), 1, now_ms)
            verdict.trust_clock(everything, now_ms, self._talk.dated_ms, self._settling.needed_sec(now_ms))
            accepted = self._accept(answers, pulled, stored)
            self._hour.refuse_overtaken(target_ms)
            self._keeping.keep(listed, answers, accepted, pulled)
            if not order.dry_run:
                with self._record.step("publish"):
                    publication = Publication(self._keeping, order, self._talk, self._ask, self._record)
                    but_once_more(partial(publication.publish, run, due))
            if self._feed.kinds and not self._early:
                self._gather(run, self._feed.kinds, due, pulled)

    def _gather(self, run: Run, kinds: "Kinds", due: Sequence[Member], pulled: Pulls) -> None:
        from barfeed.feed.kinds.of_market import gathered, publish_windows  # noqa: PLC0415 - most have bars alone

        with self._record.step("kinds"):
            self._record.kinds = gathered(
                kinds, due, self._record, run,
                talk=self._talk, ask=self._ask, pulls=pulled.of, within=self._order.kinds_within,
            )  # fmt: skip
        publish_windows(kinds, run, self._order, self._talk, self._record)

    def _listed(self) -> Mapping[str, Listing]:
        with self._record.step("membership"):
            info = self._early.info if self._early else self._talk.exchange_info()
        self._record.info = info
        # Where the exchange tells no limit, what it was for years.
        self._talk.keep_within(self._order.weight_budget or (info.weight_limit or _WEIGHT_LIMIT) // 2)
        return info.listings

    def _stored(self, target_ms: int) -> Stored:
        start_ms = grid.window_start(target_ms, self._order.reach.window_bars, self._step_ms)
        with self._record.step("store"), self._keeping.reading() as table:
            newest_ms, listed = table.newest(start_ms), membership.by_symbol(table.membership())
            behind = [each for each in listed if each not in newest_ms and self._order.selection.includes(each)]
            newest_ms |= table.newest_of(behind)
            return Stored(newest_ms, listed, table.first_bars(), table.elsewhere())

    def _due(self, listed: Mapping[str, Listing], stored: Stored, now_ms: int) -> list[Member]:
        order = self._order
        order.selection.expect_any(listed, stored.newest_ms)
        if not (stored.newest_ms or order.reach.catch_up):
            raise StoreEmpty(
                f"market {order.interval}: the store holds no bar to validate against",
                hint=f"start it: {order.remedies('').catch_up}",
            )
        due = members.members(order.selection, order.reach, listed, stored, now_ms)
        if self._early:
            now = self._early.among(due, self._record.carried)
            self._record.awaited = sorted({each.symbol for each in due} - {each.symbol for each in now})
            due = now
        carried = self._record.outcomes
        self._record.outcomes = {
            each.symbol: carried.get(each.symbol)
            or Outcome(each.symbol, each.asked.target_ms, newest_ms=each.newest_ms)
            for each in due
        }
        if not self._early:
            self._tell_astray()
        for each in due:
            if each.asked.series.table in stored.elsewhere:
                self._outcome(each).fail(members.stands_elsewhere(each.asked.series))
        return [each for each in due if not self._outcome(each).failure]

    def _tell_astray(self) -> None:
        """Warn of a CSV that somebody waits for, and that never comes."""
        for symbol in self._order.csv_for:
            if symbol not in self._record.outcomes:
                self._keeping.warn(f"--csv-for: {symbol} is none of the symbols that are fed; it gets no CSV")

    def _pull(self, due: Sequence[Member], pulled: Pulls) -> dict[Member, Answered | BarfeedError]:
        answers: dict[Member, Answered | BarfeedError] = {}
        with self._record.step("pull"):
            for block in members.blocks(due):
                answers |= self._pull_block(block, pulled)
        for member, answer in answers.items():
            self._outcome(member).pulled = 0 if isinstance(answer, BarfeedError) else answer.bars
        return answers

    def _unconfirmed(self, answers: Answers, pulled: Pulls) -> Answers:
        """Of which series the exchange has not said the same twice, and why; none where once is enough."""
        if self._order.confirm_sec is None:
            return {}
        with self._record.step("confirm"):
            # What is late is no answer yet that could be said again.
            shown = [
                each
                for each, answer in answers.items()
                if isinstance(answer, Answered) and answer.last_ms >= each.asked.target_ms
            ]
            return self._twice.confirm(pulled, shown) if shown else {}

    def _pull_block(self, due: Sequence[Member], pulled: Pulls) -> Answers:
        wait_sec = EARLY_WAIT_SEC if self._early else self._order.series_wait_sec
        told = self._ask([pulling(Branch(self._talk), each.asked, each.first_ms, wait_sec) for each in due])
        answers = dict(zip(due, told, strict=True))
        pulled.put({member.symbol: each.pull for member, each in answers.items() if isinstance(each, Pulled)})
        return {member: each.answered if isinstance(each, Pulled) else each for member, each in answers.items()}

    def _save_evidence(self, run: Run, pulled: Pulls) -> None:
        with self._record.step("evidence"):
            self._record.pull = run.save_pulls(pulled.save)

    def _accept(self, answers: Answers, pulled: Pulls, stored: Stored) -> list[Member]:
        """Those whose pulls keep every rule by themselves; why the others do not is noted."""
        accepted: list[Member] = []
        for block in members.blocks(answers):
            accepted += self._accepted(block, answers, pulled, stored)
        return accepted

    def _accepted(self, block: Sequence[Member], answers: Answers, pulled: Pulls, stored: Stored) -> Iterator[Member]:
        pulls_of = pulls_of_block([each for each in block if isinstance(answers[each], Answered)], pulled)
        odd = {member: pull for member, pull in pulls_of.items() if rules.is_odd(pull, self._step_ms)}
        known = self._known(odd, stored) if odd else {}
        for member in block:
            try:
                self._accept_one(member, answers[member], pulls_of, known.get(member, NOTHING_KNOWN))
            except BarfeedError as trouble:
                self._note(member, trouble)
            else:
                yield member

    def _accept_one(
        self, member: Member, answer: Answered | BarfeedError, pulls_of: Mapping[Member, Pull], known: Known
    ) -> None:
        if isinstance(answer, BarfeedError):
            raise answer
        verdict.accept_pull(
            pulls_of[member], member.asked, may_be_short=answer.is_all, remedies=self._order.remedies(member.symbol),
            known=known, window_bars=self._order.reach.window_bars,
        )  # fmt: skip

    def _known(self, odd: Mapping[Member, Pull], stored: Stored) -> dict[Member, Known]:
        """What is odd and no news: somebody let it pass, the store has it so, or the symbol was seen not to trade."""
        with self._keeping.reading() as table:
            held = table.bars({member.symbol: pull.bars[0].open_time_ms for member, pull in odd.items()})
            passed = {member: table.let_pass(member.symbol) for member in odd}
        return {
            member: Known(passed[member], [
                hole
                for hole in rules.holes(pull.bars, self._step_ms)
                if is_stored(hole, {bar.open_time_ms for bar in held.get(member.symbol, ())}, self._step_ms)
                or membership.is_explained(hole, stored.listed.get(member.symbol, ()), self._step_ms)
            ])
            for member, pull in odd.items()
        }  # fmt: skip

    def _note(self, member: Member, trouble: BarfeedError) -> None:
        """Note why there is no bar of a series, by what its symbol is."""
        told = members.explained(
            member, trouble,
            is_refused=isinstance(trouble, ExchangeRefused) and trouble.code in SYMBOL_CODES,
            is_named=member.symbol in self._order.selection.names,
            backfill=self._order.remedies(member.symbol).backfill,
        )  # fmt: skip
        if told.is_trouble:
            self._outcome(member).fail(told.why)
        else:
            self._outcome(member).quiet = str(told.why)

    def _outcome(self, member: Member) -> Outcome:
        return self._record.outcomes[member.symbol]
