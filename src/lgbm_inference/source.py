"""The history that a model is trained on: a CSV, a parquet file, or a table of a DuckDB store."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from lgbm_inference.bars import COLUMNS, VALUE_COLUMNS, Bars, Beside, check, gaps, spans
from lgbm_inference.errors import DataError, UsageError
from lgbm_inference.history import read_csv

_NAIVE_TIMES = {"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS"}
_NUMBERS = {"DOUBLE", "FLOAT", "DECIMAL", "BIGINT", "INTEGER"}
_HOUR_MS = 3_600_000

# A NULL is no value: as NaN it is one that is refused.
_SELECT = f"""
SELECT coalesce(epoch_ms(timestamp::TIMESTAMP), 1) AS timestamp,
       {", ".join(f"coalesce({name}::DOUBLE, 'NaN') AS {name}" for name in VALUE_COLUMNS)}{{beside}}
FROM {{relation}} ORDER BY timestamp
"""  # noqa: S608 - the columns' names are this package's own


def read_history(path: Path, table: str, beside: Sequence[str] = ()) -> tuple[Bars, Beside]:
    """A continuous history of checked bars, and the columns named with it; the suffix tells what `path` is.

    `table` is a store's. Raises `UsageError` where there is no such history, `DataError` where a bar is wrong or lacks.
    """
    if path.suffix == ".csv":
        bars, _, known = read_csv(path, beside)
    else:
        bars, known = _read_with_duckdb(path, table, beside)
    if missing := gaps(bars.hours):
        raise DataError(f"{path}: bars are missing: {spans(missing)}", hint="fill the gap, or give what comes after it")
    return bars, known


def sha256(bars: Bars) -> str:
    """A hash of what the bars say, in hex: the same for the same bars in a CSV, a parquet file or a store."""
    return hashlib.sha256(bars.hours.astype("<i8").tobytes() + bars.values.astype("<f8").tobytes()).hexdigest()


def sha256_beside(beside: Beside) -> str:
    """The same of what stands beside them."""
    return hashlib.sha256(repr(beside.names).encode() + beside.values.astype("<f8").tobytes()).hexdigest()


def _read_with_duckdb(path: Path, table: str, beside: Sequence[str]) -> tuple[Bars, Beside]:
    if not path.is_file():
        raise UsageError(f"{path} is not a file, expected a CSV, a parquet file or a DuckDB store")
    is_parquet = path.suffix == ".parquet"
    relation = f"read_parquet({_quoted(path)})" if is_parquet else f"store.main.{_identifier(table)}"
    try:
        with duckdb.connect(config={"autoinstall_known_extensions": "false"}) as connection:
            if not is_parquet:
                connection.execute(f"ATTACH {_quoted(path)} AS store (TYPE duckdb, READ_ONLY)")
            _check_columns(path, connection.execute(f"DESCRIBE FROM {relation}").fetchall(), beside)
            known = "".join(f", coalesce({_identifier(name)}::DOUBLE, 'NaN') AS {_identifier(name)}" for name in beside)
            columns = connection.execute(_SELECT.format(relation=relation, beside=known)).fetchnumpy()
    except duckdb.Error as problem:
        raise UsageError(
            f"{path} cannot be read: {str(problem).splitlines()[0][:300]!r}",
            hint="expected a .csv, a .parquet, or a DuckDB store with --table",
        ) from None
    bars = _bars(path, columns)
    told = [columns[name].astype(np.float64) for name in beside]
    return bars, Beside(tuple(beside), np.column_stack(told) if told else np.empty((bars.rows, 0)))


def _check_columns(path: Path, described: Sequence[tuple[Any, ...]], beside: Sequence[str]) -> None:
    types = {row[0]: row[1] for row in described}
    for name in (*COLUMNS, *beside):
        wanted = _NAIVE_TIMES if name == "timestamp" else _NUMBERS
        # DECIMAL(18,3) is a DECIMAL.
        if types.get(name, "").partition("(")[0] not in wanted:
            raise UsageError(
                f"{path}: column {name} is {types.get(name, 'missing')}, expected {' or '.join(sorted(wanted))}",
                hint="--beside names columns of the wide table"
                if name in beside
                else f"expected the columns {', '.join(COLUMNS)}; timestamp in UTC without a time zone",
            )


def _bars(path: Path, columns: Mapping[str, Any]) -> Bars:
    times_ms = columns["timestamp"].astype(np.int64)
    off = np.nonzero(times_ms % _HOUR_MS)[0]
    if len(off):
        raise DataError(f"{path}: {len(off)} timestamps are absent or not on the hour, expected hourly bars")
    values = np.column_stack([columns[name].astype(np.float64) for name in VALUE_COLUMNS])
    bars = Bars(times_ms // _HOUR_MS, values)
    check(bars, lambda row: f"{path} row {row + 1} by time")
    return bars


def _quoted(path: Path) -> str:
    return "'" + str(path.absolute()).replace("'", "''") + "'"


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
