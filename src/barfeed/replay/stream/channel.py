"""One series' stream on one connection: which frames are due, and that each bar is closed once."""

from collections.abc import Sequence
from hashlib import blake2b
from typing import NamedTuple, Protocol

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.replay.faults.script import Fault
from barfeed.replay.stream.frames import frame
from barfeed.replay.stream.timetable import Strikes

# As documented, where there is an update; and how long after a bar's last millisecond its closing frame comes.
FRAME_MS = 250
CLOSE_AFTER_MS = 5
# After a jump of the clock: nobody is told a year of closes.
CLOSES_MAX = 10


class Told(Protocol):
    """What the exchange has to tell of its series."""

    def row(self, series: Series, open_time_ms: int, now_ms: int) -> str | None:
        """A bar's row at a moment, None where there is none."""
        ...

    def pause_ms(self, series: Series, now_ms: int) -> int:
        """How long it is from one trade to the next."""
        ...


class _Close(NamedTuple):
    """A closing frame that is still to come."""

    open_time_ms: int
    due_ms: int


class Channel:
    """What was said so far, up to `now_ms`; where it is one of many, its frames come `phase_ms` after the others'."""

    def __init__(self, series: Series, told: Told, now_ms: int, phase_ms: int = 0) -> None:
        self._series = series
        self._told = told
        self._phase_ms = phase_ms
        self._said_ms = now_ms
        self._look_ms = self._tick_after(now_ms)
        self._last = ""
        self._closes: list[_Close] = []

    @property
    def next_ms(self) -> int:
        """When there may be something to say."""
        step_ms = self._series.interval.ms
        end_ms = grid.floor(self._said_ms, step_ms) + step_ms
        return min(end_ms, self._look_ms, *(each.due_ms for each in self._closes))

    def due(self, now_ms: int, strikes: Strikes) -> list[tuple[str, str]]:
        """The frames that are due now."""
        if now_ms < self._said_ms:
            self._closes, self._look_ms = [], now_ms
        else:
            self._closes += self._new_closes(now_ms, strikes)
        frames = [self._frame(each.open_time_ms, now_ms, closed=True) for each in self._closes if each.due_ms <= now_ms]
        self._closes = [each for each in self._closes if each.due_ms > now_ms]
        if now_ms >= self._look_ms:
            # The next bar's frames come behind the closing one.
            frames += [] if self._closes else [self._update(now_ms)]
            self._look_ms = self._tick_after(now_ms + max(0, self._told.pause_ms(self._series, now_ms) - FRAME_MS))
        self._said_ms = now_ms
        return [(self._series.symbol, each) for each in frames if each]

    def _tick_after(self, now_ms: int) -> int:
        return grid.floor(now_ms - self._phase_ms, FRAME_MS) + FRAME_MS + self._phase_ms

    def _new_closes(self, now_ms: int, strikes: Strikes) -> list[_Close]:
        step_ms = self._series.interval.ms
        ends = range(grid.floor(self._said_ms, step_ms) + step_ms, now_ms + 1, step_ms)
        return [close for end_ms in ends[-CLOSES_MAX:] for close in self._closes_at(end_ms, strikes(end_ms))]

    def _closes_at(self, end_ms: int, faults: Sequence[Fault]) -> list[_Close]:
        """One closing frame, unless a fault of that moment says otherwise."""
        symbol = self._series.symbol
        own = [fault for fault in faults if fault.is_about(symbol, end_ms)]
        kinds = {fault.kind for fault in own}
        late_ms = sum(late_by_ms(fault, symbol, end_ms) for fault in own if fault.kind == "late_close")
        close = _Close(end_ms - self._series.interval.ms, end_ms + CLOSE_AFTER_MS + late_ms)
        return [] if "no_close" in kinds else [close] * (2 if "double_close" in kinds else 1)

    def _update(self, now_ms: int) -> str:
        """The forming bar's frame, empty where nothing was traded since the last."""
        open_time_ms = grid.floor(now_ms, self._series.interval.ms)
        row = self._told.row(self._series, open_time_ms, now_ms) or ""
        if row == self._last:
            return ""
        self._last = row
        return frame(self._series, row, now_ms, closed=False) if row else ""

    def _frame(self, open_time_ms: int, now_ms: int, *, closed: bool) -> str:
        row = self._told.row(self._series, open_time_ms, now_ms)
        return frame(self._series, row, now_ms, closed=closed) if row else ""


def late_by_ms(fault: Fault, symbol: str, end_ms: int) -> int:
    """How much later a symbol's closing frame comes: what is spread over `upto_ms`, each time another way."""
    ms = int(fault.args["ms"])
    spread_ms = int(fault.args.get("upto_ms", ms)) - ms
    lot = int.from_bytes(blake2b(f"{fault.seed} {symbol} {end_ms}".encode(), digest_size=4).digest())
    return ms + lot % max(1, spread_ms)
