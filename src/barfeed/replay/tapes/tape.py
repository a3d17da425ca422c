"""A tape: one series' recorded bars, ready to be played."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise

from barfeed.domain.bars import Bar, Series
from barfeed.replay.tapes import files
from barfeed.replay.tapes.klines import Columns, Contract, Decimals, Kline, Klines


class Tape:
    """The klines of one series, ascending by open_time and each open_time once; of a market, with its contract."""

    def __init__(self, series: Series, klines: Klines, contract: Contract | None = None) -> None:
        self.series = series
        self.contract = contract
        self.open_times = klines.open_time_ms
        self._klines = klines

    @classmethod
    def load(cls, specs: Sequence[str]) -> "list[Tape]":
        """From files and stores, each a path or `SYMBOL-INTERVAL=PATH`; `UsageError` where one cannot be used.

        A file with a column `symbol` gives a tape for each of its symbols.
        """
        return [cls(*recorded) for recorded in files.load(specs)]

    @classmethod
    def of(cls, series: Series, bars: Sequence[Bar]) -> "Tape":
        """From bars at hand."""
        if any(later.open_time_ms <= bar.open_time_ms for bar, later in pairwise(bars)):
            raise ValueError(f"{series}: bars must ascend by open_time, each open_time once")
        return cls(series, Columns.of(bars))

    def __len__(self) -> int:
        return len(self.open_times)

    @cached_property
    def bars(self) -> tuple[Bar, ...]:
        """Every bar, ascending."""
        return tuple(self._klines.bars())

    @cached_property
    def decimals(self) -> Decimals:
        """How many decimals its numbers need."""
        if self.contract:
            return self.contract.decimals
        assert isinstance(self._klines, Columns), "what makes its klines up has a contract"
        return Decimals.seen(self._klines)

    def kline(self, index: int) -> Kline:
        """The kline at `index`, as the source has it."""
        return self._klines.kline(index)

    def first_from(self, open_time_ms: int) -> int:
        """The index of the first kline that opens at or after a moment."""
        return bisect_left(self.open_times, open_time_ms)

    def first_after(self, open_time_ms: int) -> int:
        """The index of the first kline that opens after a moment."""
        return bisect_right(self.open_times, open_time_ms)

    def index(self, open_time_ms: int) -> int | None:
        """The index of the kline that opens at this moment, None where there is none."""
        index = self.first_from(open_time_ms)
        return index if index < len(self) and self.open_times[index] == open_time_ms else None
