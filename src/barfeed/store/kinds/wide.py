"""The wide table as a query: bars, and beside each the newest row of every kind that was known when it closed.

A row is joined by its `known_at`, never by its `timestamp`: what came late stands beside the bars that closed since.
Times are ms since 1970-01-01 UTC.
"""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS, VALUE_COLUMNS, Interval
from barfeed.domain.kinds import wide
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.domain.kinds.table import KINDS, KLINES
from barfeed.store.duckdb import Session
from barfeed.store.kinds import revisions
from barfeed.store.kinds.tables import KindTable, types
from barfeed.store.place import Span

# Within so long there is a row of nearly every symbol; who has none is looked for in all of the table.
_NEAR_MS = 48 * HOUR_MS
_KNOWN = """
SELECT DISTINCT symbol FROM {rows}
WHERE timestamp >= make_timestamp_ms({near_ms}) AND known_at <= make_timestamp_ms({closes_ms})
"""
# A row is passed over from when a newer one is known: two of them may come late, and in any order.
_IN_TURN = """
(SELECT symbol, timestamp, known_at, {names} FROM {rows}
 QUALIFY coalesce(known_at < min(known_at) OVER (PARTITION BY symbol ORDER BY timestamp
                                                 ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING), true))
"""
_OF_THE_BAR = """
LEFT JOIN {rows} AS {alias}
  ON {alias}.symbol = bar.symbol AND {alias}.timestamp = bar.timestamp AND {alias}.known_at <= bar.closes
"""
_AS_OF_ITS_CLOSE = """
ASOF LEFT JOIN {rows} AS {alias} ON {alias}.symbol = bar.symbol AND {alias}.known_at <= bar.closes
"""
_JOINED = """
(SELECT bar.symbol, bar.timestamp, {told}
 FROM (SELECT *, timestamp + INTERVAL {step_ms} MILLISECOND AS closes FROM {bars}) AS bar {joins})
"""


class WideTable(NamedTuple):
    """A relation, its values behind symbol and timestamp, and of which of the kinds there is no table."""

    relation: str
    values: tuple[str, ...]
    absent: tuple[str, ...]


def stored(connection: Session, interval: Interval) -> tuple[Kind, ...]:
    """The kinds of which there is a table. Raises `StoreUnusable` for one that is another's."""
    return tuple(kind for kind in KINDS.values() if KindTable(connection, kind, interval).exists)


def wide_table(connection: Session, bars: str, kinds: Sequence[Kind], span: Span) -> WideTable:
    """The wide table of `bars`, a relation with their symbol; in no order, and empty of a kind that has no table.

    Raises `StoreUnusable` for a table that is another's.
    """
    tables = [KindTable(connection, kind, span.interval) for kind in kinds]
    rows = [(kind, _rows(table, span)) for kind, table in zip(kinds, tables, strict=True)]
    absent = tuple(kind.name for kind, table in zip(kinds, tables, strict=True) if not table.exists)
    return WideTable(joined(bars, rows, span.interval), wide.columns(kinds), absent)


def joined(bars: str, rows: Sequence[tuple[Kind, str]], interval: Interval) -> str:
    """The same of any relations: of each kind's rows their symbol, timestamp, known_at and values."""
    told = [f"bar.{name}" for name in VALUE_COLUMNS]
    told += [each for kind, _ in rows for each in _told(kind, interval)]
    joins = "".join(_join(kind, its) for kind, its in rows)
    return _JOINED.format(told=", ".join(told), step_ms=interval.ms, bars=bars, joins=joins)


def _join(kind: Kind, rows: str) -> str:
    if kind is KLINES:
        return _OF_THE_BAR.format(rows=rows, alias=_alias(kind))
    in_turn = _IN_TURN.format(names=", ".join(kind.names), rows=rows)
    return _AS_OF_ITS_CLOSE.format(rows=in_turn, alias=_alias(kind))


def _told(kind: Kind, interval: Interval) -> list[str]:
    alias = _alias(kind)
    values = [f"{alias}.{name}::DOUBLE AS {wide.column(kind, name)}" for name in kind.names]
    if kind is KLINES:
        return values
    lasts_ms = 0 if kind.stamp is Stamp.MOMENT else interval.ms
    age = f"(epoch_ms(bar.closes) - epoch_ms({alias}.timestamp) - {lasts_ms}) / 1000 AS {wide.age(kind)}"
    return [*values, age]


def _alias(kind: Kind) -> str:
    # A kind may have a column of its own name.
    return f"of_{kind.name}"


def _rows(table: KindTable, span: Span) -> str:
    if not table.exists:
        return no_rows(table.kind)
    rows = table.relation
    if span.as_of_ms is not None:
        rows = revisions.as_of(table.connection, table.kind, span.interval, span.as_of_ms)
    return beside(table.connection, rows, span)


def no_rows(kind: Kind) -> str:
    """A relation with the columns of a kind's table, and nothing in it."""
    empty = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in types(kind).items())
    return f"(SELECT {empty} WHERE false)"


def beside(connection: Session, rows: str, span: Span) -> str:
    """Those of a kind's rows that can stand beside any of the bars, and hardly any others."""
    kept = [_is_of(span.symbols), *_bounds(connection, rows, span)]
    return f"(FROM {rows} WHERE {' AND '.join(kept)})"


def _bounds(connection: Session, rows: str, span: Span) -> list[str]:
    """From the newest row that was known when the first bar closed, of each symbol, to the last bar's close."""
    step_ms = span.interval.ms
    bounds = [] if span.to_ms is None else [f"timestamp < make_timestamp_ms({span.to_ms + step_ms})"]
    if span.from_ms is None:
        return bounds
    near_ms, closes_ms = span.from_ms - _NEAR_MS, span.from_ms + step_ms
    known = connection.execute(_KNOWN.format(rows=rows, near_ms=near_ms, closes_ms=closes_ms)).fetchall()
    others = set(span.symbols).difference(symbol for (symbol,) in known)
    older = f" OR {_is_of(sorted(others))}" if others else ""
    return [*bounds, f"(timestamp >= make_timestamp_ms({near_ms}){older})"]


def _is_of(symbols: Sequence[str]) -> str:
    named = ", ".join(f"'{each}'" for each in symbols)
    return f"symbol IN ({named})"
