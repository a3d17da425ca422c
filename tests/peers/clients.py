"""Three public Binance clients that nobody here wrote, behind one small face: what they are asked and what they say.

Each is asked in the wire's own words (`symbol`, `interval`, `startTime`, `endTime`, `limit`) and keeps
its own way of sending, paging, parsing and raising.
"""

import asyncio
import json
from typing import Any, NamedTuple, Protocol

import pytest

from barfeed.domain.bars import Bar


class Steps(NamedTuple):
    """The smallest steps of a market's price and quantity, as the client understood them."""

    price: float
    quantity: float


class Told(NamedTuple):
    """A refusal as it reached the caller."""

    kind: str
    code: int
    message: str


class Timed(NamedTuple):
    """A row: its time as the exchange tells it, and values."""

    at_ms: int
    values: tuple[float, ...]


class Peer(Protocol):
    """A client of the exchange."""

    def klines(self, **asked: Any) -> list[Bar]:
        """The client's own way to fetch klines, its answer as bars."""
        ...

    def refusal(self, **asked: Any) -> Told:
        """The error that the client raises for klines that are refused."""
        ...

    def rows(self, kind: str, first_ms: int, last_ms: int) -> list[Timed]:
        """A kind's rows of BTCUSDT whose own times are from first to last, as many of their values as it tells."""
        ...

    def server_time_ms(self) -> int:
        """The exchange's clock."""
        ...

    def markets(self) -> dict[str, Steps]:
        """What is listed, by the exchange's own names."""
        ...

    def close(self) -> None:
        """Let go of sockets and loops."""
        ...


class Ccxt:
    """`ccxt.binanceusdm`."""

    def __init__(self, url: str) -> None:
        self._ccxt = pytest.importorskip("ccxt", reason="needs the extra `peers`: ccxt")
        self.exchange = self._ccxt.binanceusdm({"enableRateLimit": False})
        # Every address that it knows, so that nothing can leave the machine.
        own = {"fapiData": f"{url}/futures/data", "public": f"{url}/api/v3"}
        self.exchange.urls["api"] = dict.fromkeys(self.exchange.urls["api"], f"{url}/fapi/v1") | own

    def klines(self, **asked: Any) -> list[Bar]:
        asked.pop("symbol"), asked.pop("interval")
        since = asked.pop("startTime", None)
        # Its own `limit` stops at 1000; as a parameter it goes out as it is.
        until = {"until": asked.pop("endTime")} if "endTime" in asked else {}
        return [Bar(*row) for row in self.exchange.fetch_ohlcv("BTC/USDT:USDT", "1h", since, params=asked | until)]

    def refusal(self, **asked: Any) -> Told:
        # Through the raw endpoint: an unknown symbol would not get past ccxt's own list of markets.
        with pytest.raises(self._ccxt.BaseError) as caught:
            self.exchange.fapiPublicGetKlines(asked)
        # The body stands at the end of ccxt's own words.
        said = json.loads("{" + str(caught.value).partition("{")[2])
        return Told(type(caught.value).__name__, said["code"], said["msg"])

    def rows(self, kind: str, first_ms: int, last_ms: int) -> list[Timed]:
        name = "BTC/USDT:USDT"
        until = {"until": last_ms}
        if kind == "funding":
            told = self.exchange.fetch_funding_rate_history(name, first_ms, 500, until)
            return [Timed(each["timestamp"], (each["fundingRate"],)) for each in told]
        if kind == "open_interest":
            told = self.exchange.fetch_open_interest_history(name, "1h", first_ms, 500, until)
            return [Timed(each["timestamp"], (each["openInterestAmount"], each["openInterestValue"])) for each in told]
        if kind == "long_short_ratio":
            told = self.exchange.fetch_long_short_ratio_history(name, "1h", first_ms, 500, until)
            return [Timed(each["timestamp"], (each["longShortRatio"],)) for each in told]
        if kind in CCXT_KLINES:
            fetch = getattr(self.exchange, CCXT_KLINES[kind])
            return [Timed(row[0], tuple(row[1:5])) for row in fetch(name, "1h", first_ms, 500, until)]
        ends = {"startTime": first_ms, "endTime": last_ms, "limit": 500}
        if kind == "spot_klines":
            return _klines(self.exchange.publicGetKlines({**HOURLY, **ends}))
        return _objects(kind, getattr(self.exchange, CCXT_RAW[kind])({**PERIOD, **ends}))

    def server_time_ms(self) -> int:
        return int(self.exchange.fetch_time())

    def markets(self) -> dict[str, Steps]:
        markets = self.exchange.load_markets().values()
        return {each["id"]: Steps(each["precision"]["price"], each["precision"]["amount"]) for each in markets}

    def close(self) -> None:
        self.exchange.session.close()


