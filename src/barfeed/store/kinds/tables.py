"""The rows of every kind, one table a kind and interval, keyed by symbol and timestamp; and which of them came late.

`kinds_late` is append-only: what was due of a kind when a pass ended without it. Everything takes a connection of
`Store.session`; times are ms since 1970-01-01 UTC.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.plan import gaps_between
from barfeed.store.duckdb import Session, Store, transaction
from barfeed.store.kinds import revisions
from barfeed.store.kinds.revisions import Change, Why

LATE = "kinds_late"
_FRAME = {"symbol": "VARCHAR", "timestamp": "TIMESTAMP", "known_at": "TIMESTAMP"}
LATE_TYPES = {
    "kind": "VARCHAR", "interval": "VARCHAR", "symbol": "VARCHAR", "since": "TIMESTAMP", "until": "TIMESTAMP",
    "seen_at": "TIMESTAMP",
}  # fmt: skip
# For who reads one series of a market: a view a symbol would cost each opening of the file more than the hour itself.
_CREATE_READER = """
CREATE OR REPLACE MACRO store.main.{name}_of(of_symbol) AS TABLE
SELECT * EXCLUDE (symbol) FROM {name} WHERE symbol = upper(of_symbol) ORDER BY timestamp
"""
_CREATE_VIEW = """
CREATE VIEW IF NOT EXISTS store.main."{view}" AS
SELECT * EXCLUDE (symbol) FROM main.{name} WHERE symbol = '{symbol}'
"""
_VIEWS = """
SELECT view_name FROM duckdb_views()
WHERE database_name = 'store' AND schema_name = 'main' AND view_name IN (SELECT unnest(?::VARCHAR[]))
"""
_COLUMNS = """
SELECT table_name, column_name, data_type FROM duckdb_columns()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name IN (?, ?) ORDER BY table_name, column_index
"""
_KEYS = """
SELECT constraint_column_names FROM duckdb_constraints()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name = ? AND constraint_type = 'PRIMARY KEY'
"""
_NEWEST = """
SELECT symbol, epoch_ms(max(timestamp)) FROM {table}
WHERE timestamp >= make_timestamp_ms(?) AND symbol IN (SELECT unnest(?::VARCHAR[])) GROUP BY symbol
"""
_SYMBOLS = "SELECT DISTINCT symbol FROM {table} ORDER BY symbol"
_OLDEST = """
SELECT symbol, epoch_ms(min(timestamp)) FROM {table} WHERE symbol IN (SELECT unnest(?::VARCHAR[])) GROUP BY symbol
"""
# From when on each symbol's rows are asked for: one list a column, as everywhere.
_HELD = """
SELECT each.symbol, epoch_ms(timestamp), epoch_ms(known_at), {names}
FROM {table} AS each
JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, make_timestamp_ms(unnest(?::BIGINT[])) AS begins) AS asked
  ON asked.symbol = each.symbol
WHERE timestamp >= make_timestamp_ms(?) AND timestamp >= asked.begins
ORDER BY each.symbol, timestamp
"""
_BETWEEN = """
SELECT symbol, epoch_ms(timestamp), epoch_ms(known_at), {names} FROM {table}
WHERE symbol = ? AND timestamp BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?) ORDER BY timestamp
"""
# The rows beside which another is missing, or which are a symbol's first or last, with the one after each.
_SEAMS = """
WITH asked AS (
    SELECT unnest(?::VARCHAR[]) AS symbol, make_timestamp_ms(unnest(?::BIGINT[])) AS first,
        make_timestamp_ms(unnest(?::BIGINT[])) AS last
), steps AS (
    SELECT symbol, epoch_ms(timestamp) // {step_ms} * {step_ms} AS held_ms
    FROM {table} JOIN asked USING (symbol) WHERE timestamp BETWEEN first AND last
)
SELECT symbol, held_ms, lead(held_ms) OVER symbols FROM steps WINDOW symbols AS (PARTITION BY symbol ORDER BY held_ms)
QUALIFY coalesce(lead(held_ms) OVER symbols - held_ms > {reach_ms}, true) OR lag(held_ms) OVER symbols IS NULL
ORDER BY symbol, held_ms
"""
# Unnested of a row that holds them: lists that are parameters themselves are read anew for each part of them.
_INSERT = """
INSERT INTO {table} (symbol, timestamp, known_at, {names})
SELECT unnest(symbol), make_timestamp_ms(unnest(timestamp_ms)), make_timestamp_ms(unnest(known_at_ms)), {unnested}
FROM (SELECT ?::VARCHAR[] AS symbol, ?::BIGINT[] AS timestamp_ms, ?::BIGINT[] AS known_at_ms, {lists})
ON CONFLICT (symbol, timestamp) DO NOTHING RETURNING symbol
"""
_NOTE_LATE = f"""
INSERT INTO store.main.{LATE} ({", ".join(LATE_TYPES)})
SELECT ?, ?, unnest(?::VARCHAR[]), make_timestamp_ms(unnest(?::BIGINT[])), make_timestamp_ms(unnest(?::BIGINT[])),
       make_timestamp_ms(?)
