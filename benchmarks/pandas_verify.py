"""The rules of stored bars as people check them with pandas: the table as a frame, a mask a rule.

    python benchmarks/pandas_verify.py STORE

It leaves out what `barfeed verify` does beside it: the store's shape, its lock, and every run's files.
"""

import sys

import duckdb
import numpy as np

VALUES = ["open", "high", "low", "close", "volume"]


def main(store: str) -> None:
    with duckdb.connect(store, read_only=True) as connection:
        frame = connection.execute("SELECT * FROM ohlcv_btcusdt_1h ORDER BY timestamp").df()
    apart = frame["timestamp"].diff().iloc[1:]
    inside = frame[["open", "close"]]
    broken = {
        "on_grid": (frame["timestamp"].astype("int64") % 3_600_000_000).ne(0),
        "unique": frame["timestamp"].duplicated(),
        "gap": apart.dt.total_seconds().ne(3600),
        "finite": ~np.isfinite(frame[VALUES]).all(axis=1),
        "high_low": (frame["low"] > inside.min(axis=1)) | (inside.max(axis=1) > frame["high"]),
        "not_negative": (frame[VALUES] < 0).any(axis=1),
        "above_zero": (frame[VALUES[:4]] == 0).any(axis=1),
    }
    print(f"verified={len(frame)} findings={sum(int(mask.sum()) for mask in broken.values())}")


if __name__ == "__main__":
    main(sys.argv[1])
