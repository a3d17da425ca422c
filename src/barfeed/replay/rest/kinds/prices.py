"""`/fapi/v1/markPriceKlines`, `indexPriceKlines` and `premiumIndexKlines`: rows like klines, with prices alone."""

from barfeed.replay import refusals
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply
from barfeed.replay.rest.venue import Venue, answered


def mark(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/markPriceKlines`."""
    return answered(venue, "markPriceKlines", case.sent, case)


def premium(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/premiumIndexKlines`."""
    return answered(venue, "premiumIndexKlines", case.sent, case)


def index(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/indexPriceKlines`, by `pair`: a quarterly's has none of its own."""
    pair = case.sent.get("pair")
    if not pair:
        return refusals.MISSING.reply(400, name="pair")
    return answered(venue, "indexPriceKlines", {**case.sent, "symbol": pair}, case)
