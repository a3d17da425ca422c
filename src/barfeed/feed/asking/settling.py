"""The exchange's time as a cycle goes by it: waited for until the newest closed bar has settled."""

from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.exchange.rest import Conversation


class Settling(NamedTuple):
    """How long after its close a bar is left alone, `settle_sec`, and by whose clock.

    `heard_ms` is the open_time of the bar whose closing frame came: it is not left to settle.
    """

    talk: Conversation
    interval: Interval
    settle_sec: float
    heard_ms: int | None = None

    def needed_sec(self, now_ms: int) -> float:
        """How long the bar that closed last by then takes to settle."""
        is_heard = grid.last_closed(now_ms, self.interval.ms) == self.heard_ms
        # So near after a close as the exchange's time may be off, the close may still be ahead.
        return max(0.0 if is_heard else self.settle_sec, self.talk.uncertain_sec)

    def wait_ms(self) -> int:
        """The exchange's time, waited for until the newest bar that has closed by then has settled."""
        while True:
            now_ms = self.talk.now_ms
            left_sec = self.needed_sec(now_ms) - (now_ms - grid.floor(now_ms, self.interval.ms)) / 1000
            if left_sec <= 0:
                return now_ms
            self.talk.patience.wait_aside(left_sec)

    def has_turned(self, target_ms: int) -> bool:
        """Whether a newer bar than the target has closed and settled meanwhile."""
        now_ms = self.talk.now_ms
        settled_ms = grid.last_closed(now_ms - round(self.needed_sec(now_ms) * 1000), self.interval.ms)
        return settled_ms > target_ms
