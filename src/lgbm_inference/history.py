"""The input CSV: read whole and believed only line by line; the window that a prediction needs."""

import calendar
import csv
import hashlib
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lgbm_inference.bars import COLUMNS, VALUE_COLUMNS, Bars, Beside, check, gaps, spans, text, whole_hour
from lgbm_inference.errors import DataError, UsageError


class History(NamedTuple):
    """The bars of a CSV, the sha256 of its bytes in hex, and the columns beside the bars that were asked for."""

    bars: Bars
    sha256: str
    beside: Beside


def read_csv(path: Path, beside: Sequence[str] = ()) -> History:
    """All bars of a CSV, each checked, strictly ascending; with those of its further columns that are named.

    Raises `UsageError` where the file is none of these CSVs, `DataError` naming the line where a bar is wrong.
    """
    # One read: the name may be given to a newer file at any time.
    content = _content(path)
    try:
        lines = list(_lines(path, content, beside))
    except (csv.Error, UnicodeDecodeError) as problem:
        raise UsageError(f"{path} is not a CSV: {problem}") from None
    bars = Bars(
        np.array([line.hour for line in lines], dtype=np.int64),
        np.array([line.values for line in lines], dtype=np.float64).reshape(-1, len(VALUE_COLUMNS)),
    )
    check(bars, lambda row: f"{path} line {lines[row].number}")
    known = np.array([line.beside for line in lines], dtype=np.float64).reshape(len(lines), len(beside))
    return History(bars, hashlib.sha256(content).hexdigest(), Beside(tuple(beside), known))


def last_window(history: Bars, count: int, name: Path) -> Bars:
    """Exactly the last `count` bars, each an hour after the one before.

    Raises `DataError` naming the hours that are missing.
    """
    if not history.rows:
        raise DataError(f"{name} has no bar, expected the last {count}")
    last = int(history.hours[-1])
    inside = history.hours[history.hours > last - count]
    if missing := gaps(np.append(last - count, inside)):
        raise DataError(
            f"{name}: {count - len(inside)} of the {count} bars that end at {text(last)} are missing: {spans(missing)}"
        )
    return history[-count:]


class _Line(NamedTuple):
    number: int
    hour: int
    values: list[float]
    beside: list[float]


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as problem:
        raise UsageError(
            f"{path} cannot be read: {problem.strerror}, expected a CSV of hourly bars",
            hint="point it at a file like latest_for_inference.csv",
        ) from None


def _lines(path: Path, content: bytes, beside: Sequence[str]) -> Iterator[_Line]:
    rows = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
    header = tuple(next(rows, ()))
    # Where others are named, more columns may follow.
    if (header[: len(COLUMNS)] if beside else header) != COLUMNS:
        _refuse_header(path, header)
    if missing := [name for name in beside if name not in header]:
        raise UsageError(
            f"{path} line 1: there is no column {', '.join(missing)}", hint="--beside names columns of the wide table"
        )
    places = [header.index(name) for name in beside]
    for row in filter(None, rows):
        yield _line(f"{path} line {rows.line_num}", rows.line_num, header, row, places)


def _refuse_header(path: Path, header: tuple[str, ...]) -> None:
    seen = ",".join(header)[:200]
    in_capitals = tuple(name.lower() for name in header) == COLUMNS
    raise UsageError(
        f"{path} line 1: the columns are {seen!r}, expected {','.join(COLUMNS)!r}",
        hint="write the column names in lower case" if in_capitals else "exactly these columns, in this order",
    )


def _line(place: str, number: int, header: Sequence[str], row: Sequence[str], places: Sequence[int]) -> _Line:
    if len(row) != len(header):
        raise DataError(f"{place}: {len(row)} fields, expected {len(header)}")
    values = [_number(place, name, row[at]) for at, name in enumerate(VALUE_COLUMNS, 1)]
    # Empty is what was not known.
    beside = [_number(place, header[at], row[at] or "nan") for at in places]
    return _Line(number, _hour(place, row[0]), values, beside)


def _number(place: str, name: str, said: str) -> float:
    try:
        # float() also reads 1_000.
        return float(said.replace("_", "?"))
    except ValueError:
        raise DataError(f"{place}: {name} is {said[:60]!r}, expected a number") from None


def _hour(place: str, said: str) -> int:
    try:
        moment = datetime.fromisoformat(said)
    except ValueError:
        raise DataError(f"{place}: timestamp is {said[:60]!r}, expected like '2024-02-10 13:00:00'") from None
    if moment.tzinfo is not None:
        raise DataError(
            f"{place}: timestamp {said[:60]!r} carries a time zone, expected UTC without one",
            hint="convert to UTC, then leave the zone out: '2024-02-10 13:00:00'",
        )
    hour = None if moment.microsecond else whole_hour(calendar.timegm(moment.timetuple()))
    if hour is None:
        raise DataError(f"{place}: timestamp {said[:60]!r} is not on the hour")
    return hour
