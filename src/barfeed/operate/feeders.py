"""Who feeds a database, and which of them is behind or failed: worst first. Pure."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from barfeed.domain import grid
from barfeed.operate.status import GRACE_MS

if TYPE_CHECKING:
    # Only for the types: most feeds have a file, and no library of a database.
    from barfeed.store.postgres.tables.feeders import Feeder

_WELL = frozenset({"appended", "revised", "up_to_date"})


class Condition(NamedTuple):
    """A host's feed, and what is wrong with it at a moment; `lag_ms` is how long ago its newest stored bar closed."""

    feeder: "Feeder"
    ago_ms: int
    lag_ms: int | None
    trouble: str

    @property
    def hint(self) -> str:
        """What helps; empty where all is well."""
        if not self.trouble:
            return ""
        host, feed = (text.replace("'", "''") for text in (self.feeder.host, self.feeder.feed))
        forget = f"DELETE FROM barfeed.feeders WHERE host = '{host}' AND feed = '{feed}'"  # noqa: S608 - for a person to run
        return f"see there: barfeed doctor; if it is to feed no more, forget it, as the tables' owner: {forget}"


def conditions(feeders: "Iterable[Feeder]", now_ms: int) -> list[Condition]:
    """How each of them is, worst first."""
    return sorted((_judged(each, now_ms) for each in feeders), key=_badness)


def _badness(condition: Condition) -> tuple[bool, int, str, str]:
    lag_ms = condition.ago_ms if condition.lag_ms is None else condition.lag_ms
    return not condition.trouble, -lag_ms, condition.feeder.host, condition.feeder.feed


def _judged(feeder: "Feeder", now_ms: int) -> Condition:
    ago_ms = max(0, now_ms - feeder.last_pass_ms)
    lag_ms = None if feeder.lag_sec is None else ago_ms + max(0, round(feeder.lag_sec * 1000))
    return Condition(feeder, ago_ms, lag_ms, _behind(feeder, now_ms) or _failed(feeder))


def _behind(feeder: "Feeder", now_ms: int) -> str:
    """Why its newest bar is not where it should be; empty where it is."""
    if feeder.newest_ms is None or feeder.lag_sec is None:
        return ""
    step_ms = _step_ms(feeder)
    bars = (grid.last_closed(now_ms, step_ms) - feeder.newest_ms) // step_ms
    is_behind = bars > 0 and now_ms - (feeder.newest_ms + 2 * step_ms) >= GRACE_MS
    return f"{bars} bar{'s' * (bars > 1)} behind: its newest is {grid.text(feeder.newest_ms)}" if is_behind else ""


def _step_ms(feeder: "Feeder") -> int:
    """How long one of its bars is: what lies between the newest one's open, and its close as the lag tells it."""
    assert feeder.newest_ms is not None
    assert feeder.lag_sec is not None
    return feeder.last_pass_ms - feeder.newest_ms - round(feeder.lag_sec * 1000)


def _failed(feeder: "Feeder") -> str:
    return "" if feeder.status in _WELL else f"its last pass failed: {feeder.status}"
