import pytest

from barfeed.domain.bars import Bar, Interval, Pull, Series, Turnover
from barfeed.domain.errors import UsageError


@pytest.mark.parametrize(
    ("interval", "length_ms"),
    [
        ("1m", 60_000),
        ("3m", 180_000),
        ("5m", 300_000),
        ("15m", 900_000),
        ("30m", 1_800_000),
        ("1h", 3_600_000),
        ("2h", 7_200_000),
        ("4h", 14_400_000),
        ("6h", 21_600_000),
        ("8h", 28_800_000),
        ("12h", 43_200_000),
        ("1d", 86_400_000),
    ],
)
def test_an_interval_knows_its_length(interval: str, length_ms: int) -> None:
    assert Interval(interval).ms == length_ms
    assert str(Interval(interval)) == interval


@pytest.mark.parametrize("interval", ["3d", "1w", "1M", "1mo", "1s", "60", "1H", "1D", "", "h"])
def test_an_interval_off_the_fixed_grid_is_a_usage_error_that_lists_the_known_ones(interval: str) -> None:
    with pytest.raises(UsageError, match="1m 3m 5m 15m 30m 1h 2h 4h 6h 8h 12h 1d"):
        Series.of("BTCUSDT", interval)


@pytest.mark.parametrize(
    ("symbol", "interval", "table", "dataset", "says"),
    [
        ("BTCUSDT", "1h", "ohlcv_btcusdt_1h", "BINANCE_BTCUSDT.P, 60", "BTCUSDT 1h"),
        ("btcusdt", "15m", "ohlcv_btcusdt_15m", "BINANCE_BTCUSDT.P, 15", "BTCUSDT 15m"),
        ("BTCUSDT_261225", "1d", "ohlcv_btcusdt_261225_1d", "BINANCE_BTCUSDT_261225.P, 1D", "BTCUSDT_261225 1d"),
        ("币安人生USDT", "4h", "ohlcv_币安人生usdt_4h", "BINANCE_币安人生USDT.P, 240", "币安人生USDT 4h"),
    ],
)
def test_a_series_names_its_table_and_its_dataset(
    symbol: str, interval: str, table: str, dataset: str, says: str
) -> None:
    series = Series.of(symbol, interval)
    assert (series.table, series.dataset, str(series)) == (table, dataset, says)


@pytest.mark.parametrize(
    "symbol", ["", "_", "BTC USDT", "BTC-USDT", "BTC/USDT", 'BTC"; DROP TABLE x; --', "A" * 41, "BTC\n", "..", "{x}"]
)
def test_what_is_no_symbol_is_a_usage_error(symbol: str) -> None:
    with pytest.raises(UsageError, match="expected 1 to 40 letters, digits or '_', like BTCUSDT"):
        Series.of(symbol, "1h")


def test_the_longest_symbol_is_still_one() -> None:
    assert Series.of("A" * 40, "1h").symbol == "A" * 40


def test_two_pages_join_in_order() -> None:
    one, two = Bar(1, 1.0, 1.0, 1.0, 1.0, 1.0), Bar(2, 2.0, 2.0, 2.0, 2.0, 2.0)
    few, many = Turnover(1.0, 1, 1.0, 1.0), Turnover(2.0, 2, 2.0, 2.0)
    first, second = Pull((one,), (10,), (few,)), Pull((two,), (20,), (many,))
    assert first + second == Pull((one, two), (10, 20), (few, many))
    with pytest.raises(TypeError):
        _ = first + [one]  # noqa: RUF005 - that it cannot be added is the point


def test_a_bars_values_are_the_five_that_sources_must_agree_on() -> None:
    assert Bar(7, 1.0, 2.0, 3.0, 4.0, 5.0).values == (1.0, 2.0, 3.0, 4.0, 5.0)
