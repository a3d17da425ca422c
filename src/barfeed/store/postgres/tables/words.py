"""What several statements say: moments as ms since 1970-01-01 UTC, both ways, a bar's values, whose rows are there.

No moment depends on the session's time zone: the columns have none, and are UTC.
"""

from barfeed.domain.bars import VALUE_COLUMNS

# The moment after every bar.
NO_END_MS = 4_102_444_800_000
# A number of ms as a timestamp.
MS = "(timestamp 'epoch' + {} * interval '1 millisecond')"
# A NULL would not be a float: as NaN it is one that the rules refuse.
VALUES = ", ".join(f"coalesce(bar.{name}, 'NaN')" for name in VALUE_COLUMNS)
# Each is found in the key behind the one before, however many rows there are.
SYMBOLS = """
WITH RECURSIVE found AS (
  (SELECT min(symbol) AS symbol FROM {table})
  UNION ALL
  SELECT (SELECT min(next.symbol) FROM {table} AS next WHERE next.symbol > found.symbol)
  FROM found WHERE found.symbol IS NOT NULL
)
SELECT symbol FROM found WHERE symbol IS NOT NULL
"""


def ms_of(timestamp: str) -> str:
    """The ms of a timestamp."""
    # As a double it is exact to the microsecond, and ten times as fast as as a numeric.
    return f"(date_part('epoch', {timestamp}) * 1000)::bigint"
