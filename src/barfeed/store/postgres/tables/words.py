"""What several statements say: moments as ms since 1970-01-01 UTC, in both directions, and the five values of a bar.

Neither depends on the session's time zone: the columns have none, and are UTC.
"""

from barfeed.domain.bars import VALUE_COLUMNS

# The moment after every bar.
NO_END_MS = 4_102_444_800_000
# A number of ms as a timestamp.
MS = "(timestamp 'epoch' + {} * interval '1 millisecond')"
# A NULL would not be a float: as NaN it is one that the rules refuse.
VALUES = ", ".join(f"coalesce(bar.{name}, 'NaN')" for name in VALUE_COLUMNS)


def ms_of(timestamp: str) -> str:
    """The ms of a timestamp."""
    # As a double it is exact to the microsecond, and ten times as fast as as a numeric.
    return f"(date_part('epoch', {timestamp}) * 1000)::bigint"
