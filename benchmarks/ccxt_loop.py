"""Years of hours with ccxt's pages and its rate limiter, which is on by default.

    python -m benchmarks.ccxt_loop BASE_URL STORE

The loop of ccxt's own manual: `since` moves on behind the last bar of each page, at the default limit.
"""

import sys

import ccxt
import duckdb

from benchmarks.bare_loop import CREATE, END_MS, HOUR_MS, INSERT


def main(base_url: str, store: str) -> None:
    exchange = ccxt.binanceusdm()
    exchange.urls["api"] = dict.fromkeys(exchange.urls["api"], f"{base_url}/fapi/v1")
    since_ms = 1
    with duckdb.connect(store) as database:
        database.execute(CREATE)
        while since_ms < END_MS:
            rows = exchange.fetch_ohlcv("BTC/USDT:USDT", "1h", since=since_ms)
            rows = [row for row in rows if row[0] < END_MS]
            if not rows:
                break
            database.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])
            since_ms = rows[-1][0] + HOUR_MS


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
