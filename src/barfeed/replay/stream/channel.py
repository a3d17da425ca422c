"""One stream of one connection: which frames are due, and that each bar is closed once."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.replay.faults.script import Fault
from barfeed.replay.stream.frames import frame

# As documented, where there is an update; and how long after a bar's last millisecond its closing frame comes.
FRAME_MS = 250
CLOSE_AFTER_MS = 5
# After a jump of the clock: nobody is told a year of closes.
CLOSES_MAX = 10

Rows = Callable[[Series, int, int], str | None]
Strikes = Callable[[int], Sequence[Fault]]


class _Close(NamedTuple):
    """A closing frame that is still to come."""

    open_time_ms: int
    due_ms: int


class Channel:
    """What was said so far, up to `now_ms`; `rows` is asked for a bar's row at a moment."""

    def __init__(self, series: Series, rows: Rows, now_ms: int) -> None:
        self._series = series
        self._rows = rows
        self._said_ms = now_ms
        self._last = ""
        self._closes: list[_Close] = []

    def due(self, now_ms: int, strikes: Strikes) -> list[str]:
        """The frames that are due now; `strikes` tells the faults of a moment."""
        if now_ms < self._said_ms:
            self._closes = []
        else:
            self._closes += self._new_closes(now_ms, strikes)
        frames = [self._frame(each.open_time_ms, now_ms, closed=True) for each in self._closes if each.due_ms <= now_ms]
        self._closes = [each for each in self._closes if each.due_ms > now_ms]
        # The next bar's frames come behind the closing one.
        if now_ms // FRAME_MS != self._said_ms // FRAME_MS and not self._closes:
            frames.append(self._update(now_ms))
        self._said_ms = now_ms
        return [each for each in frames if each]

    def _new_closes(self, now_ms: int, strikes: Strikes) -> list[_Close]:
        step_ms = self._series.interval.ms
        ends = range(grid.floor(self._said_ms, step_ms) + step_ms, now_ms + 1, step_ms)
        return [close for end_ms in ends[-CLOSES_MAX:] for close in _closes(end_ms - step_ms, end_ms, strikes(end_ms))]

    def _update(self, now_ms: int) -> str:
        """The forming bar's frame, empty where nothing was traded since the last."""
        open_time_ms = grid.floor(now_ms, self._series.interval.ms)
        row = self._rows(self._series, open_time_ms, now_ms) or ""
        if row == self._last:
            return ""
        self._last = row
        return frame(self._series, row, now_ms, closed=False) if row else ""

    def _frame(self, open_time_ms: int, now_ms: int, *, closed: bool) -> str:
        row = self._rows(self._series, open_time_ms, now_ms)
        return frame(self._series, row, now_ms, closed=closed) if row else ""


def _closes(open_time_ms: int, end_ms: int, faults: Sequence[Fault]) -> list[_Close]:
    """One closing frame, unless a fault of that moment says otherwise."""
    kinds = {fault.kind for fault in faults}
    late_ms = sum(int(fault.args["ms"]) for fault in faults if fault.kind == "late_close")
    close = _Close(open_time_ms, end_ms + CLOSE_AFTER_MS + late_ms)
    return [] if "no_close" in kinds else [close] * (2 if "double_close" in kinds else 1)
