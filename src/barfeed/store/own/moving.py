"""Series between a table of their own and a market's: moved bit for bit, or told why they cannot be.

Everything takes a connection of `Store.session`; what moves rows stands in the transaction of its caller. Revisions
are noted by a series' name, and so are the same in either place.
"""

# ruff: noqa: S608 - tables are named by us, and a symbol is letters, digits and '_'

from collections.abc import Sequence

import duckdb

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.store.own import catalog
from barfeed.store.own.catalog import Column
from barfeed.store.place import Place, in_market, market_table, own

_STAMP = "created_at"
_ALL = (*COLUMNS, _STAMP)
_TYPES = {"timestamp": "TIMESTAMP"} | dict.fromkeys(VALUE_COLUMNS, "DOUBLE") | {_STAMP: "TIMESTAMP"}
_USUAL_DEFAULTS = frozenset({"", "CURRENT_TIMESTAMP", "get_current_timestamp()", "now()"})
# To the bit: 0.0 and -0.0 are equal, and so is each NaN to any other.
_BITS = f"timestamp, {', '.join(f'{name}::BIT AS {name}' for name in VALUE_COLUMNS)}, {_STAMP}"
_DIFFERENT = f"""
SELECT count(*) FROM (
  (SELECT {_BITS} FROM {{one}} EXCEPT ALL SELECT {_BITS} FROM {{other}})
  UNION ALL (SELECT {_BITS} FROM {{other}} EXCEPT ALL SELECT {_BITS} FROM {{one}})
)
"""
_READERS = """
SELECT view_name FROM duckdb_views() WHERE database_name = 'store' AND contains(lower(sql), ?)
ORDER BY view_name LIMIT 1
"""
_INDEXES = "SELECT count(*) FROM duckdb_indexes() WHERE database_name = 'store' AND lower(table_name) = ?"


def in_market_of(series: Series) -> Place:
    """Where the series stands, or would, in a market's table."""
    return Place(f"store.main.{market_table(series.interval)}", series.symbol)


def misfit(connection: duckdb.DuckDBPyConnection, series: Series) -> str:
    """Why the series' own table cannot go into the market's as it is; empty where it can."""
    if in_market(connection, series):
        return f"{market_table(series.interval)} has bars of it, too"
    columns = catalog.columns(connection, series.table)
    return _of_columns(columns) or _of_rules(connection, series, columns) or _of_rows(connection, series)


def _of_columns(columns: Sequence[Column]) -> str:
    types = {column.name.lower(): column.type for column in columns}
    if strange := [column.name for column in columns if column.name.lower() not in _TYPES]:
        return f"it has columns that no bar has: {', '.join(strange)}"
    wrong = [f"{name} is {types.get(name, 'missing')}" for name in _TYPES if types.get(name) != _TYPES[name]]
    return f"{'; '.join(wrong)}: in the market's table it would be another" if wrong else ""


def _of_rules(connection: duckdb.DuckDBPyConnection, series: Series, columns: Sequence[Column]) -> str:
    has_index = connection.execute(_INDEXES, [series.table]).fetchall() != [(0,)]
    if has_index or catalog.may_refuse(connection, series.table):
        return "it has a constraint or an index of its own, which would be lost"
    if any(each.default not in _USUAL_DEFAULTS for each in columns):
        return "a column has a default of its own, which would be lost"
    reader = connection.execute(_READERS, [series.table]).fetchall()
    return f"the view {reader[0][0]} reads it" if reader else ""


def _of_rows(connection: duckdb.DuckDBPyConnection, series: Series) -> str:
    table = own(series).table
    rows, times, none = connection.execute(
        f"SELECT count(*), count(DISTINCT timestamp), count(*) FILTER (timestamp IS NULL) FROM {table}"
    ).fetchall()[0]
    return "a timestamp is there twice, or is none" if none or times != rows else ""


def held(connection: duckdb.DuckDBPyConnection, interval: Interval) -> list[Series]:
    """Every series that stands in the market's table."""
    symbols = connection.execute(f"SELECT DISTINCT symbol FROM store.main.{market_table(interval)} ORDER BY 1")
    return [Series(symbol, interval) for (symbol,) in symbols.fetchall()]


def rows_in(connection: duckdb.DuckDBPyConnection, place: Place) -> int:
    """How many bars stand there."""
    return int(connection.execute(f"SELECT count(*) FROM {place.rows}").fetchall()[0][0])


def into_market(connection: duckdb.DuckDBPyConnection, series: Series) -> None:
    """Move a series into the market's table, which is there. Raises `StoreUnusable` where a bit is another."""
    place, table = in_market_of(series), own(series).table
    connection.execute(
        f"INSERT INTO {place.table} (symbol, {', '.join(_ALL)})"
        f" SELECT '{series.symbol}', {', '.join(_ALL)} FROM {table} ORDER BY timestamp"
    )
    _prove(connection, table, place.rows)
    connection.execute(f"DROP TABLE {table}")


def into_own(connection: duckdb.DuckDBPyConnection, series: Series) -> None:
    """Move a series into a table of its own. Raises `StoreUnusable` where a bit is another."""
    place, table = in_market_of(series), own(series).table
    connection.execute(own(series).creating())
    names = ", ".join(_ALL)
    connection.execute(f"INSERT INTO {table} ({names}) SELECT {names} FROM {place.rows} ORDER BY timestamp")
    _prove(connection, place.rows, table)
    connection.execute(f"DELETE FROM {place.table} WHERE {place.is_meant}")


def _prove(connection: duckdb.DuckDBPyConnection, one: str, other: str) -> None:
    different = connection.execute(_DIFFERENT.format(one=one, other=other)).fetchall()[0][0]
    if different:
        raise StoreUnusable(
            f"{different} rows are not the same in {one} and in {other}", hint="nothing was moved; report it"
        )
