"""Request weight, spent within a budget: wait for the exchange's next minute rather than be refused."""

from collections.abc import Callable
from threading import Lock

from barfeed.domain import grid
from barfeed.domain.bars import MINUTE_MS
from barfeed.domain.errors import BarfeedError

# Past the turn of the minute by this, so that a clock a little off does not ask too soon.
_AFTER_TURN_MS = 100
# What is in flight may be in what the exchange has told already: by then it is known.
_SETTLED_SOON_SEC = 0.1
# Of `/time` and `exchangeInfo`.
LEAST = 1
# By the `limit` of klines, as measured; more than the last weighs the most.
_OF_KLINES = ((100, LEAST), (500, 2), (1000, 5))
_MOST = 10


def of_klines(limit: int) -> int:
    """What a request for so many klines weighs, refused or not."""
    return next((weight for rows, weight in _OF_KLINES if limit <= rows), _MOST)


class Budget:
    """What all requests may weigh in one UTC minute of the exchange; shared by threads."""

    def __init__(self, weight_max: int, now_ms: Callable[[], int]) -> None:
        self.weight_max = weight_max
        self._now_ms = now_ms
        self._lock = Lock()
        self._minute_ms = 0
        self._used = 0
        self._in_flight = 0
        self._stopped: BarfeedError | None = None

    @property
    def used(self) -> int:
        """The weight of this minute, as far as the exchange has told it."""
        return self._used

    def admit(self, weight: int) -> float:
        """Zero: go ahead, it is counted. Else wait so many seconds and ask again. Raises what stopped the rest."""
        with self._lock:
            if self._stopped:
                raise self._stopped
            now_ms = self._now_ms()
            self._turn(now_ms)
            if self._used + weight > self.weight_max:
                return (self._minute_ms + MINUTE_MS + _AFTER_TURN_MS - now_ms) / 1000
            if self._used + self._in_flight + weight > self.weight_max:
                return _SETTLED_SOON_SEC
            self._in_flight += weight
            return 0.0

    def settle(self, weight: int, used: int | None, sent_ms: int) -> None:
        """An admitted request has ended that was sent at `sent_ms`, by the exchange's clock.

        `used` is what the exchange says of its minute, None if it is silent.
        """
        with self._lock:
            self._turn(self._now_ms())
            self._in_flight -= weight
            # Of one that was sent before the turn of the minute, it may be the old minute's.
            if used is None or sent_ms < self._minute_ms:
                used = self._used + weight
            self._used = max(self._used, used)

    def stop(self, error: BarfeedError) -> None:
        """Let no further request pass: the exchange has refused one."""
        self._stopped = error

    def _turn(self, now_ms: int) -> None:
        minute_ms = grid.floor(now_ms, MINUTE_MS)
        if minute_ms > self._minute_ms:
            self._minute_ms, self._used = minute_ms, 0
