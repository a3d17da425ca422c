"""The models' windows, from a database into the file that they read."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Mapping
from pathlib import Path

from barfeed.store.duckdb import Session
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.columns import TIMESTAMP, VALUES, bars
from barfeed.store.troubles import disk

# In DuckDB, which sorts by a number. Packed as the embedded store packs it.
_WRITE = f"""
COPY (
  SELECT asked.symbol, {TIMESTAMP}, {VALUES}
  FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
    ON asked.place = bar.place
  ORDER BY bar.place, bar.timestamp
) TO '{{path}}' (FORMAT parquet, COMPRESSION snappy)
"""


def write(
    connection: Connection, beside: Session, path: Path, *, table: str, from_ms: Mapping[str, int], end_ms: int
) -> int:
    """Write these symbols' bars to a Parquet file, sorted by symbol, then time; how many. Raises `OSError`."""
    symbols = sorted(from_ms)
    beside.register("copied", bars(connection, table, {each: (from_ms[each], end_ms + 1) for each in symbols}))
    try:
        quoted = str(path).replace("'", "''")
        return disk.copied(beside, _WRITE.format(path=quoted), [symbols, list(range(len(symbols)))])
    finally:
        beside.unregister("copied")
