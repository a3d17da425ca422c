"""`/fapi/v1/exchangeInfo`: the symbols of the tapes, in the exchange's own shape."""

import json
import re
from bisect import bisect_right
from calendar import timegm
from functools import lru_cache
from operator import itemgetter
from time import strptime
from typing import Any, NamedTuple

from barfeed.replay.tapes.klines import TRADITIONAL, Decimals

# The production exchange was once seen this far behind in its own exchangeInfo: 10 h 39 min 18 s.
STALE_MS = 38_358_000

PERPETUAL_DELIVERY_MS = 4_133_404_800_000
QUOTES = ("USDT", "USDC", "BUSD", "FDUSD", "BTC")
_QUARTERLY = re.compile(r"(?P<pair>.+)_(?P<day>\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01]))", re.ASCII)

ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]


class Listing(NamedTuple):
    """What is known of a symbol: its name, its first bar, how fine its numbers are, what it is listed as."""

    symbol: str
    onboard_ms: int
    decimals: Decimals
    status: str = "TRADING"
    delivery_ms: int = PERPETUAL_DELIVERY_MS
    # None is by its name: a quarterly's has a date in it.
    contract_type: str | None = None
    # A market's symbols are not known before, and their ticks change: moments, and a price's decimals from then on.
    announced_ms: int = 0
    ticks: tuple[tuple[int, int], ...] = ()


def by_clock(listing: Listing, now_ms: int) -> Listing | None:
    """The listing as the clock alone would have it: before the first bar, and after a quarterly's last day."""
    if now_ms < listing.announced_ms:
        return None
    listing = listing._replace(ticks=listing.ticks[: bisect_right(listing.ticks, now_ms, key=itemgetter(0))][-1:])
    quarterly = _QUARTERLY.fullmatch(listing.symbol)
    if quarterly:
        delivery_ms = timegm(strptime(f"{quarterly['day']} 08", "%y%m%d %H")) * 1000
        listing = listing._replace(delivery_ms=delivery_ms, status="SETTLING" if delivery_ms <= now_ms else "TRADING")
    return listing._replace(status="PENDING_TRADING") if now_ms < listing.onboard_ms else listing


def exchange_info(listings: list[Listing], now_ms: int, weight_limit: int) -> str:
    """The whole answer as JSON, whatever symbol was asked for."""
    margins = sorted({assets(listing.symbol)[1] for listing in listings})
    info = {
        "timezone": "UTC",
        "serverTime": now_ms - STALE_MS,
        "futuresType": "U_MARGINED",
        "rateLimits": [
            _limit("REQUEST_WEIGHT", "MINUTE", 1, weight_limit),
            _limit("ORDERS", "MINUTE", 1, 1200),
            _limit("ORDERS", "SECOND", 10, 300),
        ],
        "exchangeFilters": [],
        "assets": [{"asset": asset, "marginAvailable": True, "autoAssetExchange": "-10000"} for asset in margins],
        "symbols": [],
    }
    # A market's are many, and hardly ever change.
    return f"{_json(info)[:-2]}{','.join(map(_symbol_text, listings))}]}}"


@lru_cache(maxsize=4096)
def _symbol_text(listing: Listing) -> str:
    return _json(listed_as(listing))


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _limit(kind: str, interval: str, count: int, limit: int) -> dict[str, Any]:
    return {"rateLimitType": kind, "interval": interval, "intervalNum": count, "limit": limit}


def listed_as(listing: Listing) -> dict[str, Any]:
    """The symbol as the list has it."""
    base, quote = assets(listing.symbol)
    quarterly = _QUARTERLY.fullmatch(listing.symbol)
    by_name = "CURRENT_QUARTER" if quarterly else "PERPETUAL"
    contract_type = by_name if listing.contract_type is None else listing.contract_type
    underlying, subtype = ("EQUITY", "TradFi") if contract_type == TRADITIONAL else ("COIN", "Crypto")
    return {
        "symbol": listing.symbol,
        "pair": quarterly["pair"] if quarterly else listing.symbol,
        "contractType": contract_type,
        "deliveryDate": listing.delivery_ms,
        "onboardDate": listing.onboard_ms,
        "status": listing.status,
        "maintMarginPercent": "2.5000",
        "requiredMarginPercent": "5.0000",
        "baseAsset": base,
        "quoteAsset": quote,
        "marginAsset": quote,
        "pricePrecision": listing.decimals.price,
        "quantityPrecision": listing.decimals.volume,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": underlying,
        "underlyingSubType": [subtype],
        "triggerProtect": "0.0500",
        "liquidationFee": "0.012500",
        "marketTakeBound": "0.05",
        "maxMoveOrderLimit": 10000,
        "filters": _filters(_tick(listing), _step(listing.decimals.volume)),
        "orderTypes": ORDER_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX", "GTD"],
        "permissionSets": ["GRID", "COPY", "DCA", "PSB"],
    }


def _filters(tick: str, step: str) -> list[dict[str, Any]]:
    return [
        {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": "4529764", "tickSize": tick},
        {"filterType": "LOT_SIZE", "minQty": step, "stepSize": step, "maxQty": "1000000"},
        {"stepSize": step, "filterType": "MARKET_LOT_SIZE", "minQty": step, "maxQty": "120000"},
        {"limit": 200, "filterType": "MAX_NUM_ORDERS"},
        {"filterType": "MIN_NOTIONAL", "notional": "50"},
        {"multiplierUp": "1.0500", "multiplierDecimal": "4", "filterType": "PERCENT_PRICE", "multiplierDown": "0.9500"},
        {"positionControlSide": "NONE", "filterType": "POSITION_RISK_CONTROL"},
    ]


def assets(symbol: str) -> tuple[str, str]:
    """What is traded and what it costs; a symbol that ends in no known asset is taken to cost USDT."""
    pair = symbol.partition("_")[0]
    quote = next((each for each in QUOTES if pair.endswith(each) and pair != each), None)
    return (pair.removesuffix(quote), quote) if quote else (pair, "USDT")


def _tick(listing: Listing) -> str:
    """The smallest step of a price, written with all the decimals that prices have: `0.10`."""
    decimals = listing.ticks[-1][1] if listing.ticks else listing.decimals.price
    return f"{10**-decimals:.{listing.decimals.price}f}"


def _step(decimals: int) -> str:
    """The smallest step as text, `0.01`."""
    return f"{10**-decimals:.{decimals}f}"
