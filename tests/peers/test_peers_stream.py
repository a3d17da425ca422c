"""The replay exchange's stream under a client that nobody here wrote."""

import asyncio
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import pytest

from barfeed.domain.bars import HOUR_MS, Bar
from barfeed.machine.clock import SystemClock
from barfeed.replay.clocks import ReplayClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate

pytestmark = pytest.mark.peers

CLOSE_MS = 1_707_573_600_000  # 2024-02-10 14:00
START_MS = CLOSE_MS - 1_000


class Venue(NamedTuple):
    """An exchange on a socket, a second before a close, and the bars on its tape."""

    url: str
    exchange: ReplayExchange
    bars: dict[int, Bar]


@pytest.fixture
def venue(monkeypatch: pytest.MonkeyPatch) -> Iterator[Venue]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    tape = generate("BTCUSDT", "1h", CLOSE_MS - 100 * HOUR_MS, 110, seed=7)

    @cache
    def running() -> ReplayClock:
        return ReplayClock(START_MS, 1.0, SystemClock())

    # Until somebody listens the clock stands: how long a client takes to get there is its own affair.
    exchange = ReplayExchange([tape], lambda: running().now_ms() if exchange.streams else START_MS)
    with ReplayServer(exchange, streams=exchange) as server:
        yield Venue(server.url, exchange, {bar.open_time_ms: bar for bar in tape.bars})


def test_ccxt_pro_watches_a_bar_close_and_the_next_one_open(venue: Venue) -> None:
    pro = pytest.importorskip("ccxt.pro", reason="needs the extra `peers`: ccxt")

    async def watched() -> list[list[Any]]:
        exchange = pro.binanceusdm({"newUpdates": False})
        exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], f"{venue.url}/fapi/v1")
        exchange.urls["api"]["ws"] = {"linear": venue.url.replace("http", "ws", 1) + "/ws"}
        try:
            while True:
                bars: list[list[Any]] = await asyncio.wait_for(exchange.watch_ohlcv("BTC/USDT:USDT", "1h"), 60)
                if len(bars) > 1:
                    return [[*bar] for bar in bars]
        finally:
            await exchange.close()

    closed, forming = asyncio.run(watched())
    # ccxt found the routed path by itself.
    assert venue.exchange.connections == 1
    assert Bar(closed[0], *closed[1:]) == venue.bars[CLOSE_MS - HOUR_MS]
    final = venue.bars[CLOSE_MS]
    assert forming[:2] == [CLOSE_MS, final.open]
    assert final.low <= forming[3] <= forming[2] <= final.high
    assert 0 <= forming[5] < final.volume
