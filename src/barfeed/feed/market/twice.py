"""What the exchange must say twice: a bar that is not confirmed yet, and its word against the store's."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple

from barfeed.domain import acceptance, rules, verdict
from barfeed.domain.acceptance import Change, Terms
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import BarfeedError, Mismatch
from barfeed.domain.market import members
from barfeed.domain.market.members import Member
from barfeed.domain.market.telling import named
from barfeed.domain.rules import Asked
from barfeed.domain.verdict import Held, Verdict
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll, Steps
from barfeed.feed.asking.confirmation import LEAST_PAUSE_SEC, unsettled
from barfeed.feed.market.order import MarketOrder
from barfeed.feed.market.record import MarketRecord
from barfeed.machine.clock import Patience
from barfeed.store.incoming.pulls import Pulls
from barfeed.store.port.history import MarketBars
from barfeed.store.revisions import Why

# So many changes are logged; all of them are in the manifest.
_LOGGED_MAX = 20

_log = logging.getLogger(__name__)


class Contested(NamedTuple):
    """A series whose stored bars the exchange contradicts, within the terms on which its word is taken."""

    member: Member
    pull: Pull
    mismatch: Mismatch
    changes: Sequence[Change]


def contested(member: Member, pull: Pull, mismatch: Mismatch, terms: Terms) -> Contested:
    """It, where the mismatch is within the terms; raises it anew, saying why, where it is not."""
    return Contested(member, pull, mismatch, acceptance.acceptable(mismatch, pull.bars, terms))


class Twice:
    """Asks again about some of the series, all of them at once."""

    def __init__(self, order: MarketOrder, talk: Conversation, ask: AskAll) -> None:
        self._order = order
        self._talk = talk
        self._ask = ask

    def confirm(self, pulled: Pulls, shown: Sequence[Member]) -> dict[Member, BarfeedError]:
        """Ask until two answers in a row are the same, which is then what is pulled; why the others are not."""
        pause_sec = max(self._order.confirm_sec or 0.0, LEAST_PAUSE_SEC)
        # The first pause is as planned as settling is; those after it are the exchange's doing.
        self._talk.patience.wait_aside(pause_sec)
        patience = Patience(self._talk.rest.clock, self._order.series_wait_sec)
        while True:
            differing: dict[Member, BarfeedError] = {}
            for block in members.blocks(shown):
                differing |= self._differing(block, pulled)
            if not differing or pause_sec >= min(patience.left_sec, self._talk.patience.left_sec):
                return differing
            _log.info("%s; asking again in %g s", _of_all(differing), pause_sec)
            self._talk.count_retry("unsettled")
            self._talk.patience.pause(pause_sec)
            shown = list(differing)

    def said_again(self, some: Sequence[Contested], pause_sec: float) -> Iterator[tuple[Contested, Mismatch | None]]:
        """Each with why the exchange's word is not taken after all; None where it has said the very same again."""
        _log.warning(
            "%d series (%s) differ from the exchange; asking again in %g s, as --on-mismatch says",
            len(some), named([each.member.symbol for each in some]), pause_sec,
        )  # fmt: skip
        self._talk.patience.wait_aside(pause_sec)
        for each, answer in zip(some, self._asked([each.member for each in some]), strict=True):
            if isinstance(answer, BarfeedError):
                yield each, acceptance.not_accepted(each.mismatch, f"asked again, {answer}")
            elif not _is_same(answer, each.pull):
                yield each, acceptance.not_accepted(each.mismatch, "asked again, the exchange said something else")
            else:
                yield each, None

    def _differing(self, block: Sequence[Member], pulled: Pulls) -> dict[Member, BarfeedError]:
        symbols = [each.symbol for each in block]
        first, answers = pulled.of(symbols), dict(zip(block, self._asked(block), strict=True))
        pulled.replace({each.symbol: said for each, said in answers.items() if isinstance(said, Pull)})
        second = pulled.of(symbols)
        troubles = {each: said for each, said in answers.items() if isinstance(said, BarfeedError)}
        return troubles | {
            each: unsettled(each.asked, first[each.symbol], second[each.symbol])
            for each in block
            if each not in troubles and first[each.symbol] != second[each.symbol]
        }

    def _asked(self, some: Sequence[Member]) -> list[Pull | BarfeedError]:
        return self._ask([_asking(Branch(self._talk), each.asked, self._order.series_wait_sec) for each in some])


