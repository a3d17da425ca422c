"""A symbol's life: what the exchange's list says of it, and what that means for a bar that does not come. Pure.

Times are ms since 1970-01-01 UTC by the exchange's clock.
"""

import re
from typing import Literal, NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import BarfeedError, SymbolGone, SymbolNotTrading

# A perpetual's deliveryDate, until it is to be settled, is in December 2100.
NEVER_MS = 4_102_444_800_000

Stage = Literal["trading", "new", "pending", "halted", "settling", "settled", "unlisted", "unknown"]

# Delisted perpetuals stay in the list as SETTLING for months: by their deliveryDate they are settled.
_SETTLING = frozenset({"PRE_SETTLE", "SETTLING", "PRE_DELIVERING", "DELIVERING"})
_SETTLED = frozenset({"DELIVERED", "CLOSE"})
# The first three are the spot market's words.
_HALTED = frozenset({"HALT", "BREAK", "AUCTION_MATCH", "PENDING_TRADING"})
# A contractType can end so: CURRENT_QUARTER DELIVERING, PERPETUAL_DELIVERING.
_DELIVERING = "DELIVERING"


_WORD = re.compile(r"[A-Z_]{1,40}", re.ASCII)


class Listing(NamedTuple):
    """A symbol as `/fapi/v1/exchangeInfo` lists it, in its own words; a date is None where it tells none.

    Its `onboardDate` was wrong for many symbols: where the first bar is, only the bars themselves tell.
    `quote` is the asset that prices are in, empty where it tells none; `tick` their least step.
    """

    symbol: str
    status: str
    contract_type: str
    onboard_ms: int | None
    delivery_ms: int | None
    quote: str = ""
    tick: float | None = None


class Listed(NamedTuple):
    """What the list had of a symbol, None where it had none, when it was asked because of a `trouble`, at `at_ms`."""

    listing: Listing | None
    trouble: str
    at_ms: int


def is_worth_asking(last: Listed | None, trouble: str, now_ms: int) -> bool:
    """Whether the list may have something new to tell: of another trouble than the last time, or in another hour."""
    if last is None or last.trouble != trouble:
        return True
    return grid.floor(last.at_ms, HOUR_MS) != grid.floor(now_ms, HOUR_MS)


class Life(NamedTuple):
    """What a symbol is at a moment.

    `at_ms` is when trading begins (`pending`), began (`new`, `halted`) or ends (all others); None where nobody tells.
    """

    stage: Stage
    status: str = ""
    at_ms: int | None = None

    def __str__(self) -> str:
        return _SAID[self.stage].format(
            # A foreign word may hold what a terminal obeys.
            status=self.status if _WORD.fullmatch(self.status) else ascii(self.status[:40]),
            since="" if self.at_ms is None else f" since {grid.text(self.at_ms)}",
            until="" if self.at_ms is None else f" until {grid.text(self.at_ms)}",
            begins="at a time that it does not tell" if self.at_ms is None else grid.text(self.at_ms),
        )


_SAID: dict[Stage, str] = {
    "trading": "trading{until} ({status})",
    "new": "trading only{since} ({status})",
    "pending": "not trading yet ({status}); by the exchange's list it begins {begins}",
    "halted": "halted ({status}); listed{since}",
    "settling": "settling{until} ({status})",
    "settled": "settled{since} ({status})",
    "unlisted": "not in the exchange's list of symbols: delisted, or never there",
    "unknown": "listed as {status}, which may mean that it is halted",
}


def life(listing: Listing | None, now_ms: int, step_ms: int) -> Life:
    """What the list means at `now_ms` for bars of `step_ms`; None is a symbol that it does not have."""
    if listing is None:
        return Life("unlisted")
    end_ms = listing.delivery_ms if listing.delivery_ms and listing.delivery_ms < NEVER_MS else None
    if end_ms is not None and end_ms <= now_ms and listing.status in {"TRADING", *_SETTLING, *_SETTLED}:
        return Life("settled", listing.status, end_ms)
    if listing.status in _SETTLED:
        return Life("settled", listing.status)
    if listing.status in _SETTLING or listing.contract_type.endswith(_DELIVERING):
        return Life("settling", listing.status, end_ms)
    return _before_its_end(listing, end_ms, now_ms, step_ms)


