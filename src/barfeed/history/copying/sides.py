"""A store as one side of a copy: a DuckDB file, or a database."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.history.copying.chunk import Chunk
from barfeed.store import market, revisions
from barfeed.store.duckdb import Session, Store, transaction
from barfeed.store.place import alone, held_symbols, market_table, rows_of_all
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import columns, mirror
from barfeed.store.postgres.tables.filling import fill
from barfeed.store.postgres.tables.schema import SCHEMA

# What stands beside the bars: small, and copied whole. In this order it was noted.
TABLES = {
    revisions.TABLE: (revisions.COLUMN_NAMES, "coalesce(accepted_at, seen_at), timestamp"),
    market.MEMBERSHIP: (market.MEMBERSHIP_NAMES, "seen_at, symbol"),
    market.EXCHANGE_GAPS: (market.GAP_NAMES, "seen_at, symbol, interval, first"),
}
_OURS = f"""
SELECT asked.place::INTEGER AS place, epoch_us(timestamp) - {columns.EPOCH_US} AS timestamp,
       coalesce(epoch_us(created_at) - {columns.EPOCH_US}, {columns.NEVER_US}) AS created_at,
       ({" + ".join(f"({name} IS NULL)::INTEGER * {2**nth}" for nth, name in enumerate(VALUE_COLUMNS))}) AS nulls,
       {", ".join(f"coalesce({name}, 'NaN'::DOUBLE) AS {name}" for name in VALUE_COLUMNS)}
FROM {{bars}} AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.symbol = bar.symbol
WHERE timestamp >= make_timestamp_ms(?) AND timestamp < make_timestamp_ms(?)
"""
_FILL = f"""
INSERT INTO {{table}} (symbol, {", ".join(COLUMNS)}, created_at)
SELECT asked.symbol, {columns.TIMESTAMP}, {columns.VALUES}, {columns.CREATED_AT}
FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.place = bar.place
ON CONFLICT (symbol, timestamp) DO NOTHING
"""
Rows = list[tuple[Any, ...]]


class Side(Protocol):
    """A store. Moments are ms since 1970-01-01 UTC; everything raises `StoreUnusable`."""

    @property
    def name(self) -> str:
        """As messages tell it."""
        ...

    def span(self, interval: Interval) -> tuple[int, int] | None:
        """When the first bar of an interval opens, and the last; None where there is none."""
        ...

    def bars(self, interval: Interval, from_ms: int, to_ms: int) -> Chunk:
        """Those that open in `[from_ms, to_ms)`, sorted."""
        ...

    def put_bars(self, interval: Interval, bars: Chunk) -> None:
        """Insert those whose key is not there yet, in one transaction."""
        ...

    def rows(self, table: str) -> Rows:
        """All of one of `TABLES`, in its order."""
        ...

    def put_rows(self, table: str, rows: Rows) -> None:
        """Insert them, in one transaction."""
        ...


class FileSide:
    """A DuckDB file; what it has of one series alone counts, too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name = str(store.path)

    def span(self, interval: Interval) -> tuple[int, int] | None:
        """See `Side`."""
        with self._looking() as connection:
            if connection is None:
                return None
            bars = rows_of_all(connection, sorted(held_symbols(connection, interval)), interval)
            statement = (
                f"SELECT epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {bars} WHERE isfinite(timestamp)"
            )
            first_ms, last_ms = connection.execute(statement).fetchall()[0]
        return None if first_ms is None else (first_ms, last_ms)

    def bars(self, interval: Interval, from_ms: int, to_ms: int) -> Chunk:
        """See `Side`."""
        with self._looking() as connection:
            symbols = sorted(held_symbols(connection, interval)) if connection else []
            if connection is None or not symbols:
                return Chunk([], columns.none())
            relation = rows_of_all(connection, symbols, interval)
            values = [symbols, list(range(len(symbols))), from_ms, to_ms]
            found = connection.execute(_OURS.format(bars=relation), values).fetchnumpy()
        return Chunk(symbols, found).sorted()

    def put_bars(self, interval: Interval, bars: Chunk) -> None:
        """See `Side`. Raises `StoreUnusable` for a series that has a table of its own here."""
        with self._store.session(write=True) as connection:
            self._refuse_alone(connection, interval, bars.symbols)
            table = market.MarketTable(connection, interval)
            with transaction(connection):
                table.append({})
                connection.register("copied", bars.columns)
                values = [list(bars.symbols), list(range(len(bars.symbols)))]
                connection.execute(_FILL.format(table=table.relation), values)
            connection.unregister("copied")

    def rows(self, table: str) -> Rows:
        """See `Side`."""
        names, order = TABLES[table]
        with self._looking() as connection:
            if connection is None or not _has(connection, table):
                return []
            return connection.execute(f"SELECT {', '.join(names)} FROM store.main.{table} ORDER BY {order}").fetchall()

    def put_rows(self, table: str, rows: Rows) -> None:
        """See `Side`."""
        with self._store.session(write=True) as connection:
            made = market.MarketTable(connection, Interval.ONE_HOUR)
            with transaction(connection):
                if table == revisions.TABLE:
                    revisions.make_table(connection)
                elif table == market.MEMBERSHIP:
                    made.make_membership()
                else:
                    made.make_gaps()
                mirror.insert(connection, table, TABLES[table][0], rows)

    @contextmanager
    def _looking(self) -> Iterator[Session | None]:
        if not self._store.exists():
            yield None
            return
        with self._store.looking() as connection:
            yield connection

    def _refuse_alone(self, connection: Session, interval: Interval, symbols: Sequence[str]) -> None:
        own = {series.symbol for series in alone(connection) if series.interval is interval}
        if both := sorted(own.intersection(symbols)):
            raise StoreUnusable(
                f"{self.name} has a table of its own for {both[0]} {interval}: no series is kept twice",
                hint="copy into a new file, or move it to the others: barfeed migrate",
            )


