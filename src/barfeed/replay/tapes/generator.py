"""Bars that nobody traded, but could have: for tests and demonstrations without any data."""

from math import cos, exp, log, log10, pi, sqrt
from random import Random
from typing import NamedTuple
from zlib import crc32

from barfeed.domain.bars import HOUR_MS, Bar, Interval, Series
from barfeed.replay.tapes.tape import Tape

# How wildly an hour moves, how long a wild spell lasts, and how hard the price is drawn back to where it began.
HOURLY_SIGMA = 0.006
MEMORY = 0.97
SPELL = 0.18
PULL_BACK = 0.0005

BUSIEST_HOUR = 15
TICKS_OF_GAP = 2


class Market(NamedTuple):
    """What a symbol costs at first, how fine its numbers are, and what an hour trades in the quote asset."""

    price: float
    price_decimals: int
    volume_decimals: int
    hourly_quote: float


MARKETS = {"BTCUSDT": Market(43_000, 1, 3, 400e6), "ETHUSDT": Market(2_300, 2, 3, 200e6)}


class Moment(NamedTuple):
    """What the next bar needs to know of the past: the last close in ticks, and how wild it is."""

    ticks: int
    wildness: float


def generate(symbol: str, interval: Interval | str, first_ms: int, bars: int, seed: int) -> Tape:
    """A tape of made-up bars, the same for the same arguments; the first opens at `first_ms`."""
    series = Series(symbol.upper(), Interval(interval))
    random = Random(f"{series} {seed}")  # noqa: S311 - repeatable, not secret
    market = MARKETS.get(series.symbol) or _market(series.symbol)
    moment = Moment(round(market.price * 10**market.price_decimals), 0.0)
    made = []
    for number in range(bars):
        bar, moment = _next(random, market, series.interval.ms, first_ms + number * series.interval.ms, moment)
        made.append(bar)
    return Tape.of(series, made)


def _market(symbol: str) -> Market:
    """Something fitting for a symbol that is not known; the same for all seeds."""
    price = 10 ** (crc32(symbol.encode()) % 4000 / 1000 - 1)
    price_decimals = max(1, 4 - int(log10(price)))
    return Market(round(price, price_decimals), price_decimals, 0 if price < 1 else 1, 5e6)


def _next(random: Random, market: Market, step_ms: int, open_time_ms: int, past: Moment) -> tuple[Bar, Moment]:
    """The bar after the last close, and what the one after it needs."""
    wildness = MEMORY * past.wildness + SPELL * random.gauss(0, 1)
    sigma = HOURLY_SIGMA * sqrt(step_ms / HOUR_MS) * exp(wildness)
    anchor = market.price * 10**market.price_decimals
    drift = PULL_BACK * log(anchor / past.ticks)
    opened = max(1, past.ticks + random.randint(-TICKS_OF_GAP, TICKS_OF_GAP))
    closed = _moved(opened, drift + random.gauss(0, sigma))
    high = _moved(max(opened, closed), abs(random.gauss(0, sigma / 2)))
    low = _moved(min(opened, closed), -abs(random.gauss(0, sigma / 2)))
    traded = _traded(random, market, step_ms, open_time_ms, wildness)
    return _bar(market, open_time_ms, (opened, high, low, closed), traded), Moment(closed, wildness)


def _bar(market: Market, open_time_ms: int, ticks: tuple[int, int, int, int], traded: float) -> Bar:
    """Ticks as prices, and what was traded in the quote asset as a volume: at least the smallest there is."""
    opened, high, low, closed = (price / 10**market.price_decimals for price in ticks)
    volume = max(1, round(traded / opened * 10**market.volume_decimals)) / 10**market.volume_decimals
    return Bar(open_time_ms, opened, high, low, closed, volume)


def _moved(ticks: int, log_return: float) -> int:
    return max(1, round(ticks * exp(log_return)))


def _traded(random: Random, market: Market, step_ms: int, open_time_ms: int, wildness: float) -> float:
    """In the quote asset: more when the Americas are awake, more when the price is wild."""
    hour = open_time_ms / HOUR_MS % 24
    daily = 1 + 0.5 * cos((hour - BUSIEST_HOUR) / 24 * 2 * pi)
    return market.hourly_quote * step_ms / HOUR_MS * daily * exp(wildness + random.gauss(0, 0.35))
