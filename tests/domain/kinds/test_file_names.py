import pytest

from barfeed.domain.bars import Series
from barfeed.domain.kinds.file_names import contradiction, is_other_interval, is_other_symbol, named, named_table

BTCUSDT_1H = Series.of("BTCUSDT", "1h")


@pytest.mark.parametrize(
    ("name", "symbol", "interval"),
    [
        # the archive's, and the replay exchange's
        ("ETHUSDT-1h-2024-02.csv", "ETHUSDT", "1h"),
        ("BTCUSDT-4h-2024-01.zip", "BTCUSDT", "4h"),
        ("FILUSDT-1m-2024-10-01.csv", "FILUSDT", "1m"),
        ("BTCUSDT_240329-1h-2024-01.csv", "BTCUSDT_240329", "1h"),
        ("BTCUSD_PERP-1h-2024-01.zip", "BTCUSD_PERP", "1h"),
        ("币安人生USDT-1h-2025-10.zip", "币安人生USDT", "1h"),
        ("BTCUSDT-1M-2024.csv", "BTCUSDT", "1M"),
        ("BTCUSDT-1mo-2024.zip", "BTCUSDT", "1mo"),
        ("BTCUSDT-1s-2024-01.zip", "BTCUSDT", "1s"),
        ("BTCUSDT-1w.csv", "BTCUSDT", "1w"),
        ("btcusdt-60m.csv.gz", "BTCUSDT", "1h"),
        # freqtrade's
        ("BTC_USDT_USDT-1h-futures.feather", "BTCUSDT", "1h"),
        ("ETH_USDT-1d.feather", "ETHUSDT", "1d"),
        # CryptoDataDownload's
        ("Binance_ETHUSDT_1h.csv", "ETHUSDT", "1h"),
        ("Binance_BTCUSDT_2020_minute.csv", "BTCUSDT", "1m"),
        ("Binance_BTCUSDT_d.csv", "BTCUSDT", "1d"),
        # TradingView's
        ("BINANCE_BTCUSDT.P, 60.csv", "BTCUSDT", "1h"),
        ("BINANCE_BTCUSDT.P, 240_1a2b3.csv", "BTCUSDT", "4h"),
        ("BINANCE_ETHUSDT, 1D.csv", "ETHUSDT", "1d"),
        # our own: a table's, a label's
        ("ohlcv_ethusdt_4h", "ETHUSDT", "4h"),
        ("ohlcv_btcusdt_1h.parquet", "BTCUSDT", "1h"),
        ("BINANCE_BTCUSDT.P_60.csv", "BTCUSDT", "1h"),
        # people's
        ("ETH-USDT.csv", "ETHUSDT", ""),
        ("btcusdt_1H.csv", "BTCUSDT", "1h"),
        ("1INCHUSDT 15min.csv", "1INCHUSDT", "15m"),
        ("BTCUSDT_202401.csv", "BTCUSDT", ""),
        ("bars 4h.csv", "", "4h"),
        # what says nothing
        ("bars.csv", "", ""),
        ("bars[1].csv", "", ""),
        ("2024-01.csv", "", ""),
        ("20240210_140030Z_for_inference.csv", "", ""),
        ("BTCUSDT_ETHUSDT.csv", "", ""),
        ("usdt.csv", "", ""),
        ("hourly.csv", "", ""),
        ("day.parquet", "", ""),
    ],
)
def test_a_name_says_what_a_person_reads_in_it(name: str, symbol: str, interval: str) -> None:
    assert named(name)[:2] == (symbol, interval)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("BTCUSDT-1h-2024-02.csv", ""),
        ("bars.csv", ""),
        ("ETHUSDT-1h.csv", "ETHUSDT"),
        ("BTCUSDT-4h.csv", "4h"),
        ("ETHUSDT-4h.csv", "ETHUSDT 4h"),
        ("BTC_USDT_USDT-1h-mark.feather", "mark"),
        ("BTC_USDT_USDT-8h-funding_rate.feather", "8h funding_rate"),
    ],
)
def test_a_name_contradicts_by_what_it_says_otherwise(name: str, says: str) -> None:
    assert contradiction(name, BTCUSDT_1H) == says


def test_only_a_series_that_is_fed_is_one() -> None:
    assert named("BTCUSDT-1h.csv").series == BTCUSDT_1H
    assert named("BTCUSDT-7h.csv").series is None
    assert named("BTCUSDT-1M.csv").series is None
    assert named_table("ohlcv_btcusdt_1h") == BTCUSDT_1H
    assert named_table("BTCUSDT-1h") is None


@pytest.mark.parametrize("text", ["BTCUSDT", "btcusdt", "BTC/USDT", "BTC/USDT:USDT", "BINANCE:BTCUSDT.P", "BTC-USDT"])
def test_a_symbol_is_the_same_however_it_is_written(text: str) -> None:
    assert not is_other_symbol(text, BTCUSDT_1H)


@pytest.mark.parametrize("text", ["ETHUSDT", "BTCUSD", "BTC/USDC:USDC", "1000BTCUSDT", ""])
def test_another_symbol_is_one(text: str) -> None:
    assert is_other_symbol(text, BTCUSDT_1H)


def test_an_interval_in_a_cell_is_compared_where_it_is_one() -> None:
    said = {text: is_other_interval(text, BTCUSDT_1H) for text in ("1h", "60m", "1H", "hour", "4h", "1M", "x", "60")}
    assert said == {
        "1h": False,
        "60m": False,
        "1H": False,
        "hour": False,
        "4h": True,
        "1M": True,
        "x": False,
        "60": False,
    }
