"""A market that nobody traded on, made up bar by bar when it is asked for: any length costs the same.

A price is a function of symbol, seed and time alone, and an hour is made first: its minutes are found within it, and a
longer bar is the sum of its hours. So the bars of every interval fit each other to the digit. Pure.
"""

from calendar import timegm
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from hashlib import blake2b
from itertools import accumulate, chain, islice, pairwise, product
from math import cos, exp, log10, pi
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Bar, Interval, Series
from barfeed.replay.tapes.generator import MARKETS, Market
from barfeed.replay.tapes.klines import TRADITIONAL, Contract, Decimals, Kline
from barfeed.replay.tapes.tape import Tape

SYMBOLS = 800
# A quarter are stocks, metals and currencies, under a type of their own.
TRADITIONAL_EVERY = 4

NAMED = ("BTC", "ETH", "BNB", "XAU", "SOL", "XRP", "DOGE", "TSLA", "ADA", "TRX", "LINK", "NVDA")
# Real ones: who takes symbols for ASCII is found out.
CHINESE = ("币安人生", "我踏马来了", "龙虾", "雪球", "哈基米")
USDC_EVERY = 25

# Most began long before the start, by so many years at most; the others follow it, one after the other.
PAST_MS = 2 * 365 * 24 * HOUR_MS
AHEAD_MS = 2 * 365 * 24 * HOUR_MS
OLD_MS = 60 * 24 * HOUR_MS
FRIDAY = 4
NEWCOMERS = 20
NEWCOMER_EVERY_MS = 5 * HOUR_MS

# How much a price may move by each wave, the first of which turns every hour and each further one half as often.
WAVES = 12
WAVE = 0.004
BUSIEST_HOUR = 15
# Enough that every minute of an hour trades.
LEAST_UNITS = 600


class Traded(NamedTuple):
    """What a span of time trades: prices in ticks, the volume in units of its last decimal."""

    open: int
    high: int
    low: int
    close: int
    volume: int

    def __add__(self, later: object) -> "Traded":
        """Two spans in a row as one."""
        if not isinstance(later, Traded):
            return NotImplemented
        return Traded(
            self.open,
            max(self.high, later.high),
            min(self.low, later.low),
            later.close,
            self.volume + later.volume,
        )


class Lot:
    """Numbers drawn by a text, the same for the same text."""

    def __init__(self, text: str) -> None:
        self._bytes = blake2b(text.encode()).digest()

    def between(self, index: int, low: float, high: float) -> float:
        """The number at `index`, 0 to 15, within low and high."""
        drawn = int.from_bytes(self._bytes[4 * index : 4 * index + 4])
        return low + (high - low) * drawn / 0xFFFFFFFF

    def of_minutes(self) -> bytes:
        """A number from 0 to 255 for each minute of an hour."""
        return self._bytes[:60]


