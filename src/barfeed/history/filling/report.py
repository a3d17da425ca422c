"""What one backfill did: who sees how far it is, the facts as they come, then the summary made of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from barfeed.domain import grid, sources
from barfeed.domain.bars import VALUE_COLUMNS, Series
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Note
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Coverage
from barfeed.store.incoming.staging import Difference


class Progress(Protocol):
    """Whoever wants to see how far it is."""

    def start(self, bars: int) -> None:
        """So many bars are missing."""
        ...

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None:
        """So many more have come, up to this open_time."""
        ...

    def told(self, note: Note) -> None:
        """Something that the user should know."""
        ...


class _Nobody:
    """Shows nothing."""

    def start(self, bars: int) -> None: ...

    def reached(self, bars: int, at_ms: int, used_weight: int) -> None: ...

    def told(self, note: Note) -> None: ...


NOBODY: Progress = _Nobody()


class Timed:
    """What knows how long it took."""

    duration_sec: float

    @contextmanager
    def measured(self, clock: Clock) -> Iterator[None]:
        """Note how long it takes."""
        begin_sec = clock.steady_sec()
        try:
            yield
        finally:
            self.duration_sec = clock.steady_sec() - begin_sec


@dataclass
class Report(Timed):
    """The facts of one backfill.

    `missing` is how many bars the store lacked, `compared` how many it held and the source told too;
    `holes` is what of the span is not there at the end, because the source does not have it.
    """

    series: Series
    source: str
    wanted: Gap | None = None
    answered: Gap | None = None
    missing: int = 0
    appended: int = 0
    compared: int = 0
    mismatches: list[Finding] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    holes: list[Gap] = field(default_factory=list)
    coverage: Coverage | None = None
    requests: int = 0
    used_weight: int = 0
    duration_sec: float = 0.0

    def answer_for(self, span: Gap) -> None:
        """Note what a file has bars of: files answer for their own span only, and holes are looked for in it."""
        known = self.answered or span
        first_ms, last_ms = min(known.first_ms, span.first_ms), max(known.last_ms, span.last_ms)
        self.answered = sources.span(first_ms, last_ms, self.series.interval.ms)

    @property
    def exit_code(self) -> int:
        """1 where a source differs from what is stored; holes and notes are no failure."""
        return 1 if self.mismatches else 0

    def line(self) -> str:
        """The summary in one breath."""
        facts: dict[str, object] = {"source": self.source, "span": self.wanted or "none", "appended": self.appended}
        facts |= {"compared": self.compared, "mismatches": len(self.mismatches)}
        facts |= {"holes": len(self.holes), "notes": len(self.notes)}
        if self.coverage:
            facts |= {"coverage": _span(self.coverage), "rows": self.coverage.rows}
        facts |= {"requests": self.requests, "weight": self.used_weight, "rate": f"{self.rate:.0f}/s"}
        return " ".join(f"{name}={value}" for name, value in facts.items()) + f" {self.duration_sec:.2f} s"

    @property
    def rate(self) -> float:
        """Bars a second."""
        return (self.appended + self.compared) / self.duration_sec if self.duration_sec else 0.0

    def as_json(self, error: str = "") -> dict[str, Any]:
        """JSON types only."""
        return {
            "series": {"symbol": self.series.symbol, "interval": str(self.series.interval)},
            "source": self.source,
            "span": _gap(self.wanted) if self.wanted else None,
            "missing": self.missing,
            "appended": self.appended,
            "compared": self.compared,
            "mismatches": [_mismatch(each) for each in self.mismatches],
            "holes": [_gap(each) for each in self.holes],
            "notes": [each._asdict() for each in self.notes],
            "coverage": {"rows": self.coverage.rows, "span": _span(self.coverage)} if self.coverage else None,
            "requests": self.requests,
            "used_weight": self.used_weight,
            "duration_sec": round(self.duration_sec, 3),
            "error": error,
        }


def difference_finding(difference: Difference, name: str) -> Finding:
    """A `mismatch`: the differing values of a stored bar and of the source called `name`."""
    sides = zip(VALUE_COLUMNS, difference.stored.values, difference.incoming.values, strict=True)
    differing = [(column, mine, theirs) for column, mine, theirs in sides if mine != theirs]
    return Finding(
        "mismatch",
        difference.stored.open_time_ms,
        ", ".join(f"{column} stored {mine}, {name} {theirs}" for column, mine, theirs in differing),
        stored={column: mine for column, mine, _ in differing},
        exchange={column: theirs for column, _, theirs in differing},
    )


def _span(coverage: Coverage) -> str:
    if coverage.first_ms is None or coverage.last_ms is None:
        return "none"
    return f"{grid.text(coverage.first_ms)}..{grid.text(coverage.last_ms)}"


def _gap(gap: Gap) -> dict[str, Any]:
    return {"first": grid.text(gap.first_ms), "last": grid.text(gap.last_ms), "bars": gap.bars}


def _mismatch(finding: Finding) -> dict[str, Any]:
    bar = None if finding.open_time_ms is None else grid.text(finding.open_time_ms)
    return {"bar": bar, "message": finding.message, "stored": finding.stored, "source": finding.exchange}