class DatabaseSide:
    """A PostgreSQL database."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.name = server.name

    def span(self, interval: Interval) -> tuple[int, int] | None:
        """See `Side`."""
        held = self._server.held().get(interval)
        return held and (held.first_ms, held.newest_ms)

    def bars(self, interval: Interval, from_ms: int, to_ms: int) -> Chunk:
        """See `Side`."""
        with self._server.session(write=False) as connection:
            symbols = sorted(self._server.market(connection, interval).symbols())
            spans = dict.fromkeys(symbols, (from_ms, to_ms))
            found = columns.bars(connection, f"{SCHEMA}.{market_table(interval)}", spans)
        return Chunk(symbols, found).sorted()

    def put_bars(self, interval: Interval, bars: Chunk) -> None:
        """See `Side`."""
        with self._server.session(write=True) as connection:
            fill(connection, f"{SCHEMA}.{market_table(interval)}", bars.symbols, bars.columns)

    def rows(self, table: str) -> Rows:
        """See `Side`."""
        names, order = TABLES[table]
        with self._server.session(write=False) as connection:
            cursor = connection.cursor(binary=True)
            return cursor.execute(f"SELECT {', '.join(names)} FROM {SCHEMA}.{table} ORDER BY {order}").fetchall()

    def put_rows(self, table: str, rows: Rows) -> None:
        """See `Side`."""
        names = TABLES[table][0]
        marks = ", ".join("%s" for _ in names)
        with self._server.session(write=True) as connection:
            _insert_all(connection, f"INSERT INTO {SCHEMA}.{table} ({', '.join(names)}) VALUES ({marks})", rows)


def _insert_all(connection: Connection, statement: str, rows: Rows) -> None:
    connection.cursor().executemany(statement, rows)


def _has(connection: Session, table: str) -> bool:
    if table == revisions.TABLE:
        return revisions.is_there(connection)
    found = market.MarketTable(connection, Interval.ONE_HOUR)
    return found.has_membership() if table == market.MEMBERSHIP else found.has_gaps()
