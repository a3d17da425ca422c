"""How much detail a chart is given: the finest steps that it can draw. Pure."""

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.domain.grid import Gap

_DAY_MS = 24 * HOUR_MS
_WEEK_MS = 7 * _DAY_MS
_STEPS_MS = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, 4 * HOUR_MS, _DAY_MS, _WEEK_MS, 4 * _WEEK_MS)


def step_ms(interval_ms: int, span_ms: int, points_max: int) -> int:
    """The shortest step, of whole bars, of which `points_max` are enough for the span; the longest where none is."""
    steps = [interval_ms, *(each for each in _STEPS_MS if each > interval_ms and each % interval_ms == 0)]
    return next((each for each in steps if span_ms <= each * points_max), steps[-1])


def whole_steps(first_ms: int, last_ms: int, step_ms: int) -> Gap:
    """The steps that hold these two moments and all between; its last moment is the end of the last step."""
    origin_ms = grid.step_origin(step_ms)
    first_ms = grid.floor(first_ms - origin_ms, step_ms) + origin_ms
    last_ms = grid.floor(last_ms - origin_ms, step_ms) + origin_ms
    return Gap(first_ms, last_ms + step_ms - 1, (last_ms - first_ms) // step_ms + 1)
