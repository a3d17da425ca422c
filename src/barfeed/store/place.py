"""Where bars stand, in a table of one series' own or among every other symbol's in a market's, and what there is."""

# ruff: noqa: S608 - tables are named by us, and a symbol is letters, digits and '_'

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from types import MappingProxyType
from typing import NamedTuple

import duckdb

from barfeed.domain import grid
from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.grid import Gap
from barfeed.store.own import catalog

_IS_THERE = """
SELECT count(*) FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
"""

_TABLES = """
SELECT lower(table_name) AS name FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' ORDER BY name
"""
_OWN_NAME = rf"(?s)ohlcv_(.+)_({'|'.join(map(str, Interval))})"
_NOTHING = f"""
SELECT '' AS symbol, NULL::TIMESTAMP AS timestamp, {", ".join(f"NULL::DOUBLE AS {name}" for name in VALUE_COLUMNS)},
       NULL::TIMESTAMP AS created_at WHERE false
"""
_ON_GRID = "isfinite(timestamp) AND epoch_us(timestamp) % ({step_ms}::BIGINT * 1000) = 0"
_HOLDINGS = f"""
SELECT symbol, count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)), count(*) FILTER ({_ON_GRID}),
       epoch_ms(min(timestamp) FILTER ({_ON_GRID})), epoch_ms(max(timestamp) FILTER ({_ON_GRID}))
FROM {{table}} GROUP BY symbol ORDER BY symbol
"""
# Each open_time is there once: the table is keyed by it.
_GAPS = f"""
SELECT symbol, at_ms, next_ms FROM (
  SELECT symbol, at_ms, lead(at_ms) OVER (PARTITION BY symbol ORDER BY at_ms) AS next_ms
  FROM (SELECT symbol, epoch_ms(timestamp) AS at_ms FROM {{table}}
        WHERE symbol IN (SELECT unnest(?::VARCHAR[])) AND {_ON_GRID})
) WHERE next_ms > at_ms + {{step_ms}} ORDER BY symbol, at_ms
"""
# One list a column: a statement a row takes a thousand times as long, and lists unnested as they are bound take twice.
_PENDING = f"""
SELECT unnest(symbol) AS symbol, make_timestamp_ms(unnest(timestamp)) AS timestamp,
       {", ".join(f"unnest({name}) AS {name}" for name in VALUE_COLUMNS)}
FROM (VALUES (?::VARCHAR[], ?::BIGINT[], {", ".join(["?::DOUBLE[]"] * len(VALUE_COLUMNS))}))
  AS came(symbol, timestamp, {", ".join(VALUE_COLUMNS)})
"""
# Bars by their symbol.
SymbolBars = Mapping[str, Sequence[Bar]]
NO_BARS: SymbolBars = MappingProxyType({})


_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  timestamp TIMESTAMP PRIMARY KEY,
  open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
)
"""


class Span(NamedTuple):
    """Bars of these symbols that open in `[from_ms, to_ms)`, as they stood at the moment `as_of_ms`.

    In ms since 1970-01-01 UTC; None is without bound, or now.
    """

    symbols: tuple[str, ...]
    interval: Interval
    from_ms: int | None = None
    to_ms: int | None = None
    as_of_ms: int | None = None


class Place(NamedTuple):
    """A table as SQL names it, and the symbol whose rows of it are the series'; empty where all are."""

    table: str
    symbol: str = ""

    @property
    def name(self) -> str:
        """The table's bare name."""
        return self.table.rpartition(".")[2].strip('"')

    @property
    def rows(self) -> str:
        """The series' bars as a relation, with the columns of a table of their own."""
        return f"(SELECT * EXCLUDE (symbol) FROM {self.table} WHERE {self.is_meant})" if self.symbol else self.table

    @property
    def is_meant(self) -> str:
        """Which rows of the table are the series', as a condition."""
        return f"symbol = '{self.symbol}'" if self.symbol else "true"

    @property
    def key(self) -> str:
        """What a row is unique by."""
        return "symbol, timestamp" if self.symbol else "timestamp"

    def creating(self) -> str:
        """The statement that makes a table of the series' own."""
        return _CREATE.format(table=self.table)

    def inserting(self, bars: str) -> str:
        """The statement that inserts `bars`, a SELECT of `COLUMNS`."""
        if not self.symbol:
            return f"INSERT INTO {self.table} ({', '.join(COLUMNS)}) {bars}"
        return f"INSERT INTO {self.table} (symbol, {', '.join(COLUMNS)}) SELECT '{self.symbol}', * FROM ({bars})"


class Holding(NamedTuple):
    """What a market's table has of a symbol: rows, how many open on the grid, the first and last open_time of both.

    `first_ms` and `last_ms` are None where a row has no moment, those on the grid where no row is on it.
    """

    rows: int
    first_ms: int | None
    last_ms: int | None
    on_grid: int
    first_on_grid_ms: int | None
    last_on_grid_ms: int | None

    def span(self, step_ms: int) -> Gap | None:
        """Every open_time from the first to the last on the grid; None where there is none."""
        if self.first_on_grid_ms is None or self.last_on_grid_ms is None:
            return None
        bars = (self.last_on_grid_ms - self.first_on_grid_ms) // step_ms + 1
        return Gap(self.first_on_grid_ms, self.last_on_grid_ms, bars)


def market_table(interval: Interval) -> str:
    """The table that holds every symbol's bars of this interval, `ohlcv_1h`."""
    return f"ohlcv_{interval}"


def own(series: Series) -> Place:
    """The table of one series' own, whether it is there or not."""
    return Place(f'store.main."{series.table}"')


