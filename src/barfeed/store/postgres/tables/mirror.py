"""A part of a database as a DuckDB store in memory, for whoever asks DuckDB: tables and columns are the same there."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from barfeed.domain.bars import COLUMNS, Interval
from barfeed.store import revisions
from barfeed.store.duckdb import Session
from barfeed.store.market import MEMBERSHIP, MEMBERSHIP_NAMES, MarketTable
from barfeed.store.place import market_table
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import columns
from barfeed.store.postgres.tables.schema import SCHEMA

# The moment after every bar.
NO_END_MS = 4_102_444_800_000
_FILL = f"""
INSERT INTO store.main.{{table}} (symbol, {", ".join(COLUMNS)}, created_at)
SELECT asked.symbol, {columns.TIMESTAMP}, {columns.VALUES}, {columns.CREATED_AT}
FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.place = bar.place
"""
_SYMBOLS = """
WITH RECURSIVE found AS (
  (SELECT min(symbol) AS symbol FROM {table})
  UNION ALL
  SELECT (SELECT min(next.symbol) FROM {table} AS next WHERE next.symbol > found.symbol)
  FROM found WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL
"""


@contextmanager
def opened(memory: Session) -> Iterator["Session"]:
    """An empty store in memory, attached as `store`; let go of at the end."""
    memory.execute("ATTACH ':memory:' AS store")
    # Where a macro finds its table, as in a file.
    memory.execute("SET search_path = 'memory.main,system.main,store.main'")
    try:
        yield memory
    finally:
        memory.execute("RESET search_path")
        memory.execute("DETACH store")


def symbols_of(database: Connection, interval: Interval) -> list[str]:
    """Every symbol that has a bar: found one by one in the key, however many bars there are."""
    table = f"{SCHEMA}.{market_table(interval)}"
    return [symbol for (symbol,) in database.execute(_SYMBOLS.format(table=table)).fetchall()]


def put_bars(
    database: Connection,
    memory: Session,
    interval: Interval,
    symbols: Sequence[str],
    *,
    from_ms: int | None = None,
    to_ms: int | None = None,
) -> None:
    """The bars of these symbols that open in `[from_ms, to_ms)`, None without bound."""
    table = MarketTable(memory, interval)
    table.append({})
    begins_ms = dict.fromkeys(symbols, from_ms or 0)
    relation = f"{SCHEMA}.{market_table(interval)}"
    memory.register("copied", columns.bars(database, relation, begins_ms, NO_END_MS if to_ms is None else to_ms))
    try:
        memory.execute(_FILL.format(table=market_table(interval)), [list(symbols), list(range(len(symbols)))])
    finally:
        memory.unregister("copied")


def put_revisions(database: Connection, memory: Session) -> bool:
    """Everything that was ever changed; whether anything was."""
    rows = _rows(database, f"SELECT {', '.join(revisions.COLUMN_NAMES)} FROM {SCHEMA}.{revisions.TABLE} ORDER BY id")
    revisions.make_table(memory)
    insert(memory, revisions.TABLE, revisions.COLUMN_NAMES, rows)
    return bool(rows)


def put_membership(database: Connection, memory: Session) -> bool:
    """Every listing that was noted; whether any was."""
    rows = _rows(database, f"SELECT {', '.join(MEMBERSHIP_NAMES)} FROM {SCHEMA}.{MEMBERSHIP} ORDER BY id")
    MarketTable(memory, Interval.ONE_HOUR).make_membership()
    insert(memory, MEMBERSHIP, MEMBERSHIP_NAMES, rows)
    return bool(rows)


def _rows(database: Connection, statement: str) -> list[tuple[Any, ...]]:
    return database.cursor(binary=True).execute(statement).fetchall()


def insert(memory: Session, table: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows into a table of the attached store."""
    if rows:
        marks = ", ".join("?" for _ in names)
        memory.executemany(f"INSERT INTO store.main.{table} ({', '.join(names)}) VALUES ({marks})", rows)
