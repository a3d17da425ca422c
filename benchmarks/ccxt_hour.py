"""The hour as people write it, with ccxt, duckdb and pandas.

    python benchmarks/ccxt_hour.py BASE_URL STORE FOLDER

ccxt's defaults stand: it loads the markets before the first pull and keeps its own rate limit. The
replay exchange lists one market where Binance lists hundreds in a megabyte, which is in ccxt's favour.
"""

import sys
from pathlib import Path

import ccxt  # type: ignore[import-not-found,import-untyped,unused-ignore] # mypy runs without the extra `bench`
import duckdb
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore] # likewise

HOUR = pd.Timedelta(hours=1)
N_RECENT = 6
WINDOW = 720 + 6
COLUMNS = ["timestamp", "open", "high", "low", "close", "volume"]


def main(base_url: str, store: str, folder: Path) -> None:
    exchange = ccxt.binanceusdm()
    exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], f"{base_url}/fapi/v1")
    now = pd.Timestamp(exchange.fetch_time(), unit="ms")
    # One more than wanted: the last row is still forming.
    rows = exchange.fetch_ohlcv("BTC/USDT:USDT", "1h", limit=N_RECENT + 1)
    pulled = pd.DataFrame(rows, columns=COLUMNS)
    pulled["timestamp"] = pd.to_datetime(pulled["timestamp"], unit="ms")
    pulled = pulled[pulled["timestamp"] < now.floor("h")].tail(N_RECENT).reset_index(drop=True)

    folder.mkdir(parents=True, exist_ok=True)
    run_time = now.strftime("%Y%m%d_%H%M%SZ")
    pulled.to_csv(folder / f"{run_time}_api_pull.csv", index=False)
    check(pulled, now.floor("h") - HOUR, N_RECENT)

    with duckdb.connect(store) as database:
        stored = database.execute(
            f"SELECT {', '.join(COLUMNS)} FROM ohlcv_btcusdt_1h WHERE timestamp >= ? ORDER BY timestamp",
            [pulled["timestamp"].iloc[0].to_pydatetime()],
        ).df()
        old, new = pulled.iloc[:-1], pulled.iloc[-1:]
        if stored[COLUMNS[1:]].to_numpy().tolist() != old[COLUMNS[1:]].to_numpy().tolist():
            sys.exit("the stored bars differ from the exchange")
        database.execute("BEGIN")
        database.register("new", new)
        database.execute(f"INSERT INTO ohlcv_btcusdt_1h ({', '.join(COLUMNS)}) SELECT {', '.join(COLUMNS)} FROM new")
        window = (
            database.execute(
                f"SELECT {', '.join(COLUMNS)} FROM ohlcv_btcusdt_1h ORDER BY timestamp DESC LIMIT {WINDOW}"
            )
            .df()
            .iloc[::-1]
        )
        database.execute("COMMIT")

    check(window, now.floor("h") - HOUR, WINDOW)
    window.to_csv(folder / f"{run_time}_for_inference.csv", index=False)
    print(f"pulled={len(pulled)} appended={len(new)} target={pulled['timestamp'].iloc[-1]}")


def check(bars: pd.DataFrame, target: pd.Timestamp, count: int) -> None:
    if len(bars) != count or bars["timestamp"].iloc[-1] != target:
        sys.exit("the bars do not end at the target")
    if not (bars["timestamp"].diff().dropna() == HOUR).all():
        sys.exit("the bars have a gap")
    if bars.isna().to_numpy().any():
        sys.exit("the bars have an empty cell")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