class _Decided(NamedTuple):
    """What is to be appended of a series, once these of its stored bars are changed."""

    of: Contested
    verdict: Verdict
    changes: Sequence[Change]

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.of.member.symbol


class Revision:
    """The transaction in which the exchange's word is taken: both versions are kept, and what is good is appended."""

    def __init__(self, order: MarketOrder, record: MarketRecord, seen_at_ms: int) -> None:
        self._order = order
        self._record = record
        self._why = Why(seen_at_ms, "--on-mismatch accept", record.run_time or "")

    def make(self, opened: AbstractContextManager[MarketBars], some: Sequence[Contested]) -> None:
        """Change the bars of these series, and append what is new of each; why not, is noted of a series."""
        with opened as table:
            table.expect_audit()
            decided = list(self._decided(table, some))
            appended = self._write(table, decided)
        # Only here, behind the commit, is it true.
        for each in decided:
            self._note(each, appended[each.symbol])
        _tell([(each.of.member.asked.series, change) for each in decided for change in each.changes])

    def _write(self, table: MarketBars, decided: Sequence[_Decided]) -> dict[str, int]:
        new = {each.symbol: each.verdict.append for each in decided}
        if self._order.dry_run:
            return {symbol: len(bars) for symbol, bars in new.items()}
        for each in decided:
            table.revise(each.symbol, each.changes, self._why)
        return table.append(new)

    def _note(self, decided: _Decided, appended: int) -> None:
        outcome = self._record.outcomes[decided.symbol]
        outcome.failure, outcome.validated, outcome.revised = None, decided.verdict.validated, list(decided.changes)
        outcome.flat = rules.flat_runs(decided.of.pull.bars, self._order.interval.ms)
        outcome.has_all(appended, dry_run=self._order.dry_run)

    def _decided(self, table: MarketBars, some: Sequence[Contested]) -> Iterator[_Decided]:
        begins_ms = {each.member.symbol: verdict.judged_from(each.member.asked, each.pull.bars) for each in some}
        held = table.bars(begins_ms)
        for each in some:
            stored = held.get(each.member.symbol, [])
            # Another process may have changed the store during the pause: where it accepted the same, all is well.
            changes = each.changes if {change.old for change in each.changes} <= {*stored} else ()
            try:
                yield _Decided(each, self._judged(each, stored, changes), changes)
            except BarfeedError as trouble:
                self._record.outcomes[each.member.symbol].fail(trouble)

    def _judged(self, each: Contested, stored: Sequence[Bar], changes: Sequence[Change]) -> Verdict:
        member = each.member
        newest_ms = stored[-1].open_time_ms if stored else member.newest_ms
        held = Held(acceptance.with_changes(stored, changes), newest_ms)
        remedies = self._order.remedies(member.symbol)
        return verdict.judge(member.asked, each.pull.bars, held, catch_up=member.catch_up, remedies=remedies)


def _asking(talk: Conversation, asked: Asked, wait_sec: float) -> Steps[Pull]:
    talk.patience = Patience(talk.rest.clock, min(wait_sec, talk.patience.left_sec))
    return (yield from talk.steps_of_closed_bars(asked))


def _is_same(one: Pull, other: Pull) -> bool:
    # One of them has been in DuckDB: what its rows are kept in is not compared.
    return all(tuple(first) == tuple(second) for first, second in zip(one, other, strict=True))


def _of_all(troubles: Mapping[Member, BarfeedError]) -> str:
    first = next(iter(troubles.values()))
    return f"{len(troubles)} series ({named([each.symbol for each in troubles])}); first: {first}"


def _tell(changes: Sequence[tuple[Series, Change]]) -> None:
    for series, change in changes[:_LOGGED_MAX]:
        _log.warning("%s: accepted the exchange's word, as --on-mismatch says: %s", series, change)
    if len(changes) > _LOGGED_MAX:
        _log.warning("%d more were accepted likewise; the manifest has all", len(changes) - _LOGGED_MAX)
