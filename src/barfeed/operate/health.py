"""Whether the feed is where it should be at a moment, and if not, why and what helps. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.feed.record import Lived
from barfeed.operate.metrics.lagging import Lagging
from barfeed.operate.status import Word, behind, lag_ms, newest_due

_WORST = 10
_LOOK = "the log tells what the feed is doing; barfeed status what it has done"


class Health(NamedTuple):
    """`trouble` is empty where all is well; `last_failure` is the last cycle's, also where it does no harm yet."""

    series: Series
    newest_ms: int | None
    lag_ms: int | None
    trouble: str
    last_failure: str
    hint: str
    # Of a market: the series that lag, worst first.
    behind: Sequence[Lagging] | None = None

    @property
    def is_well(self) -> bool:
        """Whether the newest bar is where it should be."""
        return not self.trouble

    def told(self) -> dict[str, object]:
        """As JSON types."""
        key = "symbol" if self.behind is None else "symbols"
        many = {} if self.behind is None else {"behind": len(self.behind), "worst": self.worst}
        return {
            "healthy": self.is_well,
            "series": {key: self.series.symbol, "interval": str(self.series.interval)},
            "newest": None if self.newest_ms is None else grid.text(self.newest_ms),
            "lag_sec": None if self.lag_ms is None else round(self.lag_ms / 1000),
            "reason": self.trouble,
            "last_failure": self.last_failure,
            "hint": self.hint,
        } | many

    @property
    def worst(self) -> list[str]:
        """The first symbols of those that lag."""
        return [each.symbol for each in (self.behind or ())[:_WORST]]


def judge(
    series: Series,
    newest_ms: int | None,
    now_ms: int,
    last: Lived | None,
    behind_now: Sequence[Lagging] | None = None,
) -> Health:
    """The health at `now_ms` by the exchange's clock; `last` is the last cycle, None before the first has ended.

    A market is well while its newest bar is where it should be; which of its series lag is told beside that.
    """
    trouble = _behind(series, newest_ms, now_ms, last) if last else "no cycle has ended yet"
    failure = last.failure if last else None
    if trouble and last and failure:
        word = Word(failure.status, last.target_ms, failure.last_bar_ms)
        trouble = behind(series, newest_ms, now_ms, newest_due(series, newest_ms, now_ms, word)) or failure.message
    said, helps = (last.trouble if last else "", _LOOK if trouble else "")
    if last and last.away:
        said, helps = last.away.message, last.away.hint
    if failure:
        said, helps = failure.message, failure.hint
    return Health(series, newest_ms, lag_ms(series, newest_ms, now_ms), trouble, said, helps, behind_now)


def _behind(series: Series, newest_ms: int | None, now_ms: int, last: Lived) -> str:
    # A feed that began without its database does not know what is stored there.
    return last.away.message if last.away and newest_ms is None else behind(series, newest_ms, now_ms)


def told(healths: Sequence[Health]) -> dict[str, object]:
    """One series' health as JSON types; of a market each interval's."""
    if healths[0].behind is None:
        return healths[0].told()
    return {"healthy": all(each.is_well for each in healths), "intervals": [each.told() for each in healths]}
