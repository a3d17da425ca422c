"""What is missing of a kind: of one that the exchange forgets, how long it can still be had. Pure."""

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.market.telling import named

_DAY_MS = 24 * HOUR_MS


class Hole(NamedTuple):
    """How many rows of a symbol are missing beside its bars, and the `timestamp` of the first of them."""

    symbol: str
    rows: int
    first_ms: int


class Holes(NamedTuple):
    """What is missing of one kind at one interval that the exchange still remembers."""

    kind: Kind
    interval: Interval
    holes: tuple[Hole, ...]

    def left_ms(self, now_ms: int) -> int:
        """How long the first of them can still be had."""
        first_ms = min(each.first_ms for each in self.holes)
        return (self.kind.forgotten_ms(first_ms, self.interval) or now_ms) - now_ms

    def told(self, now_ms: int) -> str:
        """What there is to say of them."""
        first = min(self.holes, key=lambda each: each.first_ms)
        rows, days = sum(each.rows for each in self.holes), self.left_ms(now_ms) / _DAY_MS
        whose = named([each.symbol for each in self.holes])
        return (
            f"{self.kind.name} {self.interval}: {rows} row{'s' * (rows > 1)} missing of {len(self.holes)} series"
            f" ({whose}), the first {grid.text(first.first_ms)} of {first.symbol};"
            f" {days:.1f} days are left before the exchange forgets it"
        )

    @property
    def hint(self) -> str:
        """What fills them."""
        return f"fill them while it remembers: barfeed backfill --kinds {self.kind.name}"

    def of(self, symbols: Collection[str]) -> "Holes":
        """Those of these symbols."""
        return self._replace(holes=tuple(each for each in self.holes if each.symbol in symbols))


def remembered_from_ms(kind: Kind, interval: Interval, now_ms: int) -> int:
    """The oldest `timestamp` that the exchange still has at `now_ms`, of a kind that it forgets."""
    if kind.remembered_ms is None:
        return 0
    # One period less: what is forgotten while it is asked for would only look like a hole.
    return grid.floor(now_ms - kind.remembered_ms, interval.ms) + interval.ms


def may_lack(at_ms: Sequence[int], step_ms: int, reach_ms: int) -> list[Gap]:
    """Where a row may be missing between moments, of which nobody knows how far apart they are.

    They are further apart there than those before and those after, in whole steps. More than `reach_ms` is not looked
    at: that is a hole however far apart the others are.
    """
    steps = [grid.floor(each, step_ms) for each in at_ms]
    apart = [later - earlier for earlier, later in pairwise(steps)]
    return [
        grid.gap_between(steps[i], steps[i + 1], step_ms)
        for i in range(1, len(apart) - 1)
        if max(apart[i - 1], apart[i + 1]) < apart[i] <= reach_ms
    ]
