"""What came of a pass, kept as people write it with duckdb and pandas: a frame and an insert for each symbol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore] # mypy runs without the extra `bench`

from benchmarks.market.bare import HOUR_MS, WINDOW

COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]
VALUES = COLUMNS[1:]
HOUR = pd.Timedelta(milliseconds=HOUR_MS)


class Keeping:
    """One transaction over all symbols, then one file of all windows."""

    def __init__(self, store: Path, target_ms: int) -> None:
        self._database = duckdb.connect(str(store))
        self._target = pd.Timestamp(target_ms, unit="ms")
        self._database.execute("BEGIN")

    def keep(self, symbol: str, rows: Sequence[Sequence[Any]]) -> None:
        """Insert the target of one symbol."""
        frame = pd.DataFrame([row[:6] for row in rows], columns=COLUMNS)
        frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="ms")
        frame[VALUES] = frame[VALUES].astype(float)
        new = frame[frame["timestamp"] == self._target].assign(symbol=symbol)
        self._database.register("new", new)
        self._database.execute(
            f"INSERT INTO ohlcv_1h (symbol, {', '.join(COLUMNS)}) SELECT symbol, {', '.join(COLUMNS)} FROM new"
        )

    def publish(self, folder: Path) -> None:
        """Commit, and write every window."""
        self._database.execute("COMMIT")
        windows = self._database.execute(
            f"SELECT symbol, {', '.join(COLUMNS)} FROM ohlcv_1h WHERE timestamp BETWEEN ? AND ?",
            [(self._target - (WINDOW - 1) * HOUR).to_pydatetime(), self._target.to_pydatetime()],
        ).df()
        self._database.close()
        folder.mkdir(parents=True, exist_ok=True)
        windows.sort_values(["symbol", "timestamp"]).to_parquet(folder / "windows.parquet", index=False)
