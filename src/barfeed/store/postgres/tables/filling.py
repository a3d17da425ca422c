"""Bars by the thousand into a database: columns become one binary COPY, as NumPy puts them together."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS
from barfeed.store.postgres.link.connection import Connection

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_KINDS = {
    "place": ">i4",
    "timestamp": ">i8",
    "created_at": ">i8",
    "nulls": ">i4",
    **dict.fromkeys(VALUE_COLUMNS, ">f8"),
}
_STAGE = f"""
CREATE TEMP TABLE copied (
  place integer, timestamp timestamp, created_at timestamp, nulls integer,
  {", ".join(f"{name} double precision" for name in VALUE_COLUMNS)}
) ON COMMIT DROP
"""
_COPY = "COPY copied FROM STDIN (FORMAT binary)"
_INSERT = f"""
INSERT INTO {{table}} (symbol, {", ".join(COLUMNS)}, created_at)
SELECT asked.symbol, bar.timestamp,
       {", ".join(f"CASE WHEN bar.nulls & {2**nth} = 0 THEN bar.{name} END" for nth, name in enumerate(VALUE_COLUMNS))},
       CASE WHEN bar.created_at < 'infinity' THEN bar.created_at END
FROM copied AS bar JOIN unnest(%s::text[], %s::integer[]) AS asked(symbol, place) ON asked.place = bar.place
ORDER BY asked.symbol COLLATE "C", bar.timestamp
ON CONFLICT (symbol, timestamp) DO NOTHING
"""


def fill(connection: Connection, table: str, symbols: Sequence[str], columns: Mapping[str, Any]) -> None:
    """Insert bars whose key is not there yet, in the caller's transaction; `columns` are those of `columns.bars`."""
    connection.execute(_STAGE)
    with connection.cursor().copy(_COPY) as answer:
        answer.write(_HEADER + _rows(columns).tobytes() + _END)
    connection.execute(_INSERT.format(table=table), [list(symbols), list(range(len(symbols)))])


def _rows(columns: Mapping[str, Any]) -> "np.ndarray[tuple[int], np.dtype[Any]]":
    fields = [(part, kind) for name, own in _KINDS.items() for part, kind in ((f"{name}_bytes", ">i4"), (name, own))]
    rows = np.empty(len(columns["place"]), np.dtype([("fields", ">i2"), *fields]))
    rows["fields"] = len(_KINDS)
    for name, kind in _KINDS.items():
        rows[f"{name}_bytes"], rows[name] = np.dtype(kind).itemsize, columns[name]
    return rows
