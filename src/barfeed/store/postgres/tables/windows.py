"""Bars by the thousand: binary COPY into columns, without a Python object for any of them.

Every row has the same length, as no column of it is a text and none is NULL: the answer is one array as it comes.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from barfeed.domain.bars import VALUE_COLUMNS
from barfeed.store.duckdb import Session
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.words import MS, VALUES
from barfeed.store.troubles import disk

_COPY = f"""
COPY (
  SELECT asked.place, bar.timestamp, {VALUES}
  FROM unnest(%s::text[], %s::bigint[], %s::integer[]) AS asked(symbol, begins_ms, place)
  JOIN {{table}} AS bar ON bar.symbol = asked.symbol
  WHERE bar.timestamp BETWEEN {MS.format("%s")} AND {MS.format("%s")}
    AND bar.timestamp >= {MS.format("asked.begins_ms")}
) TO STDOUT (FORMAT binary)
"""
# A header of 19 bytes; a row is the number of its fields, then each with its length before it; the end is a -1.
_HEADER_BYTES, _END_BYTES = 19, 2
_FIELDS = {"place": ">i4", "timestamp": ">i8", **dict.fromkeys(VALUE_COLUMNS, ">f8")}
_ROW = np.dtype(
    [("fields", ">i2"), *(part for name, kind in _FIELDS.items() for part in ((f"{name}_bytes", ">i4"), (name, kind)))]
)
# What a timestamp counts from, 2000-01-01, in us since 1970-01-01.
_EPOCH_US = 946_684_800_000_000
# In DuckDB, which sorts by a number and writes what the models read. Packed as the embedded store packs it.
_WRITE = f"""
COPY (
  SELECT asked.symbol, make_timestamp(bar.timestamp + {_EPOCH_US}) AS timestamp, {", ".join(VALUE_COLUMNS)}
  FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
    ON asked.place = bar.place
  ORDER BY bar.place, bar.timestamp
) TO '{{path}}' (FORMAT parquet, COMPRESSION snappy)
"""
Columns = dict[str, "np.ndarray[tuple[int], np.dtype[Any]]"]


def write(
    connection: Connection, beside: Session, path: Path, *, table: str, from_ms: Mapping[str, int], end_ms: int
) -> int:
    """Write these symbols' bars to a Parquet file, sorted by symbol, then time; how many. Raises `OSError`."""
    symbols = sorted(from_ms)
    columns = copied(connection, table, {each: from_ms[each] for each in symbols}, end_ms)
    beside.register("copied", columns)
    try:
        quoted = str(path).replace("'", "''")
        return disk.copied(beside, _WRITE.format(path=quoted), [symbols, list(range(len(symbols)))])
    finally:
        beside.unregister("copied")


def copied(connection: Connection, table: str, from_ms: Mapping[str, int], end_ms: int) -> Columns:
    """These symbols' bars, each from the moment given with it to `end_ms`, in no order.

    Columns: `place` in `from_ms`, `timestamp` in us since 2000-01-01 UTC, and the values; a stored NULL is NaN.
    """
    symbols, begins_ms = list(from_ms), list(from_ms.values())
    values = [symbols, begins_ms, list(range(len(symbols))), min(begins_ms, default=end_ms), end_ms]
    with connection.cursor().copy(_COPY.format(table=table), values) as answer:
        content = b"".join(answer)
    rows = np.frombuffer(content[_HEADER_BYTES:-_END_BYTES], dtype=_ROW)
    return {name: rows[name].astype(kind[1:]) for name, kind in _FIELDS.items()}
