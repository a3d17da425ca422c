"""The bars of every symbol that is fed together, one table an interval, and what the exchange listed when.

`ohlcv_1h` is written hour by hour, keyed by symbol and timestamp; `symbols` is append-only: a row whenever a symbol's
listing was another than before. Everything takes a connection of `Store.session`.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import COLUMNS, PRICE_COLUMNS, VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing
from barfeed.domain.market.membership import Seen
from barfeed.store import revisions
from barfeed.store.duckdb import Coverage, Session, Store, transaction
from barfeed.store.place import NO_BARS, SymbolBars, as_if_stored, held_symbols, market_table
from barfeed.store.troubles import disk

MEMBERSHIP = "symbols"

_BAR_TYPES = {"symbol": "VARCHAR", "timestamp": "TIMESTAMP"} | dict.fromkeys(VALUE_COLUMNS, "DOUBLE")
_CREATE = f"""
CREATE TABLE {{table}} (
  symbol VARCHAR, timestamp TIMESTAMP, {", ".join(f"{name} DOUBLE" for name in VALUE_COLUMNS)},
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp)
)
"""
# For who reads one series: a view a symbol would cost each opening of the file more than the hour itself.
_CREATE_READER = """
CREATE OR REPLACE MACRO store.main.{table}_of(of_symbol) AS TABLE
SELECT * EXCLUDE (symbol) FROM {table} WHERE symbol = upper(of_symbol) ORDER BY timestamp
"""
# A NULL would not be a float: as NaN it is one that the rules refuse.
_VALUES = ", ".join(f"coalesce({name}, 'NaN')" for name in VALUE_COLUMNS)
# From when on each symbol's bars are asked for: one list a column, as everywhere.
_ASKED = "(SELECT unnest(?::VARCHAR[]) AS symbol, make_timestamp_ms(unnest(?::BIGINT[])) AS begins)"
_HELD = f"""
SELECT bar.symbol, epoch_ms(bar.timestamp), {_VALUES}
FROM {{table}} AS bar JOIN {_ASKED} AS asked ON asked.symbol = bar.symbol
WHERE bar.timestamp >= make_timestamp_ms(?) AND bar.timestamp >= asked.begins
ORDER BY bar.symbol, bar.timestamp
"""
_NEWEST = """
SELECT symbol, epoch_ms(max(timestamp)) FROM {table} WHERE timestamp >= make_timestamp_ms(?) GROUP BY symbol
"""
# Of those that are behind: the table has no order by which one symbol's newest would be found at once.
_NEWEST_OF = """
SELECT symbol, epoch_ms(max(timestamp)) FROM {table} WHERE symbol IN (SELECT unnest(?::VARCHAR[])) GROUP BY symbol
"""
_COVERAGE = """
SELECT symbol, count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {table} GROUP BY symbol
"""
_HELD_OF = "SELECT DISTINCT symbol FROM {table} WHERE symbol IN (SELECT unnest(?::VARCHAR[]))"
# Unnested of a row that holds them: lists that are parameters themselves are read anew for each part of them.
_INSERT = f"""
INSERT INTO {{table}} (symbol, {", ".join(COLUMNS)})
SELECT unnest(symbol), make_timestamp_ms(unnest(open_time_ms)), {", ".join(f"unnest({name})" for name in VALUE_COLUMNS)}
FROM (SELECT ?::VARCHAR[] AS symbol, ?::BIGINT[] AS open_time_ms,
             {", ".join(f"?::DOUBLE[] AS {name}" for name in VALUE_COLUMNS)})
ON CONFLICT (symbol, timestamp) DO NOTHING RETURNING symbol, epoch_ms(timestamp)
"""
# What makes a window whole is counted where it stands: half a million bars are not read for it.
_WINDOWS = f"""
SELECT symbol, count(*) FILTER (epoch_ms(timestamp) % ? = 0),
       bool_and({" AND ".join(f"coalesce(isfinite({name}), false)" for name in VALUE_COLUMNS)}
                AND least({", ".join(PRICE_COLUMNS)}) > 0)
