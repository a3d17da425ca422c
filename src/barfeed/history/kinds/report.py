"""What a backfill of kinds did: the facts of each kind and series, then the summary made of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from barfeed.domain import grid, sources
from barfeed.domain.bars import Interval
from barfeed.domain.grid import Gap
from barfeed.domain.market.telling import Word, rank
from barfeed.domain.sources import Note
from barfeed.history.filling.report import Timed
from barfeed.history.kinds.answers import once_each
from barfeed.history.kinds.jobs import Filled, named


@dataclass
class FillReport(Timed):
    """The facts of one backfill of kinds."""

    selection: str
    interval: Interval
    source: str
    filled: list[Filled] = field(default_factory=list)
    # Why nothing was asked for of a kind at all.
    not_due: list[Note] = field(default_factory=list)
    requests: int = 0
    duration_sec: float = 0.0

    @property
    def by_kind(self) -> Mapping[str, list[Filled]]:
        """Those of each kind, in the order in which they were asked for."""
        found: dict[str, list[Filled]] = {}
        for each in self.filled:
            found.setdefault(each.kind.name, []).append(each)
        return found

    @property
    def notes(self) -> list[Note]:
        """What is odd, each once; holes last."""
        odd = once_each([*self.not_due, *(note for each in self.filled for note in each.notes)])
        holes = [
            Note("hole", str(each), f"the source has not got {named(each.kind, each.holes)}; nothing was made up")
            for each in self.filled
            if each.holes
        ]
        return [*odd, *holes]

    @property
    def words(self) -> list[Word]:
        """What failed."""
        return [
            Word(each.series.symbol, f"{each.kind.name}: {each.failure}", each.failure.hint or "")
            for each in self.filled
            if each.failure
        ]

    @property
    def exit_code(self) -> int:
        """0, 1 where a stored row differs from the source, or the worst failure's."""
        codes = [each.failure.exit_code for each in self.filled if each.failure]
        return min(codes + [1] * any(each.differences for each in self.filled), key=rank, default=0)

    def lines(self) -> list[str]:
        """A line a kind, and the summary in one breath."""
        said = [self._line(name, own) for name, own in self.by_kind.items()]
        rate = f"{self._appended / self.duration_sec:.0f}/s" if self.duration_sec else "0/s"
        return [*said, f"source={self.source} requests={self.requests} rate={rate} {self.duration_sec:.2f} s"]

    @property
    def _appended(self) -> int:
        return sum(each.appended for each in self.filled)

    def _line(self, name: str, own: list[Filled]) -> str:
        facts = {
            "series": len(own),
            "missing": sum(each.rows_missing for each in own),
            "appended": sum(each.appended for each in own),
            "compared": sum(each.compared for each in own),
            "mismatches": sum(len(each.differences) for each in own),
            "holes": sum(len(each.holes) for each in own),
            "failed": sum(each.failure is not None for each in own),
        }
        return f"{name}: " + " ".join(f"{key}={value}" for key, value in facts.items())

    def as_json(self, error: str = "") -> dict[str, Any]:
        """JSON types only."""
        return {
            "symbols": self.selection,
            "interval": str(self.interval),
            "source": self.source,
            "kinds": {name: [_facts(each) for each in own] for name, own in self.by_kind.items()},
            "notes": [each._asdict() for each in self.notes],
            "requests": self.requests,
            "duration_sec": round(self.duration_sec, 3),
            "error": error,
        }


def _facts(each: Filled) -> dict[str, Any]:
    return {
        "symbol": each.series.symbol,
        "span": _span(each.wanted),
        "missing": each.rows_missing,
        "appended": each.appended,
        "compared": each.compared,
        "mismatches": [str(found) for found in each.differences],
        "holes": [_span(hole) for hole in each.holes],
        "lacking": sources.bars_in(each.holes),
        "error": str(each.failure or ""),
    }


def _span(span: Gap) -> dict[str, Any]:
    return {"first": grid.text(span.first_ms), "last": grid.text(span.last_ms)}
