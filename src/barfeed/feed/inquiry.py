"""Why an hour fails that the feed can do nothing about: asked of the exchange, once, and in no good hour."""

import logging
from collections.abc import Sequence, Set
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from barfeed.domain import grid, life, rules, window
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import BarfeedError, BarLate, ExchangeRefused, StoreUnusable, WindowGap
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life, Listed, Seen
from barfeed.domain.rules import Known
from barfeed.domain.window import Answer, Asked, Shortage, Told
from barfeed.exchange.refusals import SYMBOL_CODES, UNKNOWN_SYMBOL
from barfeed.exchange.rest import Conversation
from barfeed.feed.record import Record

if TYPE_CHECKING:
    from barfeed.feed.order import Feed, Order
    from barfeed.store.port.history import History

# What a cycle that has failed still waits to be told why: its own patience may be used up.
_WAIT_SEC = 10.0
# Each is a question to the exchange. Who has more of them has something else to mend first.
_GAPS_ASKED = 20

_log = logging.getLogger(__name__)


class Inquiry:
    """What one cycle asks beyond what it needs."""

    def __init__(self, feed: "Feed", order: "Order", talk: Conversation, record: Record) -> None:
        self._feed = feed
        self._order = order
        self._talk = talk
        self._record = record

    def explained(self, trouble: BarLate | ExchangeRefused) -> BarfeedError:
        """The trouble by its cause where that is the symbol's life, else the trouble itself."""
        if isinstance(trouble, ExchangeRefused) and trouble.code not in SYMBOL_CODES:
            return trouble
        with self._record.step("inquiry"):
            now = life_of(self._order.series, self._talk, _named(trouble))
        if now is None:
            return trouble
        if now.stage == "trading":
            # That explains nothing: the next time it may say more.
            self._talk.listed = None
        order, store = self._order, self._feed.store
        if isinstance(trouble, ExchangeRefused):
            return _of_a_refusal(trouble, order.series, now, store, order.remedies.backfill)
        if life.is_due(now, self._record.target_ms or 0):
            return trouble
        return life.why_no_bar(order.series, now, _seen(store, order.series, order.remedies.backfill))

    def known(self, pull: Pull, judged: Sequence[Bar]) -> Known:
        """What is odd in the pull and no news.

        The store has it so, or the exchange says it again where a hole is none of the `judged` bars' own.
        What is wrong with the store, or that there is none, is told where it is used.
        """
        with self._record.step("inquiry"):
            return Known(self._let_pass(pull), self._holes(pull, judged[0].open_time_ms))

    def _let_pass(self, pull: Pull) -> Sequence[Bar]:
        if rules.contradictions(pull):
            with suppress(StoreUnusable):
                return self._feed.store.let_pass(self._order.series)
        return ()

    def _holes(self, pull: Pull, judged_from_ms: int) -> Sequence[Gap]:
        step_ms = self._order.series.interval.ms
        holes = rules.holes(pull.bars, step_ms)[-_GAPS_ASKED:]
        stored_ms = self._stored_ms(holes[0]) if holes else set()
        return [
            hole
            for hole in holes
            if is_stored(hole, stored_ms, step_ms) or (hole.last_ms < judged_from_ms and self._is_the_exchanges(hole))
        ]

    def _stored_ms(self, oldest: Gap) -> set[int]:
        with suppress(StoreUnusable), self._feed.store.reading(self._order.series) as table:
            return {bar.open_time_ms for bar in table.bars(oldest.first_ms)}
        return set()

    def _is_the_exchanges(self, hole: Gap) -> bool:
        """Whether the exchange, asked for nothing else, has no bar there."""
        with suppress(BarfeedError):
            return _answer(self._order.series, hole, self._talk).first_ms is None
        return False

    def usable(self, gap: WindowGap, target_ms: int, held: Sequence[Bar]) -> Sequence[Bar]:
        """The newest bars of a window that is not whole, where they will do; raises `WindowGap`, or its cause."""
        order = self._order
        asked = Asked(order.series, target_ms, order.window_bars, order.window_bars_min, order.remedies)
        with self._record.step("inquiry"):
            found = short(gap, asked, asked.gaps(held), self._talk)
        self._record.shortage = found.shortage
        if found.trouble or not found.shortage:
            raise found.trouble or gap
        self._warn(f"{order.series}: {found.shortage}")
        return held[-found.shortage.bars :]

    def _warn(self, text: str) -> None:
        # With the API as the source, the store's window comes to the same.
        if text not in self._record.warnings:
            self._record.warnings.append(text)
            _log.warning("%s", text)


def is_stored(hole: Gap, stored_ms: Set[int], step_ms: int) -> bool:
    """Whether a store of these open_times (ms) goes on behind the hole, and has nothing in it."""
    is_empty = stored_ms.isdisjoint(grid.opens(hole.first_ms, hole.last_ms, step_ms))
    return is_empty and hole.last_ms + step_ms in stored_ms


def explained(
    refusal: ExchangeRefused, series: Series, store: "History", talk: Conversation, backfill: str
) -> BarfeedError:
    """A refusal of the symbol by what the exchange's list says of it; any other refusal as it is.

    `backfill` is the command that fetches what is missing.
    """
    now = life_of(series, talk) if refusal.code in SYMBOL_CODES else None
    return refusal if now is None else _of_a_refusal(refusal, series, now, store, backfill)


