"""What a market's backfill did: who sees how far it is, the facts of each series, then the summary made of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from barfeed.domain.bars import Interval
from barfeed.domain.market.telling import Word, rank
from barfeed.domain.sources import Note
from barfeed.history.filling.report import Progress, Timed
from barfeed.history.market.jobs import Filled

_DIFFERS = "find out which is right: barfeed verify --against rest, then barfeed repair"


class MarketProgress(Progress, Protocol):
    """Whoever wants to see how far it is, and what is slow."""

    def slow(self, symbols: Sequence[tuple[str, int]]) -> None:
        """These are asked for again just now, so many times; the most often first."""
        ...


class _Nobody:
    """Shows nothing."""

    def start(self, bars: int) -> None: ...

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None: ...

    def told(self, note: Note) -> None: ...

    def slow(self, symbols: Sequence[tuple[str, int]]) -> None: ...


NOBODY: MarketProgress = _Nobody()


@dataclass
class FillReport(Timed):
    """The facts of one backfill, series by series."""

    selection: str
    interval: Interval
    source: str
    series: list[Filled] = field(default_factory=list)
    requests: int = 0
    used_weight: int = 0
    duration_sec: float = 0.0

    @property
    def exit_code(self) -> int:
        """The worst series' one; 1 where one differs from what is stored."""
        return min((_exit_code(each) for each in self.series), key=rank, default=0)

    @property
    def words(self) -> list[Word]:
        """What there is to say of each series that failed, or differs; worst first."""
        bad = [each for each in self.series if _exit_code(each)]
        return [_word(each) for each in sorted(bad, key=lambda each: (rank(_exit_code(each)), each.symbol))]

    def line(self) -> str:
        """The summary in one breath."""
        reports = [each.report for each in self.series]
        facts: dict[str, object] = {"failed": _status(self.series, self.exit_code), "exit": self.exit_code}
        facts = facts if self.exit_code else {}
        facts |= {"series": len(reports), "source": self.source, "appended": sum(each.appended for each in reports)}
        facts |= {"compared": sum(each.compared for each in reports)}
        facts |= {"mismatches": sum(len(each.mismatches) for each in reports)}
        facts |= Counter(each.failure.status for each in self.series if each.failure)
        facts |= {"holes": sum(len(each.holes) for each in reports), "notes": sum(len(each.notes) for each in reports)}
        facts |= {"interval": self.interval, "rows": sum(each.coverage.rows for each in reports if each.coverage)}
        facts |= {"requests": self.requests, "weight": self.used_weight, "rate": f"{self.rate:.0f}/s"}
        return " ".join(f"{name}={value}" for name, value in facts.items()) + f" {self.duration_sec:.2f} s"

    @property
    def rate(self) -> float:
        """Bars a second."""
        bars = sum(each.report.appended + each.report.compared for each in self.series)
        return bars / self.duration_sec if self.duration_sec else 0.0

    def as_json(self, error: str = "") -> dict[str, Any]:
        """JSON types only."""
        return {
            "symbols": self.selection,
            "interval": str(self.interval),
            "source": self.source,
            "exit_code": self.exit_code,
            "series": [each.report.as_json(str(each.failure or "")) for each in self.series],
            "requests": self.requests,
            "used_weight": self.used_weight,
            "duration_sec": round(self.duration_sec, 3),
            "error": error,
        }


def _exit_code(each: Filled) -> int:
    return each.failure.exit_code if each.failure else each.report.exit_code


def _status(series: Sequence[Filled], exit_code: int) -> str:
    """The error's name of the worst series."""
    worst = (each for each in series if _exit_code(each) == exit_code)
    return next((each.failure.status if each.failure else "mismatch" for each in worst), "")


def _word(each: Filled) -> Word:
    if each.failure:
        return Word(each.symbol, str(each.failure), each.failure.hint)
    count = len(each.report.mismatches)
    said = f"{each.series}: {count} stored bars differ from the source; they stay as they are"
    return Word(each.symbol, said, _DIFFERS)
