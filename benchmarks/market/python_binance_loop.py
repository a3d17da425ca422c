"""The pass with python-binance's own asyncio client.

    python -m benchmarks.market.python_binance_loop BASE_URL STORE FOLDER

As people write it: every symbol is a task, which asks for its bars and keeps them in a frame and an insert of its own,
within one transaction.
"""

import asyncio
import sys
from pathlib import Path

from binance.async_client import AsyncClient

from benchmarks.market.bare import HOUR_MS, N_RECENT, perpetuals
from benchmarks.market.pandas_keep import Keeping
from benchmarks.market.rivals import live_on


class Loop:
    def __init__(self, base_url: str, store: Path, folder: Path) -> None:
        self._base_url = base_url
        self._store = store
        self._folder = folder
        self._client: AsyncClient | None = None

    async def live(self) -> int:
        client = self._client = self._client or self._opened()
        now_ms = (await client.futures_time())["serverTime"]
        symbols = perpetuals(await client.futures_exchange_info())
        asked = {"interval": "1h", "endTime": now_ms - now_ms % HOUR_MS - 1, "limit": N_RECENT}
        keeping = Keeping(self._store, now_ms - now_ms % HOUR_MS - HOUR_MS)

        async def feed(symbol: str) -> None:
            keeping.keep(symbol, await client.futures_klines(symbol=symbol, **asked))

        await asyncio.gather(*map(feed, symbols))
        keeping.publish(self._folder)
        return 0

    async def close(self) -> None:
        if self._client:
            await self._client.close_connection()

    def _opened(self) -> AsyncClient:
        # Its ten seconds are over early where the machine is busy: a request waits for all inserts before it.
        client = AsyncClient(requests_params={"timeout": 120})
        client.FUTURES_URL = f"{self._base_url}/fapi"
        return client


if __name__ == "__main__":
    live_on(Loop(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
