"""Who can read a store: the oldest DuckDB that a user's own tools may be of, and whether any can read all of it."""

import duckdb

from barfeed.domain.bars import Interval, Series
from barfeed.store.place import market_table, markets, place_of

# DuckDB 1.0 stumbles over each key, 1.1 over each index, that a newer one has written, whatever the storage version.
_OLDEST_READER = "1.1.0"
_WITH_INDEX_READER = "1.2.0"


def oldest_reader(connection: duckdb.DuckDBPyConnection) -> str:
    """The oldest DuckDB that can read a session's file, `1.1.0`."""
    tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'store'").fetchall()[0][0]
    written = str(tags.get("storage_version", "")).strip("v+")
    is_indexed = connection.execute("FROM duckdb_indexes() WHERE database_name = 'store' LIMIT 1").fetchall()
    least = _WITH_INDEX_READER if is_indexed else _OLDEST_READER
    return max(least, written, key=lambda version: [int(part) for part in version.split(".") if part.isdigit()])


def read_whole(connection: duckdb.DuckDBPyConnection, series: Series) -> None:
    """Read every block of every column: DuckDB sees that one is broken only when it comes to it."""
    # Of a hash no column's statistics know anything, as they do of a count, a least or a greatest.
    rows = place_of(connection, series).rows
    connection.execute(f"SELECT bit_xor(hash(COLUMNS(*))) FROM {rows} AS bars").fetchall()  # noqa: S608 - a checked name


def read_every(connection: duckdb.DuckDBPyConnection, interval: Interval) -> None:
    """As `read_whole`, of every symbol that stands in the table of all; nothing where there is none."""
    if interval in markets(connection):
        table = market_table(interval)
        connection.execute(f"SELECT bit_xor(hash(COLUMNS(*))) FROM store.main.{table}").fetchall()  # noqa: S608 - ours
