"""How a bar looks while it is forming: a pure function of the finished kline and the time.

Everything follows the volume traded so far, as on the exchange: a price moves only where something
is traded. High and low never retreat, volume and trade count never shrink, and the last millisecond
shows the finished kline itself.
"""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.replay.tapes.klines import Decimals, Kline
from barfeed.replay.tapes.rows import taker_quote, units


class Sofar(NamedTuple):
    """What a forming bar has seen: the prices since its open, and the volume in units of its last decimal."""

    high: float
    low: float
    close: float
    volume: int


def forming(kline: Kline, finer: Sequence[Kline], now_ms: int, step_ms: int, decimals: Decimals) -> Kline:
    """`kline` as it is at `now_ms`, grown from what `finer` bars have traded so far, else along a path of its own."""
    total = units(kline.volume, decimals.volume)
    if now_ms >= kline.open_time_ms + step_ms - 1 or not total:
        return kline
    sofar = _summed(finer, decimals) if finer else _walked(kline, total, now_ms, step_ms, decimals)
    return _bounded(kline, sofar, total, decimals)


def _summed(finer: Sequence[Kline], decimals: Decimals) -> Sofar:
    """The finer bars as one."""
    return Sofar(
        max(each.high for each in finer),
        min(each.low for each in finer),
        finer[-1].close,
        sum(units(each.volume, decimals.volume) for each in finer),
    )


def _walked(kline: Kline, total: int, now_ms: int, step_ms: int, decimals: Decimals) -> Sofar:
    """Along open, one extreme, the other extreme, close; a third of the volume on each leg."""
    # The current millisecond has passed too: so the last one shows everything.
    volume = total * (now_ms - kline.open_time_ms + 1) // step_ms
    leg, along = divmod(3 * volume, total)
    stops = _stops(kline)
    start, end = stops[leg], stops[min(leg + 1, 3)]
    close = round(start + (end - start) * along / total, decimals.price)
    seen = (*stops[: leg + 1], close)
    return Sofar(max(seen), min(seen), close, volume)


def _stops(kline: Kline) -> tuple[float, float, float, float]:
    """A bar that ends higher is taken to have dipped first, one that ends lower to have peaked first."""
    if kline.close >= kline.open:
        return kline.open, kline.low, kline.high, kline.close
    return kline.open, kline.high, kline.low, kline.close


def _bounded(kline: Kline, sofar: Sofar, total: int, decimals: Decimals) -> Kline:
    """Within the finished kline, which need not be the sum of its finer bars: what grows must not end smaller."""
    volume = min(sofar.volume, total)
    if not volume:
        return Kline(kline.open_time_ms, *[kline.open] * 4, *[0.0] * 5)
    low = min(kline.open, max(sofar.low, kline.low))
    high = max(kline.open, min(sofar.high, kline.high))
    traded = volume / 10**decimals.volume
    quote = _within(low * traded, kline.quote_volume * volume / total, high * traded)
    grown = kline._replace(
        high=high,
        low=low,
        close=_within(low, sofar.close, high),
        volume=traded,
        quote_volume=round(quote, decimals.quote),
        trades=max(1, int(kline.trades) * volume // total),
        taker_volume=units(kline.taker_volume, decimals.volume) * volume // total / 10**decimals.volume,
    )
    return grown._replace(taker_quote_volume=taker_quote(grown, decimals))


def _within(least: float, number: float, most: float) -> float:
    return min(max(number, least), most)