FROM {{table}} WHERE timestamp BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?) GROUP BY symbol
"""
# In the order they are given: half a million rows are sorted by a number in two thirds of the time that names take.
_ORDERED = """
(SELECT unnest(?::VARCHAR[]) AS symbol, make_timestamp_ms(unnest(?::BIGINT[])) AS begins, unnest(?::INTEGER[]) AS place)
"""
# Replaced with each pass: what packs twice as fast is worth half as much disk again.
_PUBLISH = f"""
COPY (
  SELECT bar.symbol, bar.{", bar.".join(COLUMNS)}
  FROM {{table}} AS bar JOIN {_ORDERED} AS asked ON asked.symbol = bar.symbol
  WHERE bar.timestamp BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?) AND bar.timestamp >= asked.begins
  ORDER BY asked.place, bar.timestamp
) TO '{{path}}' (FORMAT parquet, COMPRESSION snappy)
"""
EXCHANGE_GAPS = "exchange_gaps"
# A gap that begins here has nothing before it: what follows it is a symbol's first bar.
BEGINNING_MS = 0
GAP_TYPES = {
    "symbol": "VARCHAR", "interval": "VARCHAR", "first": "TIMESTAMP", "last": "TIMESTAMP", "seen_at": "TIMESTAMP",
}  # fmt: skip
GAP_NAMES = tuple(GAP_TYPES)
_CREATE_GAPS = f"""
CREATE TABLE store.main.{EXCHANGE_GAPS} ({", ".join(f"{name} {type_}" for name, type_ in GAP_TYPES.items())})
"""
_GAPS = f"""
SELECT symbol, epoch_ms(first), epoch_ms(last) FROM store.main.{EXCHANGE_GAPS}
WHERE interval = ? AND symbol IN (SELECT unnest(?::VARCHAR[])) ORDER BY symbol, first
"""
_BEGINNINGS = f"""
SELECT symbol, epoch_ms(max(last)) FROM store.main.{EXCHANGE_GAPS}
WHERE interval = ? AND first = make_timestamp_ms(?) GROUP BY symbol
"""
_NOTE_GAPS = f"""
INSERT INTO store.main.{EXCHANGE_GAPS} ({", ".join(GAP_TYPES)})
SELECT unnest(?::VARCHAR[]), ?, make_timestamp_ms(unnest(?::BIGINT[])), make_timestamp_ms(unnest(?::BIGINT[])),
       make_timestamp_ms(?)
"""
_TABLES = """
SELECT table_name, column_name, data_type FROM duckdb_columns()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name = ?
"""
_OF_ONE_SERIES = """
SELECT lower(table_name) FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND regexp_full_match(lower(table_name), 'ohlcv_.+_' || ?)
"""
_KEYS = """
SELECT constraint_column_names FROM duckdb_constraints()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name = ? AND constraint_type = 'PRIMARY KEY'
"""

MEMBERSHIP_TYPES = {
    "symbol": "VARCHAR",
    "status": "VARCHAR",
    "contract_type": "VARCHAR",
    "quote": "VARCHAR",
    "onboard": "TIMESTAMP",
    "delivery": "TIMESTAMP",
    "tick": "DOUBLE",
    "seen_at": "TIMESTAMP",
}
MEMBERSHIP_NAMES = tuple(MEMBERSHIP_TYPES)
_CREATE_MEMBERSHIP = f"""
CREATE TABLE store.main.{MEMBERSHIP} ({", ".join(f"{name} {type_}" for name, type_ in MEMBERSHIP_TYPES.items())})
"""
_SEEN = f"""
SELECT symbol, status, contract_type, epoch_ms(onboard), epoch_ms(delivery), quote, tick, epoch_ms(seen_at)
FROM store.main.{MEMBERSHIP} ORDER BY seen_at, rowid
"""
_NOTE = f"""
INSERT INTO store.main.{MEMBERSHIP} ({", ".join(MEMBERSHIP_TYPES)})
SELECT unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]), unnest(?::VARCHAR[]),
       make_timestamp_ms(unnest(?::BIGINT[])), make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]),
       make_timestamp_ms(?)
