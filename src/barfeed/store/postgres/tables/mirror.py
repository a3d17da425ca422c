"""A part of a database as a DuckDB store in memory, for whoever asks DuckDB: tables and columns are the same there."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import duckdb

from barfeed.domain import sources
from barfeed.domain.bars import VALUE_COLUMNS, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.store import revisions
from barfeed.store.duckdb import Session, heard
from barfeed.store.market import EXCHANGE_GAPS, MEMBERSHIP, MEMBERSHIP_NAMES, MarketTable
from barfeed.store.place import Span, market_table, own
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import columns
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, NO_END_MS, ms_of

# What one statement takes: well within what the server allows, and no more than is to be in memory twice.
_BARS_AT_ONCE = 500_000
_ROWS_AT_ONCE = 50_000
# Nothing is ever taken out of a copy: its rows are numbered from 0 on.
_NEWS = f"""
SELECT {{symbol}} AS symbol, epoch_ms(timestamp) AS at_ms, {", ".join(VALUE_COLUMNS)}
FROM {{table}} WHERE rowid >= {{held}} ORDER BY symbol, at_ms
"""
_NOTED = f"SELECT symbol, epoch_ms(first), epoch_ms(last), epoch_ms(seen_at) FROM store.main.{EXCHANGE_GAPS}"
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
def copy_of(name: str, memory: Session) -> Iterator[Session]:
    """An empty store in memory for a copy of the database of that name; `StoreUnusable` for DuckDB's troubles."""
    try:
        with heard(), opened(memory):
            yield memory
    except duckdb.Error as problem:
        raise _not_copied(name, problem) from problem


def _not_copied(name: str, problem: duckdb.Error) -> StoreUnusable:
    if isinstance(problem, duckdb.OutOfMemoryException):
        said = "there is too little memory for a copy of its bars"
        return StoreUnusable(f"{name}: {said}", hint="give the process more memory, or ask for less")
    said = f"DuckDB failed on a copy of its bars ({type(problem).__name__})"
    return StoreUnusable(f"{name}: {said}", hint="run it again with --debug, and report it if it stays")


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
    table = _made(memory, span.symbols[0] if is_alone else "", span.interval)
    for begin_ms, end_ms in _parts(database, span):
        spans = dict.fromkeys(span.symbols, (begin_ms, end_ms))
        _put(database, memory, table, span.interval, spans)
    if span.as_of_ms is not None:
        put_revisions(database, memory)


def put_spans(
    database: Connection, memory: Session, interval: Interval, spans: Mapping[str, Gap], *, is_alone: bool
) -> "News":
    """The bars of a span of each symbol; what is appended to them from then on. `is_alone` as above."""
    table = _made(memory, next(iter(spans)) if is_alone else "", interval)
    _put(database, memory, table, interval, {each: (span.first_ms, span.last_ms + 1) for each, span in spans.items()})
    return News(memory, table)


class _Copy(NamedTuple):
    """A table of the attached store, and the symbol that it is of where that has it alone."""

    relation: str
    alone: str

    def filling(self) -> str:
        """The statement that puts copied bars into it."""
        return columns.inserting(self.relation, columns.BARS, has_symbol=not self.alone)


def _made(memory: Session, alone: str, interval: Interval) -> _Copy:
    """A new table for bars, empty."""
    if alone:
        place = own(Series(alone, interval))
        memory.execute(place.creating())
        return _Copy(place.table, alone)
    table = MarketTable(memory, interval)
    table.append({})
    return _Copy(table.relation, "")


class News:
    """What is appended to a copy after it was made."""

    def __init__(self, memory: Session, table: _Copy) -> None:
        self._memory = memory
        self._table = table
        self._held = memory.execute(f"SELECT count(*) FROM {table.relation}").fetchall()[0][0]

    def bars(self) -> Iterator[list[tuple[Any, ...]]]:
        """Rows of symbol and bar, sorted, so many at once."""
        symbol = f"'{self._table.alone}'" if self._table.alone else "symbol"
        found = self._memory.execute(_NEWS.format(table=self._table.relation, symbol=symbol, held=self._held))
        while some := found.fetchmany(_ROWS_AT_ONCE):
            yield some

    def exchange_gaps(self, interval: Interval) -> Mapping[int, list[tuple[str, Gap]]]:
        """Gaps of the exchange's own, by when they were seen (ms)."""
        if not MarketTable(self._memory, interval).has_gaps():
            return {}
        noted: dict[int, list[tuple[str, Gap]]] = {}
        for symbol, first_ms, last_ms, seen_at_ms in self._memory.execute(_NOTED).fetchall():
            noted.setdefault(seen_at_ms, []).append((symbol, sources.span(first_ms, last_ms, interval.ms)))
        return noted


def _parts(database: Connection, span: Span) -> Iterator[tuple[int, int]]:
    """The moments from the first bar to the last, as `[from, to)` of so many bars."""
    ends = _ENDS.format(table=f"{SCHEMA}.{market_table(span.interval)}")
    first_ms, last_ms = _rows(database, ends, [list(span.symbols)])[0]
    if first_ms is None:
        return
    begin_ms = max(first_ms, span.from_ms or 0)
    end_ms = last_ms + 1 if span.to_ms is None else min(last_ms + 1, span.to_ms)
    step_ms = span.interval.ms * max(1, _BARS_AT_ONCE // len(span.symbols))
    for at_ms in range(begin_ms, end_ms, step_ms):
        yield at_ms, min(at_ms + step_ms, end_ms)


def _put(
    database: Connection, memory: Session, table: _Copy, interval: Interval, spans: Mapping[str, tuple[int, int]]
) -> None:
    memory.register("copied", columns.bars(database, f"{SCHEMA}.{market_table(interval)}", spans))
    try:
        memory.execute(table.filling(), [list(spans), list(range(len(spans)))])
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