def _before_its_end(listing: Listing, end_ms: int | None, now_ms: int, step_ms: int) -> Life:
    begin_ms = listing.onboard_ms or 0
    if listing.status in {"TRADING", "PENDING_TRADING"} and begin_ms > now_ms:
        return Life("pending", listing.status, begin_ms)
    if listing.status == "TRADING":
        is_new = grid.floor(begin_ms, step_ms) + step_ms > now_ms
        return Life("new", listing.status, begin_ms) if is_new else Life("trading", listing.status, end_ms)
    # One that was suspended is PENDING_TRADING again, as BTCSTUSDT was in 2021.
    return Life("halted" if listing.status in _HALTED else "unknown", listing.status, listing.onboard_ms)


def last_bar(end_ms: int, step_ms: int) -> int:
    """The open_time of the last bar of a symbol that is settled at `end_ms`: one that opens then is none."""
    return grid.floor(end_ms - 1, step_ms)


def ended_ms(now: Life, flat_ms: int) -> int | None:
    """From when on a bar without a trade is none of the symbol's; None while it may be one.

    Where the list tells no date, the bars do: `flat_ms` is the first open_time after the last trade.
    """
    if now.stage == "settled" and now.at_ms is not None:
        return now.at_ms
    return flat_ms if now.stage in {"settled", "unlisted"} else None


class Seen(NamedTuple):
    """What the feed knows besides the list.

    The store's newest open_time, None where there is none; `backfill`, the command that fetches what is missing;
    what the exchange `refused` with, empty where it answered.
    """

    stored_ms: int | None
    backfill: str
    refused: str = ""


def is_due(now: Life, target_ms: int) -> bool:
    """Whether the exchange owes the bar: the symbol trades, or did when it opened."""
    is_before_the_end = now.stage in {"settled", "settling"} and now.at_ms is not None and target_ms < now.at_ms
    return now.stage == "trading" or is_before_the_end


def why_no_bar(series: Series, now: Life, seen: Seen) -> BarfeedError:
    """The error for a symbol of which no bar comes, by what it is."""
    if now.stage == "settled" and now.at_ms is not None:
        return _settled(series, now, now.at_ms, seen)
    message = "; ".join(each for each in (f"{series}: {now}", _stored(seen.stored_ms), seen.refused) if each)
    if now.stage == "settled" or (now.stage == "unlisted" and seen.stored_ms is not None):
        return SymbolGone(message, hint=f"{_NO_MORE}; check --base-url if it should be there")
    if now.stage == "unlisted":
        return SymbolGone(message, hint="check --symbol and --base-url; what was delisted has no more bars")
    return SymbolNotTrading(message, hint=_waiting(series, now))


def _stored(stored_ms: int | None) -> str:
    return "" if stored_ms is None else f"the store ends at {grid.text(stored_ms)}"


def _settled(series: Series, now: Life, end_ms: int, seen: Seen) -> SymbolGone:
    last_ms = last_bar(end_ms, series.interval.ms)
    message = f"{series}: {now}: its last bar is {grid.text(last_ms)}"
    if seen.stored_ms is not None and seen.stored_ms > last_ms:
        message += f"; {stored_after(seen.stored_ms)}"
    message += f"; {seen.refused}" if seen.refused else ""
    if seen.stored_ms is not None and seen.stored_ms >= last_ms:
        return SymbolGone(message, hint=f"the store has it; {_NO_MORE}", last_bar_ms=last_ms)
    begin = "" if seen.stored_ms is None else f" --from '{grid.text(seen.stored_ms + series.interval.ms)}'"
    fetch = f"{seen.backfill}{begin} --to '{grid.text(last_ms + series.interval.ms)}'"
    hint = f"fetch what the store lacks up to it, then stop this feed: {fetch}"
    return SymbolGone(message, hint=hint, last_bar_ms=last_ms)


def stored_after(stored_ms: int) -> str:
    """What there is to say of a store that goes on after a symbol's end, up to `stored_ms`."""
    return f"what is stored after it, up to {grid.text(stored_ms)}, was not traded"


_NO_MORE = "no more bars will come: stop this feed"


def _waiting(series: Series, now: Life) -> str:
    if now.stage in {"new", "pending"} and now.at_ms is not None:
        closes_ms = grid.floor(now.at_ms, series.interval.ms) + series.interval.ms
        return f"there is nothing to pull before its first bar closes, at {grid.text(closes_ms)}"
    if now.stage == "settling":
        return "no bar may come any more; the exchange's announcements tell when it ends"
    return "the store is as it was; once it trades again, the feed tells the way around the hours without trade"
