"""Where a series' bars stand: in a table of their own, or among every other symbol's in the table of a market."""

# ruff: noqa: S608 - tables are named by us, and a symbol is letters, digits and '_'

import re
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import duckdb

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.store.own import catalog

_IS_THERE = """
SELECT count(*) FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
"""

_TABLES = """
SELECT lower(table_name) AS name FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' ORDER BY name
"""
_OWN_NAME = re.compile(rf"ohlcv_(.+)_({'|'.join(map(str, Interval))})", re.DOTALL)
_NO_BARS = f"""
SELECT '' AS symbol, NULL::TIMESTAMP AS timestamp, {", ".join(f"NULL::DOUBLE AS {name}" for name in VALUE_COLUMNS)},
       NULL::TIMESTAMP AS created_at WHERE false
"""


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

    def inserting(self, bars: str) -> str:
        """The statement that inserts `bars`, a SELECT of `COLUMNS`."""
        if not self.symbol:
            return f"INSERT INTO {self.table} ({', '.join(COLUMNS)}) {bars}"
        return f"INSERT INTO {self.table} (symbol, {', '.join(COLUMNS)}) SELECT '{self.symbol}', * FROM ({bars})"


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
    parts = [_stamped(connection, own_tables[each], f"'{each}' AS symbol") for each in symbols if each in own_tables]
    others = [each for each in symbols if each not in own_tables]
    if others and _is_table(connection, market_table(interval)):
        together = _stamped(connection, Place(f"store.main.{market_table(interval)}"), "symbol")
        parts.append(f"{together} WHERE symbol IN ({_texts(others)})")
    return f"({' UNION ALL '.join(parts) or _NO_BARS})"


def alone(connection: duckdb.DuckDBPyConnection) -> list[Series]:
    """Every series that has a table of its own."""
    found = []
    for name in filter(None, map(_OWN_NAME.fullmatch, _tables(connection))):
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


def _stamped(connection: duckdb.DuckDBPyConnection, place: Place, symbol: str) -> str:
    # A column of a user's own that is no moment tells nothing.
    types = {column.name.lower(): column.type for column in catalog.columns(connection, place.name)}
    is_told = types.get("created_at", "").startswith("TIMESTAMP")
    created_at = "created_at::TIMESTAMP" if is_told else "NULL::TIMESTAMP"
    return f"SELECT {symbol}, {', '.join(COLUMNS)}, {created_at} AS created_at FROM {place.table}"


def _texts(symbols: Sequence[str]) -> str:
    return ", ".join(f"'{each}'" for each in symbols)


def _is_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(_IS_THERE, [table]).fetchall() != [(0,)]
