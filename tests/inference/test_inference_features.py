import re
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("lightgbm", reason="needs the extra `inference`")

import numpy as np

from lgbm_inference import indicators, source
from lgbm_inference.bars import Bars, Floats
from lgbm_inference.dataset import feature_rows
from lgbm_inference.errors import DataError
from lgbm_inference.features import FEATURES, last_row, matrix
from lgbm_inference.lookbacks import Lookback, lookbacks
from world import shared

ALL = ("1H", "4H", "12H", "1D")
DOCS = Path(__file__).resolve().parents[2] / "docs" / "inference.md"
# 2024-02-10 00:00, a Saturday, in whole hours since 1970.
MIDNIGHT = 474_312


def of_last_hour(bars: Bars, buffer: int = 6) -> Floats:
    """What inference computes from the last 720 + buffer bars."""
    return last_row(lookbacks(bars[-720 - buffer :], ALL)).values


def one(bars: Bars) -> dict[str, float]:
    """The features of the last of 29 bars."""
    return dict(zip(FEATURES, matrix(bars)[0].tolist(), strict=True))


def changed(bars: Bars, rows: slice, factor: float) -> Bars:
    values = bars.values.copy()
    values[rows] *= factor
    return Bars(bars.hours, values)


@pytest.mark.long
def test_each_vectorised_row_is_to_the_bit_what_inference_says_of_that_hour(history: Bars) -> None:
    rows = feature_rows(history, ALL)
    assert rows.shape == (2281, 144)
    # Every 7th hour: all hours of the day, all days of the week.
    for hour in range(719, 719 + 24 * 7 * 6, 7):
        assert np.array_equal(rows[hour - 719], of_last_hour(history[: hour + 1])), hour


@pytest.mark.proof
def test_each_row_of_real_years_is_to_the_bit_what_inference_says_of_that_hour() -> None:
    bars, _ = source.read_history(shared("rest/BTCUSDT-1h.parquet"), "")
    rows = feature_rows(bars, ALL)
    # Every 7th hour: all hours of the day, all days of the week, all years.
    for hour in range(719, bars.rows, 7):
        assert np.array_equal(rows[hour - 719], of_last_hour(bars[: hour + 1])), hour


@settings(max_examples=30)
@given(
    known=st.integers(720, 1400),
    factors=st.lists(st.floats(0.01, 100), min_size=1, max_size=20),
)
def test_no_feature_looks_past_its_bar(history: Bars, known: int, factors: list[float]) -> None:
    bars = history[:1500]
    future = bars.values.copy()
    future[known:] *= np.resize(factors, 1500 - known)[:, np.newaxis]
    before, after = feature_rows(bars, ALL), feature_rows(Bars(bars.hours, future), ALL)
    assert np.array_equal(before[: known - 719], after[: known - 719])


def test_the_next_bar_does_move_the_next_row(history: Bars) -> None:
    bars = history[:1000]
    before, after = feature_rows(bars, ALL), feature_rows(changed(bars, slice(900, None), 1.5), ALL)
    assert np.array_equal(before[900 - 720], after[900 - 720])
    assert not np.array_equal(before[900 - 719], after[900 - 719])


@pytest.mark.parametrize("hour", range(24))
def test_the_buffer_never_influences_a_feature(history: Bars, hour: int) -> None:
    window = history[hour : hour + 726]
    plain = of_last_hour(window)
    assert np.array_equal(of_last_hour(changed(window, slice(0, 6), 3.0)), plain)
    assert np.array_equal(of_last_hour(history[hour : hour + 726], buffer=0), plain)
    assert not np.array_equal(of_last_hour(changed(window, slice(100, 106), 3.0)), plain)


def test_names_are_the_feature_and_its_timeframe(history: Bars) -> None:
    row = last_row(lookbacks(history[-726:], ("1H", "1D")))
    assert (row.names[0], row.names[35], row.names[36], row.names[-1]) == (
        "return_1_1H",
        "weekday_1H",
        "return_1_1D",
        "weekday_1D",
    )
    assert len(row.names) == len(set(row.names)) == len(row.values) == 72


def test_the_page_tells_every_feature() -> None:
    told = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", DOCS.read_text(), re.MULTILINE))))
    assert told >= set(FEATURES)


def test_simple_shapes_by_hand() -> None:
    # A rise by one a bar; the newest opens at 127, touches 130 and 126, closes at 128 on thrice the volume.
    close = np.arange(100.0, 129.0)
    values = np.column_stack([close - 1, close + 2, close - 2, close, np.full(29, 10.0)])
    values[-1, 4] = 30.0
    found = one(Bars(np.arange(MIDNIGHT - 15, MIDNIGHT + 14), values))
    assert found["return_1"] == pytest.approx(1 / 127)
    assert found["return_28"] == pytest.approx(0.28)
    assert found["log_return_lag_1"] == pytest.approx(np.log(127 / 126))
    assert found["log_return_mean_28"] == pytest.approx(np.log(1.28) / 28)
    assert found["volume_ratio_7"] == pytest.approx(30 / (90 / 7))
    assert found["range"] == pytest.approx(4 / 128)
    assert found["body"] == pytest.approx(0.25)
    assert found["upper_shadow"] == pytest.approx(0.5)
    assert found["lower_shadow"] == pytest.approx(0.25)
    assert found["drawdown_28"] == pytest.approx(128 / 130 - 1)
    assert found["rsi_14"] == 100.0
    assert found["atr_14"] == pytest.approx(4 / 128)
    assert (found["hour"], found["weekday"]) == (13.0, 5.0)