"""


_LISTING_FIELDS = ("symbol", "status", "contract_type", "quote", "onboard_ms", "delivery_ms", "tick")


@contextmanager
def reading(store: Store, interval: Interval, pending: SymbolBars = NO_BARS) -> Iterator["MarketTable"]:
    """The table, read-only, as if what is `pending` were stored: the file stays as it is, and a missing one missing."""
    is_new = not store.exists()
    with nullcontext(store.beside()) if is_new else store.session(write=False) as connection:
        table = MarketTable(connection, interval, is_new=is_new)
        if not pending:
            yield table
            return
        with as_if_stored(connection, table.relation if table.exists else None, pending) as table.relation:
            table.exists = True
            yield table


@contextmanager
def writing(store: Store, interval: Interval) -> Iterator["MarketTable"]:
    """The table in one transaction: committed at the end, rolled back by any exception; a missing file is made."""
    with store.session(write=True) as connection:
        table = MarketTable(connection, interval)
        with transaction(connection):
            yield table


def _columns(rows: Iterable[object], names: Iterable[str]) -> list[list[object]]:
    """One list a column: a statement a row takes a thousand times as long."""
    return [list(column) for column in zip(*map(attrgetter(*names), rows), strict=True)]


class Window(NamedTuple):
    """How many bars a symbol has of a window, and whether every value of theirs is one."""

    bars: int
    is_sound: bool


class MarketTable:
    """The bars of every symbol at one interval while the store is open. Times are ms since 1970-01-01 UTC."""

    def __init__(self, connection: Session, interval: Interval, *, is_new: bool = False) -> None:
        """`is_new` where there is no file yet. Raises `StoreUnusable` for a table of that name that is another's."""
        self.connection = connection
        self._interval = interval
        self._is_new = is_new
        self.relation = f"store.main.{market_table(interval)}"
        # What the catalog said of a table: it does not change while the store is open, but by this.
        self._known: dict[str, bool] = {}
        self.exists = self._has(market_table(interval), _BAR_TYPES, ["symbol", "timestamp"])

    def newest(self, from_ms: int) -> dict[str, int]:
        """The newest open_time of each symbol that has a bar at `from_ms` or later."""
        return dict(self._query(_NEWEST, [from_ms]))

    def newest_of(self, symbols: Sequence[str]) -> dict[str, int]:
        """The newest open_time of each of these that has any bar: looked for in all the table."""
        return dict(self._query(_NEWEST_OF, [list(symbols)])) if symbols else {}

    def symbols(self) -> set[str]:
        """Every symbol that has a bar, here or in a table of its own."""
        return set() if self._is_new else held_symbols(self.connection, self._interval)

    def coverage(self) -> dict[str, Coverage]:
        """How many bars each symbol has here, the first and the last."""
        return {symbol: Coverage(*facts) for symbol, *facts in self._query(_COVERAGE, [])}

    def held(self, symbols: Sequence[str]) -> set[str]:
        """Those of which there is any bar."""
        return {symbol for (symbol,) in self._query(_HELD_OF, [list(symbols)])}

    def elsewhere(self) -> set[str]:
        """The names of the tables that hold one series alone: what stands there must not stand here, too."""
        if self._is_new:
            return set()
        return {name for (name,) in self.connection.execute(_OF_ONE_SERIES, [str(self._interval)]).fetchall()}

    def bars(self, from_ms: Mapping[str, int]) -> dict[str, list[Bar]]:
        """Each symbol's bars from the moment given with it on, ascending; a stored NULL comes as NaN."""
        if not from_ms:
            return {}
        rows = self._query(_HELD, [list(from_ms), list(from_ms.values()), min(from_ms.values())])
        return {symbol: [Bar(*row[1:]) for row in each] for symbol, each in groupby(rows, itemgetter(0))}

    def append(self, bars: Mapping[str, Sequence[Bar]]) -> dict[str, int]:
        """Insert those that are not there yet; how many were inserted of each symbol."""
        if not self.exists:
            self.connection.execute(_CREATE.format(table=self.relation))
            self.connection.execute(_CREATE_READER.format(table=market_table(self._interval)))
            self.exists = True
        rows = [(symbol, *bar) for symbol, each in bars.items() for bar in each]
        appended = dict.fromkeys(bars, 0)
        if rows:
            for symbol, _ in self._query(_INSERT, [list(column) for column in zip(*rows, strict=True)]):
                appended[symbol] += 1
        return appended

    def windows(self, start_ms: int, end_ms: int) -> dict[str, Window]:
        """What each symbol has of the window from `start_ms` to `end_ms`, both included."""
        rows = self._query(_WINDOWS, [self._interval.ms, start_ms, end_ms])
        return {symbol: Window(bars, is_sound) for symbol, bars, is_sound in rows}

    def write_windows(self, path: Path, from_ms: Mapping[str, int], end_ms: int) -> int:
        """Write these symbols' bars to a Parquet file, each from the moment given with it to `end_ms`; how many.

        Columns: symbol, timestamp (UTC), open, high, low, close, volume; sorted by symbol, then time. Raises `OSError`
        where the disk of that file fails.
        """
        quoted = str(path).replace("'", "''")
        symbols = sorted(from_ms)
        begins_ms = [from_ms[each] for each in symbols]
        values = [symbols, begins_ms, list(range(len(symbols))), min(begins_ms, default=end_ms), end_ms]
        return disk.copied(self.connection, _PUBLISH.format(table=self.relation, path=quoted), values)

    def membership(self) -> list[Seen]:
        """Every listing that was noted, oldest first. Raises `StoreUnusable` for a table `symbols` of another shape."""
        if not self.has_membership():
            return []
        return [Seen(Listing(*row[:-1]), row[-1]) for row in self.connection.execute(_SEEN).fetchall()]

    def has_membership(self) -> bool:
        """Whether any listing was noted. Raises `StoreUnusable` likewise."""
        return self._has(MEMBERSHIP, MEMBERSHIP_TYPES)

    def note_membership(self, changed: Sequence[Listing], seen_at_ms: int) -> None:
        """Note listings that are another than they were."""
        if not changed:
            return
        self.make_membership()
        self.connection.execute(_NOTE, [*_columns(changed, _LISTING_FIELDS), seen_at_ms])

    def make_membership(self) -> None:
        """The table of listings, where there is none yet."""
        if not self._has(MEMBERSHIP, MEMBERSHIP_TYPES):
            self.connection.execute(_CREATE_MEMBERSHIP)
            self._known[MEMBERSHIP] = True

    def exchange_gaps(self, symbols: Sequence[str]) -> dict[str, list[Gap]]:
        """Where the exchange itself was seen to have none of a symbol's bars. Raises `StoreUnusable` likewise."""
        if not symbols or not self._has(EXCHANGE_GAPS, GAP_TYPES):
            return {}
        rows = self.connection.execute(_GAPS, [str(self._interval), list(symbols)]).fetchall()
        step_ms = self._interval.ms
        return {
            symbol: [Gap(first_ms, last_ms, (last_ms - first_ms) // step_ms + 1) for _, first_ms, last_ms in each]
            for symbol, each in groupby(rows, itemgetter(0))
        }

    def first_bars(self) -> dict[str, int]:
        """The first bar of all, of each symbol of which the exchange was seen to have none before it."""
        if not self._has(EXCHANGE_GAPS, GAP_TYPES):
            return {}
        rows = self.connection.execute(_BEGINNINGS, [str(self._interval), BEGINNING_MS]).fetchall()
        return {symbol: last_ms + self._interval.ms for symbol, last_ms in rows}

    def note_exchange_gaps(self, gaps: Sequence[tuple[str, Gap]], seen_at_ms: int) -> None:
        """Note what the exchange was seen to have none of, so that it is not asked for again."""
        if not gaps:
            return
        self.make_gaps()
        symbols, spans = zip(*gaps, strict=True)
        bounds = _columns(spans, ("first_ms", "last_ms"))
        self.connection.execute(_NOTE_GAPS, [list(symbols), str(self._interval), *bounds, seen_at_ms])

    def has_gaps(self) -> bool:
        """Whether any gap of the exchange's own was noted. Raises `StoreUnusable` likewise."""
        return self._has(EXCHANGE_GAPS, GAP_TYPES)

    def make_gaps(self) -> None:
        """The table of them, where there is none yet."""
        if not self.has_gaps():
            self.connection.execute(_CREATE_GAPS)
            self._known[EXCHANGE_GAPS] = True

    def let_pass(self, symbol: str) -> list[Bar]:
        """The bars of a symbol that somebody let pass though their own columns contradict each other."""
        return revisions.let_pass(self.connection, Series(symbol, self._interval))

    def expect_audit(self) -> None:
        """Return where bars can be changed; `StoreUnusable` where the audit table's name is another table's."""
        revisions.is_there(self.connection)

    def revise(self, symbol: str, changes: Sequence[Change], why: revisions.Why) -> int:
        """Put new versions in place of old ones, and both into the audit table; how many were what `old` says."""
        return revisions.revise(self.connection, Series(symbol, self._interval), changes, why)

    def end_of(self, path: Path) -> int | None:
        """The last open_time of a Parquet file of windows; None where it is no such file."""
        return end_of_windows(self.connection, path)

    def _has(self, name: str, types: Mapping[str, str], key: Sequence[str] = ()) -> bool:
        if name not in self._known:
            self._known[name] = not self._is_new and _is_there(self.connection, name, types, key)
        return self._known[name]

    def _query(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        if not self.exists:
            return []
        return self.connection.execute(statement.format(table=self.relation), list(values)).fetchall()


def end_of_windows(connection: Session, path: Path) -> int | None:
    """The last open_time of a Parquet file of windows; None where it is no such file."""
    try:
        quoted = str(path).replace("'", "''")
        rows = connection.execute(f"SELECT epoch_ms(max(timestamp)) FROM read_parquet('{quoted}')").fetchall()
    except duckdb.Error:
        return None
    end_ms: int | None = rows[0][0]
    return end_ms


def _is_there(connection: Session, name: str, types: Mapping[str, str], key: Sequence[str] = ()) -> bool:
    found = {column: type_ for _, column, type_ in connection.execute(_TABLES, [name]).fetchall()}
    if not found:
        return False
    wrong = [f"{column} is {found.get(column, 'missing')}" for column in types if found.get(column) != types[column]]
    if key and list(key) not in [columns for (columns,) in connection.execute(_KEYS, [name]).fetchall()]:
        wrong.append(f"it has no primary key ({', '.join(key)})")
    if wrong:
        raise StoreUnusable(
            f"table {name} is none of barfeed's: {'; '.join(wrong)}",
            hint="rename that table, or keep the market's bars in a file of their own: --duckdb",
        )
    return True