class PythonBinance:
    """`binance.Client`, python-binance."""

    def __init__(self, url: str) -> None:
        module = pytest.importorskip("binance.client", reason="needs the extra `peers`: python-binance")
        self._error = pytest.importorskip("binance.exceptions").BinanceAPIException
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self.client = module.Client(ping=False)
        self.client.FUTURES_URL = f"{url}/fapi"
        self.client.FUTURES_DATA_URL = f"{url}/futures/data"
        self.client.API_URL = f"{url}/api"

    def klines(self, **asked: Any) -> list[Bar]:
        return [_bar(row) for row in self.client.futures_klines(**asked)]

    def refusal(self, **asked: Any) -> Told:
        with pytest.raises(self._error) as caught:
            self.client.futures_klines(**asked)
        return Told(f"HTTP {caught.value.status_code}", caught.value.code, caught.value.message)

    def rows(self, kind: str, first_ms: int, last_ms: int) -> list[Timed]:
        ends = {"startTime": first_ms, "endTime": last_ms, "limit": 500}
        ask = getattr(self.client, PYTHON_BINANCE[kind])
        if kind == "index_price":
            return _klines(ask(pair="BTCUSDT", interval="1h", **ends))
        if kind == "funding":
            return _objects(kind, ask(symbol="BTCUSDT", **ends))
        return _objects(kind, ask(**PERIOD, **ends)) if kind in OBJECTS else _klines(ask(**HOURLY, **ends))

    def server_time_ms(self) -> int:
        return int(self.client.futures_time()["serverTime"])

    def markets(self) -> dict[str, Steps]:
        return {each["symbol"]: _steps(each["filters"]) for each in self.client.futures_exchange_info()["symbols"]}

    def close(self) -> None:
        self.client.close_connection()
        asyncio.set_event_loop(None)
        self._loop.close()


class BinanceSdk:
    """Binance's own `binance-sdk-derivatives-trading-usds-futures`."""

    def __init__(self, url: str) -> None:
        name = "binance_sdk_derivatives_trading_usds_futures"
        sdk = pytest.importorskip(name, reason=f"needs the extra `peers`: {name.replace('_', '-')}")
        common = pytest.importorskip("binance_common.configuration")
        self._error = pytest.importorskip("binance_common.errors").Error
        settings = common.ConfigurationRestAPI(api_key="", api_secret="", base_path=url, retries=0, timeout=60_000)
        self.client = sdk.DerivativesTradingUsdsFutures(config_rest_api=settings).rest_api

    def klines(self, **asked: Any) -> list[Bar]:
        return [_bar(row) for row in self._ask(asked).data()]

    def refusal(self, **asked: Any) -> Told:
        with pytest.raises(self._error) as caught:
            self._ask(asked)
        return Told(type(caught.value).__name__, caught.value.status_code, caught.value.error_message)

    def rows(self, kind: str, first_ms: int, last_ms: int) -> list[Timed]:
        ask = getattr(self.client, SDK[kind])
        if kind == "funding":
            told = ask("BTCUSDT", first_ms, last_ms, 500).data()
        elif kind in OBJECTS:
            told = ask("BTCUSDT", "1h", 500, first_ms, last_ms).data()
        else:
            return _klines(ask("BTCUSDT", "1h", first_ms, last_ms, 500).data())
        # Of some kinds it makes objects of its own, of some none.
        return _objects(kind, [each if isinstance(each, dict) else each.to_dict() for each in told])

    def server_time_ms(self) -> int:
        return int(self.client.check_server_time().data().server_time)

    def markets(self) -> dict[str, Steps]:
        symbols = self.client.exchange_information().data().symbols
        return {each.symbol: _steps([part.to_dict() for part in each.filters]) for each in symbols}

    def close(self) -> None:
        self.client._session.close()

    def _ask(self, asked: dict[str, Any]) -> Any:
        ends = (asked.get("startTime"), asked.get("endTime"))
        return self.client.kline_candlestick_data(asked["symbol"], asked["interval"], *ends, asked.get("limit"))


