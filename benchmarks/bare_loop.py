"""Years of hours as a bare loop: http.client, json and duckdb, a page after the other.

    python -m benchmarks.bare_loop BASE_URL STORE

It asks for the largest pages, takes each on its word and inserts it with one statement. What it leaves out,
and barfeed has to pay for: every rule, the comparison with what is stored, weight, retries, progress, a
report; and a second call starts from the beginning.
"""

import http.client
import json
import sys
from urllib.parse import urlsplit

import duckdb

HOUR_MS = 3_600_000
END_MS = 1_735_689_600_000  # 2025-01-01
LIMIT = 1500
INSERT = (
    "INSERT INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume)"
    " SELECT make_timestamp_ms(unnest(?::BIGINT[])), unnest(?::DOUBLE[]), unnest(?::DOUBLE[]), unnest(?::DOUBLE[]),"
    " unnest(?::DOUBLE[]), unnest(?::DOUBLE[])"
)
CREATE = """
CREATE TABLE ohlcv_btcusdt_1h (
  timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)
"""


def main(base_url: str, store: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    start_ms = 0
    with duckdb.connect(store) as database:
        database.execute(CREATE)
        while start_ms < END_MS:
            query = f"symbol=BTCUSDT&interval=1h&startTime={start_ms}&endTime={END_MS - 1}&limit={LIMIT}"
            connection.request("GET", f"/fapi/v1/klines?{query}")
            rows = json.loads(connection.getresponse().read())
            if not rows:
                break
            columns = list(zip(*rows, strict=True))
            database.execute(INSERT, [list(columns[0]), *(list(map(float, columns[at])) for at in range(1, 6))])
            start_ms = rows[-1][0] + HOUR_MS


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
