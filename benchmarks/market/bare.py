"""The pass as a bare loop: what a market costs at the least, with asyncio, aiohttp, json and duckdb.

    python -m benchmarks.market.bare BASE_URL STORE FOLDER [once]

It asks the same questions as barfeed, as many at once: the time, the list of symbols, the newest bars of each. It takes
every answer on its word, inserts the newest bar of each with one statement, and writes the same table of windows.

What it leaves out, and barfeed has to pay for: every rule, the comparison with what is stored, what is due of which
symbol and since when it is listed; weight, retries, proxies, a deadline; the evidence, the manifest, files that are
whole or absent; which windows are whole; a file that others may hold.
"""

import asyncio
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import aiohttp
import duckdb

from benchmarks.market.rivals import live_on

HOUR_MS = 3_600_000
N_RECENT = 6
WINDOW = 720 + 6
IN_FLIGHT = 64
INSERT = """
INSERT INTO ohlcv_1h (symbol, timestamp, open, high, low, close, volume)
SELECT unnest(?::VARCHAR[]), make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]), unnest(?::DOUBLE[]),
       unnest(?::DOUBLE[]), unnest(?::DOUBLE[]), unnest(?::DOUBLE[])
"""
PUBLISH = """
COPY (SELECT symbol, timestamp, open, high, low, close, volume FROM ohlcv_1h
      WHERE timestamp BETWEEN make_timestamp_ms({}) AND make_timestamp_ms({}) ORDER BY symbol, timestamp)
TO '{}' (FORMAT parquet)
"""

Klines = Mapping[str, Sequence[Sequence[Any]]]


class Loop:
    """A session that is kept from pass to pass."""

    def __init__(self, base_url: str, store: Path, folder: Path) -> None:
        self._base_url = base_url
        self._store = store
        self._folder = folder
        self._client: aiohttp.ClientSession | None = None

    async def live(self) -> int:
        self._client = self._client or aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT))
        now_ms = (await self._get("/fapi/v1/time"))["serverTime"]
        symbols = perpetuals(await self._get("/fapi/v1/exchangeInfo"))
        end_ms = now_ms - now_ms % HOUR_MS - 1
        query = f"&interval=1h&endTime={end_ms}&limit={N_RECENT}"
        answers = await asyncio.gather(*(self._get(f"/fapi/v1/klines?symbol={each}{query}") for each in symbols))
        self.keep(dict(zip(symbols, answers, strict=True)), end_ms + 1 - HOUR_MS)
        return 0

    def keep(self, klines: "Klines", target_ms: int) -> None:
        keep(self._store, self._folder, klines, target_ms)

    async def close(self) -> None:
        if self._client:
            await self._client.close()

    async def _get(self, path: str) -> Any:
        assert self._client
        async with self._client.get(self._base_url + path) as answer:
            return json.loads(await answer.read())


def perpetuals(info: Mapping[str, Any]) -> list[str]:
    """Those that trade."""
    kinds = {"PERPETUAL", "TRADIFI_PERPETUAL"}
    return [each["symbol"] for each in info["symbols"] if each["contractType"] in kinds and each["status"] == "TRADING"]


def keep(store: Path, folder: Path, klines: Klines, target_ms: int) -> None:
    """Insert the target of each symbol that has one, and write all windows up to it."""
    rows = [
        (symbol, each[0], *map(float, each[1:6]))
        for symbol, its in klines.items()
        for each in its
        if each[0] == target_ms
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(str(store)) as database:
        database.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
        begin_ms = target_ms - (WINDOW - 1) * HOUR_MS
        database.execute(PUBLISH.format(begin_ms, target_ms, folder / "windows.parquet"))


if __name__ == "__main__":
    live_on(Loop(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])), once="once" in sys.argv)
