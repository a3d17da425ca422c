"""Years of hours as python-binance's own loop fetches them.

    python -m benchmarks.python_binance_loop BASE_URL STORE

`futures_historical_klines` pages by itself; its defaults stand. What came is inserted with one statement.
"""

import sys

import duckdb
from binance.client import Client

from benchmarks.bare_loop import CREATE, END_MS, INSERT


def main(base_url: str, store: str) -> None:
    client = Client(ping=False)
    client.FUTURES_URL = f"{base_url}/fapi"
    rows = client.futures_historical_klines("BTCUSDT", "1h", 1, end_str=END_MS - 1)
    columns = list(zip(*rows, strict=True))
    with duckdb.connect(store) as database:
        database.execute(CREATE)
        database.execute(INSERT, [list(columns[0]), *(list(map(float, columns[at])) for at in range(1, 6))])


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
