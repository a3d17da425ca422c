"""The rows of kinds that can stand beside some bars, in tables of the DuckDB store in memory that has those bars."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Mapping, Sequence

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.store.duckdb import Session
from barfeed.store.kinds import revisions
from barfeed.store.kinds.tables import KindTable
from barfeed.store.place import Span
from barfeed.store.postgres.kinds.making import REVISIONS
from barfeed.store.postgres.kinds.tables import is_there, relation
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import columns
from barfeed.store.postgres.tables.mirror import insert
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, NO_END_MS, ms_of

# What one statement takes: well within what the server allows, and no more than is to be in memory twice.
_ROWS_AT_ONCE = 500_000
# From the newest row that was known when the first bar closed, of each symbol: none before it stands beside any.
_ENDS = f"""
SELECT asked.symbol, {ms_of("coalesce(known.timestamp, own.first)")}, {ms_of("own.last")}
FROM unnest(%s::text[]) AS asked(symbol)
CROSS JOIN LATERAL (
  SELECT min(timestamp) AS first, max(timestamp) AS last FROM {{table}} AS held WHERE held.symbol = asked.symbol
) AS own
LEFT JOIN LATERAL (
  SELECT timestamp FROM {{table}} AS held
  WHERE held.symbol = asked.symbol AND held.known_at <= {MS.format("%s::bigint")}
    AND coalesce(held.created_at < {MS.format("%s::bigint")}, true)
  ORDER BY timestamp DESC LIMIT 1
) AS known ON true
WHERE own.first IS NOT NULL
"""
_REVISIONS = f"SELECT {', '.join(revisions.COLUMN_NAMES)} FROM {SCHEMA}.{REVISIONS} ORDER BY id"


def put_kinds(database: Connection, memory: Session, kinds: Sequence[Kind], span: Span) -> None:
    """Of those kinds of which there is a table, what can stand beside the bars of a span, be it much or nothing.

    And what was revised, where it is as of a moment.
    """
    for kind in kinds:
        if is_there(database, kind, span.interval):
            _put_all(database, memory, kind, span, _beside(database, kind, span))
    if span.as_of_ms is not None:
        rows = database.cursor(binary=True).execute(_REVISIONS).fetchall()
        revisions.make_table(memory)
        insert(memory, revisions.TABLE, revisions.COLUMN_NAMES, rows)


def put_rows(database: Connection, memory: Session, kind: Kind, span: Span) -> None:
    """The rows of one kind whose `timestamp` is in a span, where there is a table of it."""
    if is_there(database, kind, span.interval):
        end_ms = NO_END_MS if span.to_ms is None else span.to_ms
        ends = _ends(database, kind, span, 0).items()
        within = {symbol: (max(first, span.from_ms or 0), min(end, end_ms)) for symbol, (first, end) in ends}
        _put_all(database, memory, kind, span, within)


def _beside(database: Connection, kind: Kind, span: Span) -> dict[str, tuple[int, int]]:
    """What of each symbol can stand beside any of the bars: up to the close of the last."""
    closes_ms = 0 if span.from_ms is None else span.from_ms + span.interval.ms
    end_ms = NO_END_MS if span.to_ms is None else span.to_ms + span.interval.ms
    ends = _ends(database, kind, span, closes_ms).items()
    return {symbol: (first, min(end, end_ms)) for symbol, (first, end) in ends}


def _ends(database: Connection, kind: Kind, span: Span, known_ms: int) -> dict[str, tuple[int, int]]:
    """From the newest row that was known then, or else the first, of each symbol, to behind the last."""
    stored_ms = NO_END_MS if span.as_of_ms is None else span.as_of_ms + 1
    statement = _ENDS.format(table=relation(kind, span.interval))
    rows = database.execute(statement, [list(span.symbols), known_ms, stored_ms]).fetchall()
    return {symbol: (first_ms, last_ms + 1) for symbol, first_ms, last_ms in rows}


def _put_all(
    database: Connection, memory: Session, kind: Kind, span: Span, ends: Mapping[str, tuple[int, int]]
) -> None:
    table = KindTable(memory, kind, span.interval)
    table.make()
    for part in _parts(ends, kind, span):
        _put(database, memory, table, span, part)


def _parts(ends: Mapping[str, tuple[int, int]], kind: Kind, span: Span) -> Iterator[dict[str, tuple[int, int]]]:
    """All of these spans, as many rows of them at once as one statement takes."""
    step_ms = HOUR_MS if kind.stamp is Stamp.MOMENT else span.interval.ms
    reach_ms = step_ms * max(1, _ROWS_AT_ONCE // max(1, len(ends)))
    first_ms = min((first for first, _ in ends.values()), default=0)
    for at_ms in range(first_ms, max((end for _, end in ends.values()), default=0), reach_ms):
        part = {each: (max(first, at_ms), min(end, at_ms + reach_ms)) for each, (first, end) in ends.items()}
        if some := {symbol: (first, end) for symbol, (first, end) in part.items() if first < end}:
            yield some


def _put(
    database: Connection, memory: Session, table: KindTable, span: Span, part: Mapping[str, tuple[int, int]]
) -> None:
    sent = columns.of_kind(table.kind)
    memory.register("copied", columns.rows(database, relation(table.kind, span.interval), part, sent))
    try:
        memory.execute(columns.inserting(table.relation, sent), [list(part), list(range(len(part)))])
    finally:
        memory.unregister("copied")