"""
_WAS_LATE = f"""
SELECT symbol, epoch_ms(since), epoch_ms(until) FROM store.main.{LATE}
WHERE kind = ? AND interval = ? AND until >= make_timestamp_ms(?) ORDER BY symbol
"""


class Late(NamedTuple):
    """What a pass ended without: the rows of a symbol after `since_ms` and up to `until_ms`, which was due."""

    symbol: str
    since_ms: int
    until_ms: int


@contextmanager
def reading(store: Store, kind: Kind, interval: Interval) -> Iterator["KindTable"]:
    """The table, read-only: the file stays as it is, and a missing one missing."""
    if not store.exists():
        yield KindTable(store.beside(), kind, interval, is_new=True)
        return
    with store.session(write=False) as connection:
        yield KindTable(connection, kind, interval)


@contextmanager
def writing(store: Store, kind: Kind, interval: Interval) -> Iterator["KindTable"]:
    """The table in one transaction: committed at the end, rolled back by any exception; a missing file is made."""
    with store.session(write=True) as connection:
        table = KindTable(connection, kind, interval)
        with transaction(connection):
            yield table


def types(kind: Kind) -> dict[str, str]:
    """The columns of a kind's table and their types, in order; `created_at` is the last."""
    return _FRAME | {each.name: each.type for each in kind.columns} | {"created_at": "TIMESTAMP"}


def has_late(connection: Session) -> bool:
    """Whether a pass ever ended without a row that was due."""
    return bool(connection.execute(_COLUMNS, [LATE, LATE]).fetchall())


def make_late(connection: Session) -> None:
    """The table of what came late, where there is none yet."""
    columns = ", ".join(f"{name} {type_}" for name, type_ in LATE_TYPES.items())
    connection.execute(f"CREATE TABLE IF NOT EXISTS store.main.{LATE} ({columns})")


