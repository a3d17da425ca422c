"""Funding and open interest as they were found: Parquet and CSV files of a whole market, told by their columns."""

# ruff: noqa: S608 - columns are named here, and the one foreign thing, a path, is quoted

import glob
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.errors import UsageError
from barfeed.replay.tapes.kinds.positions import Held

FUNDING = "funding_rate"
OPEN_INTEREST = ("sum_open_interest", "sum_open_interest_value")
HINT = f"a file of funding has symbol, timestamp and {FUNDING}, one of open interest {' and '.join(OPEN_INTEREST)}"


class Recorded(NamedTuple):
    """What was found, by symbol: payments as moments in ms and rates, and what was held; both ascending by time."""

    funding: dict[str, list[tuple[int, float]]]
    held: dict[str, list[Held]]


NOTHING = Recorded({}, {})


def parted(specs: Iterable[str]) -> tuple[list[str], list[str]]:
    """The files of bars, and those of funding and open interest."""
    further = [spec for spec in specs if _values(spec)]
    return [spec for spec in specs if spec not in further], further


def load(paths: Sequence[str]) -> Recorded:
    """Everything in these files; `UsageError` says what cannot be read."""
    funding: dict[str, list[tuple[int, float]]] = {}
    held: dict[str, list[Held]] = {}
    for path in paths:
        for symbol, at_ms, *values in _rows(path, _values(path)):
            if len(values) == 1:
                funding.setdefault(symbol, []).append((at_ms, values[0]))
            else:
                held.setdefault(symbol, []).append(Held(at_ms, *values))
    return Recorded(
        {symbol: sorted(set(rows)) for symbol, rows in funding.items()},
        {symbol: sorted(set(rows)) for symbol, rows in held.items()},
    )


def _rows(path: str, values: Sequence[str]) -> list[Any]:
    numbers = ", ".join(f"{name}::DOUBLE" for name in values)
    good = " AND ".join(f"coalesce(isfinite({name}::DOUBLE), false)" for name in values)
    try:
        with duckdb.connect() as database:
            database.execute("SET TimeZone = 'UTC'")
            asked = f"SELECT upper(symbol), epoch_ms(timestamp::TIMESTAMP), {numbers} FROM {_reader(path)}"
            return database.execute(f"{asked} WHERE {good} AND symbol IS NOT NULL AND timestamp IS NOT NULL").fetchall()
    except duckdb.Error as error:
        raise UsageError(f"{path}: {str(error).splitlines()[0]!r}; expected rows of a kind", hint=HINT) from error


def _values(spec: str) -> tuple[str, ...]:
    """The columns that tell what a file has; none where it has bars."""
    names = _names(spec)
    if FUNDING in names:
        return (FUNDING,)
    return OPEN_INTEREST if names.issuperset(OPEN_INTEREST) else ()


def _names(spec: str) -> set[str]:
    """Its columns, none where it is no such file: whoever reads it for bars says why."""
    if not Path(spec).is_file():
        return set()
    try:
        with duckdb.connect() as database:
            return {str(name).lower() for name, *_ in database.execute(f"DESCRIBE FROM {_reader(spec)}").fetchall()}
    except duckdb.Error:
        return set()


def _reader(path: str) -> str:
    with Path(path).open("rb") as file:
        reader = "read_parquet" if file.read(4) == b"PAR1" else "read_csv"
    quoted = glob.escape(path).replace("'", "''")
    return f"{reader}('{quoted}')"
