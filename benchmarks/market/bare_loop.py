"""A market's history as a bare loop: asyncio, aiohttp, json and duckdb.

    python -m benchmarks.market.bare_loop BASE_URL STORE FROM_MS TO_MS rest|archive

It asks for the same pages or files as barfeed, takes each on its word, and inserts a hundred thousand rows with one
statement. What it leaves out, and barfeed has to pay for: first bars, every rule, the comparison with what is stored,
weight, retries, progress, a report; and a second call starts from the beginning.
"""

import asyncio
import csv
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from urllib.parse import quote

import aiohttp
import duckdb
import msgspec

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
LIMIT = 499
IN_FLIGHT = 64
BLOCK = 100_000
CREATE = """
CREATE TABLE ohlcv_1h (
  symbol VARCHAR, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp))
"""
INSERT = (
    "INSERT INTO ohlcv_1h (symbol, timestamp, open, high, low, close, volume)"
    " SELECT unnest(?::VARCHAR[]), make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]), unnest(?::DOUBLE[]),"
    " unnest(?::DOUBLE[]), unnest(?::DOUBLE[]), unnest(?::DOUBLE[])"
)


class Loop:
    """One fill of all symbols."""

    def __init__(self, base_url: str, store: str, from_ms: int, to_ms: int) -> None:
        self.base_url = base_url
        self.from_ms, self.to_ms = from_ms, to_ms
        self.database = duckdb.connect(store)
        self.database.execute(CREATE)
        self.rows: list[tuple[str, int, float, float, float, float, float]] = []

    async def fill(self, source: str) -> None:
        """Ask for all of it, and insert it."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as client:
            info = msgspec.json.decode(await self.get(client, "/fapi/v1/exchangeInfo"))
            symbols = [each["symbol"] for each in info["symbols"]]
            jobs = self.pages(symbols) if source == "rest" else self.files(symbols)
            await asyncio.gather(*(self.work(client, jobs) for _ in range(IN_FLIGHT)))
        self.keep()

    def pages(self, symbols: list[str]) -> Iterator[tuple[str, str]]:
        """The oldest page of every symbol, then the next."""
        for begin_ms in range(self.from_ms, self.to_ms, LIMIT * HOUR_MS):
            end_ms = min(begin_ms + LIMIT * HOUR_MS, self.to_ms) - 1
            for symbol in symbols:
                span = f"startTime={begin_ms}&endTime={end_ms}&limit={LIMIT}"
                yield symbol, f"/fapi/v1/klines?symbol={quote(symbol)}&interval=1h&{span}"

    def files(self, symbols: list[str]) -> Iterator[tuple[str, str]]:
        """Whole months, then the days of the last one."""
        days = [time.gmtime(at // 1000) for at in range(self.from_ms, self.to_ms, DAY_MS)]
        months = sorted({(day.tm_year, day.tm_mon) for day in days})
        names = [("monthly", f"{year:04d}-{month:02d}") for year, month in months[:-1]]
        names += [("daily", time.strftime("%Y-%m-%d", day)) for day in days if (day.tm_year, day.tm_mon) == months[-1]]
        for kind, name in names:
            for symbol in symbols:
                yield symbol, quote(f"/data/futures/um/{kind}/klines/{symbol}/1h/{symbol}-1h-{name}.zip")

    async def work(self, client: aiohttp.ClientSession, jobs: Iterator[tuple[str, str]]) -> None:
        """Do one after the other."""
        for symbol, path in jobs:
            if path.endswith(".zip"):
                await self.get(client, f"{path}.CHECKSUM")
                self.take(symbol, unpacked(await self.get(client, path)))
            else:
                self.take(symbol, msgspec.json.decode(await self.get(client, path)))

    async def get(self, client: aiohttp.ClientSession, path: str) -> bytes:
        """An answer's body, empty where there is none."""
        async with client.get(self.base_url + path) as answer:
            return await answer.read() if answer.status == 200 else b""

    def take(self, symbol: str, klines: list[list[str]]) -> None:
        """Remember rows until they are a block."""
        self.rows += [
            (symbol, int(k[0]), float(k[1]), float(k[2]), float(k[3]), float(k[4]), float(k[5])) for k in klines
        ]
        if len(self.rows) >= BLOCK:
            self.keep()

    def keep(self) -> None:
        """Insert the block."""
        if self.rows:
            self.database.execute(INSERT, [list(column) for column in zip(*self.rows, strict=True)])
            self.rows = []


def unpacked(packed: bytes) -> list[list[str]]:
    if not packed:
        return []
    with zipfile.ZipFile(io.BytesIO(packed)) as file:
        rows = list(csv.reader(io.StringIO(file.read(file.namelist()[0]).decode())))
    return rows[not rows[0][0].isdigit() :]


if __name__ == "__main__":
    asyncio.run(Loop(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])).fill(sys.argv[5]))
