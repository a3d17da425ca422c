"""What a row must keep by itself, kind by kind: a rule says what is broken, and never raises. Pure.

A value that is not told breaks nothing. Beside these stand the rules that every row has, in `checks`.
"""

from barfeed.domain.kinds.kind import Rule, Values

# Ratios and shares are told with four decimals.
_LAST_DIGIT = 1e-4
# 2 % was the most of 107,311 real ones of 2026; the exchange's own caps go up to 3 %.
_FUNDING_MOST = 0.03


def _told(values: Values, *names: str) -> tuple[float, ...] | None:
    found = tuple(value for name in names if (value := values.get(name)) is not None)
    return found if len(found) == len(names) else None


def _high_low(values: Values) -> str | None:
    told = _told(values, "open", "high", "low", "close")
    if told is None:
        return None
    open_, high, low, close = told
    if low <= min(open_, close) and max(open_, close) <= high:
        return None
    return f"low {low} and high {high} do not enclose open {open_} and close {close}"


def _all(names: tuple[str, ...], is_good: Rule) -> Rule:
    def rule(values: Values) -> str | None:
        broken = [said for name in names if (said := is_good({name: values.get(name)}))]
        return ", ".join(broken) or None

    return rule


def _above_zero(values: Values) -> str | None:
    [(name, value)] = values.items()
    return None if value is None or value > 0 else f"{name} is {value}, expected above zero"


def _not_negative(values: Values) -> str | None:
    [(name, value)] = values.items()
    return None if value is None or value >= 0 else f"{name} is {value}, expected none below zero"


def _taker_share(values: Values) -> str | None:
    parts = (("taker_buy_volume", "volume"), ("taker_buy_quote_volume", "quote_volume"))
    told = [(part, whole, both) for part, whole in parts if (both := _told(values, part, whole))]
    above = [f"{part} {taken} is above {whole} {all_}" for part, whole, (taken, all_) in told if taken > all_]
    return ", ".join(above) or None


def _shares(values: Values) -> str | None:
    told = _told(values, "long_share", "short_share")
    # Each is rounded by itself.
    if told is None or abs(sum(told) - 1) < 1.5 * _LAST_DIGIT:
        return None
    return f"long_share {told[0]} and short_share {told[1]} are {sum(told):.4f} together, expected 1"


def _ratio_of_shares(values: Values) -> str | None:
    told = _told(values, "ratio", "long_share", "short_share")
    if told is None or told[2] <= 0:
        return None
    ratio, long, short = told
    within = _LAST_DIGIT * (1 + (1 + ratio) / short)
    return None if abs(ratio - long / short) <= within else f"ratio {ratio} is not long_share {long} by short {short}"


def _ratio_of_volumes(values: Values) -> str | None:
    told = _told(values, "ratio", "buy_volume", "sell_volume")
    if told is None or told[2] <= 0:
        return None
    ratio, bought, sold = told
    return None if abs(ratio - bought / sold) <= _LAST_DIGIT else f"ratio {ratio} is not {bought} bought by {sold} sold"


def _funding_bounds(values: Values) -> str | None:
    rate = values.get("funding_rate")
    if rate is None or abs(rate) <= _FUNDING_MOST:
        return None
    return f"funding_rate {rate} is beyond {_FUNDING_MOST}, which none was seen to be"


def _interest(values: Values) -> str | None:
    told = _told(values, "open_interest", "open_interest_value")
    return f"open_interest {told[0]} is worth {told[1]}" if told and (told[0] > 0) != (told[1] > 0) else None


PRICES = ("open", "high", "low", "close")
TURNOVER = ("quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")

HIGH_LOW: dict[str, Rule] = {"high_low": _high_low}
ABOVE_ZERO: dict[str, Rule] = {"above_zero": _all(PRICES, _above_zero)}
TRADED: dict[str, Rule] = {
    "not_negative": _all(("volume", *TURNOVER), _not_negative),
    "taker_share": _taker_share,
}
INTEREST: dict[str, Rule] = {"not_negative": _all(("open_interest", "open_interest_value"), _not_negative)}
# The archive has zeros of an outage; of a new listing they may be true.
ODD_INTEREST: dict[str, Rule] = {"no_interest": _all(("open_interest",), _above_zero), "worth": _interest}
RATIO: dict[str, Rule] = {"ratio": _all(("ratio",), _above_zero), "shares": _shares}
ODD_RATIO: dict[str, Rule] = {"ratio_of_shares": _ratio_of_shares}
TAKERS: dict[str, Rule] = {"not_negative": _all(("ratio", "buy_volume", "sell_volume"), _not_negative)}
ODD_TAKERS: dict[str, Rule] = {"ratio_of_volumes": _ratio_of_volumes}
ODD_FUNDING: dict[str, Rule] = {"funding_bounds": _funding_bounds}
