"""What is true of each day of a series. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.operate.web.answers import Day
from barfeed.operate.web.manifests import DAY_MS

_LATE = "bar_late"

# What a day is coloured by: the first of these that is true of it.
STATES = ("gap", "revised", "refused", "late", "whole")


class Refused(NamedTuple):
    """An hour that a run had no bar of: its open_time in ms, and the error's name."""

    target_ms: int
    status: str


def days(
    bounds_ms: tuple[int, int],
    step_ms: int,
    stored: Mapping[int, int],
    revised_ms: Iterable[int],
    refused: Sequence[Refused],
) -> list[Day]:
    """Each day from the first bar due to the last; `stored`: how many bars are, by the day's first ms."""
    first_ms, last_ms = bounds_ms
    revised = _by_day(revised_ms)
    late = _by_day(each.target_ms for each in refused if each.status == _LATE)
    others = _by_day(each.target_ms for each in refused if each.status != _LATE)
    found = []
    for day_ms in range(grid.floor(first_ms, DAY_MS), last_ms + 1, DAY_MS):
        begin_ms, end_ms = max(first_ms, day_ms), min(last_ms, day_ms + DAY_MS - 1)
        due = (end_ms - begin_ms) // step_ms + 1
        counts = (stored.get(day_ms, 0), due, revised[day_ms], others[day_ms], late[day_ms])
        found.append(Day(day_ms, _state(*counts), *counts))
    return found


def _state(bars: int, due: int, revised: int, refused: int, late: int) -> str:
    true = (bars < due, revised > 0, refused > 0, late > 0, True)
    return next(state for state, is_so in zip(STATES, true, strict=True) if is_so)


def _by_day(moments_ms: Iterable[int]) -> Counter[int]:
    """How many different ones there are of each day."""
    return Counter(grid.floor(at_ms, DAY_MS) for at_ms in set(moments_ms))