def _named(trouble: BarLate | ExchangeRefused) -> str:
    return f"{trouble.status} {trouble.code}" if isinstance(trouble, ExchangeRefused) else trouble.status


def _of_a_refusal(refusal: ExchangeRefused, series: Series, now: Life, store: "History", backfill: str) -> BarfeedError:
    if now.stage == "trading":
        return refusal if refusal.code == UNKNOWN_SYMBOL else _contradicted(refusal)
    # What is refused by REST the archive may have kept.
    seen = _seen(store, series, f"{backfill} --source archive")
    if now.stage == "unlisted" and refusal.code == UNKNOWN_SYMBOL and seen.stored_ms is None:
        # The list says no more than that.
        return refusal
    return life.why_no_bar(series, now, seen._replace(refused=str(refusal)))


def _seen(store: "History", series: Series, backfill: str) -> Seen:
    stored_ms = None
    # A store in trouble is not this hour's trouble.
    with suppress(BarfeedError), store.reading(series) as table:
        stored_ms = table.coverage().last_ms
    return Seen(stored_ms, backfill)


def _contradicted(refusal: ExchangeRefused) -> ExchangeRefused:
    hint = "the exchange lists it as trading all the same: run it again later; check --base-url if it stays"
    return ExchangeRefused(str(refusal), hint=hint, code=refusal.code)


def life_of(series: Series, talk: Conversation, trouble: str = "", wait_sec: float = _WAIT_SEC) -> Life | None:
    """What the symbol is by the exchange's list, which is asked where it is worth it because of this `trouble`.

    None where it could not be had in so many seconds.
    """
    try:
        listed = _listed(series, talk, trouble, wait_sec)
    except BarfeedError as problem:
        # The trouble that led here is the one to tell.
        _log.info("%s: what became of it was not told: %s", series, problem)
        return None
    return life.life(listed.listing, talk.now_ms, series.interval.ms)


def _listed(series: Series, talk: Conversation, trouble: str, wait_sec: float) -> Listed:
    if talk.listed and not life.is_worth_asking(talk.listed, trouble, talk.now_ms):
        return talk.listed
    talk.listed = Listed(talk.listings(wait_sec).get(series.symbol), trouble, talk.now_ms)
    return talk.listed


class Short(NamedTuple):
    """How short a window is, as far as the exchange told, and why it will not do; None where it will."""

    shortage: Shortage | None
    trouble: BarfeedError | None


def short(trouble: WindowGap, asked: Asked, gaps: Sequence[Gap], talk: Conversation) -> Short:
    """Whether the newest bars of a window with these gaps will do: they are enough, and the exchange has no more.

    Where it does not tell, the trouble is told as it is.
    """
    if not gaps or any(found.rule != "gap" for found in trouble.findings):
        return Short(None, trouble)
    try:
        newest = window.shortage(asked, gaps, [])
        if 0 < asked.bars_min <= newest.bars and (last := _answer(asked.series, gaps[-1], talk)).first_ms is None:
            return Short(window.shortage(asked, gaps, [last]), None)
        return _by_the_exchange(trouble, asked, gaps, talk)
    except BarfeedError as problem:
        _log.info("%s: what the exchange has of the gaps was not told: %s", asked.series, problem)
        return Short(None, trouble)


def _by_the_exchange(trouble: WindowGap, asked: Asked, gaps: Sequence[Gap], talk: Conversation) -> Short:
    told = _told(asked, gaps, talk)
    shortage = window.shortage(asked, gaps, told.answers)
    return Short(shortage, _by_its_life(trouble, asked, shortage, told, talk))


def _by_its_life(trouble: WindowGap, asked: Asked, shortage: Shortage, told: Told, talk: Conversation) -> BarfeedError:
    now = None if shortage.whole_ms is None else life_of(asked.series, talk, trouble.status)
    if now and now.stage == "settled" and not life.is_due(now, asked.target_ms):
        # What goes on are flat bars: they make no window whole.
        return life.why_no_bar(asked.series, now, Seen(asked.target_ms, asked.remedies.backfill))
    return window.explained(trouble, asked, shortage, told, now)


def _told(asked: Asked, gaps: Sequence[Gap], talk: Conversation) -> Told:
    answers = [_answer(asked.series, gap, talk) for gap in gaps[-_GAPS_ASKED:]]
    first = answers[0]
    is_at_start = first.gap.first_ms == asked.start_ms and first.lacks_until(asked.step_ms) is not None
    if is_at_start and not talk.newest_bars(asked.series, asked.start_ms - 1, 1).bars:
        return Told(answers, first.gap.last_ms + asked.step_ms if first.first_ms is None else first.first_ms)
    return Told(answers)


def _answer(series: Series, gap: Gap, talk: Conversation) -> Answer:
    bars = talk.first_bar(series, gap.first_ms, gap.last_ms).bars
    is_inside = not bars or gap.first_ms <= bars[0].open_time_ms <= gap.last_ms
    # An answer beside the question says nothing: then there may be something to fetch.
    return Answer(gap, (bars[0].open_time_ms if bars else None) if is_inside else gap.first_ms)
