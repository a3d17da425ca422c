"""Mark price, index price, premium index and spot: klines of their own, made to fit those that were traded. Pure.

The index is what the contract would cost without its premium, and the mark lies between the two. Their klines have
no volume; here they keep the traded one, for a forming bar grows with it.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

from barfeed.domain.bars import Bar
from barfeed.replay.tapes.kinds.waves import drawn, level
from barfeed.replay.tapes.klines import Contract, Decimals, Kline
from barfeed.replay.tapes.tape import Tape

# The exchange writes all of them with eight decimals.
DECIMALS = 8
# A tenth of a percent is a wild premium.
PREMIUM = 0.001
MARK_SHARE = 1 / 3
# How often each is computed.
PER_SEC = 1
# Of what the contract trades, spot trades so much at least, and up to twice that.
SPOT_SHARE = 0.2


def premium(symbol: str, at_ms: int) -> float:
    """The premium index at a moment: what the contract costs above the index, as a share of it."""
    return round(PREMIUM * level(f"{symbol} premium", at_ms), DECIMALS)


def mark(symbol: str, price: float, at_ms: int) -> float:
    """The mark price where the contract is traded at `price`."""
    return round(price * (1 - MARK_SHARE * premium(symbol, at_ms)), DECIMALS)


def _priced(share: float, kline: Kline, symbol: str, step_ms: int) -> Kline:
    """The kline with so much of the premium taken out of its prices, still high above all and low below."""
    first, last = (share * premium(symbol, kline.open_time_ms + after_ms) for after_ms in (0, step_ms))
    opened, closed = kline.open * (1 - first), kline.close * (1 - last)
    high, low = kline.high * (1 - min(first, last)), kline.low * (1 - max(first, last))
    return _of(kline, (opened, high, low, closed), step_ms)


def _premium(kline: Kline, symbol: str, step_ms: int) -> Kline:
    opened, closed = (premium(symbol, kline.open_time_ms + after_ms) for after_ms in (0, step_ms))
    reach = PREMIUM * abs(drawn(f"{symbol} reach {kline.open_time_ms}")) / 10
    return _of(kline, (opened, max(opened, closed) + reach, min(opened, closed) - reach, closed), step_ms)


def _of(kline: Kline, prices: Sequence[float], step_ms: int) -> Kline:
    opened, high, low, closed = (round(price, DECIMALS) for price in prices)
    counted = step_ms // 1000 * PER_SEC
    return Kline(kline.open_time_ms, opened, high, low, closed, kline.volume, 0.0, counted, 0.0, 0.0)


def _spot(kline: Kline, symbol: str, step_ms: int, decimals: Decimals) -> Kline:
    """At the index price, in spot's own numbers; what else a row says follows from them."""
    indexed = _priced(1.0, kline, symbol, step_ms)
    opened, high, low, closed = (round(price, decimals.price) for price in indexed[1:5])
    share = SPOT_SHARE * (1.5 + drawn(f"{symbol} spot {kline.open_time_ms}") / 2)
    least = 10.0**-decimals.volume if kline.volume else 0.0
    volume = max(least, round(kline.volume * share, decimals.volume))
    return Kline(kline.open_time_ms, opened, high, low, closed, volume)


# By the endpoint's name.
PRICES: dict[str, Callable[[Kline, str, int], Kline]] = {
    "markPriceKlines": partial(_priced, MARK_SHARE),
    "indexPriceKlines": partial(_priced, 1.0),
    "premiumIndexKlines": _premium,
}


SPOT = "spot/klines"


def price_tape(name: str, tape: Tape, decimals: Decimals) -> Tape:
    """One of them beside a tape, as long as it is; `decimals` are the symbol's."""
    if name == SPOT:
        return Tape(tape.series, _Prices(partial(_spot, decimals=decimals), tape), Contract(decimals))
    volume = decimals.volume
    return Tape(tape.series, _Prices(PRICES[name], tape), Contract(Decimals(DECIMALS, volume, DECIMALS + volume)))


class _Prices:
    def __init__(self, make: Callable[[Kline, str, int], Kline], tape: Tape) -> None:
        self.open_time_ms = tape.open_times
        self._make = make
        self._tape = tape

    def kline(self, index: int) -> Kline:
        return self._make(self._tape.kline(index), self._tape.series.symbol, self._tape.series.interval.ms)

    def bars(self) -> Iterable[Bar]:
        return (Bar(*self.kline(index)[:6]) for index in range(len(self.open_time_ms)))
