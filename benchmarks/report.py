"""What was measured, as text for the terminal and as Markdown for the docs: one table, told twice."""

import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Literal, NamedTuple

import duckdb

BEGIN, END = "<!-- results: python -m benchmarks --write -->", "<!-- end of results -->"


class Timing(NamedTuple):
    """One contender's seconds, round by round."""

    name: str
    seconds: Sequence[float]

    def cells(self) -> tuple[str, ...]:
        """As a table's row: name, median, middle half, most; in ms."""
        low, middle, high = _quartiles(self.seconds)
        return (self.name, _ms(middle), f"{_ms(low)} .. {_ms(high)}", _ms(max(self.seconds)))


class Bound(NamedTuple):
    """What the project demands of a ratio."""

    kind: Literal["at most", "at least"]
    factor: float

    def is_met(self, ratio: float) -> bool:
        """Whether a measured ratio will do."""
        return ratio <= self.factor if self.kind == "at most" else ratio >= self.factor


class Ratio(NamedTuple):
    """How many times the one's seconds are the other's, round by round, so that a noisy minute strikes both."""

    one: Timing
    other: Timing
    bound: Bound

    @property
    def is_met(self) -> bool:
        """Whether the median ratio is within its bound."""
        return self.bound.is_met(median(self._rounds()))

    def __str__(self) -> str:
        low, middle, high = _quartiles(self._rounds())
        verdict = "met" if self.is_met else "NOT MET"
        return (
            f"{self.one.name} / {self.other.name}: {middle:.2f} (middle half {low:.2f} .. {high:.2f}), "
            f"{self.bound.kind} {self.bound.factor:g}: {verdict}"
        )

    def _rounds(self) -> list[float]:
        return [one / other for one, other in zip(self.one.seconds, self.other.seconds, strict=True)]


class Section(NamedTuple):
    """One question, what was measured to answer it, and the verdicts; `note` says what is missing."""

    title: str
    timings: Sequence[Timing]
    ratios: Sequence[Ratio] = ()
    note: str = ""

    def text(self) -> str:
        """For the terminal."""
        rows = [HEADER, *(timing.cells() for timing in self.timings)]
        width = max(len(row[0]) for row in rows)
        table = [f"  {name:<{width}}  {middle:>7}  {half:>14}  {most:>7}" for name, middle, half, most in rows]
        return "\n".join([self.title, *table, *(f"  {ratio}" for ratio in self.ratios), *self._notes("  ")])

    def markdown(self) -> str:
        """For the docs."""
        rows = [HEADER, ("---", "---:", "---:", "---:"), *(timing.cells() for timing in self.timings)]
        table = [f"| {' | '.join(row)} |" for row in rows]
        verdicts = [f"- {ratio}" for ratio in self.ratios]
        return "\n".join([f"### {self.title}", "", *table, "", *verdicts, *self._notes("")]).rstrip() + "\n"

    def _notes(self, indent: str) -> list[str]:
        return [f"{indent}{self.note}"] if self.note else []


HEADER = ("ms", "median", "middle half", "most")


def machine() -> str:
    """Where this is measured, and how busy it is before: other people's load makes every number here noisier."""
    load = f"load average {os.getloadavg()[0]:.1f} before the run" if hasattr(os, "getloadavg") else "load unknown"
    cores = f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})"
    return f"{cores}, Python {platform.python_version()}, DuckDB {duckdb.__version__}, {load}"


def write(path: Path, where: str, sections: Iterable[Section]) -> None:
    """Put the results between their marks in the document."""
    head, begin, rest = path.read_text("utf-8").partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for results between {BEGIN!r} and {END!r}")
    results = "\n".join(section.markdown() for section in sections)
    path.write_text(f"{head}{BEGIN}\n\nMeasured on {where}.\n\n{results}\n{END}{tail}", "utf-8")


def _quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    low, middle, high = quantiles(numbers, n=4, method="inclusive")
    return low, middle, high


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.0f}"
