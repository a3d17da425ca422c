"""The spot host: `/api/v3/klines`, `time`, `ping` and `exchangeInfo`, with its own weights and its own ways.

What is traded there follows the contracts: at the index price, as far as spot's coarser numbers have it.
"""

import json
from collections.abc import Mapping

from barfeed.domain.kinds.table import KINDS
from barfeed.replay import refusals
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, reply
from barfeed.replay.rest.info import Listing, assets
from barfeed.replay.rest.venue import Venue, answered
from barfeed.replay.tapes.klines import TRADITIONAL

LIMIT_MAX = KINDS["spot_klines"].rows_max
READ = frozenset({"symbol", "interval", "startTime", "endTime", "timeZone", "limit"})
# Spot writes everything with so many decimals at least.
DECIMALS = 8


def klines(venue: Venue, case: Case) -> Reply:
    """`/api/v3/klines`: like those of futures, but for a limit that is cut silently and a window that may end first."""
    sent = dict(case.sent)
    if unread := set(sent) - READ:
        return refusals.UNREAD.reply(400, read=len(sent) - len(unread), sent=len(sent))
    symbol = sent.get("symbol", "").upper()
    if symbol in venue.listings and not is_spot(venue.listings[symbol]):
        return refusals.BAD_SYMBOL.reply(400)
    if "limit" in sent and sent["limit"].isdigit():
        sent["limit"] = str(min(int(sent["limit"]), LIMIT_MAX))
    if _ends_first(sent):
        return reply(200, "[]")
    return answered(venue, "spot/klines", sent, case)


def _ends_first(sent: Mapping[str, str]) -> bool:
    ends = [sent.get("startTime", ""), sent.get("endTime", "")]
    return all(map(str.isdigit, ends)) and int(ends[0]) > int(ends[1])


def is_spot(listing: Listing) -> bool:
    """Whether it is traded on spot: contracts on a thousand of something are not, nor stocks, nor what is delivered."""
    return not (listing.symbol.startswith("1000") or "_" in listing.symbol or listing.contract_type == TRADITIONAL)


def info(venue: Venue, case: Case) -> Reply:
    """`/api/v3/exchangeInfo`; unlike that of futures it heeds `symbol`."""
    known = {name: listing for name, listing in venue.listed(case.faults, case.now_ms).items() if is_spot(listing)}
    symbol = case.sent.get("symbol", "").upper()
    if symbol and symbol not in known:
        return refusals.BAD_SYMBOL.reply(400)
    limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": case.weight_limit}]
    told = {
        "timezone": "UTC",
        "serverTime": case.now_ms,
        "rateLimits": limits,
        "exchangeFilters": [],
        "symbols": [_listed(listing) for name, listing in known.items() if symbol in ("", name)],
    }
    return reply(200, json.dumps(told, separators=(",", ":"), ensure_ascii=False))


def _listed(listing: Listing) -> dict[str, object]:
    base, quote = assets(listing.symbol)
    precisions = dict.fromkeys(("baseAssetPrecision", "quotePrecision", "quoteAssetPrecision"), DECIMALS)
    status = "TRADING" if listing.status == "TRADING" else "BREAK"
    return {"symbol": listing.symbol, "status": status, "baseAsset": base, "quoteAsset": quote, **precisions}
