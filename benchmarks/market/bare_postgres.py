"""The pass on PostgreSQL as a bare loop: what it costs at the least, with asyncio, aiohttp, json, psycopg and pyarrow.

    python -m benchmarks.market.bare_postgres BASE_URL ADDRESS FOLDER

As `bare`, on a database: it takes every answer on its word, inserts the newest bar of each symbol with one statement,
and writes the same table of windows from what one statement gives. What it leaves out is told there; and here
also whether another feeder was first, and which server it is.
"""

import sys
from pathlib import Path

import psycopg
import pyarrow
from pyarrow import parquet

from benchmarks.market.bare import HOUR_MS, WINDOW, Klines, Loop
from benchmarks.market.rivals import live_on

INSERT = """
INSERT INTO barfeed.ohlcv_1h (symbol, timestamp, open, high, low, close, volume)
SELECT symbol, timestamp 'epoch' + ms * interval '1 millisecond', open, high, low, close, volume
FROM unnest(%b::text[], %b::bigint[], %b::float8[], %b::float8[], %b::float8[], %b::float8[], %b::float8[])
  AS new(symbol, ms, open, high, low, close, volume)
ON CONFLICT DO NOTHING
"""
WINDOWS = """
SELECT symbol, timestamp, open, high, low, close, volume FROM barfeed.ohlcv_1h
WHERE timestamp > timestamp 'epoch' + %s * interval '1 millisecond'
  AND timestamp <= timestamp 'epoch' + %s * interval '1 millisecond' ORDER BY symbol, timestamp
"""
NAMES = ("symbol", "timestamp", "open", "high", "low", "close", "volume")


class DatabaseLoop(Loop):
    """The same loop, with a connection that is kept from pass to pass."""

    def __init__(self, base_url: str, address: str, folder: Path) -> None:
        super().__init__(base_url, folder, folder)
        self._database = psycopg.connect(address, autocommit=True)

    def keep(self, klines: Klines, target_ms: int) -> None:
        rows = [
            (symbol, each[0], *map(float, each[1:6]))
            for symbol, its in klines.items()
            for each in its
            if each[0] == target_ms
        ]
        with self._database.transaction():
            self._database.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
        bounds = [target_ms - WINDOW * HOUR_MS, target_ms]
        windows = self._database.cursor(binary=True).execute(WINDOWS, bounds).fetchall()
        table = pyarrow.table([list(column) for column in zip(*windows, strict=True)], names=list(NAMES))
        self._folder.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, self._folder / "windows.parquet")


if __name__ == "__main__":
    live_on(DatabaseLoop(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
