import pytest

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

import numpy as np

from lgbm_inference.bars import Bars
from lgbm_inference.cli import _TIMEFRAMES
from lgbm_inference.errors import DataError
from lgbm_inference.lookbacks import TIMEFRAMES, lookbacks, resampled, trimmed

ALL = ("1H", "4H", "12H", "1D")
# 2024-02-10 00:00 in whole hours since 1970.
MIDNIGHT = 474_312


def hourly(first: int, rows: int) -> Bars:
    """Bars whose values tell their hour: from midnight 3 opens at 3.0, closes at 3.5, trades 1003."""
    count = np.arange(first - MIDNIGHT, first - MIDNIGHT + rows, dtype=float)
    return Bars(
        np.arange(first, first + rows), np.column_stack([count, count + 0.9, count - 0.9, count + 0.5, count + 1000])
    )


def test_the_commands_timeframes_are_the_packages() -> None:
    assert tuple(TIMEFRAMES) == _TIMEFRAMES


def test_a_4h_bar_labelled_12_holds_the_hours_9_to_12() -> None:
    wide = resampled(hourly(MIDNIGHT + 1, 12), 4)
    assert wide.hours.tolist() == [MIDNIGHT + 4, MIDNIGHT + 8, MIDNIGHT + 12]
    assert wide.values[2].tolist() == [9.0, 12.9, 8.1, 12.5, 4042.0]


def test_the_last_bar_is_left_out_until_its_last_hour_is_there() -> None:
    assert resampled(hourly(MIDNIGHT + 1, 11), 4).hours.tolist() == [MIDNIGHT + 4, MIDNIGHT + 8]
    assert resampled(hourly(MIDNIGHT + 1, 12), 4).hours.tolist()[-1] == MIDNIGHT + 12


def test_an_hour_is_its_own_1h_bar(history: Bars) -> None:
    same = resampled(history, 1)
    assert np.array_equal(same.hours, history.hours)
    assert np.array_equal(same.values, history.values)


@pytest.mark.parametrize(("timeframe", "rule"), [("4H", "4h"), ("12H", "12h"), ("1D", "1D")])
def test_wide_bars_are_those_of_pandas(history: Bars, timeframe: str, rule: str) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is the independent judge")
    names = ["open", "high", "low", "close", "volume"]
    frame = pandas.DataFrame(history.values, index=history.hours.astype("datetime64[h]"), columns=names)
    how = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}
    judged = frame.resample(rule, closed="right", label="right").agg(how)
    judged = judged[judged.index <= frame.index[-1]]
    wide = resampled(history, TIMEFRAMES[timeframe])
    assert np.array_equal(wide.hours.astype("datetime64[h]"), judged.index.to_numpy())
    assert np.array_equal(wide.values[:, :4], judged[names[:4]].to_numpy())
    assert np.allclose(wide.values[:, 4], judged["volume"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("hour", range(24))
@pytest.mark.parametrize("buffer", [0, 6, 30])
def test_at_every_hour_of_the_day_the_rows_come_out_exactly(hour: int, buffer: int) -> None:
    rows = 720 + buffer
    found = lookbacks(hourly(MIDNIGHT + hour - rows + 1, rows), ALL)
    assert [each.timeframe for each in found] == ["1H", "4H", "12H", "1D"]
    assert [each.bars.rows for each in found] == [720, 180, 60, 30]
    ends = [int(each.bars.hours[-1]) - MIDNIGHT for each in found]
    assert ends == [hour, hour // 4 * 4, hour // 12 * 12, 0]


@pytest.mark.parametrize(
    ("bars", "says"),
    [
        (hourly(MIDNIGHT - 5, 6), "1H: 6 rows, expected 720 up to 2024-02-10 00:00"),
        (hourly(MIDNIGHT - 720, 720), "1H: rows 2024-01-11 00:00 .. 2024-02-09 23:00, expected 2024-01-11 01:00"),
        (Bars(np.arange(MIDNIGHT - 719, MIDNIGHT + 1), np.full((720, 5), np.nan)), "1H: expected 5 finite columns"),
        (Bars(np.arange(MIDNIGHT - 719, MIDNIGHT + 1), np.ones((720, 4))), "1H: expected 5 finite columns"),
    ],
    ids=["short", "misaligned", "nan", "columns"],
)
def test_a_lookback_that_is_not_exact_is_refused(bars: Bars, says: str) -> None:
    with pytest.raises(DataError) as refused:
        trimmed("1H", bars, MIDNIGHT)
    assert str(refused.value).startswith(says)
