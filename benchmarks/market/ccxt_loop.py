"""The pass with ccxt's own asyncio client, its rate limiter off.

    python -m benchmarks.market.ccxt_loop BASE_URL STORE FOLDER

As people write it: every symbol is a task, which asks for its bars and keeps them in a frame and an insert of its own,
within one transaction. The markets are loaded once, before the first pass that counts.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt  # type: ignore[import-not-found,import-untyped,unused-ignore] # mypy runs without the extra `bench`

from benchmarks.market.bare import HOUR_MS, N_RECENT
from benchmarks.market.pandas_keep import Keeping
from benchmarks.market.rivals import live_on


class Loop:
    def __init__(self, base_url: str, store: Path, folder: Path) -> None:
        self._base_url = base_url
        self._store = store
        self._folder = folder
        self._exchange: Any = None

    async def live(self) -> int:
        exchange = self._exchange = self._exchange or await self._opened()
        now_ms = await exchange.fetch_time()
        keeping = Keeping(self._store, now_ms - now_ms % HOUR_MS - HOUR_MS)

        async def feed(market: dict[str, Any]) -> None:
            # One more than wanted: the last row is still forming.
            keeping.keep(market["id"], await exchange.fetch_ohlcv(market["symbol"], "1h", limit=N_RECENT + 1))

        await asyncio.gather(*(feed(each) for each in exchange.markets.values() if each["swap"] and each["active"]))
        keeping.publish(self._folder)
        return 0

    async def close(self) -> None:
        await self._exchange.close()

    async def _opened(self) -> Any:
        # Its ten seconds are over early where the machine is busy: a request waits for all inserts before it.
        exchange = ccxt.binanceusdm({"enableRateLimit": False, "timeout": 120_000})
        exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], f"{self._base_url}/fapi/v1")
        await exchange.load_markets()
        return exchange


if __name__ == "__main__":
    live_on(Loop(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
