"""A market whose feed has other kinds beside its bars, in process: what the exchange has of them, and what is kept."""

import shutil
from pathlib import Path
from typing import Any, NamedTuple

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.plan import Reach
from barfeed.domain.kinds.table import KINDS
from barfeed.exchange.kinds.asking import Limits
from barfeed.exchange.kinds.wire import read_rows
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.order import KindsOrder
from barfeed.feed.market.record import MarketRecord
from barfeed.replay.exchange import Request
from barfeed.replay.tapes.generator import generate
from market_world import MarketWorld
from storage import opened
from world import ms

TARGET_MS = ms(2026, 3, 10, 13)
# Half a minute after the hour, in which nothing of /futures/data is published yet.
NOW_MS = TARGET_MS + HOUR_MS + 30_000
# By then all is.
LATER_MS = 6 * MINUTE_MS
SYMBOLS = ("1000PEPEUSDT", "BTCUSDT", "ETHUSDT")
TAPES = [generate(symbol, "1h", TARGET_MS - 40 * 24 * HOUR_MS, 41 * 24, seed=5) for symbol in SYMBOLS]
WINDOW = 48
ONE_HOUR = Interval.ONE_HOUR


class KindsWorld(MarketWorld):
    """A market whose feed has every kind, or some."""

    def __init__(self, folder: Path, now_ms: int = NOW_MS, *names: str) -> None:
        super().__init__(folder, TAPES, now_ms)
        self.with_kinds(*(names or KINDS))

    def with_kinds(self, *names: str, **changes: Any) -> None:
        """Feed these, with changes to the order."""
        order = KindsOrder(tuple(KINDS[name] for name in names), Reach(6, WINDOW), 15.0)._replace(**changes)
        self.feed = self.feed._replace(kinds=Kinds(order, self.feed.store.kinds, self.rest, Limits(self.clock)))

    def told(self, kind: Kind, symbol: str, first_ms: int, last_ms: int) -> list[tuple[Any, ...]]:
        """What the exchange has of it: `timestamp` and values."""
        query = kind.query(symbol, ONE_HOUR, first_ms, last_ms, kind.rows_max)
        text = "&".join(f"{name}={value}" for name, value in query.items())
        answer = self.exchange.handle(Request("GET", kind.path, text, {}))
        rows = read_rows(kind, answer.body) if answer.status == 200 else []
        return [(kind.stamp.start_ms(row.stamp_ms, HOUR_MS), *row.values) for row in rows]

    def kept(self, kind: Kind, symbol: str) -> list[tuple[Any, ...]]:
        """What the store has, read by nobody's code but DuckDB's."""
        columns = ", ".join(kind.names)
        query = f"SELECT epoch_ms(timestamp), {columns} FROM {kind.table(ONE_HOUR)} WHERE symbol = ? ORDER BY timestamp"
        with opened(self.duckdb, read_only=True) as connection:
            return connection.execute(query, [symbol]).fetchall()

    def known(self, kind: Kind) -> dict[tuple[str, int], int]:
        """When each row is said to have been known, by symbol and `timestamp`."""
        query = f"SELECT symbol, epoch_ms(timestamp), epoch_ms(known_at) FROM {kind.table(ONE_HOUR)}"
        with opened(self.duckdb, read_only=True) as connection:
            return {(symbol, at_ms): known_ms for symbol, at_ms, known_ms in connection.execute(query).fetchall()}


class FirstPass(NamedTuple):
    """The pass that started a store, for whoever only looks at what it did and left."""

    world: KindsWorld
    record: MarketRecord

    def copy(self, folder: Path, *names: str) -> KindsWorld:
        """What it left, to live on with; from now on with these kinds."""
        shutil.copytree(self.world.duckdb.parent, folder, dirs_exist_ok=True)
        return KindsWorld(folder, NOW_MS, *names)
