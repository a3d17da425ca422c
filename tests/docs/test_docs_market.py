"""What docs/market.md says of the exchange's own bars, counted in them."""

import duckdb

from world import shared

_HOURS = """
WITH made AS (
  SELECT time_bucket(INTERVAL 1 hour, timestamp) AS timestamp, arg_min(open, timestamp) AS open, max(high) AS high,
         min(low) AS low, arg_max(close, timestamp) AS close, sum(volume::DECIMAL(18, 3))::DOUBLE AS exactly,
         sum(volume) AS nearly
  FROM read_parquet($minutes) GROUP BY 1 HAVING count(*) = 60
)
SELECT count(*),
       count(*) FILTER ([made.open, made.high, made.low, made.close] = [told.open, told.high, told.low, told.close]),
       count(*) FILTER (exactly = volume), count(*) FILTER (nearly = volume)
FROM made JOIN read_parquet($hours) AS told USING (timestamp)
"""


def test_an_hour_is_not_always_the_sum_of_its_minutes() -> None:
    files = {"minutes": shared("rest/BTCUSDT-1m-2023-07.parquet"), "hours": shared("rest/BTCUSDT-1h.parquet")}
    counted = duckdb.execute(_HOURS, {name: str(path) for name, path in files.items()}).fetchall()
    assert counted == [(719, 719, 718, 201)]
