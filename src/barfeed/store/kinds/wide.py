"""The wide table as a query: bars, and beside each the newest row of every kind that was known when it closed.

A row is joined by its `known_at`, never by its `timestamp`: what came late stands beside the bars that closed since.
Times are ms since 1970-01-01 UTC.
"""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS, VALUE_COLUMNS, Interval
from barfeed.domain.kinds import wide
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.domain.kinds.table import KINDS, KLINES
from barfeed.store.duckdb import Session
from barfeed.store.kinds.tables import KindTable

# Within so long there is a row of nearly every symbol; who has none is looked for in all of the table.
_NEAR_MS = 48 * HOUR_MS
_KNOWN = """
SELECT DISTINCT symbol FROM {table}
WHERE timestamp >= make_timestamp_ms({near_ms}) AND known_at <= make_timestamp_ms({closes_ms}) AND {is_there}
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


class Reach(NamedTuple):
    """Which rows can be asked for: of these symbols, beside bars that open in `[from_ms, to_ms)`.

    `as_of_ms`: as the store stood at the end of that millisecond. None is without bound, or now.
    """

    symbols: Sequence[str]
    interval: Interval
    from_ms: int | None = None
    to_ms: int | None = None
    as_of_ms: int | None = None


def stored(connection: Session, interval: Interval) -> tuple[Kind, ...]:
    """The kinds of which there is a table. Raises `StoreUnusable` for one that is another's."""
    return tuple(kind for kind in KINDS.values() if KindTable(connection, kind, interval).exists)


def relation(connection: Session, bars: str, kinds: Sequence[Kind], reach: Reach) -> str:
    """The wide table of `bars`, a relation with their symbol: symbol, timestamp, `wide.columns`; in no order.

    A kind of which nothing is stored is empty. Raises `StoreUnusable` for a table that is another's.
    """
    return joined(bars, [(kind, _rows(connection, kind, reach)) for kind in kinds], reach.interval)


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


def _rows(connection: Session, kind: Kind, reach: Reach) -> str:
    """The rows of a kind that can stand beside any of the bars, and hardly any others."""
    names = ", ".join(("symbol", "timestamp", "known_at", *kind.names))
    table = KindTable(connection, kind, reach.interval)
    if not table.exists:
        empty = [f"NULL::{each.type} AS {each.name}" for each in kind.columns]
        moments = "NULL::TIMESTAMP AS timestamp, NULL::TIMESTAMP AS known_at"
        return f"(SELECT '' AS symbol, {moments}, {', '.join(empty)} WHERE false)"
    kept = [_is_of(reach.symbols), _is_there(reach), *_bounds(connection, table, reach)]
    return f"(SELECT {names} FROM {table.relation} WHERE {' AND '.join(kept)})"


def _bounds(connection: Session, table: KindTable, reach: Reach) -> list[str]:
    """From the newest row that was known when the first bar closed, of each symbol, to the last bar's close."""
    step_ms = reach.interval.ms
    bounds = [] if reach.to_ms is None else [f"timestamp < make_timestamp_ms({reach.to_ms + step_ms})"]
    if reach.from_ms is None:
        return bounds
    near_ms, closes_ms = reach.from_ms - _NEAR_MS, reach.from_ms + step_ms
    known = connection.execute(
        _KNOWN.format(table=table.relation, near_ms=near_ms, closes_ms=closes_ms, is_there=_is_there(reach))
    )
    others = set(reach.symbols).difference(symbol for (symbol,) in known.fetchall())
    older = f" OR {_is_of(sorted(others))}" if others else ""
    return [*bounds, f"(timestamp >= make_timestamp_ms({near_ms}){older})"]


def _is_there(reach: Reach) -> str:
    if reach.as_of_ms is None:
        return "true"
    return f"coalesce(created_at < make_timestamp_ms({reach.as_of_ms + 1}), true)"


def _is_of(symbols: Sequence[str]) -> str:
    named = ", ".join(f"'{each}'" for each in symbols)
    return f"symbol IN ({named})"
