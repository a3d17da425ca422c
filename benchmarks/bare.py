"""The hour as a bare script: what it costs at the least, with http.client, duckdb and csv.

    python benchmarks/bare.py BASE_URL STORE FOLDER

It asks the same two questions as barfeed, checks the pull by the same rules, compares the same stored
bars, appends, reads the window back and checks it in one transaction, and writes both CSVs.

What it leaves out, and barfeed has to pay for: settings and help, timeouts' total, retries, TLS and
proxies; waiting for a locked store, a look at the table's shape; the manifest, the sha256 of each CSV,
`latest_for_inference.csv`; files that are whole or absent (it writes in place: no temporary name, no
fsync, no rename); messages that name the bar, and exit codes.
"""

import csv
import http.client
import json
import math
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import duckdb

HOUR_MS = 3_600_000
N_RECENT = 6
WINDOW = 720 + 6

Row = tuple[int, float, float, float, float, float]


def main(base_url: str, store: str, folder: Path) -> None:
    now_ms, klines = ask(base_url)
    run_time = time.strftime("%Y%m%d_%H%M%SZ", time.gmtime(now_ms // 1000))
    pulled: list[Row] = [(k[0], float(k[1]), float(k[2]), float(k[3]), float(k[4]), float(k[5])) for k in klines]
    folder.mkdir(parents=True, exist_ok=True)
    save(folder / f"{run_time}_api_pull.csv", pulled)
    target_ms = now_ms - now_ms % HOUR_MS - HOUR_MS
    check_pull(klines, pulled, target_ms)
    appended, window = keep(store, pulled)
    check_window(window, target_ms)
    save(folder / f"{run_time}_for_inference.csv", window)
    print(f"pulled={len(pulled)} appended={appended} target={text(target_ms)}")


def ask(base_url: str) -> tuple[int, list[list[Any]]]:
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=10)
    now_ms = get(connection, "/fapi/v1/time")["serverTime"]
    end_ms = now_ms - now_ms % HOUR_MS - 1
    query = f"symbol=BTCUSDT&interval=1h&endTime={end_ms}&limit={N_RECENT}"
    klines = get(connection, f"/fapi/v1/klines?{query}")
    connection.close()
    return now_ms, klines


def get(connection: http.client.HTTPConnection, path: str) -> Any:
    connection.request("GET", path)
    answer = connection.getresponse()
    body = answer.read()
    if answer.status != 200:
        sys.exit(f"{path}: HTTP {answer.status}, {body[:120]!r}")
    return json.loads(body)


def check_pull(klines: list[list[Any]], pulled: list[Row], target_ms: int) -> None:
    for number, (kline, row) in enumerate(zip(klines, pulled, strict=True)):
        open_time, opened, high, low, close, _ = row
        expected = target_ms - (N_RECENT - 1 - number) * HOUR_MS
        good = (
            len(kline) == 12
            and all(isinstance(kline[each], int) for each in (0, 6, 8))
            and all(math.isfinite(float(kline[each])) for each in (1, 2, 3, 4, 5, 7, 9, 10))
            and open_time == expected
            and kline[6] == open_time + HOUR_MS - 1
            and low <= min(opened, close) <= max(opened, close) <= high
            and low > 0
            and proves_itself(row, float(kline[7]), kline[8], float(kline[9]), float(kline[10]))
        )
        if not good:
            sys.exit(f"kline {number} is no bar: {kline}")
    if len(pulled) != N_RECENT:
        sys.exit(f"{len(pulled)} bars, expected {N_RECENT}")


def proves_itself(row: Row, quote: float, trades: int, taker: float, taker_quote: float) -> bool:
    _, opened, high, low, close, volume = row
    if not volume:
        return opened == high == low == close and not (quote or trades or taker or taker_quote)
    mean_fits = low * (1 - 1e-9) <= quote / volume <= high * (1 + 1e-9)
    return volume > 0 and trades > 0 and mean_fits and taker <= volume and taker_quote <= quote


def keep(store: str, pulled: list[Row]) -> tuple[int, list[Row]]:
    with duckdb.connect(store) as database:
        database.execute("SET TimeZone = 'UTC'")
        database.execute("BEGIN")
        if newest(database, pulled[0][0]) != pulled[:-1]:
            sys.exit("the stored bars differ from the exchange")
        insert = (
            "INSERT INTO ohlcv_btcusdt_1h (timestamp, open, high, low, close, volume) "
            "VALUES (make_timestamp_ms(?), ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING RETURNING 1"
        )
        appended = len(database.execute(insert, pulled[-1]).fetchall())
        window = newest(database, pulled[-1][0] - (WINDOW - 1) * HOUR_MS)
        database.execute("COMMIT")
    return appended, window


def newest(database: duckdb.DuckDBPyConnection, from_ms: int) -> list[Row]:
    return database.execute(
        "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_btcusdt_1h "
        "WHERE timestamp >= make_timestamp_ms(?) ORDER BY timestamp",
        [from_ms],
    ).fetchall()


def check_window(window: list[Row], target_ms: int) -> None:
    expected = list(range(target_ms - (WINDOW - 1) * HOUR_MS, target_ms + 1, HOUR_MS))
    if [row[0] for row in window] != expected:
        sys.exit("the window has a gap")
    if any(value is None or math.isnan(value) for row in window for value in row):
        sys.exit("the window has an empty cell")


def save(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(("timestamp", "open", "high", "low", "close", "volume"))
        out.writerows((text(open_time), *values) for open_time, *values in rows)


def text(open_time_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(open_time_ms // 1000))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
