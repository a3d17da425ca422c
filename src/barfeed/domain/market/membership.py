"""Membership: what the exchange listed when, and what a change of it means. Pure.

Times are ms since 1970-01-01 UTC by the exchange's clock.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid, life
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing

# Our own word for a symbol that is in the list no more; the exchange has none for it.
UNLISTED = "UNLISTED"


class Seen(NamedTuple):
    """A listing, or that there is none any more (`UNLISTED`), and when that was first seen."""

    listing: Listing
    seen_at_ms: int


def changes(known: Mapping[str, Listing], listed: Mapping[str, Listing]) -> list[Listing]:
    """What there is to note: every symbol that is new or another than was known, and those that are gone."""
    gone = [
        each._replace(status=UNLISTED) for name, each in known.items() if name not in listed and each.status != UNLISTED
    ]
    return sorted([*(each for name, each in listed.items() if known.get(name) != each), *gone])


class Event(NamedTuple):
    """What became of a symbol, to be told once."""

    symbol: str
    what: str

    def __str__(self) -> str:
        return f"{self.symbol}: {self.what}"


def events(known: Mapping[str, Listing], changed: Sequence[Listing]) -> list[Event]:
    """What the changes mean to somebody who feeds these symbols; a first look at a list tells nothing."""
    if not known:
        return []
    told = [(each.symbol, _told(known.get(each.symbol), each)) for each in changed]
    return [Event(symbol, what) for symbol, what in told if what]


def _told(before: Listing | None, now: Listing) -> str:
    if before is None:
        return f"newly listed ({now.status}, {now.contract_type or 'of no contract type'})"
    said = []
    if before.status != now.status:
        said.append(f"{before.status or 'no status'} became {now.status or 'no status'}")
    if before.delivery_ms != now.delivery_ms and now.delivery_ms and now.delivery_ms < life.NEVER_MS:
        said.append(f"is settled at {grid.text(now.delivery_ms)}")
    if before.tick != now.tick:
        said.append(f"tick {_tick(before)} became {_tick(now)}")
    return "; ".join(said)


def _tick(listing: Listing) -> str:
    return "unknown" if listing.tick is None else f"{listing.tick:g}"


def latest(rows: Sequence[Seen], at_ms: int | None = None) -> dict[str, Listing]:
    """Each symbol's listing as it was last seen, up to `at_ms` where that is given; `rows` come oldest first."""
    return {each.listing.symbol: each.listing for each in rows if at_ms is None or each.seen_at_ms <= at_ms}


def is_explained(hole: Gap, rows: Sequence[Seen], step_ms: int) -> bool:
    """Whether the symbol was seen not to trade during the hole; `rows` are its own, oldest first."""
    ends_ms = [each.seen_at_ms for each in rows[1:]] + [hole.last_ms + step_ms] * bool(rows)
    return any(
        each.listing.status != "TRADING" and each.seen_at_ms < hole.last_ms + step_ms and end_ms > hole.first_ms
        for each, end_ms in zip(rows, ends_ms, strict=True)
    )


def by_symbol(rows: Sequence[Seen]) -> dict[str, list[Seen]]:
    """Each symbol's own rows, in their order."""
    own: dict[str, list[Seen]] = {}
    for each in rows:
        own.setdefault(each.listing.symbol, []).append(each)
    return own


def is_gone(rows: Sequence[Seen]) -> bool:
    """Whether the symbol was in the list no more when it was last seen; `rows` are its own, oldest first."""
    return bool(rows) and rows[-1].listing.status == UNLISTED


def has_returned(rows: Sequence[Seen], since_ms: int) -> bool:
    """Whether the symbol, seen not to trade after `since_ms`, trades again by its last row; `rows` are its own."""
    later = [each.listing.status for each in rows if each.seen_at_ms > since_ms]
    return bool(later) and later[-1] == "TRADING" and any(status != "TRADING" for status in later)
