"""Which series of a market lag at a moment, the worst first. Pure."""

from collections.abc import Mapping
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.feed.record import Newest
from barfeed.operate.status import GRACE_MS, lag_ms

# Of so many it is told by how much, the worst: a market in trouble as a whole must not be hundreds of samples.
NAMED_MAX = 50


class Lagging(NamedTuple):
    """A series whose newest due bar is not stored; `lag_ms` is None where it never had one."""

    symbol: str
    lag_ms: int | None


def lagging(newest_of: Mapping[str, Newest], interval: Interval, now_ms: int) -> list[Lagging]:
    """Those without the bar that the last pass was for, and those without a newer one five minutes after its close."""
    # What has settled is due no further bar.
    latest_ms = max((each.due_ms for each in newest_of.values()), default=0)
    found = [
        Lagging(symbol, lag)
        for symbol, each in newest_of.items()
        for lag in [lag_ms(Series(symbol, interval), each.newest_ms, now_ms)]
        if _is_lagging(each, lag, is_lasting=each.due_ms == latest_ms)
    ]
    return sorted(found, key=lambda each: (each.lag_ms is not None, -(each.lag_ms or 0), each.symbol))


def _is_lagging(newest: Newest, lag: int | None, *, is_lasting: bool) -> bool:
    if lag is None or newest.newest_ms is None or newest.newest_ms < newest.due_ms:
        return True
    return is_lasting and lag >= GRACE_MS