def test_bars_on_which_nothing_happened_have_neutral_features() -> None:
    flat = np.column_stack([np.full((29, 4), 69566.1), np.zeros(29)])
    found = one(Bars(np.arange(29), flat))
    neutral = {"rsi_14": 50.0, "bollinger_position_20": 0.5, "volume_ratio_7": 1.0, "volume_ratio_28": 1.0}
    calm = {name: value for name, value in found.items() if name not in neutral | {"hour": 0, "weekday": 0}}
    assert {name: found[name] for name in neutral} == neutral
    # MACD is left with the rounding of a mean: some 1e-16 of a price.
    assert max(map(abs, calm.values())) < 1e-14


@pytest.fixture(scope="module")
def windows(history: Bars) -> list[Bars]:
    return [history[start : start + 29] for start in range(0, 2900, 97)]


def test_rsi_atr_and_macd_are_those_of_ta_lib(windows: list[Bars]) -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is the independent judge")
    for bars in windows:
        _open, high, low, close, _volume = bars.values.T.copy()
        line, signal, histogram = (each[-1] / close[-1] for each in talib.MACD(close, 8, 17, 9))
        found = one(bars)
        assert found["rsi_14"] == pytest.approx(talib.RSI(close, 14)[-1], rel=1e-9)
        assert found["atr_14"] == pytest.approx(talib.ATR(high, low, close, 14)[-1] / close[-1], rel=1e-9)
        assert found["macd"] == pytest.approx(line, rel=1e-9, abs=1e-12)
        assert found["macd_signal"] == pytest.approx(signal, rel=1e-9, abs=1e-12)
        assert found["macd_histogram"] == pytest.approx(histogram, rel=1e-9, abs=1e-12)


def test_bollinger_bands_are_those_of_ta_lib(windows: list[Bars]) -> None:
    talib = pytest.importorskip("talib", reason="TA-Lib is the independent judge")
    for bars in windows:
        close = bars.close.copy()
        upper, middle, lower = (each[-1] for each in talib.BBANDS(close, 20, 2, 2, 0))
        assert one(bars)["bollinger_position_20"] == pytest.approx((close[-1] - lower) / (upper - lower), rel=1e-6)
        assert one(bars)["bollinger_width_20"] == pytest.approx((upper - lower) / middle, rel=1e-6)


@pytest.mark.long
def test_moments_are_those_of_scipy_and_pythons_statistics(windows: list[Bars]) -> None:
    # It takes seconds to import, which every worker would.
    from scipy import stats  # noqa: PLC0415

    for bars in windows:
        returns = np.diff(np.log(bars.close))
        found = one(bars)
        assert found["skew_28"] == pytest.approx(stats.skew(returns), rel=1e-9)
        assert found["kurtosis_28"] == pytest.approx(stats.kurtosis(returns), rel=1e-9)
        assert found["volatility_7"] == pytest.approx(statistics.stdev(returns[-7:].tolist()), rel=1e-9)
        assert found["close_zscore_28"] == pytest.approx(stats.zscore(bars.close[-28:])[-1], rel=1e-9)
        assert found["volume_zscore_28"] == pytest.approx(stats.zscore(bars.values[-28:, 4])[-1], rel=1e-9)


def test_the_outage_of_2024_10_28_flows_through() -> None:
    bars, _ = source.read_history(shared("archive/BTCUSDT-1h-2024.parquet"), "")
    # 2024-10-28 20:00: open, high, low and close 69566.1, volume 0.
    outage = int(np.flatnonzero(bars.hours == 480_596)[0])
    assert bars.values[outage].tolist() == [69566.1, 69566.1, 69566.1, 69566.1, 0.0]
    for hour in range(outage, outage + 40):
        assert np.isfinite(of_last_hour(bars[: hour + 1])).all()


def test_features_that_are_not_finite_are_named() -> None:
    values = np.ones((29, 5))
    values[3, 3] = np.inf
    with (
        pytest.raises(DataError, match=r"features are not finite: .*volatility_28_1H is nan"),
        np.errstate(all="ignore"),
    ):
        last_row([Lookback("1H", Bars(np.arange(29), values))])


def test_a_window_alone_gives_the_doubles_it_gives_among_many() -> None:
    random = np.random.default_rng(1).uniform(1, 2, (5000, 29))
    among = indicators.kurtosis(random, 28)
    assert among[4321] == indicators.kurtosis(random[4321:4322].copy(), 28)[0]
