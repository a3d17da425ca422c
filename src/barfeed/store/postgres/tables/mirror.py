"""A part of a database as a DuckDB store in memory, for whoever asks DuckDB: tables and columns are the same there."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from barfeed.domain.bars import COLUMNS, Interval, Series
from barfeed.store import revisions
from barfeed.store.duckdb import Session
from barfeed.store.market import MEMBERSHIP, MEMBERSHIP_NAMES, MarketTable
from barfeed.store.place import Span, market_table, own
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import columns
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

# The moment after every bar.
NO_END_MS = 4_102_444_800_000
_FILL = f"""
INSERT INTO {{table}} ({{symbol}}{", ".join(COLUMNS)}, created_at)
SELECT {{symbol}}{columns.TIMESTAMP}, {columns.VALUES}, {columns.CREATED_AT}
FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.place = bar.place
"""
# What one statement takes: well within what the server allows, and no more than is to be in memory twice.
_BARS_AT_ONCE = 500_000
# Of a moment that is none, as much as is one.
_ENDS = f"""
SELECT {ms_of("greatest(min(bar.first), timestamp 'epoch')")},
       {ms_of(f"least(max(bar.last), {MS.format(NO_END_MS)})")}
FROM unnest(%s::text[]) AS asked(symbol)
CROSS JOIN LATERAL (
  SELECT min(timestamp) AS first, max(timestamp) AS last FROM {{table}} AS held WHERE held.symbol = asked.symbol
) AS bar
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


def put_span(database: Connection, memory: Session, span: Span, *, is_alone: bool = False) -> None:
    """The bars of a span, and what was revised where it is as of a moment.

    With `is_alone` the one symbol has a table of its own, be there any bar of it or none.
    """
    fill = _FILL.format(table=_made(memory, span, is_alone=is_alone), symbol="" if is_alone else "symbol, ")
    for part in _parts(database, span):
        _put(database, memory, fill, part)
    if span.as_of_ms is not None:
        put_revisions(database, memory)


def _made(memory: Session, span: Span, *, is_alone: bool) -> str:
    """A new table for the bars of a span."""
    if is_alone:
        place = own(Series(span.symbols[0], span.interval))
        memory.execute(place.creating())
        return place.table
    table = MarketTable(memory, span.interval)
    table.append({})
    return table.relation


def _parts(database: Connection, span: Span) -> Iterator[Span]:
    """The span from its first bar to its last, in parts of so many bars."""
    ends = _ENDS.format(table=f"{SCHEMA}.{market_table(span.interval)}")
    first_ms, last_ms = _rows(database, ends, [list(span.symbols)])[0]
    if first_ms is None:
        return
    begin_ms = max(first_ms, span.from_ms or 0)
    end_ms = last_ms + 1 if span.to_ms is None else min(last_ms + 1, span.to_ms)
    step_ms = span.interval.ms * max(1, _BARS_AT_ONCE // len(span.symbols))
    for at_ms in range(begin_ms, end_ms, step_ms):
        yield span._replace(from_ms=at_ms, to_ms=min(at_ms + step_ms, end_ms))


def _put(database: Connection, memory: Session, fill: str, part: Span) -> None:
    symbols, relation = part.symbols, f"{SCHEMA}.{market_table(part.interval)}"
    assert part.from_ms is not None
    assert part.to_ms is not None
    memory.register("copied", columns.bars(database, relation, dict.fromkeys(symbols, part.from_ms), part.to_ms))
    try:
        memory.execute(fill, [list(symbols), list(range(len(symbols)))])
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


def _rows(database: Connection, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
    return database.cursor(binary=True).execute(statement, values).fetchall()


def insert(memory: Session, table: str, names: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows into a table of the attached store."""
    if rows:
        marks = ", ".join("?" for _ in names)
        memory.executemany(f"INSERT INTO store.main.{table} ({', '.join(names)}) VALUES ({marks})", rows)
