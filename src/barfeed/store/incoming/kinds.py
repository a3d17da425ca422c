"""Rows of kinds in other DuckDB files: their tables by name, and their columns by what others call them."""

# ruff: noqa: S608 - tables and columns are quoted, and found by name

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.kinds.kind import Kind
from barfeed.store.incoming.columns import quoted
from barfeed.store.incoming.foreign import SourceUnreadable, one_table, other_database, unreadable

# What others call a column, beside our own name and the archive's header.
_ALIASES = {
    "ratio": ("long_short_ratio", "buy_sell_ratio"),
    "long_share": ("long_account",),
    "short_share": ("short_account",),
    "trades": ("num_trades", "number_of_trades", "count"),
    "quote_volume": ("quote_asset_volume",),
    "taker_buy_volume": ("taker_buy_base_volume", "taker_buy_base_asset_volume"),
    "taker_buy_quote_volume": ("taker_buy_quote_asset_volume",),
    "buy_volume": ("buy_vol",),
    "sell_volume": ("sell_vol",),
}
_TIMES = ("timestamp", "open_time", "funding_time", "calc_time")
_END = "snapshot_time"


class TableRow(NamedTuple):
    """A row of another's table: its time, the end of its period where it is told, and its values; None where empty."""

    timestamp_ms: int | None
    end_ms: int | None
    values: tuple[float | None, ...]


def tables_of(path: Path) -> list[str]:
    """The names of a file's tables and views. Raises `SourceUnreadable`."""
    with duckdb.connect() as connection, other_database(connection, path) as found:
        return [table for _, table in found]


def rows_of(path: Path, table: str, kind: Kind) -> list[TableRow]:
    """The rows of a table, ascending. Raises `SourceUnreadable`, also where it lacks a column that the kind needs."""
    with duckdb.connect() as connection, other_database(connection, path) as found:
        relation = one_table(found, table)
        with unreadable():
            connection.execute("SET TimeZone = 'UTC'")
            described = connection.execute(f"DESCRIBE {relation}").fetchall()
            read = _read({str(name).lower(): (str(name), str(type_)) for name, type_, *_ in described}, kind)
            rows = connection.execute(f"SELECT {', '.join(read)} FROM {relation} ORDER BY 1").fetchall()
    return [TableRow(at_ms, end_ms, tuple(values)) for at_ms, end_ms, *values in rows]


def _read(columns: Mapping[str, tuple[str, str]], kind: Kind) -> list[str]:
    """The SQL of a row's time, its end, and each of its values."""
    time = _first(columns, _TIMES)
    if time is None:
        raise SourceUnreadable(f"it has no column timestamp, but {', '.join(columns)[:100]!a}")
    end = columns.get(_END)
    return [
        _moment(time),
        _moment(end) if end else "NULL",
        *(_value(columns, kind, each.name) for each in kind.columns),
    ]


def _value(columns: Mapping[str, tuple[str, str]], kind: Kind, name: str) -> str:
    column = next(each for each in kind.columns if each.name == name)
    found = _first(columns, (name, *_ALIASES.get(name, ()), *([column.archived] if column.archived else [])))
    if found is None:
        # What the archive does not tell may be lacking here, too.
        if column.archived and not column.may_lack:
            raise SourceUnreadable(f"it has no column {name}, but {', '.join(columns)[:100]!a}")
        return "NULL"
    number = f"TRY_CAST({quoted(found[0])} AS DOUBLE)"
    told = f"CASE WHEN isfinite({number}) THEN {number} END"
    return f"round({told})::BIGINT" if column.is_count else told


def _first(columns: Mapping[str, tuple[str, str]], names: Sequence[str]) -> tuple[str, str] | None:
    return next((columns[name] for name in names if name in columns), None)


def _moment(column: tuple[str, Any]) -> str:
    name, type_ = column
    if type_.startswith("TIMESTAMP"):
        return f"epoch_ms({quoted(name)})"
    return f"epoch_ms(TRY_CAST({quoted(name)} AS TIMESTAMP))"
