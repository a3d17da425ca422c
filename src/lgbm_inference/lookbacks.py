"""The base window seen in wider bars: 720, 180, 60 and 30 rows of 1H, 4H, 12H and 1D.

A wide bar labelled T holds the hourly bars with labels in (T - width, T]. Labels are open times, so the
4H bar labelled 12:00 holds the hours that open at 09:00, 10:00, 11:00 and 12:00; it is known when the
last of them has closed, at 13:00. Wide bars end on the clock, not on the newest hour: a 1D bar is labelled 00:00,
a 12H bar 00:00 or 12:00.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lgbm_inference.bars import BASE_HOURS, VALUE_COLUMNS, Bars, text
from lgbm_inference.errors import DataError

# Width in hours; each divides both a day and the base window.
TIMEFRAMES = {"1H": 1, "4H": 4, "12H": 12, "1D": 24}


class Lookback(NamedTuple):
    """One timeframe's rows of the base window: `BASE_HOURS / width` bars, labels ascending.

    The oldest row of a wide timeframe may begin before the base window does: it then reaches into the
    buffer, or holds only what the history still has. It counts as a row, and no feature may read it.
    """

    timeframe: str
    bars: Bars


def lookbacks(window: Bars, timeframes: Sequence[str]) -> list[Lookback]:
    """Each timeframe's lookback of a continuous hourly window; `DataError` where one does not come out exactly."""
    last_hour = int(window.hours[-1])
    return [trimmed(timeframe, resampled(window, TIMEFRAMES[timeframe]), last_hour) for timeframe in timeframes]


def resampled(bars: Bars, width: int) -> Bars:
    """Continuous hourly bars as bars of `width` hours, right-closed and right-labelled.

    The last one is left out while it is unfinished. The first one holds what there is of it.
    """
    labels = -(-bars.hours // width) * width
    (starts,) = np.nonzero(np.diff(labels, prepend=labels[:1] - 1))
    ends = np.append(starts[1:], bars.rows) - 1
    open_, high, low, close, volume = bars.values.T
    wide = np.column_stack(
        [
            open_[starts],
            np.maximum.reduceat(high, starts),
            np.minimum.reduceat(low, starts),
            close[ends],
            np.add.reduceat(volume, starts),
        ]
    )
    unfinished = labels[-1] != bars.hours[-1]
    return Bars(labels[starts], wide)[: len(starts) - int(unfinished)]


def trimmed(timeframe: str, bars: Bars, last_hour: int) -> Lookback:
    """The newest rows of `bars`, exactly as many as the base window has.

    Raises `DataError` unless they are that many, evenly spaced, all finite and end where `last_hour` lets them.
    """
    width = TIMEFRAMES[timeframe]
    rows = BASE_HOURS // width
    kept = bars[-rows:]
    expected = np.arange(1 - rows, 1) * width + last_hour // width * width
    if kept.rows != rows:
        raise DataError(f"{timeframe}: {kept.rows} rows, expected {rows} up to {text(expected[-1])}")
    if not np.array_equal(kept.hours, expected):
        raise DataError(
            f"{timeframe}: rows {text(kept.hours[0])} .. {text(kept.hours[-1])}, "
            f"expected {text(expected[0])} .. {text(expected[-1])} every {width} h"
        )
    if kept.values.shape != (rows, len(VALUE_COLUMNS)) or not np.isfinite(kept.values).all():
        raise DataError(f"{timeframe}: expected {len(VALUE_COLUMNS)} finite columns")
    return Lookback(timeframe, kept)
