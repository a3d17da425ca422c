"""The rows of every kind in a database, one table a kind and interval, and which of them came late.

Everything is in a transaction of the caller's. Times are ms since 1970-01-01 UTC.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Collection, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from barfeed.domain.bars import Interval
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.plan import gaps_between
from barfeed.store.kinds.revisions import Change, Why
from barfeed.store.kinds.tables import Late
from barfeed.store.postgres.kinds import revisions
from barfeed.store.postgres.kinds.making import LATE
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.lacking import portions
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, SYMBOLS, ms_of

_IS_THERE = "SELECT to_regclass(%s) IS NOT NULL"
_MAKE = f"SELECT {SCHEMA}.make_kind(%s, %s)"
# A loop over the symbols, each by the key.
_END = f"""
SELECT asked.symbol, {ms_of("own.reached")} FROM unnest(%s::text[]) AS asked(symbol)
CROSS JOIN LATERAL (
  SELECT {{which}}(timestamp) AS reached FROM {{table}} AS held
  WHERE held.symbol = asked.symbol AND held.timestamp >= {MS.format("%s::bigint")}
) AS own
WHERE own.reached IS NOT NULL
"""
_SPAN = f"SELECT {ms_of('min(timestamp)')}, {ms_of('max(timestamp)')} FROM {{table}}"
_TOLD = f"{ms_of('held.timestamp')}, {ms_of('held.known_at')}, {{names}}"
_HELD = f"""
SELECT asked.symbol, own.* FROM unnest(%s::text[], %s::bigint[]) AS asked(symbol, begins_ms)
CROSS JOIN LATERAL (
  SELECT {_TOLD} FROM {{table}} AS held
  WHERE held.symbol = asked.symbol AND held.timestamp >= {MS.format("asked.begins_ms")}
) AS own(timestamp_ms, known_at_ms, {{names}})
ORDER BY asked.symbol COLLATE "C", own.timestamp_ms
"""
_BETWEEN = f"""
SELECT {_TOLD} FROM {{table}} AS held
WHERE symbol = %s AND timestamp BETWEEN {MS.format("%s::bigint")} AND {MS.format("%s::bigint")} ORDER BY timestamp
"""
# The rows beside which another is missing, or which are a symbol's first or last, with the one after each.
_SEAMS = f"""
SELECT symbol, held_ms, after_ms FROM (
  SELECT symbol, held_ms, lead(held_ms) OVER own AS after_ms, lag(held_ms) OVER own AS before_ms FROM (
    SELECT asked.symbol, {ms_of("held.timestamp")} / {{step_ms}} * {{step_ms}} AS held_ms
    FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS asked(symbol, first_ms, last_ms)
    JOIN {{table}} AS held ON held.symbol = asked.symbol
      AND held.timestamp BETWEEN {MS.format("asked.first_ms")} AND {MS.format("asked.last_ms")}
  ) AS steps WINDOW own AS (PARTITION BY symbol ORDER BY held_ms)
) AS seams
WHERE coalesce(after_ms - held_ms > {{reach_ms}}, true) OR before_ms IS NULL
ORDER BY symbol COLLATE "C", held_ms
"""
# By the key's own order, as all that is inserted.
_INSERT = f"""
INSERT INTO {{table}} (symbol, timestamp, known_at, {{names}})
SELECT symbol, {MS.format("timestamp_ms")}, {MS.format("known_at_ms")}, {{names}}
FROM unnest(%b::text[], %b::bigint[], %b::bigint[], {{lists}}) AS new(symbol, timestamp_ms, known_at_ms, {{names}})
ORDER BY symbol COLLATE "C", timestamp_ms
ON CONFLICT (symbol, timestamp) DO NOTHING RETURNING symbol
"""
_NOTE_LATE = f"""
INSERT INTO {SCHEMA}.{LATE} (kind, interval, symbol, since, until, seen_at)
SELECT %s, %s, symbol, {MS.format("since_ms")}, {MS.format("until_ms")}, {MS.format("%s::bigint")}
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new(symbol, since_ms, until_ms)
"""
_WAS_LATE = f"""
SELECT symbol, {ms_of("since")}, {ms_of("until")} FROM {SCHEMA}.{LATE}
WHERE kind = %s AND interval = %s AND until >= {MS.format("%s::bigint")} ORDER BY symbol
"""


def relation(kind: Kind, interval: Interval) -> str:
    """The table of a kind, be it there or not."""
    return f"{SCHEMA}.{kind.table(interval)}"


def is_there(connection: Connection, kind: Kind, interval: Interval) -> bool:
    """Whether any row of a kind ever came."""
    return connection.execute(_IS_THERE, [relation(kind, interval)]).fetchall() == [(True,)]


class KindTable:
    """See `KindRows`."""

    def __init__(self, connection: Connection, kind: Kind, interval: Interval) -> None:
        self._connection = connection
        self._kind = kind
        self._interval = interval
        self._table = relation(kind, interval)
        self.exists = is_there(connection, kind, interval)

    def newest(self, symbols: Sequence[str], from_ms: int = 0) -> dict[str, int]:
        """See `KindRows`."""
        return dict(self._query(_END, [list(symbols), from_ms], which="max")) if symbols else {}

    def symbols(self) -> list[str]:
        """See `KindRows`."""
        return [symbol for (symbol,) in self._query(f"{SYMBOLS} ORDER BY symbol", [])]

    def span(self) -> tuple[int, int] | None:
        """The `timestamp` of the first row and of the last; None where there is none."""
        [(first_ms, last_ms)] = self._query(_SPAN, []) or [(None, None)]
        return None if first_ms is None else (first_ms, last_ms)

    def oldest(self, symbols: Sequence[str]) -> dict[str, int]:
        """See `KindRows`."""
        return dict(self._query(_END, [list(symbols), 0], which="min")) if symbols else {}

    def rows(self, from_ms: Mapping[str, int]) -> dict[str, list[Row]]:
        """See `KindRows`."""
        rows = self._query(_HELD, [list(from_ms), list(from_ms.values())]) if from_ms else []
        return {symbol: [_row(told) for _, *told in each] for symbol, each in groupby(rows, itemgetter(0))}

    def between(self, symbol: str, first_ms: int, last_ms: int) -> list[Row]:
        """See `KindRows`."""
        return [_row(told) for told in self._query(_BETWEEN, [symbol, first_ms, last_ms])]

    def lacking(self, wanted: Mapping[str, Gap], step_ms: int, reach_ms: int) -> dict[str, list[Gap]]:
        """See `KindRows`."""
        held: dict[str, list[tuple[int, int | None]]] = {}
        for some in portions(wanted):
            # A moment is beside its step by some ms.
            ends_ms = [each.last_ms + step_ms - 1 for each in some.values()]
            asked = [list(some), [each.first_ms for each in some.values()], ends_ms]
            for symbol, at_ms, after_ms in self._query(_SEAMS, asked, step_ms=step_ms, reach_ms=reach_ms):
                held.setdefault(symbol, []).append((at_ms, after_ms))
        return {symbol: gaps_between(each, held.get(symbol, []), step_ms, reach_ms) for symbol, each in wanted.items()}

    def append(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """See `KindRows`."""
        appended = dict.fromkeys(rows, 0)
        flat = [
            (symbol, row.timestamp_ms, row.known_at_ms, *row.values) for symbol, each in rows.items() for row in each
        ]
        if flat:
            self.make()
            for (symbol,) in self._query(_INSERT, [list(column) for column in zip(*flat, strict=True)]):
                appended[symbol] += 1
        return appended

    def revise(self, changes: Sequence[Change], why: Why) -> list[Change]:
        """See `KindRows`."""
        return revisions.revise(self._connection, self._table, (self._kind, self._interval), changes, why)

    def was_late(self, from_ms: int) -> dict[str, list[Late]]:
        """See `KindRows`."""
        asked = [self._kind.name, str(self._interval), from_ms]
        rows = self._connection.execute(_WAS_LATE, asked).fetchall()
        return {symbol: [Late(*row) for row in each] for symbol, each in groupby(rows, itemgetter(0))}

    def note_late(self, late: Sequence[Late], seen_at_ms: int) -> None:
        """See `KindRows`."""
        if late:
            lists = [list(column) for column in zip(*late, strict=True)]
            self._connection.execute(_NOTE_LATE, [self._kind.name, str(self._interval), seen_at_ms, *lists])

    def make_views(self, symbols: Collection[str]) -> None:
        """None: here one series stands among all the others, as its bars do."""

    def make(self) -> None:
        """Make the table where there is none."""
        if not self.exists:
            self._connection.execute(_MAKE, [self._kind.name, str(self._interval)])
            self.exists = True

    def _query(self, statement: str, values: Sequence[object], **more: object) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        filled = statement.format(
            table=self._table,
            names=", ".join(self._kind.names),
            lists=", ".join("%b::bigint[]" if each.is_count else "%b::float8[]" for each in self._kind.columns),
            **more,
        )
        return self._connection.cursor(binary=True).execute(filled, values).fetchall()


def _row(told: Sequence[Any]) -> Row:
    at_ms, known_at_ms, *values = told
    return Row(at_ms, known_at_ms, tuple(values))
