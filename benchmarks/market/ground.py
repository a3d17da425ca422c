"""What every contender for a market stands on: the markets, and stores that already hold their past.

The real one is the hours of early 2026, where they are there (`../shared/data`); the others are made up, 800 symbols.
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import duckdb

from barfeed.domain.bars import Interval
from barfeed.replay.tapes import made_up
from barfeed.replay.tapes.tape import Tape
from benchmarks.ground import ROOT

REAL = ROOT.parent / "shared" / "data" / "market" / "klines-1h-2026q1.parquet"
FIRST_MS = 1_772_323_200_000  # 2026-03-01 00:00, the first bar that no store holds yet
# 31 days: the month that a window needs, and a day.
STORED_BARS = 31 * 24
_SEED = 1

_TABLE = """
CREATE TABLE store.ohlcv_{interval} (
  symbol VARCHAR, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp)
)
"""
# Prices that no rule minds: what counts is how many there are. The market's own bars follow them, bar by bar.
_OLDER = """
INSERT INTO store.ohlcv_{interval} (symbol, timestamp, open, high, low, close, volume)
SELECT symbol, make_timestamp_ms($first_ms - number * $step_ms), 100 + number % 7, 110, 90, 100, number % 97
FROM range($number, 0, -1) past(number), (SELECT unnest($symbols) AS symbol)
"""
_NEWER = """
INSERT INTO store.ohlcv_{interval} (symbol, timestamp, open, high, low, close, volume)
SELECT symbol, make_timestamp_ms(open_time_ms), open, high, low, close, volume
FROM (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::BIGINT[]) AS open_time_ms, unnest(?::DOUBLE[]) AS open,
             unnest(?::DOUBLE[]) AS high, unnest(?::DOUBLE[]) AS low, unnest(?::DOUBLE[]) AS close,
             unnest(?::DOUBLE[]) AS volume)
ORDER BY open_time_ms, symbol
"""


class Ground(NamedTuple):
    """A market at an interval."""

    interval: Interval
    tapes: Callable[[], Sequence[Tape]]

    def close_ms(self, bar: int) -> int:
        """When bar number `bar` closes; 0 is the first that no store holds yet."""
        return FIRST_MS + (bar + 1) * self.interval.ms

    def make_store(self, path: Path, rows: int = 0) -> Path:
        """A store of the market's last bars before number 0, and of older rows, so that there are `rows` or more."""
        begin_ms = FIRST_MS - STORED_BARS * self.interval.ms
        tapes = [each for each in self.tapes() if each.open_times[0] < FIRST_MS]
        columns = _columns(tapes, begin_ms)
        older = max(0, rows - len(columns[0])) // len(tapes)
        with duckdb.connect() as database:
            database.execute("SET GLOBAL TimeZone = 'UTC'")
            # As barfeed makes it: readable by users' older tools.
            database.execute(f"ATTACH '{path}' AS store (STORAGE_VERSION 'v1.0.0')")
            database.execute(_TABLE.format(interval=self.interval))
            past = {"first_ms": begin_ms, "number": older, "step_ms": self.interval.ms}
            symbols = [each.series.symbol for each in tapes]
            database.execute(_OLDER.format(interval=self.interval), past | {"symbols": symbols})
            database.execute(_NEWER.format(interval=self.interval), columns)
        return path

    def rows_in(self, path: Path) -> int:
        """How many bars a store holds."""
        with duckdb.connect(path, read_only=True) as database:
            return int(database.execute(f"SELECT count(*) FROM ohlcv_{self.interval}").fetchall()[0][0])


def _columns(tapes: Sequence[Tape], begin_ms: int) -> list[list[object]]:
    rows = [
        (tape.series.symbol, *tape.kline(index)[:6])
        for tape in tapes
        for index in range(tape.first_from(begin_ms), tape.first_from(FIRST_MS))
    ]
    return [list(column) for column in zip(*rows, strict=True)]


def _perpetuals(interval: Interval) -> list[Tape]:
    return [each for each in made_up.market(interval, FIRST_MS, _SEED) if each.contract and each.contract.contract_type]


GROUNDS = {
    "real": Ground(Interval.ONE_HOUR, partial(Tape.load, [str(REAL)])),
    "made-up": Ground(Interval.ONE_HOUR, partial(_perpetuals, Interval.ONE_HOUR)),
    "minutes": Ground(Interval.ONE_MINUTE, partial(_perpetuals, Interval.ONE_MINUTE)),
}
