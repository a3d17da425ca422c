"""How far a long piece of work is: a bar on a terminal, plain lines elsewhere."""

import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from barfeed.cli.terminal import complain, remark
from barfeed.domain import grid
from barfeed.domain.errors import BarfeedError
from barfeed.domain.sources import Note
from barfeed.machine.clock import Clock
from barfeed.operate.logs import is_json, printable

_LINE_EVERY_SEC = 5.0


# Of what is slow, the slowest are named.
_SLOW_NAMED = 3


class Lines:
    """A line every some seconds on stderr, and one for each note at once."""

    def __init__(self, title: str, clock: Clock, counted: str) -> None:
        self._title = title
        self._counted = counted
        self._slow = ""
        self._clock = clock
        self._total = 0
        self._done = 0
        self._begin_sec = self._told_sec = clock.steady_sec()

    def start(self, bars: int) -> None:
        """So many bars are missing; 0 where nobody knows."""
        self._total = bars
        self._begin_sec = self._told_sec = self._clock.steady_sec()

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None:
        """So many more have come, up to this open_time."""
        self._done += bars
        now_sec = self._clock.steady_sec()
        if now_sec >= self._told_sec + _LINE_EVERY_SEC:
            self._told_sec = now_sec
            remark(self._line(at_ms, used_weight, now_sec - self._begin_sec))

    def told(self, note: Note) -> None:
        """Something that the user should know."""
        remark(f"{note}")

    def slow(self, symbols: Sequence[tuple[str, int]]) -> None:
        """These are asked for again just now, so many times; said with the next line."""
        self._slow = _slow(symbols)

    def close(self) -> None:
        """No more of it."""

    def _line(self, at_ms: int, used_weight: int, sec: float) -> str:
        rate = self._done / sec
        of = f" of {self._total:,}" if self._total else ""
        left = f", {max(0, self._total - self._done) / rate:.0f} s left" if self._total and rate else ""
        what = self._counted
        return (
            f"{self._title}: {self._done:,}{of} {what}, up to {grid.text(at_ms)}, {rate:,.0f} {what}/s{left},"
            f" weight {used_weight}" + (f"; {self._slow}" if self._slow else "")
        )


class Meter:
    """A bar that stays in its line, and below it, where there is any, what is slow."""

    def __init__(self, title: str, counted: str) -> None:
        # Imported here: who is not on a terminal does not need it.
        from tqdm import tqdm  # noqa: PLC0415

        # Not tqdm's own look at the terminal: where that says 0 columns, it would show nothing.
        columns = shutil.get_terminal_size().columns - 1
        unit = counted.removesuffix("s")
        self._bar: Any = tqdm(desc=title, unit=unit, unit_scale=True, file=sys.stderr, ncols=columns, nrows=20)
        self._slow: Any = None
        self._below = partial(tqdm, bar_format="{desc}", position=1, leave=False, file=sys.stderr, ncols=columns)

    def start(self, bars: int) -> None:
        """So many bars are missing; 0 where nobody knows."""
        self._bar.reset(total=bars or None)

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None:
        """So many more have come, up to this open_time."""
        self._bar.set_postfix_str(f"{grid.text(at_ms)}, weight {used_weight}", refresh=False)
        self._bar.update(bars)

    def told(self, note: Note) -> None:
        """Something that the user should know."""
        self._bar.write(printable(str(note)), file=sys.stderr)

    def slow(self, symbols: Sequence[tuple[str, int]]) -> None:
        """These are asked for again just now, so many times."""
        if symbols and self._slow is None:
            self._slow = self._below()
        if self._slow is not None:
            self._slow.set_description_str(_slow(symbols))

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self._slow is not None:
            self._slow.close()
        self._bar.close()


def _slow(symbols: Sequence[tuple[str, int]]) -> str:
    named = ", ".join(f"{symbol} ({times})" for symbol, times in symbols[:_SLOW_NAMED])
    more = f" and {len(symbols) - _SLOW_NAMED} more" if len(symbols) > _SLOW_NAMED else ""
    return f"slow, asked again: {named}{more}" if symbols else ""


def shown(title: str, clock: Clock, counted: str = "bars") -> "Lines | Meter":
    """What fits where stderr leads to; `counted` is what comes."""
    return Meter(title, counted) if sys.stderr.isatty() and not is_json() else Lines(title, clock, counted)


def followed(meter: "Lines | Meter", run: Callable[[], None], tell: Callable[[str], None]) -> None:
    """Run what `meter` shows, and tell what was done, with the error that ended it; raises what it raises."""
    try:
        run()
    except BarfeedError as error:
        meter.close()
        tell(str(error))
        raise
    except KeyboardInterrupt:
        meter.close()
        complain("interrupted; what had come is stored", "the same command goes on where it ended")
        raise
    meter.close()
    tell("")
