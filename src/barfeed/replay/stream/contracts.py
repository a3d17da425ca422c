"""`!contractInfo`: what becomes of the symbols, told as it is listed."""

import json
from collections.abc import Callable, Mapping

from barfeed.replay.rest.info import Listing, listed_as
from barfeed.replay.stream.timetable import Strikes

NAME = "!contractInfo"
# How often the list is looked at. All of it: it hardly ever changes, and nobody knows when.
LOOK_EVERY_MS = 1000
# What is said of a symbol that is in the list no more.
GONE = "CLOSE"

Listings = Callable[[int], Mapping[str, Listing]]


class Contracts:
    """What was told so far; `listings` tells what is listed at a moment."""

    def __init__(self, listings: Listings, now_ms: int) -> None:
        self._listings = listings
        self._told = listings(now_ms)
        self.next_ms = now_ms + LOOK_EVERY_MS

    def due(self, now_ms: int, _strikes: Strikes) -> list[tuple[str, str]]:
        """An event for each symbol that is listed otherwise than before."""
        before, self._told = self._told, self._listings(now_ms)
        self.next_ms = now_ms + LOOK_EVERY_MS
        gone = [each._replace(status=GONE) for symbol, each in before.items() if symbol not in self._told]
        changed = [each for symbol, each in self._told.items() if before.get(symbol) != each]
        return [(each.symbol, _event(each, now_ms)) for each in [*changed, *gone]]


def _event(listing: Listing, now_ms: int) -> str:
    listed = listed_as(listing)
    event = {
        "e": "contractInfo", "E": now_ms, "s": listing.symbol, "ps": listed["pair"], "ct": listed["contractType"],
        "dt": listed["deliveryDate"], "ot": listed["onboardDate"], "cs": listed["status"], "st": 1,
    }  # fmt: skip
    return json.dumps(event, separators=(",", ":"), ensure_ascii=False)
