"""What every contender stands on: one made-up market, and stores that already hold its past."""

import os
from pathlib import Path

import duckdb

from barfeed.domain.bars import HOUR_MS, Bar, Series
from barfeed.machine.clock import SystemClock
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from barfeed.store.duckdb import Store

ROOT = Path(__file__).resolve().parent.parent
SERIES = Series.of("BTCUSDT", "1h")

# 31 days in the store, the month that an inference window needs, and more hours to live than any benchmark does.
STORED_BARS = 31 * 24
LIVED_HOURS = 400
FIRST_MS = 1_704_067_200_000  # 2024-01-01 00:00

_TABLE = """
CREATE TABLE store.ohlcv_btcusdt_1h (
  timestamp TIMESTAMP PRIMARY KEY,
  open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP
)
"""
_OLDER = """
INSERT INTO store.ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume)
SELECT make_timestamp_ms($first_ms - ($rows - number) * $step_ms), 100 + number % 7, 110, 90, 100, number % 97
FROM range($rows) past(number)
"""


def tape() -> Tape:
    """The market: the same bars in every process."""
    return generate(SERIES.symbol, SERIES.interval, FIRST_MS, STORED_BARS + LIVED_HOURS, seed=1)


def close_ms(hour: int) -> int:
    """When the bar of `hour` closes; hour 0 is the first that no store holds yet."""
    return FIRST_MS + (STORED_BARS + hour + 1) * HOUR_MS


def make_store(path: Path, rows: int = STORED_BARS) -> Path:
    """A store of `rows` bars that ends before hour 0.

    The newest 31 days are the market's own; before them it is filled up as far back as it takes,
    for ten million hours to the year 883.
    """
    _fill_up(path, rows - STORED_BARS)
    _append(path, tape().bars[:STORED_BARS])
    return path


def _fill_up(path: Path, rows: int) -> None:
    with duckdb.connect() as database:
        database.execute("SET GLOBAL TimeZone = 'UTC'")
        # As barfeed makes it: readable by users' older tools.
        database.execute(f"ATTACH '{path}' AS store (STORAGE_VERSION 'v1.0.0')")
        database.execute(_TABLE)
        database.execute(_OLDER, {"first_ms": FIRST_MS, "rows": rows, "step_ms": HOUR_MS})


def _append(path: Path, bars: tuple[Bar, ...]) -> None:
    with Store(path, SystemClock(), 1.0).appending(SERIES, create=True) as table:
        table.append(bars)


def rows_in(path: Path) -> int:
    """How many bars a store holds."""
    with Store(path, SystemClock(), 1.0).reading(SERIES) as table:
        return table.coverage().rows


def environment(base_url: str) -> dict[str, str]:
    """A child's environment: this exchange, and nothing of the user's that could change what is measured."""
    kept = {name: value for name, value in os.environ.items() if not _is_foreign(name)}
    return kept | {"BARFEED_BASE_URL": base_url}


def _is_foreign(name: str) -> bool:
    # With the last one set, every run would compile all of barfeed and none of the rivals' libraries.
    return name.upper().startswith("BARFEED_") or name.upper().endswith("_PROXY") or name == "PYTHONDONTWRITEBYTECODE"
