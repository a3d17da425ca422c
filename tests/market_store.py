"""Stores of a market for the tests of the commands over many series, made by nobody's code but DuckDB's."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from barfeed.domain.bars import Bar
from storage import opened
from world import hours, made_up_bars, ms

LAST_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDC", "BTCUSDT", "ETHUSDT", "币安人生USDT")
BARS: Mapping[str, Sequence[Bar]] = {symbol: made_up_bars(LAST_MS, 800, symbol) for symbol in SYMBOLS}
NEVER = "2100-12-25 08:00:00"

_CREATE = """
CREATE TABLE {table} (
  symbol VARCHAR, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp)
)
"""
_CREATE_MEMBERSHIP = """
CREATE TABLE IF NOT EXISTS symbols (
  symbol VARCHAR, status VARCHAR, contract_type VARCHAR, quote VARCHAR, onboard TIMESTAMP, delivery TIMESTAMP,
  tick DOUBLE, seen_at TIMESTAMP
)
"""
# Beside the bars where some were changed.
CREATE_REVISIONS = """
CREATE TABLE ohlcv_revisions (
  series VARCHAR, timestamp TIMESTAMP, old_open DOUBLE, old_high DOUBLE, old_low DOUBLE, old_close DOUBLE,
  old_volume DOUBLE, new_open DOUBLE, new_high DOUBLE, new_low DOUBLE, new_close DOUBLE, new_volume DOUBLE,
  seen_at TIMESTAMP, accepted_at TIMESTAMP, reason VARCHAR, run VARCHAR
);
"""


def make_market(path: Path, bars: Mapping[str, Iterable[Bar]] = BARS, table: str = "ohlcv_1h") -> Path:
    """A store with these bars in one table, each appended half a minute after it closed."""
    rows = [(symbol, *bar) for symbol, each in bars.items() for bar in each]
    with opened(path) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(_CREATE.format(table=table))
        connection.execute(
            f"INSERT INTO {table} SELECT symbol, make_timestamp_ms(ms), open, high, low, close, volume,"
            f" make_timestamp_ms(ms + {hours(1) + 30_000}) FROM (SELECT unnest(?) AS symbol, unnest(?) AS ms,"
            " unnest(?) AS open, unnest(?) AS high, unnest(?) AS low, unnest(?) AS close, unnest(?) AS volume)",
            [list(column) for column in zip(*rows, strict=True)],
        )
    return path


def list_symbols(path: Path, seen_at: str, *listings: tuple[str, str], delivery: str = NEVER) -> None:
    """Note that perpetuals were seen with a status: `("BTCUSDT", "TRADING")`."""
    with opened(path) as connection:
        connection.execute(_CREATE_MEMBERSHIP)
        for symbol, status in listings:
            connection.execute(
                "INSERT INTO symbols VALUES (?, ?, 'PERPETUAL', 'USDT', '2020-01-01', ?, 0.1, ?)",
                [symbol, status, delivery, seen_at],
            )
