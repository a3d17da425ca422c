"""Whether the feed is where it should be at a moment, and if not, why and what helps. Pure."""

from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.feed.record import Record
from barfeed.operate.status import Word, behind, lag_ms, newest_due

_LOOK = "the log tells what the feed is doing; barfeed status what it has done"


class Health(NamedTuple):
    """`trouble` is empty where all is well; `last_failure` is the last cycle's, also where it does no harm yet."""

    series: Series
    newest_ms: int | None
    lag_ms: int | None
    trouble: str
    last_failure: str
    hint: str

    @property
    def is_well(self) -> bool:
        """Whether the newest bar is where it should be."""
        return not self.trouble

    def told(self) -> dict[str, object]:
        """As JSON types."""
        return {
            "healthy": self.is_well,
            "series": {"symbol": self.series.symbol, "interval": str(self.series.interval)},
            "newest": None if self.newest_ms is None else grid.text(self.newest_ms),
            "lag_sec": None if self.lag_ms is None else round(self.lag_ms / 1000),
            "reason": self.trouble,
            "last_failure": self.last_failure,
            "hint": self.hint,
        }


def judge(series: Series, newest_ms: int | None, now_ms: int, last: Record | None) -> Health:
    """The health at `now_ms` by the exchange's clock; `last` is the last cycle, None before the first has ended."""
    trouble = behind(series, newest_ms, now_ms) if last else "no cycle has ended yet"
    failure = last.failure if last else None
    if trouble and last and failure:
        word = Word(failure.status, last.target_ms, failure.last_bar_ms)
        trouble = behind(series, newest_ms, now_ms, newest_due(series, newest_ms, now_ms, word)) or failure.message
    said, helps = (failure.message, failure.hint) if failure else ("", _LOOK if trouble else "")
    return Health(series, newest_ms, lag_ms(series, newest_ms, now_ms), trouble, said, helps)
