"""One tape as it can be seen at one moment: what has opened by now, through the faults that bend it."""

from collections.abc import Callable, Sequence
from functools import lru_cache

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.replay.faults.script import ENDLESS, VALUES, Fault
from barfeed.replay.rest.query import Ask
from barfeed.replay.tapes.forming import forming
from barfeed.replay.tapes.klines import Decimals, Kline
from barfeed.replay.tapes.rows import filled, row
from barfeed.replay.tapes.tape import Tape

# How a kline is written.
Text = Callable[[Kline, int, Decimals], str]


class Reel:
    """A tape, the finer tapes of its symbol to grow forming bars from, and its last finished rows as text."""

    def __init__(self, tape: Tape, finer: Sequence[Tape], decimals: Decimals, cached: int, text: Text = row) -> None:
        self.tape = tape
        self.text = text
        self.finer = finer
        self.decimals = decimals
        self.step_ms = tape.series.interval.ms
        self.finished = lru_cache(maxsize=cached)(self._finished)

    def kline(self, index: int) -> Kline:
        """The finished kline, nothing unknown."""
        return filled(self.tape.kline(index), self.decimals)

    def _finished(self, index: int) -> str:
        return self.text(self.kline(index), self.step_ms, self.decimals)

    def sofar(self, open_time_ms: int, now_ms: int) -> list[Kline]:
        """A forming bar's finer klines up to now, the last forming itself; none where the first is missing."""
        for tape in self.finer:
            first = tape.index(open_time_ms)
            if first is not None:
                return [self._grown(tape, index, now_ms) for index in range(first, tape.first_after(now_ms))]
        return []

    def _grown(self, tape: Tape, index: int, now_ms: int) -> Kline:
        return forming(filled(tape.kline(index), self.decimals), (), now_ms, tape.series.interval.ms, self.decimals)


class View:
    """What the exchange says of one series at `now_ms`."""

    def __init__(self, reel: Reel, now_ms: int, faults: Sequence[Fault]) -> None:
        self._reel = reel
        self._now_ms = now_ms
        self._edits = [fault for fault in faults if fault.kind in EDITS]
        self._hidden = {fault.args["bar"] for fault in faults if fault.kind == "hide"}
        self._last_ms = min([now_ms, *(_last_seen(fault, now_ms, reel.step_ms) for fault in faults)])
        self._absences = [ABSENT[fault.kind](fault, reel.step_ms) for fault in faults if fault.kind in ABSENT]

    def rows(self, ask: Ask) -> list[str]:
        """The rows that answer `ask`: the oldest where it says where to start, else the newest."""
        tape = self._reel.tape
        first = 0 if ask.start_ms is None else tape.first_from(ask.start_ms)
        end = tape.first_after(self._last_ms if ask.end_ms is None else min(ask.end_ms, self._last_ms))
        # Hidden bars leave room for others.
        room = ask.limit + (len(tape) if self._absences else len(self._hidden))
        span = range(first, min(end, first + room)) if ask.start_ms is not None else range(max(first, end - room), end)
        shown = [index for index in span if self._is_there(tape.open_times[index])]
        kept = shown[: ask.limit] if ask.start_ms is not None else shown[-ask.limit :]
        return [self._row(index) for index in kept]

    def _is_there(self, open_time_ms: int) -> bool:
        if not self._absences:
            return open_time_ms not in self._hidden
        return open_time_ms not in self._hidden and not any(open_time_ms in absence for absence in self._absences)

    def forming(self) -> str | None:
        """The row of the forming bar, None where there is none."""
        index = self._reel.tape.index(grid.floor(self._now_ms, self._reel.step_ms))
        return None if index is None else self._row(index)

    def _row(self, index: int) -> str:
        reel = self._reel
        open_time = reel.tape.open_times[index]
        edits = [fault for fault in self._edits if touches(fault, open_time)]
        is_forming = open_time + reel.step_ms > self._now_ms
        if not edits and not is_forming:
            return reel.finished(index)
        kline = reel.tape.kline(index)
        for fault in edits:
            kline = EDITS[fault.kind](kline, fault, reel.tape)
        kline = filled(kline, reel.decimals)
        if is_forming:
            finer = reel.sofar(open_time, self._now_ms)
            kline = forming(kline, finer, self._now_ms, reel.step_ms, reel.decimals)
        return reel.text(kline, reel.step_ms, reel.decimals)


def _last_seen(fault: Fault, now_ms: int, step_ms: int) -> int:
    """The last open_time that a late exchange shows."""
    if fault.kind != "late" or now_ms % step_ms >= fault.args["sec"] * 1000:
        return now_ms
    withheld = int(fault.args.get("rows", 1)) - 1
    return grid.floor(now_ms, step_ms) - 1 - withheld * step_ms


def concerns_symbol(fault: Fault, symbol: str, now_ms: int) -> bool:
    """Whether a symbol is struck, of which there is one series only."""
    return (fault.series is None or fault.series.symbol == symbol) and fault.is_about(symbol, now_ms)


def concerns(fault: Fault, series: Series, now_ms: int) -> bool:
    """Whether a series is struck: by a fault of all series, of its own, or of its symbol's life."""
    is_life = fault.kind in ABSENT and fault.series is not None
    is_of_series = fault.series in (None, series) or (is_life and fault.series.symbol == series.symbol)
    return is_of_series and fault.is_about(series.symbol, now_ms)


def touches(fault: Fault, open_time_ms: int) -> bool:
    """Whether the fault is about this bar: `bar` itself, or from it to `until_bar`; what is settled, from then on."""
    if "at" in fault.args:
        return bool(open_time_ms >= fault.args["at"])
    bar = int(fault.args["bar"])
    return bar <= open_time_ms <= int(fault.args.get("until_bar", bar))


def revise(kline: Kline, fault: Fault, _: Tape) -> Kline:
    """Other values; what follows from them is made up anew."""
    said = fault.args
    return Kline(kline.open_time_ms, *(float(said.get(name, getattr(kline, name))) for name in VALUES))


def flat(kline: Kline, fault: Fault, tape: Tape) -> Kline:
    """Nothing traded since the bar before the run."""
    before = max(0, tape.first_from(fault.args.get("bar", fault.args.get("at"))) - 1)
    last = tape.kline(before).close
    return Kline(kline.open_time_ms, last, last, last, last, 0.0, 0.0, 0, 0.0, 0.0)


EDITS: dict[str, Callable[[Kline, Fault, Tape], Kline]] = {
    "revise": revise,
    "flat": flat,
    "settle": flat,
}

# The open_times that a symbol has no bar of.
ABSENT: dict[str, Callable[[Fault, int], range]] = {
    "pending": lambda fault, step_ms: range(grid.floor(fault.args["at"], step_ms)),
    "halt": lambda fault, _step_ms: range(fault.args["at"], fault.args.get("resume", ENDLESS)),
    "delist": lambda fault, _step_ms: range(fault.args["at"], ENDLESS),
    "settle": lambda fault, _step_ms: range(fault.args.get("until_bar", ENDLESS) + 1, ENDLESS),
}
