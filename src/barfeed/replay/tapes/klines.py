"""A kline as numbers: what a bar has on the wire beyond its six columns, and with how many decimals."""

from array import array
from collections.abc import Iterable, Sequence
from decimal import Decimal
from itertools import filterfalse
from math import isnan
from typing import Any, NamedTuple, Protocol

from barfeed.domain.bars import Bar

UNKNOWN = float("nan")

# The contract type of perpetuals on stocks, metals and currencies: a quarter of the exchange's.
TRADITIONAL = "TRADIFI_PERPETUAL"


class Kline(NamedTuple):
    """One bar with everything the wire says about it; `UNKNOWN` where the source does not tell."""

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    quote_volume: float = UNKNOWN
    trades: float = UNKNOWN
    taker_volume: float = UNKNOWN
    taker_quote_volume: float = UNKNOWN


class Columns(NamedTuple):
    """Many klines, column by column: a million of them in 80 MB."""

    open_time_ms: "array[int]"
    values: "tuple[array[float], ...]"

    @classmethod
    def empty(cls) -> "Columns":
        """No klines yet."""
        return cls(array("q"), tuple(array("d") for _ in Kline._fields[1:]))

    @classmethod
    def of(cls, bars: Iterable[Bar]) -> "Columns":
        """From bars, which tell nothing of the other columns."""
        open_times, *values = list(zip(*bars, strict=True)) or [()] * len(Bar._fields)
        unknown = array("d", [UNKNOWN]) * len(open_times)
        further = (unknown[:] for _ in Kline._fields[len(Bar._fields) :])
        return cls(array("q", open_times), (*(array("d", column) for column in values), *further))

    def extend(self, klines: Sequence[Sequence[Any]]) -> None:
        """Append klines, each in the order of `Kline`'s fields."""
        open_times, *values = zip(*klines, strict=True)
        self.open_time_ms.extend(open_times)
        for column, part in zip(self.values, values, strict=True):
            column.extend(part)

    def kline(self, index: int) -> Kline:
        """The kline at `index`."""
        return Kline(self.open_time_ms[index], *(column[index] for column in self.values))

    def bars(self) -> Iterable[Bar]:
        """Every bar, in the order of the klines."""
        return map(Bar, self.open_time_ms, *self.values[:5])


class Klines(Protocol):
    """Where a tape's klines come from: columns, or something that makes each up when it is asked for."""

    @property
    def open_time_ms(self) -> Sequence[int]:
        """Every kline's open_time, ascending."""
        ...

    def kline(self, index: int) -> Kline:
        """The kline at `index`."""
        ...

    def bars(self) -> Iterable[Bar]:
        """Every bar, ascending."""
        ...


class Contract(NamedTuple):
    """What a market tells of a symbol beside its bars.

    `contract_type` is None where the name alone tells it. `ticks` are moments in ms, ascending, and how many decimals
    a price has from then on.
    """

    decimals: "Decimals"
    ticks: Sequence[tuple[int, int]] = ()
    contract_type: str | None = None


class Decimals(NamedTuple):
    """How many decimals a symbol's numbers have on the wire; fixed per symbol, as the exchange has it."""

    price: int
    volume: int
    quote: int

    @classmethod
    def seen(cls, columns: Columns) -> "Decimals":
        """The most that any number of these klines needs."""
        opens, highs, lows, closes, volumes, quotes, _, takers, taker_quotes = columns.values
        price = max(map(decimals, (opens, highs, lows, closes)))
        volume = max(map(decimals, (volumes, takers)))
        return cls(price, volume, max(price + volume, *map(decimals, (quotes, taker_quotes))))

    def widest(self, other: "Decimals") -> "Decimals":
        """Enough for both, as one symbol's series share their decimals."""
        price, volume = max(self.price, other.price), max(self.volume, other.volume)
        return Decimals(price, volume, max(price + volume, self.quote, other.quote))


def decimals(numbers: Iterable[float]) -> int:
    """The most decimals that the shortest text of any of these numbers has."""
    most, scale = 0, 1.0
    for number in filterfalse(isnan, numbers):
        # Multiply, round, divide is exact up to 22 decimals and ten times faster than asking each for its text.
        if round(number * scale) / scale != number:
            most = max(most, _decimals(number))
            scale = 10.0**most
    return most


def _decimals(number: float) -> int:
    exponent = Decimal(repr(number)).as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0
