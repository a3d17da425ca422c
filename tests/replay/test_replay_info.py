import json
from typing import Any

import pytest

from barfeed.domain.bars import Interval, Series
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, DATA, HOURLY, World, at, needs_data

# An authentic symbol object of 2026-09-15; the numbers that follow from the tape are those of the tape.
BTCUSDT = """{"symbol":"BTCUSDT","pair":"BTCUSDT","contractType":"PERPETUAL","deliveryDate":4133404800000,
"onboardDate":1705276800000,"status":"TRADING","maintMarginPercent":"2.5000","requiredMarginPercent":"5.0000",
"baseAsset":"BTC","quoteAsset":"USDT","marginAsset":"USDT","pricePrecision":1,"quantityPrecision":3,
"baseAssetPrecision":8,"quotePrecision":8,"underlyingType":"COIN","underlyingSubType":["PoW","Crypto"],
"triggerProtect":"0.0500","liquidationFee":"0.012500","marketTakeBound":"0.05","maxMoveOrderLimit":10000,
"filters":[{"filterType":"PRICE_FILTER","minPrice":"556.80","maxPrice":"4529764","tickSize":"0.1"},
{"filterType":"LOT_SIZE","minQty":"0.001","stepSize":"0.001","maxQty":"1000"},
{"stepSize":"0.001","filterType":"MARKET_LOT_SIZE","minQty":"0.001","maxQty":"120"},
{"limit":200,"filterType":"MAX_NUM_ORDERS"},{"filterType":"MIN_NOTIONAL","notional":"50"},
{"multiplierUp":"1.0500","multiplierDecimal":"4","filterType":"PERCENT_PRICE","multiplierDown":"0.9500"},
{"positionControlSide":"NONE","filterType":"POSITION_RISK_CONTROL"}],
"orderTypes":["LIMIT","MARKET","STOP","STOP_MARKET","TAKE_PROFIT","TAKE_PROFIT_MARKET","TRAILING_STOP_MARKET"],
"timeInForce":["GTC","IOC","FOK","GTX","GTD"],"permissionSets":["GRID","COPY","DCA","PSB"]}"""

# Of the market, not of the tape: bounds and labels that no tape tells.
MADE_UP = {"minPrice", "maxPrice", "maxQty", "underlyingSubType"}


def _info(world: World, query: str = "") -> dict[str, Any]:
    info: dict[str, Any] = json.loads(world.get("/fapi/v1/exchangeInfo", query).body)
    return info


def _told(value: Any) -> Any:
    """The value without what is made up."""
    if isinstance(value, dict):
        return {key: _told(each) for key, each in value.items() if key not in MADE_UP}
    return [_told(each) for each in value] if isinstance(value, list) else value


def _pair(symbol: str) -> tuple[str, str, str, str]:
    [listed] = _info(World(Tape.of(Series(symbol, Interval.ONE_HOUR), BARS)))["symbols"]
    return listed["pair"], listed["baseAsset"], listed["quoteAsset"], listed["contractType"]


def test_a_symbol_has_the_fields_of_the_real_one() -> None:
    [listed] = _info(World())["symbols"]
    real = json.loads(BTCUSDT)
    assert list(listed) == list(real)
    assert [list(each) for each in listed["filters"]] == [list(each) for each in real["filters"]]
    assert _told(listed) == _told(real)


def test_the_answer_has_the_order_and_the_limits_of_the_real_one() -> None:
    info = _info(World())
    assert list(info) == [
        "timezone", "serverTime", "futuresType", "rateLimits", "exchangeFilters", "assets", "symbols",
    ]  # fmt: skip
    assert info["rateLimits"] == [
        {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
        {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
        {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
    ]


@pytest.mark.parametrize("query", ["symbol=ETHUSDT", "symbol=NOSUCHTHING"])
def test_a_symbol_in_the_request_is_ignored(query: str) -> None:
    assert _info(World(), query) == _info(World())


def test_its_server_time_is_hours_old() -> None:
    # Seen in production on 2026-09-15: 02:49:42 read at 13:29.
    assert at(14, 23, 45) - _info(World())["serverTime"] == (10 * 3600 + 39 * 60 + 18) * 1000


@pytest.mark.parametrize(
    ("symbol", "expected"),
    [
        ("ETHUSDC", ("ETHUSDC", "ETH", "USDC", "PERPETUAL")),
        ("BTCUSDT_261225", ("BTCUSDT", "BTC", "USDT", "CURRENT_QUARTER")),
        ("USDCUSDT", ("USDCUSDT", "USDC", "USDT", "PERPETUAL")),
    ],
)
def test_pair_and_assets_follow_from_the_symbol(symbol: str, expected: tuple[str, ...]) -> None:
    assert _pair(symbol) == expected


def test_every_symbol_is_listed_once_however_many_intervals_it_has() -> None:
    world = World(
        Tape.of(HOURLY, BARS),
        Tape.of(Series("ETHUSDT", Interval.ONE_HOUR), BARS),
        Tape.of(Series("ETHUSDT", Interval.ONE_MINUTE), []),
    )
    assert sorted(each["symbol"] for each in _info(world)["symbols"]) == ["BTCUSDT", "ETHUSDT"]


def test_a_quarterly_is_delivered_on_the_day_in_its_name() -> None:
    world = World(Tape.of(Series("BTCUSDT_240115", Interval.ONE_HOUR), BARS))
    seen = []
    for moment in (at(7, 59, 59), at(8)):
        world.clock.set(moment)
        [listed] = _info(world)["symbols"]
        seen.append((listed["status"], listed["deliveryDate"]))
    assert seen == [("TRADING", at(8)), ("SETTLING", at(8))]


def test_a_name_that_ends_in_no_day_is_a_perpetuals() -> None:
    [listed] = _info(World(Tape.of(Series("X_999999", Interval.ONE_HOUR), BARS)))["symbols"]
    assert (listed["contractType"], listed["deliveryDate"]) == ("PERPETUAL", 4_133_404_800_000)


def test_before_its_first_bar_a_symbol_is_still_to_come() -> None:
    world = World(now_ms=at(-1))
    assert _info(world)["symbols"][0]["status"] == "PENDING_TRADING"
    world.clock.set(at(0))
    assert _info(world)["symbols"][0]["status"] == "TRADING"


@needs_data
def test_the_fields_were_there_in_2021_too() -> None:
    old = json.loads((DATA / "captures" / "exchangeInfo-2021-07-22.json").read_text())["symbols"][0]
    [listed] = _info(World())["symbols"]
    assert set(old) - set(listed) == {"settlePlan"}
