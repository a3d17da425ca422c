"""Why an hour fails that the feed can do nothing about: asked of the exchange, once, and in no good hour."""

import logging
from contextlib import suppress
from typing import NamedTuple

from barfeed.domain import life
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, BarLate, ExchangeRefused
from barfeed.domain.life import Life, Seen
from barfeed.exchange.refusals import SYMBOL_CODES, UNKNOWN_SYMBOL
from barfeed.exchange.rest import Conversation
from barfeed.store.duckdb import Store

_log = logging.getLogger(__name__)


class Matter(NamedTuple):
    """What the hour was about: its series and target (ms), the store, and the command that fetches history."""

    series: Series
    target_ms: int
    store: Store
    backfill: str


def is_about_the_symbol(trouble: BarfeedError) -> bool:
    """Whether the symbol's life may be the cause: the target does not come, or the symbol is refused."""
    return isinstance(trouble, BarLate) or (isinstance(trouble, ExchangeRefused) and trouble.code in SYMBOL_CODES)


def explained(trouble: BarfeedError, matter: Matter, talk: Conversation) -> BarfeedError:
    """The trouble by its cause where that is the symbol's life, else the trouble itself."""
    now = life_of(matter.series, talk)
    if now is None:
        return trouble
    if isinstance(trouble, ExchangeRefused):
        return _of_a_refusal(trouble, matter, now)
    is_due = life.is_due(now, matter.target_ms)
    return trouble if is_due else life.why_no_bar(matter.series, now, _seen(matter, matter.backfill))


def life_of(series: Series, talk: Conversation) -> Life | None:
    """What the symbol is by the exchange's list; None where that could not be had."""
    try:
        listing = talk.listings().get(series.symbol)
    except BarfeedError as problem:
        # The trouble that led here is the one to tell.
        _log.info("%s: what became of it was not told: %s", series, problem)
        return None
    return life.life(listing, talk.now_ms, series.interval.ms)


def _of_a_refusal(refusal: ExchangeRefused, matter: Matter, now: Life) -> BarfeedError:
    if now.stage == "trading" and refusal.code == UNKNOWN_SYMBOL:
        return refusal
    if now.stage == "trading":
        hint = "the exchange lists it as trading all the same: run it again later; check --base-url if it stays"
        return ExchangeRefused(str(refusal), hint=hint, code=refusal.code)
    # What is refused by REST the archive may have kept.
    seen = _seen(matter, f"{matter.backfill} --source archive")
    if now.stage == "unlisted" and refusal.code == UNKNOWN_SYMBOL and seen.stored_ms is None:
        # The list says no more than that.
        return refusal
    return life.why_no_bar(matter.series, now, seen._replace(refused=str(refusal)))


def _seen(matter: Matter, backfill: str) -> Seen:
    stored_ms = None
    # A store in trouble is not this hour's trouble.
    with suppress(BarfeedError), matter.store.reading(matter.series) as table:
        stored_ms = table.coverage().last_ms
    return Seen(stored_ms, backfill)