class KindTable:
    """The rows of one kind of every symbol at one interval while the store is open."""

    def __init__(self, connection: Session, kind: Kind, interval: Interval, *, is_new: bool = False) -> None:
        """`is_new` where there is no file yet. Raises `StoreUnusable` for a table of that name that is another's."""
        self.connection = connection
        self.kind = kind
        self._interval = interval
        self._name = kind.table(interval)
        self.relation = f"store.main.{self._name}"
        self._is_new = is_new
        found = self._found()
        self.exists, self._has_late = self._name in found, LATE in found
        if self.exists:
            self._expect(self._name, found[self._name], types(kind), ["symbol", "timestamp"])
        if self._has_late:
            self._expect(LATE, found[LATE], LATE_TYPES, [])

    def newest(self, symbols: Sequence[str], from_ms: int = 0) -> dict[str, int]:
        """The newest `timestamp` of each of these symbols that has a row from `from_ms` on."""
        return dict(self._query(_NEWEST, [from_ms, list(symbols)])) if symbols else {}

    def symbols(self) -> list[str]:
        """Every symbol of which there is any row, sorted."""
        return [symbol for (symbol,) in self._query(_SYMBOLS, [])]

    def oldest(self, symbols: Sequence[str]) -> dict[str, int]:
        """The oldest `timestamp` of each of these symbols that has any row."""
        return dict(self._query(_OLDEST, [list(symbols)])) if symbols else {}

    def rows(self, from_ms: Mapping[str, int]) -> dict[str, list[Row]]:
        """Each symbol's rows from the moment given with it on, ascending."""
        if not from_ms:
            return {}
        values = [list(from_ms), list(from_ms.values()), min(from_ms.values())]
        return {
            symbol: [Row(at_ms, known_ms, tuple(told)) for _, at_ms, known_ms, *told in each]
            for symbol, each in groupby(self._query(_HELD, values), itemgetter(0))
        }

    def between(self, symbol: str, first_ms: int, last_ms: int) -> list[Row]:
        """The rows of one symbol from the one moment to the other, both included, ascending."""
        rows = self._query(_BETWEEN, [symbol, first_ms, last_ms])
        return [Row(at_ms, known_ms, tuple(told)) for _, at_ms, known_ms, *told in rows]

    def lacking(self, wanted: Mapping[str, Gap], step_ms: int, reach_ms: int) -> dict[str, list[Gap]]:
        """What is missing of these spans of `timestamp`s, as maximal runs of steps.

        More than `reach_ms` from one row to the next is a gap: a step, where there is a row each.
        """
        # A moment is beside its step by some ms.
        ends_ms = [each.last_ms + step_ms - 1 for each in wanted.values()]
        asked = [list(wanted), [each.first_ms for each in wanted.values()], ends_ms]
        seams = self._query(_SEAMS, asked, step_ms=step_ms, reach_ms=reach_ms) if wanted else []
        held = {symbol: [(at, after) for _, at, after in each] for symbol, each in groupby(seams, itemgetter(0))}
        return {symbol: gaps_between(each, held.get(symbol, []), step_ms, reach_ms) for symbol, each in wanted.items()}

    def append(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """Insert those that are not there yet; how many were inserted of each symbol."""
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
        """Put new values in place of old ones, and keep both; the changes whose old row was still what it says."""
        return revisions.revise(self.connection, self.kind, self._interval, changes, why)

    def was_late(self, from_ms: int) -> dict[str, list[Late]]:
        """What passes ended without of each symbol, as far as it reaches to `from_ms` or later."""
        if not self._has_late:
            return {}
        asked = [self.kind.name, str(self._interval), from_ms]
        rows = self.connection.execute(_WAS_LATE, asked).fetchall()
        return {symbol: [Late(*row) for row in each] for symbol, each in groupby(rows, itemgetter(0))}

    def note_late(self, late: Sequence[Late], seen_at_ms: int) -> None:
        """Note what this pass ends without."""
        if not late:
            return
        if not self._has_late:
            make_late(self.connection)
            self._has_late = True
        symbols, since, until = (list(column) for column in zip(*late, strict=True))
        self.connection.execute(_NOTE_LATE, [self.kind.name, str(self._interval), symbols, since, until, seen_at_ms])

    def make_views(self, symbols: Collection[str]) -> None:
        """For readers of one series: `open_interest_btcusdt_1h`, with the columns of a table of its own."""
        if not self.exists or not symbols:
            return
        views = {self.kind.view(symbol, self._interval): symbol for symbol in symbols}
        there = {name for (name,) in self.connection.execute(_VIEWS, [list(views)]).fetchall()}
        for view, symbol in views.items():
            if view not in there:
                self.connection.execute(_CREATE_VIEW.format(view=view, name=self._name, symbol=symbol))

    def make(self) -> None:
        """Make the table where there is none."""
        if self.exists:
            return
        columns = ", ".join(f"{name} {type_}" for name, type_ in types(self.kind).items())
        self.connection.execute(
            f"CREATE TABLE {self.relation} ({columns} DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp))"
        )
        self.connection.execute(_CREATE_READER.format(name=self._name))
        self.exists = True

    def _query(self, statement: str, values: Sequence[object], **more: object) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        names = self.kind.names
        filled = statement.format(
            table=self.relation,
            names=", ".join(names),
            unnested=", ".join(f"unnest({name})" for name in names),
            lists=", ".join(f"?::{each.type}[] AS {each.name}" for each in self.kind.columns),
            **more,
        )
        return self.connection.execute(filled, list(values)).fetchall()

    def _found(self) -> dict[str, dict[str, str]]:
        """The columns of those of its two tables that are there, in one look: each takes as long as a statement."""
        found: dict[str, dict[str, str]] = {}
        if self._is_new:
            return found
        for name, column, type_ in self.connection.execute(_COLUMNS, [self._name, LATE]).fetchall():
            found.setdefault(name, {})[column] = type_
        return found

    def _expect(self, name: str, found: Mapping[str, str], expected: Mapping[str, str], key: list[str]) -> None:
        """Return for a table of the right shape; `StoreUnusable` where it is another's."""
        keys = [list(each) for (each,) in self.connection.execute(_KEYS, [name]).fetchall()] if key else []
        if found != expected or (key and key not in keys):
            said = ", ".join(f"{column} {type_}" for column, type_ in found.items())
            wanted = ", ".join(f"{column} {type_}" for column, type_ in expected.items())
            raise StoreUnusable(
                f"table {name} has another shape: {said}" + (f", key {keys}" if key and key not in keys else ""),
                hint=f"rename that table; {name} is made with {wanted}" + (f", key {', '.join(key)}" if key else ""),
            )
