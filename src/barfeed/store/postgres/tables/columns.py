"""Bars by the thousand as columns, without a Python object for any of them.

The server puts each symbol's column into one value, number behind number as it sends them in binary. A binary COPY
sends the same bytes in a message a row: half a million messages take thirty times the CPU here, three times as long.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Mapping
from typing import Any

import numpy as np

from barfeed.domain.bars import VALUE_COLUMNS
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.words import MS

Columns = dict[str, "np.ndarray[tuple[int], np.dtype[Any]]"]

# What a timestamp counts from, 2000-01-01, in us since 1970-01-01; and one that is NULL here.
EPOCH_US = 946_684_800_000_000
NEVER_US = 2**63 - 1
_NULLS = " + ".join(f"(bar.{name} IS NULL)::integer * {2**nth}" for nth, name in enumerate(VALUE_COLUMNS))
# How the server sends each, and what that is to NumPy.
_SENT = {
    "timestamp": ("timestamp_send(bar.timestamp)", ">i8"),
    "created_at": ("timestamp_send(coalesce(bar.created_at, 'infinity'))", ">i8"),
    "nulls": (f"int4send({_NULLS})", ">i4"),
    **{name: (f"float8send(coalesce(bar.{name}, 'NaN'))", ">f8") for name in VALUE_COLUMNS},
}
# All columns of a symbol are put together in one pass, and so in one order.
_BARS = f"""
SELECT asked.place, count(*), {", ".join(f"string_agg({send}, '')" for send, _ in _SENT.values())}
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::integer[]) AS asked(symbol, begins_ms, ends_ms, place)
CROSS JOIN LATERAL (
  SELECT * FROM {{table}} AS held WHERE held.symbol = asked.symbol
  AND held.timestamp >= {MS.format("asked.begins_ms")} AND held.timestamp < {MS.format("asked.ends_ms")}
) AS bar
GROUP BY asked.place
"""
# In DuckDB, which takes a NaN of NumPy's for NULL: each is what it was again.
VALUES = ", ".join(
    f"CASE WHEN nulls & {2**nth} = 0 THEN coalesce({name}, 'NaN') END AS {name}"
    for nth, name in enumerate(VALUE_COLUMNS)
)
CREATED_AT = f"CASE WHEN created_at < {NEVER_US} THEN make_timestamp(created_at + {EPOCH_US}) END AS created_at"
TIMESTAMP = f"make_timestamp(timestamp + {EPOCH_US}) AS timestamp"


def none() -> Columns:
    """The columns of no bar."""
    return {"place": np.empty(0, "i4"), **{name: np.empty(0, kind[1:]) for name, (_, kind) in _SENT.items()}}


def bars(connection: Connection, table: str, spans: Mapping[str, tuple[int, int]]) -> Columns:
    """These symbols' bars that open in the `[from, to)` (ms) given with each, in no order.

    Columns: `place` in `spans`; `timestamp` and `created_at`, in us since 2000-01-01 UTC, `NEVER_US` for none;
    `nulls`, a bit for each value that is NULL, which then is NaN; and the values.
    """
    begins_ms, ends_ms = ([span[side] for span in spans.values()] for side in (0, 1))
    values = [list(spans), begins_ms, ends_ms, list(range(len(spans)))]
    rows = connection.cursor(binary=True).execute(_BARS.format(table=table), values).fetchall()
    places, counts, *sent = zip(*rows, strict=True) if rows else [()] * (2 + len(_SENT))
    columns = {
        name: np.frombuffer(b"".join(parts), kind).astype(kind[1:])
        for parts, (name, (_, kind)) in zip(sent, _SENT.items(), strict=True)
    }
    return {"place": np.repeat(np.array(places, "i4"), np.array(counts, "i8")), **columns}
