"""What time it is, on the exchange. The one module that may ask the machine.

The exchange's clock decides what is closed; the machine's own is only compared with it. Between
two answers the exchange's time is carried on by a clock that nobody can set and that goes on
while the machine sleeps.
"""

import sys
import time
from threading import Event
from typing import NamedTuple, Protocol

# A sleep is cut in slices, so that after a laptop's lid opens the caller looks at once.
SLICE_SEC = 1.0


class Clock(Protocol):
    """A machine's clocks. Tests use one that moves only when slept on."""

    def steady_sec(self) -> float:
        """Seconds since some fixed moment; never set, never stops."""
        ...

    def utc_ms(self) -> int:
        """What the machine believes the time is, in ms since 1970-01-01 UTC."""
        ...

    def sleep(self, sec: float) -> None:
        """Wait; return at once for anything not above zero."""
        ...


def _steady_clock_id() -> int | None:
    """The clock that counts a suspended machine's time too, where `time.monotonic` does not."""
    if sys.platform == "linux":
        return time.CLOCK_BOOTTIME
    if sys.platform == "darwin":
        return time.CLOCK_MONOTONIC
    return None


_STEADY_CLOCK_ID = _steady_clock_id()


class SystemClock:
    """The machine's own clocks."""

    def steady_sec(self) -> float:
        """Seconds since boot, suspended time included."""
        return time.monotonic() if _STEADY_CLOCK_ID is None else time.clock_gettime(_STEADY_CLOCK_ID)

    def utc_ms(self) -> int:
        """The machine's wall clock in ms since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def sleep(self, sec: float) -> None:
        """Wait `sec` seconds of steady time, suspended time included."""
        end = self.steady_sec() + sec
        while (left := end - self.steady_sec()) > 0:
            time.sleep(min(left, SLICE_SEC))


class Bell:
    """Cuts a sleep short: rung in one thread, heard in another. Only the last note rung is kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = Event()
        self._note = 0

    def ring(self, note: int) -> None:
        """Wake whoever listens, or will."""
        self._note = note
        self._rung.set()

    def wait(self, sec: float) -> int | None:
        """The note, once it is rung; None where nobody rings for `sec` seconds of steady time."""
        end = self._clock.steady_sec() + sec
        while (left := end - self._clock.steady_sec()) > 0:
            if self._rung.wait(min(left, SLICE_SEC)):
                # In this order, so that a note rung in between is heard twice rather than never.
                self._rung.clear()
                return self._note
        return None


class ExchangeTime(NamedTuple):
    """One answer of the exchange's clock, and what it takes to carry it on.

    `at_steady_sec` is when, by the machine's steady clock, the exchange said `server_ms`.
    """

    server_ms: int
    at_steady_sec: float
    skew_sec: float
    round_trip_sec: float

    @classmethod
    def answered(cls, server_ms: int, sent_sec: float, received_sec: float, machine_ms: int) -> "ExchangeTime":
        """From an answer that left and came back at these steady seconds.

        The exchange read its clock somewhere in between: half the round trip is the best guess.
        `machine_ms` is the machine's own time when the answer came; the skew is positive where
        the machine is fast.
        """
        round_trip = received_sec - sent_sec
        skew = (machine_ms - server_ms) / 1000 - round_trip / 2
        return cls(server_ms, sent_sec + round_trip / 2, skew, round_trip)

    @property
    def skew_text(self) -> str:
        """The skew as messages write it."""
        side = "ahead of" if self.skew_sec > 0 else "behind"
        return f"the machine's clock is {abs(self.skew_sec):.1f} s {side} the exchange's"

    @property
    def uncertain_sec(self) -> float:
        """How far the true time may be behind: the answer may have spent the whole round trip on its way here."""
        return self.round_trip_sec / 2

    def now_ms(self, clock: Clock) -> int:
        """The exchange's time now, in ms since 1970-01-01 UTC."""
        return self.server_ms + int((clock.steady_sec() - self.at_steady_sec) * 1000)


class Patience:
    """How long a cycle may still wait for the exchange, over all its requests and pauses."""

    def __init__(self, clock: Clock, total_sec: float) -> None:
        self._clock = clock
        self.total_sec = total_sec
        self._end_sec = clock.steady_sec() + total_sec
        self._excused_sec = float("-inf")

    @property
    def left_sec(self) -> float:
        """What is left, never below zero."""
        return max(0.0, self._end_sec - self._clock.steady_sec())

    def pause(self, sec: float) -> None:
        """Wait, out of what is left."""
        self._clock.sleep(min(sec, self.left_sec))

    def wait_aside(self, sec: float) -> None:
        """Wait without using any of it up."""
        if sec > 0:
            self._end_sec += sec
            self._clock.sleep(sec)

    def excuse(self, begin_sec: float, end_sec: float) -> None:
        """Use nothing up for what was waited between two steady seconds; many may have waited for the same."""
        self._end_sec += max(0.0, end_sec - max(begin_sec, self._excused_sec))
        self._excused_sec = max(self._excused_sec, end_sec)
