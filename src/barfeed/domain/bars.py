"""What a bar is: the typed record, the interval it spans, the series it belongs to."""

from enum import Enum
from functools import cached_property
from typing import NamedTuple

from barfeed.domain.errors import UsageError

MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS

SYMBOL_CHARS_MAX = 40

# The order of every CSV and of the store's table.
COLUMNS = ("timestamp", "open", "high", "low", "close", "volume")
VALUE_COLUMNS = COLUMNS[1:]
PRICE_COLUMNS = VALUE_COLUMNS[:4]


class Bar(NamedTuple):
    """One closed (or, on the wire, still forming) bar.

    `open_time_ms` is its identity: milliseconds since 1970-01-01 UTC of its first instant.
    Prices are in the quote asset, `volume` in the base asset, each the double nearest to the
    exchange's decimal text.
    """

    open_time_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float

    @property
    def values(self) -> tuple[float, ...]:
        """The five values that two sources must agree on, in the order of `VALUE_COLUMNS`."""
        return self[1:]


class Turnover(NamedTuple):
    """What was traded in a bar beyond its volume, and what proves its prices: the further columns of a kline.

    Volumes are in the base asset, quote volumes in the quote asset; takers are those who bought at the ask.
    """

    quote_volume: float
    trades: int
    taker_buy_volume: float
    taker_buy_quote_volume: float


class Pull(NamedTuple):
    """What the exchange answered: readable as bars, not yet believed.

    `close_times_ms[i]` is the exchange's own last millisecond of `bars[i]`, `turnovers[i]` what it says beside it.
    """

    bars: tuple[Bar, ...]
    close_times_ms: tuple[int, ...]
    turnovers: tuple[Turnover, ...]

    @property
    def opens_ms(self) -> list[int]:
        """When each of its bars opens."""
        return [bar.open_time_ms for bar in self.bars]

    def __add__(self, later: object) -> "Pull":
        """Two pages as one pull: this one's rows, then the later one's."""
        if not isinstance(later, Pull):
            return NotImplemented
        return Pull(
            self.bars + later.bars, self.close_times_ms + later.close_times_ms, self.turnovers + later.turnovers
        )


class Interval(Enum):
    """How much time a bar spans.

    Only intervals that divide a UTC day: `3d`, `1w` and `1M` open on calendar days, which one
    fixed grid from the epoch cannot tell.
    """

    ONE_MINUTE = "1m"
    THREE_MINUTES = "3m"
    FIVE_MINUTES = "5m"
    FIFTEEN_MINUTES = "15m"
    THIRTY_MINUTES = "30m"
    ONE_HOUR = "1h"
    TWO_HOURS = "2h"
    FOUR_HOURS = "4h"
    SIX_HOURS = "6h"
    EIGHT_HOURS = "8h"
    TWELVE_HOURS = "12h"
    ONE_DAY = "1d"

    # Asked for with each rule and bar.
    @cached_property
    def ms(self) -> int:
        """Its length in milliseconds."""
        return int(self.value[:-1]) * {"m": MINUTE_MS, "h": HOUR_MS, "d": 24 * HOUR_MS}[self.value[-1]]

    @property
    def minutes(self) -> int:
        """Its length in minutes."""
        return self.ms // MINUTE_MS

    def __str__(self) -> str:
        return str(self.value)


class Series(NamedTuple):
    """A symbol and an interval together: what one table, one feed and one model are about."""

    symbol: str
    interval: Interval

    @classmethod
    def of(cls, symbol: str, interval: str) -> "Series":
        """Read both from their text; `UsageError` names the one that is not usable."""
        name = symbol.upper()
        # Since 2025 the exchange lists symbols in Chinese too, so letters are not only A to Z.
        # One that is another's in lower case, as the Kelvin sign is k, would share its table.
        is_own = name.lower().upper() == name
        if not 1 <= len(name) <= SYMBOL_CHARS_MAX or not name.replace("_", "").isalnum() or not is_own:
            raise UsageError(
                f"symbol {symbol[:60]!r} cannot be one: expected 1 to 40 letters, digits or '_', like BTCUSDT"
            )
        try:
            return cls(name, Interval(interval))
        except ValueError:
            known = " ".join(each.value for each in Interval)
            raise UsageError(f"interval {interval[:60]!r} is not one of {known}") from None

    @property
    def table(self) -> str:
        """The store's table for this series, `ohlcv_btcusdt_1h`."""
        return f"ohlcv_{self.symbol.lower()}_{self.interval}"

    @property
    def dataset(self) -> str:
        """The label it has when the user gives none, `BINANCE_BTCUSDT.P, 60`."""
        return f"BINANCE_{self.symbol}.P, {self.interval.minutes if self.interval is not Interval.ONE_DAY else '1D'}"

    def __str__(self) -> str:
        return f"{self.symbol} {self.interval}"
