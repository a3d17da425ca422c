"""The rules of a bar once more, as SQL: what `rules` says of one bar, said of a whole table.

Each predicate is true for a row that breaks its rule. `{step_ms}` and `{now_ms}` are filled in by `broken`.
The columns are the store's; the other columns of a kline, `close_time` (ms) among them, only where there are any:
what is NULL breaks no rule.
"""

from barfeed.domain.rules import MEAN_WITHIN

_PRICES = ("open", "high", "low", "close")
_VALUES = (*_PRICES, "volume")
_FINITE = " AND ".join(f"isfinite({name})" for name in _VALUES)
_NEGATIVE = " OR ".join(f"{name} < 0" for name in _VALUES)
_ZERO = " OR ".join(f"{name} = 0" for name in _PRICES)
# A bar in which nothing was traded; the archive fills outages with such.
FLAT = "volume = 0 AND open = high AND high = low AND low = close"
_LAST_MS = "epoch_ms(timestamp) + {step_ms} - 1"

STORED_RULES = {
    "on_grid": "NOT coalesce(isfinite(timestamp) AND epoch_us(timestamp) % ({step_ms}::BIGINT * 1000) = 0, false)",
    "finite": f"NOT coalesce({_FINITE}, false)",
    "closed": f"isfinite(timestamp) AND {_LAST_MS} >= {{now_ms}}",
    "high_low": "NOT (low <= least(open, close) AND greatest(open, close) <= high)",
    "not_negative": f"({_NEGATIVE})",
    "above_zero": f"({_ZERO})",
}
INCOMING_RULES = STORED_RULES | {
    "close_time": f"isfinite(timestamp) AND close_time != {_LAST_MS}",
    "closed": f"isfinite(timestamp) AND greatest(close_time, {_LAST_MS}) >= {{now_ms}}",
    "mean_price": (
        "volume > 0 AND low <= high"
        f" AND NOT quote_volume / volume BETWEEN low * (1 - {MEAN_WITHIN}) AND high * (1 + {MEAN_WITHIN})"
    ),
    "all_or_nothing": (
        "(volume = 0) != (quote_volume = 0) OR (volume = 0) != (trades = 0)"
        # Also where there is nothing but a bar's five values: then those are its all.
        f" OR (volume = 0 AND coalesce(quote_volume, 0) = 0 AND coalesce(trades, 0) = 0 AND NOT ({FLAT}))"
    ),
    "taker_share": "taker_buy_volume > volume OR taker_buy_quote_volume > quote_volume",
}
MESSAGES = {
    "on_grid": "is not on the grid",
    "finite": "holds NULL, NaN or infinity",
    "closed": "is still forming",
    "high_low": "low and high do not enclose open and close",
    "not_negative": "holds a negative value",
    "above_zero": "holds a price of zero",
    "mean_price": "has a mean price, quote_volume by volume, that is not within low and high",
    "all_or_nothing": "volume, quote_volume and trades are not zero together, or nothing was traded and prices differ",
    "taker_share": "takers bought more than was traded",
    "close_time": "has another close_time than its interval gives",
    "unique": "comes twice",
}


def broken(rules: dict[str, str], step_ms: int, now_ms: int) -> str:
    """SQL for the list of the rules that a row breaks, empty for a good one: `['high_low', 'closed']`."""
    cases = ", ".join(
        f"CASE WHEN {predicate.format(step_ms=int(step_ms), now_ms=int(now_ms))} THEN '{name}' END"
        for name, predicate in rules.items()
    )
    return f"list_filter([{cases}], lambda rule: rule IS NOT NULL)"
