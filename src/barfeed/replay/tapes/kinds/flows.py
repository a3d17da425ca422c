"""What was traded in a span of time, and what the contract cost at its end: sums of the klines that there are. Pure."""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.tapes.klines import Decimals, Kline
from barfeed.replay.tapes.rows import filled
from barfeed.replay.tapes.tape import Tape

# As many hours from the first on tell what a symbol trades.
FIRST_HOURS = 24


class Takers(NamedTuple):
    """What was bought and sold by takers, in the base asset."""

    bought: float
    sold: float

    @property
    def ratio(self) -> float:
        """Bought over sold, with the digits that the archive has; 0 where nothing was sold."""
        return round(self.bought / self.sold, 8) if self.sold else 0.0


class Trades:
    """One symbol's trades, by its tapes; `tapes` are the finest first and at least one."""

    def __init__(self, tapes: Sequence[Tape], decimals: Decimals) -> None:
        self.symbol = tapes[0].series.symbol
        self.volume_decimals = decimals.volume
        self._tapes = [tape for tape in tapes if len(tape)]
        self._decimals = decimals

    @cached_property
    def first_ms(self) -> int:
        """When the first trade can have been."""
        return min((tape.open_times[0] for tape in self._tapes), default=0)

    @cached_property
    def end_ms(self) -> int:
        """The end of the last kline."""
        return max((tape.open_times[-1] + tape.series.interval.ms for tape in self._tapes), default=0)

    @cached_property
    def hourly(self) -> float:
        """What an hour of the first day trades, in the base asset."""
        tape = self._tapes[-1]
        begin_ms = tape.open_times[0]
        volumes = [kline.volume for kline in self._between(tape, begin_ms, begin_ms + FIRST_HOURS * HOUR_MS)]
        return sum(volumes) / len(volumes) * HOUR_MS / tape.series.interval.ms

    def price(self, at_ms: int) -> float:
        """What it cost at a moment: on the straight way through the kline that was forming."""
        tape = self._tapes[0]
        index = max(0, tape.first_after(at_ms) - 1)
        kline = tape.kline(index)
        along = min(1.0, max(0.0, (at_ms - kline.open_time_ms) / tape.series.interval.ms))
        return kline.open + (kline.close - kline.open) * along

    def takers(self, begin_ms: int, end_ms: int) -> Takers:
        """Who took what from `begin_ms` to before `end_ms`: a part of a kline has its share of it."""
        span_ms = end_ms - begin_ms
        fits = [tape for tape in self._tapes if span_ms % tape.series.interval.ms == 0]
        tape = fits[-1] if fits else self._tapes[0]
        step_ms = tape.series.interval.ms
        klines = [filled(kline, self._decimals) for kline in self._between(tape, begin_ms, end_ms)]
        share = min(1.0, span_ms / step_ms)
        bought = sum(kline.taker_volume for kline in klines) * share
        return Takers(self._rounded(bought), self._rounded(sum(kline.volume for kline in klines) * share - bought))

    def _rounded(self, volume: float) -> float:
        return round(volume, max(4, self.volume_decimals))

    def _between(self, tape: Tape, begin_ms: int, end_ms: int) -> list[Kline]:
        """The klines that trade in a span: those that open in it, and the one that it begins in."""
        begin_ms -= begin_ms % tape.series.interval.ms
        return [tape.kline(index) for index in range(tape.first_from(begin_ms), tape.first_from(end_ms))]