HOURLY = {"symbol": "BTCUSDT", "interval": "1h"}
PERIOD = {"symbol": "BTCUSDT", "period": "1h"}
# What each client calls a kind; where ccxt has no call of its own, by its raw one.
CCXT_KLINES = {
    "mark_price": "fetch_mark_ohlcv",
    "index_price": "fetch_index_ohlcv",
    "premium_index": "fetch_premium_index_ohlcv",
}
CCXT_RAW = {
    "top_long_short_accounts": "fapiDataGetTopLongShortAccountRatio",
    "top_long_short_positions": "fapiDataGetTopLongShortPositionRatio",
    "taker_volume": "fapiDataGetTakerlongshortRatio",
}
PYTHON_BINANCE = {
    "mark_price": "futures_mark_price_klines",
    "index_price": "futures_index_price_klines",
    "premium_index": "futures_premium_index_klines",
    "funding": "futures_funding_rate",
    "open_interest": "futures_open_interest_hist",
    "long_short_ratio": "futures_global_longshort_ratio",
    "top_long_short_accounts": "futures_top_longshort_account_ratio",
    "top_long_short_positions": "futures_top_longshort_position_ratio",
    "taker_volume": "futures_taker_longshort_ratio",
    "spot_klines": "get_klines",
}
SDK = {
    "mark_price": "mark_price_kline_candlestick_data",
    "index_price": "index_price_kline_candlestick_data",
    "premium_index": "premium_index_kline_data",
    "funding": "get_funding_rate_history",
    "open_interest": "open_interest_statistics",
    "long_short_ratio": "long_short_ratio",
    "top_long_short_accounts": "top_trader_long_short_ratio_accounts",
    "top_long_short_positions": "top_trader_long_short_ratio_positions",
    "taker_volume": "taker_buy_sell_volume",
}
_RATIO = ("longShortRatio", "longAccount", "shortAccount")
OBJECTS = {
    "funding": ("fundingRate", "markPrice"),
    "open_interest": ("sumOpenInterest", "sumOpenInterestValue"),
    "long_short_ratio": _RATIO,
    "top_long_short_accounts": _RATIO,
    "top_long_short_positions": _RATIO,
    "taker_volume": ("buySellRatio", "buyVol", "sellVol"),
}


def _klines(rows: list[list[Any]]) -> list[Timed]:
    return [Timed(int(row[0]), tuple(map(float, row[1:5]))) for row in rows]


def _objects(kind: str, rows: list[dict[str, Any]]) -> list[Timed]:
    time = "fundingTime" if kind == "funding" else "timestamp"
    return [Timed(int(row[time]), tuple(float(row[name]) for name in OBJECTS[kind])) for row in rows]


def _bar(row: list[Any]) -> Bar:
    return Bar(row[0], *map(float, row[1:6]))


def _steps(filters: list[dict[str, Any]]) -> Steps:
    by_type = {each["filterType"]: each for each in filters}
    return Steps(float(by_type["PRICE_FILTER"]["tickSize"]), float(by_type["LOT_SIZE"]["stepSize"]))
