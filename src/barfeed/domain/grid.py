"""The only time arithmetic: where bars open, which one is closed, what is missing.

Everything is in milliseconds since 1970-01-01 UTC; a step is an interval's length in ms.
"""

import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS

INFERENCE_SPAN_HOURS = 720

_WEEK_MS = 7 * 24 * HOUR_MS
# The moment of a Monday: the exchange's weeks begin there.
_MONDAY_MS = 4 * 24 * HOUR_MS


class Gap(NamedTuple):
    """A maximal run of missing open_times, both ends included."""

    first_ms: int
    last_ms: int
    bars: int

    def __str__(self) -> str:
        return self.told("bars")

    def told(self, counted: str) -> str:
        """As messages write it, where it is not bars that are `counted`."""
        if self.bars == 1:
            return text(self.first_ms)
        return f"{text(self.first_ms)}..{text(self.last_ms)} ({self.bars} {counted})"


def step_origin(step_ms: int) -> int:
    """A moment at which a step of that length begins: weeks begin on Mondays, all else at midnights."""
    return _MONDAY_MS if step_ms % _WEEK_MS == 0 else 0


def floor(now_ms: int, step_ms: int) -> int:
    """The open_time of the bar that is forming at `now_ms`."""
    return now_ms - now_ms % step_ms


def last_closed(now_ms: int, step_ms: int) -> int:
    """The target: the open_time of the newest bar whose last millisecond has passed."""
    return floor(now_ms, step_ms) - step_ms


def close_time(open_time_ms: int, step_ms: int) -> int:
    """A bar's last millisecond."""
    return open_time_ms + step_ms - 1


def window_start(end_ms: int, bars: int, step_ms: int) -> int:
    """The first open_time of the `bars` bars that end at `end_ms`."""
    return end_ms - (bars - 1) * step_ms


def opens(first_ms: int, last_ms: int, step_ms: int) -> range:
    """Every open_time from `first_ms` to `last_ms`, both included."""
    return range(first_ms, last_ms + 1, step_ms)


def missing(expected: Iterable[int], held: Iterable[int]) -> list[int]:
    """Those of `expected` that are not in `held`, in the order of `expected`."""
    there = set(held)
    return [each for each in expected if each not in there]


def gaps(open_times_ms: Sequence[int], step_ms: int) -> list[Gap]:
    """Ascending open_times joined into maximal runs."""
    # Bounds that grow, not a Gap a step: most of a market's young symbols lack most of their window.
    runs: list[list[int]] = []
    for each in open_times_ms:
        if runs and each == runs[-1][1] + step_ms:
            runs[-1][1] = each
        else:
            runs.append([each, each])
    return [Gap(first_ms, last_ms, (last_ms - first_ms) // step_ms + 1) for first_ms, last_ms in runs]


def gap_between(earlier_ms: int, later_ms: int, step_ms: int) -> Gap:
    """What is missing between two bars, by their open_times."""
    return Gap(earlier_ms + step_ms, later_ms - step_ms, (later_ms - earlier_ms) // step_ms - 1)


def inference_bars(buffer_hours: int, step_ms: int) -> int:
    """How many bars cover 720 hours and the buffer; for 1h exactly `720 + buffer_hours`."""
    return -(-(INFERENCE_SPAN_HOURS + buffer_hours) * HOUR_MS // step_ms)


def timestamp(ms: int) -> str:
    """`2024-01-15 13:00:00`, UTC: how CSVs write an open_time; off the grid with its milliseconds."""
    whole = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(ms // 1000))
    return f"{whole}.{ms % 1000:03d}" if ms % 1000 else whole


def text(ms: int) -> str:
    """`2024-01-15 13:00`, UTC, as short as it can be said: how messages write an open_time."""
    return timestamp(ms) if ms % 60_000 else timestamp(ms)[:-3]