def in_market(connection: duckdb.DuckDBPyConnection, series: Series) -> Place | None:
    """The series among those of a market, None where it is in none."""
    table = market_table(series.interval)
    if not _is_table(connection, table):
        return None
    place = Place(f"store.main.{table}", series.symbol)
    return (
        place if connection.execute(f"SELECT 1 FROM {place.table} WHERE {place.is_meant} LIMIT 1").fetchall() else None
    )


def place_of(connection: duckdb.DuckDBPyConnection, series: Series) -> Place:
    """Where the series' bars stand in the attached store, or would."""
    return own(series) if _is_table(connection, series.table) else in_market(connection, series) or own(series)


def rows_of(connection: duckdb.DuckDBPyConnection, series: Series) -> str:
    """The series' bars in the attached store, as a relation with the columns of a table of their own."""
    return place_of(connection, series).rows


def rows_of_all(connection: duckdb.DuckDBPyConnection, symbols: Sequence[str], interval: Interval) -> str:
    """The bars of these symbols as one relation: symbol, `COLUMNS`, created_at; NULL where a table does not tell it.

    A symbol of which nothing is stored is not in it.
    """
    own_tables = {each.symbol: own(each) for each in alone(connection) if each.interval is interval}
    parts = [stamped(connection, own_tables[each], f"'{each}' AS symbol") for each in symbols if each in own_tables]
    others = [each for each in symbols if each not in own_tables]
    if others and _is_table(connection, market_table(interval)):
        together = stamped(connection, Place(f"store.main.{market_table(interval)}"), "symbol")
        parts.append(f"{together} WHERE symbol IN ({_texts(others)})")
    return f"({' UNION ALL '.join(parts) or _NOTHING})"


def held_symbols(connection: duckdb.DuckDBPyConnection, interval: Interval) -> set[str]:
    """Every symbol that the attached store holds a bar of at this interval, wherever it stands."""
    table, own_ones = market_table(interval), {each.symbol for each in alone(connection) if each.interval is interval}
    if not _is_table(connection, table):
        return own_ones
    together = connection.execute(f"SELECT DISTINCT symbol FROM store.main.{table}").fetchall()
    return {symbol for (symbol,) in together} | own_ones


def holdings(connection: duckdb.DuckDBPyConnection, interval: Interval) -> dict[str, Holding]:
    """What the market's table, which is there, has of every symbol; sorted by symbol."""
    statement = _HOLDINGS.format(table=f"store.main.{market_table(interval)}", step_ms=interval.ms)
    return {symbol: Holding(*facts) for symbol, *facts in connection.execute(statement).fetchall()}


def gaps_of(
    connection: duckdb.DuckDBPyConnection, interval: Interval, held: Mapping[str, Holding]
) -> dict[str, list[Gap]]:
    """Where bars are missing between a symbol's first and last on the grid, ascending; whole ones are left out."""
    step_ms = interval.ms
    spans = {symbol: each.span(step_ms) for symbol, each in held.items()}
    torn = [symbol for symbol, span in spans.items() if span and held[symbol].on_grid < span.bars]
    if not torn:
        return {}
    statement = _GAPS.format(table=f"store.main.{market_table(interval)}", step_ms=step_ms)
    return {
        symbol: [grid.gap_between(at, until, step_ms) for _, at, until in each]
        for symbol, each in groupby(connection.execute(statement, [torn]).fetchall(), itemgetter(0))
    }


def alone(connection: duckdb.DuckDBPyConnection) -> list[Series]:
    """Every series that has a table of its own."""
    found = []
    for name in filter(None, (re.fullmatch(_OWN_NAME, each) for each in _tables(connection))):
        # What no symbol can be called is no table of ours.
        with suppress(UsageError):
            found.append(Series.of(name[1], name[2]))
    return found


def markets(connection: duckdb.DuckDBPyConnection) -> list[Interval]:
    """Every interval of which there is a table of many symbols."""
    there = set(_tables(connection))
    return [each for each in Interval if market_table(each) in there]


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    return [name for (name,) in connection.execute(_TABLES).fetchall()]


@contextmanager
def as_if_stored(connection: duckdb.DuckDBPyConnection, table: str | None, bars: SymbolBars) -> Iterator[str]:
    """A market's table as a relation that has these bars of its symbols, too; they are in memory, for the block.

    None is a table that is not there yet.
    """
    rows = [(symbol, *bar) for symbol, each in bars.items() for bar in each]
    lists = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in ("symbol", *COLUMNS)]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE pending AS {_PENDING}", lists)
    try:
        pending = "SELECT * FROM temp.main.pending"
        stored = f"SELECT symbol, {', '.join(COLUMNS)} FROM {table}"
        # Another process may have appended them meanwhile.
        both = f"{stored} UNION ALL {pending} ANTI JOIN {table} USING (symbol, timestamp)"
        yield f"({both if table else pending})"
    finally:
        connection.execute("DROP TABLE temp.main.pending")


def stamped(connection: duckdb.DuckDBPyConnection, place: Place, symbol: str) -> str:
    """All rows of a table: `symbol`, an expression by that name, `COLUMNS`, created_at; NULL where it is not told."""
    # A column of a user's own that is no moment tells nothing.
    types = {column.name.lower(): column.type for column in catalog.columns(connection, place.name)}
    is_told = types.get("created_at", "").startswith("TIMESTAMP")
    created_at = "created_at::TIMESTAMP" if is_told else "NULL::TIMESTAMP"
    return f"SELECT {symbol}, {', '.join(COLUMNS)}, {created_at} AS created_at FROM {place.table}"


def _texts(symbols: Sequence[str]) -> str:
    return ", ".join(f"'{each}'" for each in symbols)


def _is_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(_IS_THERE, [table]).fetchall() != [(0,)]
