"""Hourly bars as arrays, how their times are written, and what every bar must be."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lgbm_inference.errors import DataError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
VALUE_COLUMNS = COLUMNS[1:]
# Thirty days: the base window that every prediction is made from.
BASE_HOURS = 720

_HOUR_SEC = 3600
_SPANS_NAMED = 3


@dataclass(frozen=True, slots=True, eq=False)
class Bars:
    """Bars of one hour or wider, oldest first.

    `hours`, shape (n,): each bar's label in whole hours since 1970-01-01 UTC; for an hourly bar the
    hour in which it opens. `values`, shape (n, 5): open, high, low, close in the quote asset, volume
    in the base asset.
    """

    hours: Ints
    values: Floats

    def __getitem__(self, rows: slice) -> "Bars":
        return Bars(self.hours[rows], self.values[rows])

    @property
    def rows(self) -> int:
        """How many bars."""
        return len(self.hours)

    @property
    def close(self) -> Floats:
        """The closes, shape (n,)."""
        return self.values[:, 3]


@dataclass(frozen=True, slots=True, eq=False)
class Beside:
    """What else was known at each bar's close: k columns' `names`, `values` of shape (n, k), NaN where nothing was."""

    names: tuple[str, ...]
    values: Floats

    def __getitem__(self, rows: slice) -> "Beside":
        return Beside(self.names, self.values[rows])


def text(hour: int) -> str:
    """`2024-02-10 13:00`, UTC: how messages write an hour."""
    return timestamp(hour)[:-3]


def timestamp(hour: int) -> str:
    """`2024-02-10 13:00:00`, UTC: how CSVs write an hour."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(int(hour) * _HOUR_SEC))


def whole_hour(seconds: int) -> int | None:
    """The hour that starts `seconds` after 1970-01-01 UTC; None where none does."""
    return None if seconds % _HOUR_SEC else seconds // _HOUR_SEC


def gaps(hours: Ints) -> list[tuple[int, int]]:
    """The maximal runs of missing hours between ascending `hours`: first and last of each."""
    (before,) = np.nonzero(np.diff(hours) > 1)
    return [(int(hours[row]) + 1, int(hours[row + 1]) - 1) for row in before]


def spans(runs: Sequence[tuple[int, int]]) -> str:
    """`2024-02-10 03:00 .. 2024-02-10 05:00 (3 bars)`, and so on for the first few runs of hours."""
    named = ", ".join(_span(first, last) for first, last in runs[:_SPANS_NAMED])
    more = len(runs) - _SPANS_NAMED
    return f"{named} and {more} more runs" if more > 0 else named


def _span(first: int, last: int) -> str:
    return f"{text(first)} (1 bar)" if first == last else f"{text(first)} .. {text(last)} ({last - first + 1} bars)"


def check(bars: Bars, place: Callable[[int], str]) -> None:
    """Raise `DataError` for the first bar that cannot be one, or is not later than the one before it.

    `place(i)` says where bar `i` stands, `latest.csv line 17`.
    """
    for says, broken in (*_broken_order(bars.hours), *_broken_values(bars.values)):
        if broken.any():
            row = int(broken.argmax())
            raise DataError(f"{place(row)}: bar {text(bars.hours[row])} {says}; it has {_shown(bars.values[row])}")


def _broken_order(hours: Ints) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    step = np.diff(hours, prepend=hours[:1] - 1)
    yield "stands there twice", step == 0
    yield "is earlier than the one before it, expected ascending", step < 0


def _broken_values(values: Floats) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    prices, high, low, volume = values[:, :4], values[:, 1], values[:, 2], values[:, 4]
    yield "has a value that is not a finite number", np.count_nonzero(np.isfinite(values), axis=1) < values.shape[1]
    yield "has a price that is not above zero", prices.min(axis=1) <= 0
    yield "has a volume below zero", volume < 0
    yield "has a high below another of its prices", high < prices.max(axis=1)
    yield "has a low above another of its prices", low > prices.min(axis=1)


def _shown(values: Floats) -> str:
    return ", ".join(f"{name} {float(value)!r}" for name, value in zip(VALUE_COLUMNS, values, strict=True))
