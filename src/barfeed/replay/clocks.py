"""The replay exchange's own time."""

from barfeed.machine.clock import Clock


class ReplayClock:
    """Starts at a moment of the exchange's past and runs on, `speed` times as fast as the machine."""

    def __init__(self, start_ms: int, speed: float, clock: Clock) -> None:
        self._start_ms = start_ms
        self._speed = speed
        self._clock = clock
        self._since_sec = clock.steady_sec()

    def now_ms(self) -> int:
        """The exchange's time, in ms since 1970-01-01 UTC."""
        return self._start_ms + int((self._clock.steady_sec() - self._since_sec) * 1000 * self._speed)


class HandClock:
    """Stands still until it is moved."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """The exchange's time, in ms since 1970-01-01 UTC."""
        return self._now_ms

    def set(self, now_ms: int) -> None:
        """Move to a moment."""
        self._now_ms = now_ms

    def advance(self, ms: int) -> None:
        """Move on."""
        self._now_ms += ms
