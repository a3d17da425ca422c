"""A kline as the wire's text: twelve cells, fixed decimals, and what the source lacks made up to fit."""

from math import isnan
from zlib import crc32

from barfeed.domain import grid
from barfeed.replay.tapes.klines import Decimals, Kline

# What an average trade is worth in the quote asset; BTCUSDT's was about this in 2026.
TRADE_QUOTE = 2200
SPOT_DECIMALS = 8


def row(kline: Kline, step_ms: int, decimals: Decimals) -> str:
    """One kline as JSON, every cell as the exchange writes it; reads back as the very same doubles."""
    price, volume, quote = decimals
    return (
        f'[{kline.open_time_ms},"{kline.open:.{price}f}","{kline.high:.{price}f}","{kline.low:.{price}f}",'
        f'"{kline.close:.{price}f}","{kline.volume:.{volume}f}",{grid.close_time(kline.open_time_ms, step_ms)},'
        f'"{kline.quote_volume:.{quote}f}",{kline.trades:.0f},"{kline.taker_volume:.{volume}f}",'
        f'"{kline.taker_quote_volume:.{quote}f}","0"]'
    )


def price_row(kline: Kline, step_ms: int, decimals: Decimals) -> str:
    """A kline of mark, index or premium: no volume, and for the trades how often it was computed."""
    prices = ",".join(f'"{price:.{decimals.price}f}"' for price in kline[1:5])
    closes_ms = grid.close_time(kline.open_time_ms, step_ms)
    return f'[{kline.open_time_ms},{prices},"0",{closes_ms},"0",{kline.trades:.0f},"0","0","0"]'


def spot_row(kline: Kline, step_ms: int, decimals: Decimals) -> str:
    """A kline as spot writes it: everything with eight decimals, or more where it needs them."""
    digits = max(SPOT_DECIMALS, decimals.quote)
    opened, high, low, closed, volume, quote, _, taker, taker_quote = (f'"{each:.{digits}f}"' for each in kline[1:])
    return (
        f"[{kline.open_time_ms},{opened},{high},{low},{closed},{volume},{grid.close_time(kline.open_time_ms, step_ms)},"
        f'{quote},{kline.trades:.0f},{taker},{taker_quote},"0"]'
    )


def cells(row: str) -> list[str]:
    """The row's cells, each still its JSON text: no cell holds a comma."""
    return row[1:-1].split(",")


def filled(kline: Kline, decimals: Decimals) -> Kline:
    """The kline with nothing unknown: made up where the source is silent, the same every time.

    Counted in whole units of the last decimal, so that `low * volume <= quote <= high * volume` holds
    to the digit.
    """
    at_ms, opened, high, low, closed, traded, quote, trades, taker, takers_quote = kline
    volume = units(traded, decimals.volume)
    if isnan(quote):
        quote = _quote(kline, volume, decimals) / 10**decimals.quote
    if isnan(taker):
        taker = volume * _taker_permille(at_ms) // 1000 / 10**decimals.volume
    if isnan(trades):
        trades = max(1, round(quote / TRADE_QUOTE)) if traded else 0
    known = Kline(at_ms, opened, high, low, closed, traded, quote, trades, taker, takers_quote)
    return known._replace(taker_quote_volume=taker_quote(known, decimals)) if isnan(takers_quote) else known


def taker_quote(kline: Kline, decimals: Decimals) -> float:
    """What the takers' share of the volume is worth, at the bar's average price."""
    quote, volume = units(kline.quote_volume, decimals.quote), units(kline.volume, decimals.volume)
    taker = units(kline.taker_volume, decimals.volume)
    return quote * taker // volume / 10**decimals.quote if volume else 0.0


def units(number: float, decimals: int) -> int:
    """How often the last decimal fits into the number."""
    return round(number * 10.0**decimals)


def _quote(kline: Kline, volume: int, decimals: Decimals) -> int:
    """At the mean of the four prices, rounded down: never below the low, which is whole units itself."""
    prices = sum(units(price, decimals.price) for price in (kline.open, kline.high, kline.low, kline.close))
    finer: int = 10 ** (decimals.quote - decimals.price - decimals.volume)
    return prices * volume // 4 * finer


def _taker_permille(open_time_ms: int) -> int:
    """From 400 to 600, by the bar's open_time."""
    return 400 + crc32(open_time_ms.to_bytes(8, "big", signed=True)) % 201
