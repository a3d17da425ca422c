"""Formulas over many windows at once: every argument is (m, n), m windows of n bars, oldest bar first.

Whatever comes out for a window comes from that window alone, by the same operations in the same order
however many windows there are: one window gives the very same doubles as among 50,000.

Exponential averages start afresh in each window, with the plain mean of their first `period` values as
TA-Lib's do, so they too need no history before it: RSI, ATR and MACD are TA-Lib's of the window's bars.
"""

import math

import numpy as np

from lgbm_inference.bars import Floats

NEUTRAL_RSI = 50.0


def ratio(above: Floats, below: Floats, neutral: float) -> Floats:
    """`above / below`; `neutral` where both are zero because nothing was traded or nothing moved."""
    quotient = np.full(above.shape, neutral)
    np.divide(above, below, out=quotient, where=below != 0)
    return quotient


def change(values: Floats, bars: int) -> Floats:
    """The newest value against the one `bars` before it, as a share of that one."""
    return values[:, -1] / values[:, -1 - bars] - 1


def mean(values: Floats, bars: int) -> Floats:
    """The mean of the newest `bars` values."""
    return _mean(values[:, -bars:])


def deviation(values: Floats, bars: int) -> Floats:
    """The sample standard deviation (n - 1) of the newest `bars` values."""
    return _scale(_centred(values[:, -bars:])) * math.sqrt(bars / (bars - 1))


def zscore(values: Floats, bars: int) -> Floats:
    """The newest value's distance from the mean of `bars`, in standard deviations (n); 0 where all are equal."""
    spread = _centred(values[:, -bars:])
    return ratio(spread[:, -1], _scale(spread), 0.0)


def bollinger_position(values: Floats, bars: int) -> Floats:
    """Where the newest value is between the bands of two standard deviations: 0 on the lower, 1 on the upper."""
    return 0.5 + zscore(values, bars) / 4


def bollinger_width(values: Floats, bars: int) -> Floats:
    """The distance between those bands, as a share of the mean."""
    return 4 * _scale(_centred(values[:, -bars:])) / mean(values, bars)


def skewness(values: Floats, bars: int) -> Floats:
    """Third standardised moment of the newest `bars` values; 0 where all are equal."""
    return _standardised_moment(values[:, -bars:], 3, 0.0)


def kurtosis(values: Floats, bars: int) -> Floats:
    """Fourth standardised moment less 3, a normal distribution's; 0 where all are equal."""
    return _standardised_moment(values[:, -bars:], 4, 3.0) - 3


def drawdown(closes: Floats, highs: Floats, bars: int) -> Floats:
    """The newest close against the highest high of the newest `bars`, as a share of it; never above 0."""
    peak: Floats = highs[:, -bars:].max(axis=1)
    return closes[:, -1] / peak - 1


def rsi(closes: Floats, period: int) -> Floats:
    """Wilder's relative strength index, 0 to 100; 50 where nothing moved."""
    moves = np.diff(closes, axis=1)
    up = _smoothed(np.maximum(moves, 0), period, 1 / period)[:, -1]
    down = _smoothed(np.maximum(-moves, 0), period, 1 / period)[:, -1]
    return 100 * ratio(up, up + down, NEUTRAL_RSI / 100)


def atr(highs: Floats, lows: Floats, closes: Floats, period: int) -> Floats:
    """Wilder's average true range, in the prices' unit."""
    before = closes[:, :-1]
    true_range = np.maximum(highs[:, 1:], before) - np.minimum(lows[:, 1:], before)
    return _smoothed(true_range, period, 1 / period)[:, -1]


def macd(closes: Floats, fast: int, slow: int, signal: int) -> tuple[Floats, Floats]:
    """The newest MACD line and its signal line, in the prices' unit."""
    # Both averages speak first at the same bar.
    quick = _smoothed(closes[:, slow - fast :], fast, 2 / (fast + 1))
    line = quick - _smoothed(closes, slow, 2 / (slow + 1))
    return line[:, -1], _smoothed(line, signal, 2 / (signal + 1))[:, -1]


def _smoothed(values: Floats, period: int, weight: float) -> Floats:
    """Exponential average with `weight` of the newest, from the mean of the first `period`; (m, n - period + 1)."""
    path = np.empty((len(values), values.shape[1] - period + 1))
    path[:, 0] = _mean(values[:, :period])
    for bar in range(1, path.shape[1]):
        path[:, bar] = path[:, bar - 1] + weight * (values[:, period + bar - 1] - path[:, bar - 1])
    return path


def _centred(values: Floats) -> Floats:
    # Seen from the newest first: equal values then give zeros and not the noise of their mean's last digit.
    from_newest = values - values[:, -1:]
    return from_newest - _mean(from_newest)[:, np.newaxis]


def _mean(values: Floats) -> Floats:
    means: Floats = values.mean(axis=1)
    return means


def _scale(spread: Floats) -> Floats:
    return np.sqrt(_mean(spread**2))


def _standardised_moment(values: Floats, power: int, neutral: float) -> Floats:
    spread = _centred(values)
    return ratio(_mean(spread**power), _scale(spread) ** power, neutral)
