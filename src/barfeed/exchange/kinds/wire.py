"""Rows of a kind as the wire has them -> values, checked to the type, by the kind's row in the table. Pure.

Klines are arrays, all else is objects; a value is decimal text or a number, and may be empty or absent where the kind
says that it may be lacking.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from barfeed.domain.errors import ContractBroken
from barfeed.domain.kinds.kind import Column, Kind
from barfeed.domain.rules import Finding
from barfeed.exchange.wire import DECIMAL, quote, read_json

# To the end of the year 9999: what a timestamp can be written as.
_LAST_MS = 253_402_300_799_999
_DECIMAL = re.compile(DECIMAL)
_KLINE_FIELDS = 12
_ABSURD_DIGITS = 20
_TIMES = {"period": "timestamp", "": "fundingTime"}


class Told(NamedTuple):
    """What the exchange tells of one row: whose it is, empty where it does not say, its time, and its values."""

    symbol: str
    stamp_ms: int
    values: tuple[float | None, ...]


class _Unreadable(ValueError):
    """Why a row cannot be read: the rule, and what was seen."""


def read_rows(kind: Kind, body: bytes) -> list[Told]:
    """An answer's rows, as they come; `ContractBroken` with a finding for each that cannot be read."""
    rows = read_json(body)
    if not isinstance(rows, list):
        raise ContractBroken(f"{kind.path} answered {quote(body)}, expected an array of rows")
    if len(rows) > kind.rows_max:
        raise ContractBroken(f"{kind.path} answered {len(rows)} rows, expected at most {kind.rows_max}")
    read = _kline if kind.length == "interval" else _object
    told, findings = _each(kind, rows, read)
    if findings:
        raise ContractBroken(
            f"{kind.path}: {len(findings)} of {len(rows)} rows cannot be read; first: {findings[0]}", findings=findings
        )
    return told


def _each(kind: Kind, rows: Sequence[Any], read: Callable[[Kind, Any], Told]) -> tuple[list[Told], list[Finding]]:
    told, findings = [], []
    for number, row in enumerate(rows):
        try:
            told.append(read(kind, row))
        except _Unreadable as problem:
            findings.append(Finding("row", None, f"row {number} {problem}"))
    return told, findings


def _kline(kind: Kind, row: Any) -> Told:
    if not isinstance(row, list) or len(row) != _KLINE_FIELDS:
        seen = f"{len(row)} fields" if isinstance(row, list) else type(row).__name__
        raise _Unreadable(f"has {seen}, expected an array of 12 fields")
    return Told("", _time(row[0], "open time"), tuple(_value(each, row[int(each.field)]) for each in kind.columns))


def _object(kind: Kind, row: Any) -> Told:
    if not isinstance(row, Mapping):
        raise _Unreadable(f"is {type(row).__name__}, expected an object")
    name = _TIMES[kind.length]
    symbol = row.get("symbol", "")
    if not isinstance(symbol, str):
        raise _Unreadable(f"is of symbol {symbol!a:.40}")
    return Told(symbol, _time(row.get(name), name), tuple(_value(each, row.get(each.field)) for each in kind.columns))


def _time(value: Any, name: str) -> int:
    # Documents of some kinds have it as text.
    is_text = isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < _ABSURD_DIGITS
    number = int(value) if is_text else value
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number <= _LAST_MS:
        raise _Unreadable(f"has {name} {value!a:.40}, expected ms since 1970")
    return number


def _value(column: Column, value: Any) -> float | None:
    if column.may_lack and (value is None or value == ""):
        return None
    number = _number(value)
    if not math.isfinite(number):
        raise _Unreadable(f"has {column.field} {value!a:.40}, expected a finite decimal number")
    return int(number) if column.is_count and number == int(number) else number


def _number(value: Any) -> float:
    is_text = isinstance(value, str) and _DECIMAL.fullmatch(value)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    with suppress(OverflowError):
        return float(value) if is_text or is_number else math.nan
    return math.inf
