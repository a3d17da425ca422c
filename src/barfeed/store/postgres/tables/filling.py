"""Rows by the thousand into a database: columns become one binary COPY, as NumPy puts them together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.columns import MOMENTS, Sent, value_names

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_END = b"\xff\xff"
_STAGE = "CREATE TEMP TABLE copied ({columns}) ON COMMIT DROP"
_COPY = "COPY copied FROM STDIN (FORMAT binary)"
_INSERT = """
INSERT INTO {table} (symbol, {names})
SELECT asked.symbol, {values}
FROM copied AS bar JOIN unnest(%s::text[], %s::integer[]) AS asked(symbol, place) ON asked.place = bar.place
ORDER BY asked.symbol COLLATE "C", bar.timestamp
ON CONFLICT (symbol, timestamp) DO NOTHING
"""
_PLACE = {"place": ">i4"}
_TYPES = {">i4": "integer", ">i8": "bigint", ">f8": "double precision"}


def fill(connection: Connection, table: str, symbols: Sequence[str], columns: Mapping[str, Any], sent: Sent) -> None:
    """Insert rows whose key is not there yet, in the caller's transaction; `columns` are those of `columns.rows`."""
    kinds = _PLACE | {name: kind for name, (_, kind) in sent.items()}
    staged = ", ".join(f"{name} {'timestamp' if name in MOMENTS else _TYPES[kind]}" for name, kind in kinds.items())
    connection.execute(_STAGE.format(columns=staged))
    with connection.cursor().copy(_COPY) as answer:
        answer.write(_HEADER + _rows(columns, kinds).tobytes() + _END)
    values = _values(sent)
    statement = _INSERT.format(table=table, names=", ".join(values), values=", ".join(values.values()))
    connection.execute(statement, [list(symbols), list(range(len(symbols)))])


def _values(sent: Sent) -> dict[str, str]:
    """What each column is again, NULL where it was."""
    moments = {name: f"bar.{name}" for name in sent if name in MOMENTS}
    never = {"created_at": "CASE WHEN bar.created_at < 'infinity' THEN bar.created_at END"}
    told = enumerate(value_names(sent))
    return moments | never | {name: f"CASE WHEN bar.nulls & {2**nth} = 0 THEN bar.{name} END" for nth, name in told}


def _rows(columns: Mapping[str, Any], kinds: Mapping[str, str]) -> "np.ndarray[tuple[int], np.dtype[Any]]":
    fields = [(part, kind) for name, own in kinds.items() for part, kind in ((f"{name}_bytes", ">i4"), (name, own))]
    rows = np.empty(len(columns["place"]), np.dtype([("fields", ">i2"), *fields]))
    rows["fields"] = len(kinds)
    for name, kind in kinds.items():
        rows[f"{name}_bytes"], rows[name] = np.dtype(kind).itemsize, columns[name]
    return rows
