"""The table of kinds: one row each, from which wire, store, rules, replay, backfill, verify and docs are made. Pure."""

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds import rules
from barfeed.domain.kinds.kind import Archived, Column, Host, Kind, Limit, Stamp

_DAY_MS = 24 * HOUR_MS

WEIGHT = Limit("weight", 2400, MINUTE_MS, is_weight=True)
FUNDING_REQUESTS = Limit("funding", 500, 5 * MINUTE_MS, is_weight=False)
DATA_REQUESTS = Limit("data", 1000, 5 * MINUTE_MS, is_weight=False)
SPOT_WEIGHT = Limit("spot_weight", 6000, MINUTE_MS, is_weight=True)

# As measured: each bound is still inside.
_KLINES_WEIGH = ((100, 1), (500, 2), (1000, 5), (1500, 10))
_SPOT_WEIGHS = ((1000, 2),)
_ANYTHING_WEIGHS = ((500, 0),)

_PERIODS = tuple(map(Interval, ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")))
# 2026-06-25: from that day's file on a label of `metrics` is the start of its five minutes, before it was their end.
METRICS_CHANGED_MS = 1_782_345_600_000
# Not documented. A row comes some minutes after its period; its five minutes are over by then.
_DATA_PUBLISHED_MS = 5 * MINUTE_MS
# Not documented either; settled at the hour, or some ms after, it can be asked for within the minute.
_FUNDING_PUBLISHED_MS = MINUTE_MS

_RATIO_DECIMALS = 4

_TURNOVER = (
    Column("quote_volume", 7, "quote asset", "quote_volume"),
    Column("trades", 8, "trades", "count", is_count=True),
    Column("taker_buy_volume", 9, "base asset", "taker_buy_volume"),
    Column("taker_buy_quote_volume", 10, "quote asset", "taker_buy_quote_volume"),
)


def _prices(unit: str) -> tuple[Column, ...]:
    return tuple(Column(name, place, unit, name) for place, name in enumerate(rules.PRICES, 1))


def _klines_archived(folder: str, market: str = "futures/um") -> Archived:
    return Archived(market, folder, "open_time", Stamp.START)


_METRICS = Archived(
    "futures/um", "metrics", "create_time", Stamp.END, has_months=False, period=Interval("5m"),
    changed_ms=METRICS_CHANGED_MS,
)  # fmt: skip


def _klines(name: str, says: str, path: str, unit: str, parameter: str = "symbol") -> Kind:
    """Klines of a price that nobody trades at: their columns of volumes are 0, and not kept."""
    return Kind(
        name, says, Host.FUTURES, f"/fapi/v1/{path}", parameter, "interval", WEIGHT, _KLINES_WEIGH, 1500,
        _prices(unit), Stamp.START, 0, rules.HIGH_LOW | (rules.ABOVE_ZERO if unit == "quote asset" else {}), {},
        _klines_archived(path),
    )  # fmt: skip


def _ratio(name: str, says: str, path: str, archived: str) -> Kind:
    columns = (
        Column("ratio", "longShortRatio", "long by short", archived, decimals=_RATIO_DECIMALS),
        Column("long_share", "longAccount", "share of 1"),
        Column("short_share", "shortAccount", "share of 1"),
    )
    return Kind(
        name, says, Host.FUTURES, f"/futures/data/{path}", "symbol", "period", DATA_REQUESTS, _ANYTHING_WEIGHS, 500,
        columns, Stamp.END, _DATA_PUBLISHED_MS, rules.RATIO, rules.ODD_RATIO, _METRICS, remembered_ms=30 * _DAY_MS,
        is_snapshot=True, of_perpetuals=True, intervals=_PERIODS,
    )  # fmt: skip


_ALL = (
    Kind(
        "klines", "what was traded in a bar beyond its volume", Host.FUTURES, "/fapi/v1/klines", "symbol", "interval",
        WEIGHT, _KLINES_WEIGH, 1500, _TURNOVER, Stamp.START, 0, rules.TRADED, {}, _klines_archived("klines"),
    ),
    _klines("mark_price", "the price that positions are valued and liquidated at", "markPriceKlines", "quote asset"),
    _klines("index_price", "the price of the pair on spot markets", "indexPriceKlines", "quote asset", "pair"),
    _klines("premium_index", "how far the contract is above its index", "premiumIndexKlines", "share of 1"),
    Kind(
        "funding", "what longs paid shorts, when it was settled", Host.FUTURES, "/fapi/v1/fundingRate", "symbol", "",
        FUNDING_REQUESTS, _ANYTHING_WEIGHS, 1000,
        (
            Column("funding_rate", "fundingRate", "share of the position", "last_funding_rate"),
            # Rows of before 2023-10 have none, and the archive has it nowhere.
            Column("mark_price", "markPrice", "quote asset", may_lack=True),
        ),
        Stamp.MOMENT, _FUNDING_PUBLISHED_MS, {}, rules.ODD_FUNDING,
        Archived("futures/um", "fundingRate", "calc_time", Stamp.MOMENT, has_days=False), is_of_all=True,
        of_perpetuals=True,
    ),
    Kind(
        "open_interest", "positions that are open", Host.FUTURES, "/futures/data/openInterestHist", "symbol", "period",
        DATA_REQUESTS, _ANYTHING_WEIGHS, 500,
        (
            Column("open_interest", "sumOpenInterest", "base asset", "sum_open_interest"),
            Column("open_interest_value", "sumOpenInterestValue", "quote asset", "sum_open_interest_value"),
        ),
        Stamp.END, _DATA_PUBLISHED_MS, rules.INTEREST, rules.ODD_INTEREST, _METRICS, remembered_ms=30 * _DAY_MS,
        is_snapshot=True, of_perpetuals=True, intervals=_PERIODS,
    ),
    _ratio(
        "long_short_ratio", "accounts that are long by those that are short", "globalLongShortAccountRatio",
        "count_long_short_ratio",
    ),
    _ratio(
        "top_long_short_accounts", "the same of the accounts with the largest margin", "topLongShortAccountRatio",
        "count_toptrader_long_short_ratio",
    ),
    _ratio(
        "top_long_short_positions", "the same of these accounts' positions", "topLongShortPositionRatio",
        "sum_toptrader_long_short_ratio",
    ),
    Kind(
        "taker_volume", "what takers bought and sold", Host.FUTURES, "/futures/data/takerlongshortRatio", "symbol",
        "period", DATA_REQUESTS, _ANYTHING_WEIGHS, 500,
        (
            Column(
                "ratio", "buySellRatio", "bought by sold", "sum_taker_long_short_vol_ratio", decimals=_RATIO_DECIMALS
            ),
            Column("buy_volume", "buyVol", "base asset"),
            Column("sell_volume", "sellVol", "base asset"),
        ),
        Stamp.END, _DATA_PUBLISHED_MS, rules.TAKERS, rules.ODD_TAKERS, _METRICS, remembered_ms=30 * _DAY_MS,
        of_perpetuals=True, intervals=_PERIODS,
    ),
    Kind(
        "spot_klines", "bars of the same symbol on the spot market", Host.SPOT, "/api/v3/klines", "symbol", "interval",
        SPOT_WEIGHT, _SPOT_WEIGHS, 1000,
        (*_prices("quote asset"), Column("volume", 5, "base asset", "volume"), *_TURNOVER),
        Stamp.START, 0, rules.HIGH_LOW | rules.ABOVE_ZERO | rules.TRADED, {}, _klines_archived("klines", "spot"),
        of_perpetuals=True,
    ),
)  # fmt: skip

KINDS: dict[str, Kind] = {each.name: each for each in _ALL}
# Their further columns come with the bars themselves, of one request.
KLINES = KINDS["klines"]


def kinds(text: str, intervals: tuple[Interval, ...], flag: str = "--kinds") -> tuple[Kind, ...]:
    """Read `klines,open_interest`, in the table's order; `UsageError` names what is no kind or has no such interval.

    An empty text names none, and is no error.
    """
    names = [each.strip() for each in text.split(",") if each.strip()]
    if text and not names:
        raise UsageError(f"{flag} names no kind of series", hint=f"they are {', '.join(KINDS)}")
    for name in names:
        if name not in KINDS:
            raise UsageError(f"{flag}: {name[:60]!r} is no kind of series", hint=f"they are {', '.join(KINDS)}")
        for interval in intervals:
            if interval not in KINDS[name].intervals:
                has = " ".join(map(str, KINDS[name].intervals))
                raise UsageError(f"{flag}: the exchange has no {name} of {interval}", hint=f"it has {has}")
    return tuple(each for name, each in KINDS.items() if name in names)
