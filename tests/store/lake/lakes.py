"""A store and its lake, filled hour by hour, and what any reader of the lake sees."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.machine.clock import SystemClock
from barfeed.store import market
from barfeed.store.duckdb import Store
from barfeed.store.kinds.tables import writing
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.table import Table
from storage import opened
from world import hours, made_up_bars, ms

END_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "DOGEUSDC")
TABLE = "kind=ohlcv/interval=1h"
BTCUSDT = Series.of("BTCUSDT", "1h")


class StoreAndLake:
    """A market's store in a folder, and a lake beside it or elsewhere."""

    def __init__(self, folder: Path, address: str = "") -> None:
        self.clock = SystemClock()
        self.store = Store(folder / "store.duckdb", self.clock, 5.0)
        self.address = address or str(folder / "lake")
        self.lake = Lake(self.address, self.clock)

    @property
    def table(self) -> Path:
        return Path(self.address) / TABLE

    @property
    def manifest(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.table / "_manifest.json").read_text())
        return told

    def append(self, bars: int, end_ms: int = END_MS, symbols: Sequence[str] = SYMBOLS) -> None:
        """Each symbol's `bars` bars up to the one that opens at `end_ms`."""
        with market.writing(self.store, Interval.ONE_HOUR) as table:
            table.append({each: made_up_bars(end_ms, bars, each) for each in symbols})

    def append_alone(self, series: Series, bars: Sequence[Bar]) -> None:
        with self.store.appending(series, create=True) as table:
            table.append(bars)

    def grow(self, by_hours: int) -> None:
        for hour in range(1, by_hours + 1):
            self.append(1, END_MS + hours(hour))

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        """By somebody's own DuckDB."""
        with opened(self.store.path) as connection:
            return connection.execute(statement).fetchall()

    def export(self) -> Exported:
        return self.lake.export(self.store, Interval.ONE_HOUR)

    def read(self) -> list[tuple[Any, ...]]:
        """Every bar of the lake, by a plain glob."""
        columns = "symbol, timestamp, open, high, low, close, volume, created_at, date::VARCHAR, interval, kind"
        glob = f"{self.address}/kind=ohlcv/**/*.parquet"
        return duckdb.execute(
            f"SELECT {columns} FROM read_parquet(?, hive_partitioning = true) ORDER BY ALL", [glob]
        ).fetchall()

    def stored(self, table: str = "ohlcv_1h", symbol: str = "symbol") -> list[tuple[Any, ...]]:
        """What should be there."""
        return self.sql(
            f"SELECT {symbol}, timestamp, open, high, low, close, volume, created_at, strftime(timestamp, '%Y-%m-%d'),"
            f" '1h', 'ohlcv' FROM {table} ORDER BY ALL"
        )

    def versions(self) -> dict[str, int]:
        """Every file and when it was written."""
        return {path.parent.name: path.stat().st_mtime_ns for path in self.table.rglob("*.parquet")}

    def append_kind(self, kind: Kind, rows: int, end_ms: int = END_MS, symbols: Sequence[str] = SYMBOLS) -> None:
        """Each symbol's `rows` rows of a kind, one an hour, up to the one of `end_ms`; every value another."""
        at_ms = [end_ms - hours(before) for before in reversed(range(rows))]
        made = [Row(at, at + hours(1), tuple(float(at + n) for n in range(len(kind.columns)))) for at in at_ms]
        with writing(self.store, kind, Interval.ONE_HOUR) as table:
            table.append(dict.fromkeys(symbols, made))

    def read_kind(self, table: Table) -> list[tuple[Any, ...]]:
        """Every row of a kind in the lake, by a plain glob."""
        glob = f"{self.address}/{table.folder}/**/*.parquet"
        query = f"SELECT {', '.join(table.types)} FROM read_parquet(?, hive_partitioning = true) ORDER BY ALL"
        return duckdb.execute(query, [glob]).fetchall()
