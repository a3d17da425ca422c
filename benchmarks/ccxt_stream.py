"""Each close as people follow it with ccxt.pro, duckdb and pandas.

    python benchmarks/ccxt_stream.py BASE_URL STREAM_ROOT STORE FOLDER

ccxt hides the frame's own word that a bar has closed, so a bar counts as closed when the next one's first frame
comes. It is taken from the frames as it is: no second source, no comparison with what is stored, no evidence, all
of which barfeed has to pay for. The store stays open, so that nobody else can use it, and saves it the opening.
"""

import asyncio
import sys
from pathlib import Path

import ccxt.pro  # type: ignore[import-not-found,import-untyped,unused-ignore] # mypy runs without the extra `bench`
import duckdb
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore] # likewise

WINDOW = 720 + 6
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


async def main(base_url: str, stream_root: str, store: str, folder: Path) -> None:
    exchange = ccxt.pro.binanceusdm({"newUpdates": False})
    exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], f"{base_url}/fapi/v1")
    exchange.urls["api"]["ws"] = {"linear": f"{stream_root}/ws"}
    folder.mkdir(parents=True, exist_ok=True)
    forming = 0
    with duckdb.connect(store) as database:
        while True:
            bars = await exchange.watch_ohlcv("BTC/USDT:USDT", "1h")
            if forming and bars[-1][0] > forming:
                append(database, folder, next(bar for bar in bars if bar[0] == forming))
            forming = bars[-1][0]


def append(database: duckdb.DuckDBPyConnection, folder: Path, bar: list[float]) -> None:
    new = pd.DataFrame([bar], columns=COLUMNS)
    new["timestamp"] = pd.to_datetime(new["timestamp"], unit="ms")
    database.register("new", new)
    database.execute(f"INSERT INTO ohlcv_btcusdt_1h ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS)} FROM new")
    newest = f"SELECT {', '.join(COLUMNS)} FROM ohlcv_btcusdt_1h ORDER BY timestamp DESC LIMIT {WINDOW}"
    window = database.execute(newest).df().iloc[::-1]
    target = new["timestamp"].iloc[0].strftime("%Y%m%d_%H%M%SZ")
    window.to_csv(folder / f"{target}_for_inference.csv", index=False)
    print(f"appended=1 target={target}", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], Path(sys.argv[4])))
