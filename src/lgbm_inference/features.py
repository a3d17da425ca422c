"""The features: one table of them for every timeframe, each computed from the last 29 bars and no other.

Thirty rows of 1D are a month, and the oldest may be cut by its start: 29 is what a month always has whole.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import NamedTuple

import numpy as np

from lgbm_inference import indicators as of
from lgbm_inference.bars import Bars, Beside, Floats, Ints
from lgbm_inference.errors import DataError
from lgbm_inference.lookbacks import Lookback

WINDOW_BARS = 29

_NAMED_MOST = 5


class Windows:
    """m windows of `WINDOW_BARS` bars each, the newest bar last: five arrays of shape (m, 29)."""

    def __init__(self, bars: Bars) -> None:
        slid = np.lib.stride_tricks.sliding_window_view(bars.values, WINDOW_BARS, axis=0)
        # Contiguous copies: NumPy then sums each window alone and in the same order, however many there are.
        self.open, self.high, self.low, self.close, self.volume = (
            np.ascontiguousarray(slid[:, column]) for column in range(slid.shape[1])
        )
        self.hours: Ints = bars.hours[WINDOW_BARS - 1 :]

    @cached_property
    def log_returns(self) -> Floats:
        """Each bar's log return against the one before it, shape (m, 28)."""
        return np.log(self.close[:, 1:] / self.close[:, :-1])

    @cached_property
    def macd(self) -> tuple[Floats, Floats]:
        """MACD 8, 17, 9 and its signal as shares of the close: the classic setting that 29 bars can hold."""
        line, signal = of.macd(self.close, 8, 17, 9)
        return line / self.close[:, -1], signal / self.close[:, -1]

    @property
    def newest(self) -> tuple[Floats, Floats, Floats, Floats]:
        """Open, high, low and close of each window's newest bar."""
        return self.open[:, -1], self.high[:, -1], self.low[:, -1], self.close[:, -1]


def _return(windows: Windows, bars: int) -> Floats:
    return of.change(windows.close, bars)


def _log_return_lag(windows: Windows, bars: int) -> Floats:
    return windows.log_returns[:, -1 - bars]


def _log_return_mean(windows: Windows, bars: int) -> Floats:
    return of.mean(windows.log_returns, bars)


def _volatility(windows: Windows, bars: int) -> Floats:
    return of.deviation(windows.log_returns, bars)


def _close_zscore(windows: Windows, bars: int) -> Floats:
    return of.zscore(windows.close, bars)


def _volume_ratio(windows: Windows, bars: int) -> Floats:
    return of.ratio(windows.volume[:, -1], of.mean(windows.volume, bars), 1.0)


def _atr_share(windows: Windows) -> Floats:
    return of.atr(windows.high, windows.low, windows.close, 14) / windows.close[:, -1]


def _range(windows: Windows) -> Floats:
    _open, high, low, close = windows.newest
    return (high - low) / close


def _body(windows: Windows) -> Floats:
    open_, high, low, close = windows.newest
    return of.ratio(close - open_, high - low, 0.0)


def _upper_shadow(windows: Windows) -> Floats:
    open_, high, low, close = windows.newest
    return of.ratio(high - np.maximum(open_, close), high - low, 0.0)


def _lower_shadow(windows: Windows) -> Floats:
    open_, high, low, close = windows.newest
    return of.ratio(np.minimum(open_, close) - low, high - low, 0.0)


def _hour(windows: Windows) -> Floats:
    return (windows.hours % 24).astype(np.float64)


def _weekday(windows: Windows) -> Floats:
    # 1970-01-01 was a Thursday, 3 from Monday.
    return ((windows.hours // 24 + 3) % 7).astype(np.float64)


# In the order of the model's columns.
FEATURES: Mapping[str, Callable[[Windows], Floats]] = {
    **{f"return_{n}": partial(_return, bars=n) for n in (1, 3, 7, 14, 28)},
    **{f"log_return_lag_{n}": partial(_log_return_lag, bars=n) for n in (1, 2, 3, 4)},
    **{f"log_return_mean_{n}": partial(_log_return_mean, bars=n) for n in (7, 14, 28)},
    **{f"volatility_{n}": partial(_volatility, bars=n) for n in (7, 14, 28)},
    **{f"close_zscore_{n}": partial(_close_zscore, bars=n) for n in (14, 28)},
    "volume_zscore_28": lambda windows: of.zscore(windows.volume, 28),
    **{f"volume_ratio_{n}": partial(_volume_ratio, bars=n) for n in (7, 28)},
    "rsi_14": lambda windows: of.rsi(windows.close, 14),
    "atr_14": _atr_share,
    "macd": lambda windows: windows.macd[0],
    "macd_signal": lambda windows: windows.macd[1],
    "macd_histogram": lambda windows: windows.macd[0] - windows.macd[1],
    "bollinger_position_20": lambda windows: of.bollinger_position(windows.close, 20),
    "bollinger_width_20": lambda windows: of.bollinger_width(windows.close, 20),
    "range": _range,
    "body": _body,
    "upper_shadow": _upper_shadow,
    "lower_shadow": _lower_shadow,
    "drawdown_28": lambda windows: of.drawdown(windows.close, windows.high, 28),
    "skew_28": lambda windows: of.skewness(windows.log_returns, 28),
    "kurtosis_28": lambda windows: of.kurtosis(windows.log_returns, 28),
    "hour": _hour,
    "weekday": _weekday,
}


class Row(NamedTuple):
    """The features of one bar: names and values in the same order; values of shape (k,)."""

    names: tuple[str, ...]
    values: Floats

    def with_beside(self, beside: Beside) -> "Row":
        """The same, and behind them what was known beside the last bar."""
        return Row((*self.names, *beside.names), np.concatenate([self.values, *beside.values[-1:]]))

    def told(self) -> dict[str, float | None]:
        """By name; None for what was not known: JSON has no number for that."""
        pairs = zip(self.names, self.values.tolist(), strict=True)
        return {name: value if np.isfinite(value) else None for name, value in pairs}


def names(timeframes: Sequence[str]) -> tuple[str, ...]:
    """`return_1_1H` and so on: every feature of every timeframe, in the order of the columns."""
    return tuple(f"{feature}_{timeframe}" for timeframe in timeframes for feature in FEATURES)


def matrix(bars: Bars) -> Floats:
    """The features of one timeframe for each bar but the first 28, shape (n - 28, features)."""
    windows = Windows(bars)
    return np.column_stack([feature(windows) for feature in FEATURES.values()])


def last_row(lookbacks: Sequence[Lookback]) -> Row:
    """The features of the last bar of each lookback; `DataError` names those that are not finite."""
    row = Row(
        names([lookback.timeframe for lookback in lookbacks]),
        np.concatenate([matrix(lookback.bars[-WINDOW_BARS:])[0] for lookback in lookbacks]),
    )
    if wrong := [f"{name} is {value}" for name, value in zip(*row, strict=True) if not np.isfinite(value)]:
        more = f" and {len(wrong) - _NAMED_MOST} more" if len(wrong) > _NAMED_MOST else ""
        raise DataError(f"{len(wrong)} features are not finite: {', '.join(wrong[:_NAMED_MOST])}{more}")
    return row
