"""The kinds of a pass, one after another: ask for what is due, judge it, append it in one transaction.

What a pass ends without is noted, so that it is never told to have been known before it was there.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval, Pull
from barfeed.domain.errors import BarfeedError, ContractBroken, ExchangeRefused, KindLate, Mismatch, StoreUnusable
from barfeed.domain.kinds import plan
from barfeed.domain.kinds.acceptance import with_changes
from barfeed.domain.kinds.checks import Asked, check
from barfeed.domain.kinds.kind import Host, Kind, Row, Stamp
from barfeed.domain.kinds.plan import Subject
from barfeed.domain.kinds.table import KLINES
from barfeed.exchange.kinds.asking import Hosts, Limits, Question, rows, spot_talk
from barfeed.exchange.refusals import SYMBOL_CODES
from barfeed.exchange.rest import Rest
from barfeed.feed.hour import but_once_more
from barfeed.feed.kinds.acceptance import Contested, contested, refusals, tell
from barfeed.feed.kinds.due import Due, blocks
from barfeed.feed.kinds.left import KindLeft, KindsLeft
from barfeed.feed.kinds.order import KindsOrder, Moment
from barfeed.feed.record import failure_of
from barfeed.store.kinds.pulls import KindPulls, kind_pulls
from barfeed.store.kinds.revisions import Change, Why
from barfeed.store.kinds.tables import Late
from barfeed.store.kinds.windows import WideWindows
from barfeed.store.port.kinds import KeptKinds, KindRows, Stored

_DAY_MS = 24 * HOUR_MS

_log = logging.getLogger(__name__)

Told = Mapping[str, "list[Row] | BarfeedError"]


class _Asking(NamedTuple):
    """With what the kinds of one pass are asked for, and where what is said of them is kept."""

    moment: Moment
    hosts: Hosts
    pulled: KindPulls


class _Written(NamedTuple):
    """How many rows were stored already, as the exchange has them, and how many were appended."""

    validated: int
    appended: int


class Kinds:
    """The kinds of a feed; `limits` counts what its process asks, at whatever interval."""

    def __init__(self, order: KindsOrder, kept: KeptKinds, spot: Rest, limits: Limits) -> None:
        self.order = order
        self._kept = kept
        self._spot = spot
        self._limits = limits

    def gather(self, moment: Moment, subjects: Sequence[Subject]) -> KindsLeft:
        """Bring every kind of these series up to date; how each was left."""
        with kind_pulls(self._kept.beside()) as pulled:
            left = self._gathered(moment, subjects, pulled)
            if pulled.rows:
                left.pull = moment.save(pulled.save)
        for said in (*left.warnings, *(f"{told}; {hint}" for told, hint in left.holes or ())):
            _log.warning("%s", said)
        return left

    def _gathered(self, moment: Moment, subjects: Sequence[Subject], pulled: KindPulls) -> KindsLeft:
        left = KindsLeft()
        talks = {Host.FUTURES: moment.talk, Host.SPOT: spot_talk(self._spot, moment.talk)}
        asking = _Asking(moment, Hosts(talks, self._limits, moment.until_ms), pulled)
        stored = self._stored(moment, subjects)
        # What can be had at the close first; the others' limits may take minutes.
        for kind in sorted(self.order.kinds, key=lambda each: not each.limit.is_weight):
            if any(each.is_pending for each in left.kinds):
                # Who has the store has waited for once: nobody waits for it kind by kind.
                left.kinds.append(KindLeft(kind.name, is_pending=True))
                continue
            work = _OneKind(kind, self.order, self._kept, asking)
            left.kinds.append(work.done([each for each in subjects if each.has(kind)], stored[kind.name]))
        target_ms = max((each.last_ms for each in subjects), default=None)
        if target_ms is not None:
            close_ms = target_ms + moment.interval.ms
            left.again_ms = self._again_ms(moment, close_ms)
            left.holes = self._holes(moment, subjects) if close_ms % _DAY_MS == 0 else None
        return left

    def _stored(self, moment: Moment, subjects: Sequence[Subject]) -> dict[str, Stored]:
        recent_ms = moment.talk.now_ms - self.order.reach.window * moment.interval.ms
        symbols = [each.symbol for each in subjects]
        look = partial(self._kept.newest, self.order.kinds, moment.interval, symbols, recent_ms)
        stored = look()
        # A database that was lost in the middle may be back.
        is_lost = any(isinstance(each, StoreUnusable) and each.is_away for each in stored.values())
        return look() if is_lost else stored

    def _holes(self, moment: Moment, subjects: Sequence[Subject]) -> list[tuple[str, str]] | None:
        """What is missing of kinds that the exchange forgets: looked for once a day."""
        now_ms, symbols = moment.talk.now_ms, {each.symbol for each in subjects}
        try:
            found = [each.of(symbols) for each in self._kept.holes(moment.interval, now_ms)]
        except StoreUnusable as trouble:
            # Who looks tomorrow sees it, too; what is wrong with the store is told by the bars.
            _log.debug("the store could not be looked at: %s", trouble)
            return None
        return [(each.told(now_ms), each.hint) for each in found if each.holes]

    def wide_windows(
        self, interval: Interval, begins_ms: Mapping[str, int], end_ms: int, aside: Path
    ) -> AbstractContextManager[WideWindows]:
        """What is stored of these windows with what was known of every kind beside each bar."""
        return self._kept.wide_windows(self.order.kinds, interval, begins_ms, end_ms, aside)

    def _again_ms(self, moment: Moment, close_ms: int) -> int | None:
        later = [close_ms + kind.published_ms for kind in self.order.kinds]
        return min((each for each in later if each > moment.talk.now_ms), default=None)


class _OneKind:
    """One kind of all series, block by block."""

    def __init__(self, kind: Kind, order: KindsOrder, kept: KeptKinds, asking: _Asking) -> None:
        self._kind = kind
        self._order = order
        self._kept = kept
        self._moment, self._hosts, self._pulled = asking
        self._left = KindLeft(kind.name)
        # The rows of a symbol that a dry run would put in the place of stored ones.
        self._taken: dict[str, list[Row]] = {}

    def done(self, subjects: Sequence[Subject], stored: Stored) -> KindLeft:
        """Bring the kind up to date; how it was left."""
        try:
            self._bring(subjects, stored)
        except StoreUnusable as trouble:
            if trouble.is_held or trouble.is_away:
                self._give_way(trouble)
            else:
                self._left.failure = failure_of(trouble)
        except BarfeedError as trouble:
            _log.debug("%s failed", self._kind.name, exc_info=True)
            self._left.failure = failure_of(trouble)
        except Exception as bug:
            # The bars are fed, and the other kinds may be.
            _log.exception("this is a bug in barfeed; report it")
            self._left.failure = failure_of(bug)
        return self._left

    def _give_way(self, trouble: StoreUnusable) -> None:
        """Leave it to the next pass that gets the store: it asks for all that is missing."""
        self._left.is_pending = True
        if not trouble.is_held:
            _log.warning("%s: %s", self._kind.name, trouble)

    def _bring(self, subjects: Sequence[Subject], stored: Stored) -> None:
        if isinstance(stored, StoreUnusable):
            raise stored
        due = self._due(subjects, stored)
        self._left.series = len(due)
        for block in blocks(due):
            self._keep(block, self._told(block))

    def _due(self, subjects: Sequence[Subject], newest_ms: Mapping[str, int]) -> list[Due]:
        now_ms, reach = self._moment.talk.now_ms, self._order.reach
        if self._kind.is_of_all and newest_ms:
            # One answer has everybody's: what is stored of one is stored of all.
            newest_ms = dict.fromkeys(newest_ms, max(newest_ms.values()))
        spans = [(each, plan.span(self._kind, each, reach, newest_ms.get(each.symbol), now_ms)) for each in subjects]
        return [Due(each, *span, newest_ms.get(each.symbol)) for each, span in spans if span]

    def _told(self, block: Sequence[Due]) -> Told:
        at_hand = self._at_hand(block)
        return at_hand | self._asked([each for each in block if each.symbol not in at_hand])

    def _at_hand(self, block: Sequence[Due]) -> "dict[str, list[Row] | BarfeedError]":
        """What came with the bars, of the same request, where that is all that is due."""
        if self._kind is not KLINES:
            return {}
        pulled = self._moment.pulls([each.symbol for each in block])
        covered = [(each, pulled[each.symbol]) for each in block if each.symbol in pulled]
        return {
            each.symbol: _turnovers(each, pull)
            for each, pull in covered
            if pull.bars and pull.bars[0].open_time_ms <= each.first_ms
        }

    def _asked(self, block: Sequence[Due]) -> "dict[str, list[Row] | BarfeedError]":
        together = self._of_all(block)
        alone = [each for each in block if each not in together]
        questions = [self._question(each) for each in alone]
        if together:
            questions.append(self._question(together[0])._replace(of_all=True))
        answers = self._answers(questions)
        told = {each.symbol: _of_symbol(answer, each.symbol) for each, answer in zip(alone, answers, strict=False)}
        told |= {each.symbol: _of_symbol(answers[-1], each.symbol) for each in together}
        # Before anything is decided.
        self._pulled.put(self._kind, {symbol: each for symbol, each in told.items() if isinstance(each, list)})
        return told

    def _answers(self, questions: Sequence[Question]) -> Sequence[dict[str, list[Row]] | BarfeedError]:
        steps = [rows(self._hosts.branch(self._kind, self._order.wait_sec), each) for each in questions]
        return self._moment.ask(steps) if steps else []

    def _of_all(self, block: Sequence[Due]) -> list[Due]:
        """Those that one question without a symbol is cheaper for: it is asked hour by hour."""
        if not self._kind.is_of_all:
            return []
        fed = [each for each in block if each.newest_ms is not None]
        hours = (fed[0].last_ms - fed[0].first_ms) // HOUR_MS + 1 if fed else 0
        return fed if hours < len(fed) else []

    def _question(self, due: Due) -> Question:
        return Question(self._kind, due.subject.series, due.first_ms, due.last_ms)

    def _keep(self, block: Sequence[Due], told: Told) -> None:
        """Append what is good of each series, and note what this pass ends without."""
        good = {each: accepted for each in block if (accepted := self._accepted(each, told[each.symbol])) is not None}
        # Whether a COMMIT that broke was made after all, no reading tells: what is inserted again is compared.
        if some := but_once_more(partial(self._append, block, good)):
            self._settle(some, good)

    def _append(self, block: Sequence[Due], good: Mapping[Due, list[Row]]) -> dict[Due, Contested]:
        """Append what nothing stored contradicts; what is contradicted within the terms."""
        some: dict[Due, Contested] = {}
        with self._writing() as table:
            written = self._write(table, block, good, some)
        self._count(written)
        return some

    def _write(
        self, table: KindRows, block: Sequence[Due], good: Mapping[Due, list[Row]], some: dict[Due, Contested] | None
    ) -> _Written:
        new = self._new(table, good, some)
        appended = table.append(new) if not self._order.dry_run else {each: len(new[each]) for each in new}
        if not self._order.dry_run:
            due = [each for each in block if not some or each not in some]
            late = list(self._late(table, due, good, new))
            table.note_late(_lacking(table, late) if late else [], self._moment.talk.now_ms)
            table.make_views([each.symbol for each in block if each.symbol in self._order.views_of])
        held = sum(len(answer) - len(new[each.symbol]) for each, answer in good.items() if each.symbol in new)
        return _Written(held, sum(appended.values()))

    def _count(self, written: _Written) -> None:
        # Only behind the commit is it true.
        self._left.validated += written.validated
        self._left.appended += written.appended

    def _settle(self, some: Mapping[Due, Contested], good: Mapping[Due, list[Row]]) -> None:
        """Ask once more about what is contested; where the exchange says the same, its word is taken."""
        assert self._order.accept
        why = Why(self._moment.talk.rest.clock.utc_ms(), "--on-mismatch accept", self._moment.run_time)
        not_taken = refusals(list(some.values()), self._moment.talk, self._order.accept.pause_sec, self._answers)
        changes = [change for each in some.values() if each.symbol not in not_taken for change in each.changes]
        if self._order.dry_run:
            self._taken = {each.symbol: each.news for each in some.values() if each.symbol not in not_taken}
        changes = but_once_more(partial(self._revise, changes, why, {each: good[each] for each in some}))
        self._left.revised += len(changes)
        tell(self._kind, changes)
        for symbol, trouble in not_taken.items():
            self._left.fail(symbol, trouble)

    def _revise(self, changes: list[Change], why: Why, good: Mapping[Due, list[Row]]) -> list[Change]:
        """Make these changes, and append what comes with them; those that were made."""
        with self._writing() as table:
            if not self._order.dry_run:
                changes = table.revise(changes, why)
            written = self._write(table, list(good), good, None)
        self._count(written)
        return changes

    def _accepted(self, due: Due, answer: "list[Row] | BarfeedError") -> "list[Row] | None":
        """The rows that keep every rule by themselves; None where there are none, and why is noted."""
        if isinstance(answer, BarfeedError):
            is_none = isinstance(answer, ExchangeRefused) and answer.code in SYMBOL_CODES and due.newest_ms is None
            if not is_none:
                self._left.fail(due.symbol, answer)
            return None
        asked = Asked(self._kind, due.subject.series, due.first_ms, due.last_ms, self._moment.talk.now_ms)
        refused, warned = check(answer, asked)
        if warned:
            self._left.warned[due.symbol] = warned
        if refused:
            said = f"{self._kind.name} breaks {len(refused)} rules; first: {refused[0].rule} {refused[0]}"
            self._left.fail(due.symbol, ContractBroken(said, findings=refused))
            return None
        if self._is_late(due, answer):
            self._left.fail(due.symbol, self._lateness(due))
        return answer

    def _is_late(self, due: Due, answer: Sequence[Row]) -> bool:
        if self._kind.stamp is Stamp.MOMENT or (not answer and due.newest_ms is None):
            # What never had a row has none: a kind is not of every symbol.
            return False
        return not answer or answer[-1].timestamp_ms < due.last_ms

    def _lateness(self, due: Due) -> KindLate:
        return KindLate(f"{self._kind.name} of {grid.text(due.last_ms)} is due, and the exchange does not show it yet")

    def _new(
        self, table: KindRows, good: Mapping[Due, list[Row]], some: dict[Due, Contested] | None
    ) -> dict[str, list[Row]]:
        """What to append of each series, and when it was known; why nothing of the others is noted, or is in `some`."""
        first_ms = {each.symbol: answer[0].timestamp_ms for each, answer in good.items() if answer}
        held = table.rows(first_ms)
        was_late = table.was_late(min(first_ms.values(), default=0))
        new: dict[str, list[Row]] = {}
        for each, answer in good.items():
            stored = with_changes(held.get(each.symbol, []), self._taken.get(each.symbol, ()))
            try:
                fresh = plan.new_rows(self._kind, each.subject.series, answer, stored, self._order.repaired_by)
            except Mismatch as trouble:
                self._contest(each, (answer, stored, trouble), some)
                continue
            new[each.symbol] = [self._known(row, was_late.get(each.symbol, ())) for row in fresh]
        return new

    def _contest(
        self, due: Due, told: tuple[list[Row], list[Row], Mismatch], some: dict[Due, Contested] | None
    ) -> None:
        """Note why nothing of a series is kept; what is within the terms is asked about once more."""
        answer, stored, mismatch = told
        try:
            if some is None or self._order.accept is None:
                raise mismatch
            some[due] = contested(self._question(due), answer, stored, mismatch, self._order.accept)
        except Mismatch as trouble:
            self._left.fail(due.symbol, trouble)

    def _known(self, row: Row, late: Sequence[Late]) -> Row:
        if not any(each.since_ms < row.timestamp_ms <= each.until_ms for each in late):
            return row
        now_ms = self._moment.talk.now_ms
        return row._replace(known_at_ms=self._kind.known_at_ms(row.timestamp_ms, self._moment.interval, now_ms))

    def _late(
        self, table: KindRows, block: Sequence[Due], good: Mapping[Due, list[Row]], new: Mapping[str, list[Row]]
    ) -> Iterator[Late]:
        """What is due and not stored now, unless an earlier pass has noted it."""
        noted = table.was_late(min((each.last_ms for each in block), default=0))
        for each in block:
            newest = [row.timestamp_ms for row in new.get(each.symbol, ())][-1:]
            since_ms = max([*newest, each.newest_ms if each.newest_ms is not None else each.first_ms - 1])
            has_none = each in good and not good[each] and each.newest_ms is None
            if since_ms >= each.last_ms or has_none or (each in good and self._kind.stamp is Stamp.MOMENT):
                continue
            if not any(old.since_ms <= since_ms and each.last_ms <= old.until_ms for old in noted.get(each.symbol, ())):
                yield Late(each.symbol, since_ms, each.last_ms)

    def _reading(self) -> AbstractContextManager[KindRows]:
        return self._kept.reading(self._kind, self._moment.interval)

    def _writing(self) -> AbstractContextManager[KindRows]:
        return self._reading() if self._order.dry_run else self._kept.writing(self._kind, self._moment.interval)


def _lacking(table: KindRows, late: Sequence[Late]) -> list[Late]:
    """Those that no other feeder has stored meanwhile."""
    newest_ms = table.newest([each.symbol for each in late], min(each.until_ms for each in late))
    return [each for each in late if newest_ms.get(each.symbol, each.since_ms) < each.until_ms]


def _of_symbol(answer: "dict[str, list[Row]] | BarfeedError", symbol: str) -> "list[Row] | BarfeedError":
    return answer if isinstance(answer, BarfeedError) else answer.get(symbol, [])


def _turnovers(due: Due, pull: Pull) -> "list[Row] | BarfeedError":
    interval = due.subject.series.interval
    return [
        Row(bar.open_time_ms, KLINES.known_at_ms(bar.open_time_ms, interval), tuple(turnover))
        for bar, turnover in zip(pull.bars, pull.turnovers, strict=True)
        if due.first_ms <= bar.open_time_ms <= due.last_ms
    ]
