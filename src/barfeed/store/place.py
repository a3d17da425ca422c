"""Where a series' bars stand: in a table of their own, or among every other symbol's in the table of a market."""

# ruff: noqa: S608 - tables are named by us, and a symbol is letters, digits and '_'

from typing import NamedTuple

import duckdb

from barfeed.domain.bars import COLUMNS, Interval, Series

_IS_THERE = """
SELECT count(*) FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
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


def _is_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return connection.execute(_IS_THERE, [table]).fetchall() != [(0,)]
