"""Bars by the thousand as columns, without a Python object for any of them.

The server puts each symbol's column into one value, number behind number as it sends them in binary. A binary COPY
sends the same bytes in a message a row: half a million messages take thirty times the CPU here, three times as long.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from barfeed.domain.bars import VALUE_COLUMNS
from barfeed.domain.kinds.kind import Column, Kind
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.words import MS

Columns = dict[str, "np.ndarray[tuple[int], np.dtype[Any]]"]

# What a timestamp counts from, 2000-01-01, in us since 1970-01-01; and one that is NULL here.
EPOCH_US = 946_684_800_000_000
NEVER_US = 2**63 - 1
# How the server sends each column, and what that is to NumPy.
Sent = Mapping[str, tuple[str, str]]


def null_bits(names: Sequence[str]) -> str:
    """Which of these are NULL in a row `bar`, a bit for each, as any SQL says it."""
    return " + ".join(f"(bar.{name} IS NULL)::integer * {2**nth}" for nth, name in enumerate(names))


def nulls(names: Sequence[str]) -> tuple[str, str]:
    """How it sends which of these are NULL."""
    return f"int4send({null_bits(names)})", ">i4"


def double(name: str) -> tuple[str, str]:
    """How it sends a double, one that is NULL as NaN."""
    return f"float8send(coalesce(bar.{name}, 'NaN'))", ">f8"


def count(name: str) -> tuple[str, str]:
    """How it sends a whole number, one that is NULL as 0."""
    return f"int8send(coalesce(bar.{name}, 0))", ">i8"


_TIMES: dict[str, tuple[str, str]] = {
    "timestamp": ("timestamp_send(bar.timestamp)", ">i8"),
    "created_at": ("timestamp_send(coalesce(bar.created_at, 'infinity'))", ">i8"),
}
_KNOWN_AT = {"known_at": ("timestamp_send(bar.known_at)", ">i8")}
# What each moment is again, in DuckDB.
TIMESTAMP = f"make_timestamp(timestamp + {EPOCH_US}) AS timestamp"
MOMENTS = {
    "timestamp": TIMESTAMP,
    "created_at": f"CASE WHEN created_at < {NEVER_US} THEN make_timestamp(created_at + {EPOCH_US}) END AS created_at",
    "known_at": f"make_timestamp(known_at + {EPOCH_US}) AS known_at",
}
BARS: Sent = _TIMES | {"nulls": nulls(VALUE_COLUMNS)} | {name: double(name) for name in VALUE_COLUMNS}


def of_kind(kind: Kind) -> Sent:
    """How it sends the rows of a kind."""
    return _TIMES | _KNOWN_AT | {"nulls": nulls(kind.names)} | {each.name: _value(each) for each in kind.columns}


def _value(column: Column) -> tuple[str, str]:
    return count(column.name) if column.is_count else double(column.name)


def value_names(sent: Sent) -> list[str]:
    """The columns that are no moments, each with its bit in `nulls`."""
    return [name for name in sent if name != "nulls" and name not in MOMENTS]


# All columns of a symbol are put together in one pass, and so in one order.
_ROWS = f"""
SELECT asked.place, count(*), {{sent}}
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::integer[]) AS asked(symbol, begins_ms, ends_ms, place)
CROSS JOIN LATERAL (
  SELECT * FROM {{table}} AS held WHERE held.symbol = asked.symbol
  AND held.timestamp >= {MS.format("asked.begins_ms")} AND held.timestamp < {MS.format("asked.ends_ms")}
) AS bar
GROUP BY asked.place
"""


def values(names: Sequence[str], counts: Collection[str] = ()) -> str:
    """In DuckDB, which takes a NaN of NumPy's for NULL: each is what it was again; `counts` are no doubles."""
    told = [name if name in counts else f"coalesce({name}, 'NaN')" for name in names]
    again = [f"CASE WHEN nulls & {2**nth} = 0 THEN {each} END" for nth, each in enumerate(told)]
    return ", ".join(f"{each} AS {name}" for each, name in zip(again, names, strict=True))


VALUES = values(VALUE_COLUMNS)
# In DuckDB, from columns that are registered as `copied`; it asks for the symbols, and for their places.
_INSERT = """
INSERT INTO {table} ({symbol}{names}) SELECT {symbol}{again}
FROM copied AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.place = bar.place
"""


def inserting(table: str, sent: Sent, *, has_symbol: bool = True) -> str:
    """The statement that makes rows of columns, in DuckDB, into a table of many symbols, or of one."""
    told, moments = value_names(sent), [name for name in sent if name in MOMENTS]
    again = [*map(MOMENTS.__getitem__, moments), values(told, [name for name in told if sent[name][1] == ">i8"])]
    symbol = "symbol, " if has_symbol else ""
    return _INSERT.format(table=table, symbol=symbol, names=", ".join([*moments, *told]), again=", ".join(again))


def none(sent: Sent) -> Columns:
    """The columns of no row."""
    return {"place": np.empty(0, "i4"), **{name: np.empty(0, kind[1:]) for name, (_, kind) in sent.items()}}


def bars(connection: Connection, table: str, spans: Mapping[str, tuple[int, int]]) -> Columns:
    """These symbols' bars that open in the `[from, to)` (ms) given with each, in no order.

    Columns: `place` in `spans`; `timestamp` and `created_at`, in us since 2000-01-01 UTC, `NEVER_US` for none;
    `nulls`, a bit for each value that is NULL, which then is NaN; and the values.
    """
    return rows(connection, table, spans, BARS)


def rows(connection: Connection, table: str, spans: Mapping[str, tuple[int, int]], sent: Sent) -> Columns:
    """The same of any table with these columns."""
    begins_ms, ends_ms = ([span[side] for span in spans.values()] for side in (0, 1))
    asked = [list(spans), begins_ms, ends_ms, list(range(len(spans)))]
    statement = _ROWS.format(table=table, sent=", ".join(f"string_agg({send}, '')" for send, _ in sent.values()))
    told = connection.cursor(binary=True).execute(statement, asked).fetchall()
    places, counts, *columns_of = zip(*told, strict=True) if told else [()] * (2 + len(sent))
    columns = {
        name: np.frombuffer(b"".join(parts), kind).astype(kind[1:])
        for parts, (name, (_, kind)) in zip(columns_of, sent.items(), strict=True)
    }
    return {"place": np.repeat(np.array(places, "i4"), np.array(counts, "i8")), **columns}