class Worth:
    """One symbol: what it is worth, and what it trades in any hour or minute."""

    def __init__(self, symbol: str, seed: int) -> None:
        self._key = f"{seed} {symbol}"
        kind = MARKETS.get(symbol.partition("_")[0]) or _kind(Lot(self._key))
        self.decimals = Decimals(kind.price_decimals, kind.volume_decimals, kind.price_decimals + kind.volume_decimals)
        self._ticks: float = kind.price * 10**kind.price_decimals
        self._hourly_units = kind.hourly_quote / kind.price * 10**kind.volume_decimals
        self._turn = lru_cache(maxsize=4 * WAVES)(self._turned)
        self.hour = lru_cache(maxsize=64)(self._hour)
        self._path = lru_cache(maxsize=4)(self._walked)

    def _turned(self, wave: int, number: int) -> float:
        """Where a wave is at its turning point `number`."""
        return Lot(f"{self._key} {wave} {number}").between(0, -1, 1)

    def _price(self, hour: int) -> int:
        """In ticks, at the beginning of an hour."""
        moved = 0.0
        for wave in range(WAVES):
            number, along = divmod(hour, 1 << wave)
            past = along / (1 << wave)
            level = self._turn(wave, number) * (1 - past) + (self._turn(wave, number + 1) * past if past else 0)
            moved += WAVE * 2 ** (wave / 2) * level
        return max(1, round(self._ticks * exp(moved)))

    def _hour(self, hour: int) -> Traded:
        lot = Lot(f"{self._key} {hour}")
        opened = max(1, self._price(hour) + round(lot.between(0, -2, 2)))
        closed = self._price(hour + 1)
        high = max(opened, closed) * (1 + WAVE * lot.between(1, 0, 1) ** 2)
        low = min(opened, closed) * (1 - WAVE * lot.between(2, 0, 1) ** 2)
        daily = 1 + 0.5 * cos((hour % 24 - BUSIEST_HOUR) / 24 * 2 * pi)
        volume = round(self._hourly_units * daily * exp(lot.between(3, -1, 1)))
        return Traded(opened, round(high), max(1, round(low)), closed, max(LEAST_UNITS, volume))

    def minute(self, minute: int) -> Traded:
        """A minute of an hour: the hour's minutes add up to it."""
        hour, number = divmod(minute, 60)
        prices, volumes, turns = self._path(hour)
        opened, closed = prices[number : number + 2]
        low, high = sorted((opened, closed))
        turn = turns.get(number, opened)
        return Traded(opened, max(high, turn), min(low, turn), closed, volumes[number + 1] - volumes[number])

    def _walked(self, hour: int) -> tuple[list[int], list[int], dict[int, int]]:
        """The prices between an hour's minutes, the volume up to each, and in which minutes it has its high and low."""
        whole = self.hour(hour)
        lot = Lot(f"{self._key} {hour} minutes")
        first, second = (whole.low, whole.high) if whole.close >= whole.open else (whole.high, whole.low)
        turns = {round(lot.between(0, 1, 28)): first, round(lot.between(1, 31, 58)): second}
        stops = [(0, whole.open), *turns.items(), (60, whole.close)]
        spread = (whole.high - whole.low) / 16
        prices = [
            min(whole.high, max(whole.low, round(price + spread * (drawn / 127.5 - 1))))
            for price, drawn in zip(_between(stops), lot.of_minutes(), strict=True)
        ]
        shares = [0, *accumulate(128 + drawn for drawn in lot.of_minutes())]
        volumes = [whole.volume * share // shares[-1] for share in shares]
        return [whole.open, *prices[1:], whole.close], volumes, turns


def _kind(lot: Lot) -> Market:
    price = 10 ** lot.between(0, -3, 4)
    return Market(price, min(8, max(1, 4 - int(log10(price)))), 0 if price < 1 else 1, 10 ** lot.between(1, 5, 8))


def _between(stops: Sequence[tuple[int, int]]) -> Iterator[float]:
    """The prices at each minute on the straight way from stop to stop, without the last."""
    for (begin, start), (end, stop) in pairwise(stops):
        yield from (start + (stop - start) * along / (end - begin) for along in range(end - begin))


class MadeUp:
    """The klines of one symbol and interval, from its first to the end that was asked for."""

    def __init__(self, worth: Worth, step_ms: int, first_ms: int, end_ms: int) -> None:
        self.open_time_ms = range(grid.floor(first_ms, step_ms), end_ms, step_ms)
        self._worth = worth
        self._step_ms = step_ms
        self._first_ms = first_ms

    def kline(self, index: int) -> Kline:
        """The kline at `index`; what a row says beside its six values is made up with the row."""
        open_time_ms = self.open_time_ms[index]
        *ticks, units = self._traded(open_time_ms)
        price, volume = 10**self._worth.decimals.price, 10**self._worth.decimals.volume
        opened, high, low, closed = (each / price for each in ticks)
        return Kline(open_time_ms, opened, high, low, closed, units / volume)

    def bars(self) -> Iterable[Bar]:
        """Every bar, ascending."""
        return (Bar(*self.kline(index)[:6]) for index in range(len(self.open_time_ms)))

    def _traded(self, open_time_ms: int) -> Traded:
        part_ms, part = (MINUTE_MS, self._worth.minute) if self._step_ms < HOUR_MS else (HOUR_MS, self._worth.hour)
        begin_ms = max(open_time_ms, grid.floor(self._first_ms, part_ms))
        parts = map(part, range(begin_ms // part_ms, (open_time_ms + self._step_ms) // part_ms))
        return sum(parts, start=next(parts))


def market(interval: Interval | str, start_ms: int, seed: int) -> list[Tape]:
    """A market's tapes: 800 perpetuals, all but the newcomers older than `start_ms`, and the quarter's two deliveries.

    The same for the same seed and start; a bar is the same for every start.
    """
    step, hour_ms = Interval(interval), grid.floor(start_ms, HOUR_MS)
    perpetuals = (
        _tape(Series(name, step), seed, _first_ms(name, number, hour_ms), start_ms + AHEAD_MS, _type(number))
        for number, name in enumerate(symbols())
    )
    deliveries = (_tape(Series(name, step), seed, hour_ms - OLD_MS, end_ms) for name, end_ms in quarterlies(start_ms))
    return [*perpetuals, *deliveries]


@lru_cache(maxsize=1)
def symbols() -> tuple[str, ...]:
    """The names, those known by name first and the newcomers last."""
    syllables = map("".join, product("BDFGKLMNPRSTVZ", "AEIOU", "BDGKLMNRSTXZ"))
    bases = islice(dict.fromkeys(chain(NAMED, CHINESE, syllables)), SYMBOLS)
    return tuple(f"{base}{'USDT' if (at + 1) % USDC_EVERY else 'USDC'}" for at, base in enumerate(bases))


def quarterlies(start_ms: int) -> list[tuple[str, int]]:
    """The two symbols that are delivered on the last Friday of the quarter of `start_ms`, and when: at 08:00."""
    begin = datetime.fromtimestamp(start_ms / 1000, UTC)
    months = 3 * ((begin.month - 1) // 3 + 1)
    last = date(begin.year, months, 31 if months in {3, 12} else 30)
    friday = last - timedelta(days=(last.weekday() - FRIDAY) % 7)
    delivery_ms = timegm((*friday.timetuple()[:3], 8, 0, 0)) * 1000
    return [(f"{pair}_{friday:%y%m%d}", delivery_ms) for pair in MARKETS]


def _tape(series: Series, seed: int, first_ms: int, end_ms: int, contract_type: str | None = None) -> Tape:
    worth = Worth(series.symbol, seed)
    klines = MadeUp(worth, series.interval.ms, first_ms, end_ms)
    return Tape(series, klines, Contract(worth.decimals, contract_type=contract_type))


def _type(number: int) -> str:
    return "PERPETUAL" if (number + 1) % TRADITIONAL_EVERY else TRADITIONAL


def _first_ms(symbol: str, number: int, start_ms: int) -> int:
    newcomer = number - (SYMBOLS - NEWCOMERS)
    if newcomer >= 0:
        return start_ms + HOUR_MS + newcomer * NEWCOMER_EVERY_MS
    age = 1.0 if number < len(NAMED) else Lot(symbol).between(0, 0, 1)
    return grid.floor(start_ms - OLD_MS - int(age * (PAST_MS - OLD_MS)), HOUR_MS)
