"""When funding is paid, and at what rate: recorded where a file has it, made up elsewhere. Pure.

Payments come every eight, four or one hours by symbol, some symbols change theirs, and few come at the very hour.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS
from barfeed.replay.tapes.kinds.flows import Trades
from barfeed.replay.tapes.kinds.prices import DECIMALS, mark, premium
from barfeed.replay.tapes.kinds.waves import drawn

DAY_MS = 24 * HOUR_MS
# How symbols are shared out among them, as it was in early 2026; a tenth change theirs.
SHARES = ((8, 0.25), (4, 0.97), (1, 1.0))
CHANGING = 0.1
# The half is on time, and the latest that was recorded came so much later.
LATEST_MS = 17
INTEREST = 0.0001
CLAMP = 0.0005


class Payment(NamedTuple):
    """One payment: its own moment, the rate, and the hours since the last."""

    at_ms: int
    rate: float
    hours: int


class Funding:
    """The payments of one symbol; `recorded` is ascending by time."""

    def __init__(self, trades: Trades, recorded: Sequence[tuple[int, float]] = ()) -> None:
        self._trades = trades
        self._recorded = recorded
        self._hours = [grid.floor(at_ms, HOUR_MS) for at_ms, _ in recorded]

    def between(self, begin_ms: int, end_ms: int) -> Iterator[Payment]:
        """The payments of the hours from `begin_ms` to before `end_ms`, ascending."""
        begin_ms = max(begin_ms + -begin_ms % HOUR_MS, self._trades.first_ms + 1)
        for hour_ms in range(begin_ms + -begin_ms % HOUR_MS, min(end_ms, self._trades.end_ms + 1), HOUR_MS):
            if payment := self.at(hour_ms):
                yield payment

    def at(self, hour_ms: int) -> Payment | None:
        """The payment of an hour, None where there is none."""
        if not self._recorded or not self._hours[0] <= hour_ms <= self._hours[-1]:
            return self._made_up(hour_ms)
        index = bisect_left(self._hours, hour_ms)
        if self._hours[index] != hour_ms:
            return None
        return Payment(*self._recorded[index], self._recorded_hours(index))

    def mark(self, at_ms: int) -> float:
        """The mark price at a payment."""
        return mark(self._trades.symbol, self._trades.price(at_ms), at_ms)

    def hours(self, at_ms: int) -> int:
        """How many hours are between payments around a moment."""
        if not self._recorded:
            return self._made_up_hours(at_ms)
        return self._recorded_hours(min(len(self._hours) - 1, max(1, bisect_left(self._hours, at_ms))))

    def _recorded_hours(self, index: int) -> int:
        """The last step, which at the first payment is taken to be the next one's."""
        if len(self._hours) == 1:
            return SHARES[0][0]
        index = max(1, index)
        return (self._hours[index] - self._hours[index - 1]) // HOUR_MS

    def _made_up_hours(self, at_ms: int) -> int:
        before, after, changed_ms = self._interval
        return before if at_ms <= changed_ms else after

    @cached_property
    def _interval(self) -> tuple[int, int, int]:
        """The hours between payments, what they become, and when; most never change."""
        texts = ("before", "changes", "when", "after")
        lots = [(drawn(f"{self._trades.symbol} funding {text}") + 1) / 2 for text in texts]
        before, after = (next(hours for hours, share in SHARES if lots[at] <= share) for at in (0, 3))
        first_ms, end_ms = self._trades.first_ms, self._trades.end_ms
        return (
            before,
            after if lots[1] < CHANGING else before,
            grid.floor(first_ms + int(lots[2] * (end_ms - first_ms)), DAY_MS),
        )

    def _made_up(self, hour_ms: int) -> Payment | None:
        hours = self.hours(hour_ms)
        if hour_ms // HOUR_MS % hours:
            return None
        symbol = self._trades.symbol
        late_ms = round(LATEST_MS * max(0.0, drawn(f"{symbol} late {hour_ms}")))
        paid = premium(symbol, hour_ms)
        rate = (paid + min(CLAMP, max(-CLAMP, INTEREST - paid))) * hours / SHARES[0][0]
        return Payment(hour_ms + late_ms, round(rate, DECIMALS), hours)
