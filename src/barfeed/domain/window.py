"""An inference window that is not whole: what of it the exchange itself has, when it will be whole. Pure.

Times are ms since 1970-01-01 UTC.
"""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Bar, Series
from barfeed.domain.errors import WindowGap
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life
from barfeed.domain.verdict import Remedies

_HOLES_NAMED = 3


class Asked(NamedTuple):
    """The window that was asked for: `bars` that end at the target; `bars_min` will do, where that is not 0.

    `remedies` are the commands that fill it.
    """

    series: Series
    target_ms: int
    bars: int
    bars_min: int
    remedies: Remedies

    @property
    def step_ms(self) -> int:
        """The series' interval in ms."""
        return self.series.interval.ms

    @property
    def start_ms(self) -> int:
        """The open_time of the first bar."""
        return grid.window_start(self.target_ms, self.bars, self.step_ms)

    def gaps(self, held: Sequence[Bar]) -> list[Gap]:
        """What is missing among the bars of a store or an answer."""
        expected = grid.opens(self.start_ms, self.target_ms, self.step_ms)
        return grid.gaps(grid.missing(expected, [bar.open_time_ms for bar in held]), self.step_ms)


class Answer(NamedTuple):
    """A gap, and the first bar that the exchange has in it; None where it has none there."""

    gap: Gap
    first_ms: int | None

    def lacks_until(self, step_ms: int) -> int | None:
        """The last open_time of the gap's beginning that the exchange lacks; None where it has the first."""
        if self.first_ms is None:
            return self.gap.last_ms
        return None if self.first_ms == self.gap.first_ms else self.first_ms - step_ms


class Told(NamedTuple):
    """What the exchange has of the gaps, ascending; `first_ms` is its first bar of all where that is in the window."""

    answers: Sequence[Answer]
    first_ms: int | None = None


class Shortage(NamedTuple):
    """A window that is short: its newest bars without a gap, how many were asked for, and from when it is whole.

    `whole_ms` is when the target of that closes; None where the exchange lacks nothing.
    """

    bars: int
    asked: int
    first_ms: int | None
    whole_ms: int | None

    def __str__(self) -> str:
        begin = "" if self.first_ms is None else f", from {grid.text(self.first_ms)} on"
        whole = "" if self.whole_ms is None else f"; whole from {grid.text(self.whole_ms)}"
        return f"the inference window has {self.bars} of {self.asked} bars{begin}{whole}"


def shortage(asked: Asked, gaps: Sequence[Gap], answers: Sequence[Answer]) -> Shortage:
    """How short a window with these gaps is, by what the exchange has of them."""
    first_ms = gaps[-1].last_ms + asked.step_ms
    bars = (asked.target_ms - first_ms) // asked.step_ms + 1
    lacking = [last_ms for each in answers if (last_ms := each.lacks_until(asked.step_ms)) is not None]
    whole_ms = max(lacking) + (asked.bars + 1) * asked.step_ms if lacking else None
    return Shortage(bars, asked.bars, first_ms if bars else None, whole_ms)


def explained(trouble: WindowGap, asked: Asked, short: Shortage, told: Told, now: Life | None) -> WindowGap:
    """The trouble, with what the exchange itself lacks of the window, and from when it is whole.

    `now` is what the symbol is, where that is known.
    """
    if short.whole_ms is None:
        return trouble
    whole = f"whole from {grid.text(short.whole_ms)}"
    if now and now.stage == "trading" and now.at_ms is not None and now.at_ms < short.whole_ms:
        whole = f"never whole: it trades until {grid.text(now.at_ms)}"
    message = "; ".join([str(trouble), *_lacking(asked, told), whole])
    return WindowGap(message, hint=_what_helps(asked, short, told), findings=trouble.findings)


def _lacking(asked: Asked, told: Told) -> list[str]:
    holes = [each for each in told.answers if each.lacks_until(asked.step_ms) is not None]
    said = []
    if told.first_ms is not None:
        said, holes = [f"first bar {grid.text(told.first_ms)}"], holes[1:]
    named = [str(_hole(asked, each)) for each in holes[:_HOLES_NAMED]] + ["..."] * (len(holes) > _HOLES_NAMED)
    return [*said, *([f"the exchange itself has no bar of {', '.join(named)}"] if named else [])]


def _hole(asked: Asked, answer: Answer) -> Gap:
    last_ms = answer.lacks_until(asked.step_ms)
    [hole] = grid.gaps(grid.opens(answer.gap.first_ms, last_ms or 0, asked.step_ms), asked.step_ms)
    return hole


def _what_helps(asked: Asked, short: Shortage, told: Told) -> str:
    nothing = "no inference CSV was published"
    to_fill = [(each.gap.first_ms, each.first_ms) for each in told.answers if each.first_ms is not None]
    if to_fill:
        gap_ms, first_ms = to_fill[0]
        # Where the window begins before the store does, there is history to fetch, not a gap to mend.
        at_start = gap_ms == asked.start_ms
        backfill = f"{asked.remedies.backfill} --from '{grid.text(first_ms)}'"
        command = backfill if at_start else asked.remedies.repair
        return f"{nothing}; fill what the exchange has: {command}"
    hours = short.bars * asked.step_ms // HOUR_MS
    less = f"; a model that can do with less: --min-window-hours {hours}" if hours else ""
    return f"{nothing}, and there is nothing to fetch until then{less}"
