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


class Peer(Protocol):
    """A client of the exchange."""

    def klines(self, **asked: Any) -> list[Bar]:
        """The client's own way to fetch klines, its answer as bars."""
        ...

    def refusal(self, **asked: Any) -> Told:
        """The error that the client raises for klines that are refused."""
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
        self.exchange.urls["api"] = dict.fromkeys(self.exchange.urls["api"], f"{url}/fapi/v1")

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

    def klines(self, **asked: Any) -> list[Bar]:
        return [_bar(row) for row in self.client.futures_klines(**asked)]

    def refusal(self, **asked: Any) -> Told:
        with pytest.raises(self._error) as caught:
            self.client.futures_klines(**asked)
        return Told(f"HTTP {caught.value.status_code}", caught.value.code, caught.value.message)

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


def _bar(row: list[Any]) -> Bar:
    return Bar(row[0], *map(float, row[1:6]))


def _steps(filters: list[dict[str, Any]]) -> Steps:
    by_type = {each["filterType"]: each for each in filters}
    return Steps(float(by_type["PRICE_FILTER"]["tickSize"]), float(by_type["LOT_SIZE"]["stepSize"]))
