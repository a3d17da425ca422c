"""What was measured, as text for the terminal and as Markdown for the docs: one table, told twice."""

import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
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
        told = self.figures()
        half = f"{told['low_ms']} .. {told['high_ms']}"
        return (self.name, str(told["median_ms"]), half, str(told["most_ms"]))

    def figures(self) -> dict[str, str | int]:
        """What is told of it, for the pictures."""
        low, middle, high = _quartiles(self.seconds)
        most = max(self.seconds)
        return {
            "name": self.name,
            "low_ms": _ms(low),
            "median_ms": _ms(middle),
            "high_ms": _ms(high),
            "most_ms": _ms(most),
        }


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


class Figure(NamedTuple):
    """What is judged by itself, and how much it may be."""

    name: str
    amount: float
    most: float
    unit: str

    @property
    def is_met(self) -> bool:
        """Whether it is within its bound."""
        return self.amount <= self.most

    def __str__(self) -> str:
        verdict = "met" if self.is_met else "NOT MET"
        return f"{self.name}: {self.amount:,.4g} {self.unit}, at most {self.most:,g}: {verdict}"


Verdict = Ratio | Figure


class Section(NamedTuple):
    """One question, what was measured to answer it, and the verdicts; `note` says what is missing."""

    title: str
    timings: Sequence[Timing]
    verdicts: Sequence[Verdict] = ()
    note: str = ""

    @property
    def is_met(self) -> bool:
        """Whether every bound is."""
        return all(each.is_met for each in self.verdicts)

    def text(self) -> str:
        """For the terminal."""
        rows = [HEADER, *(timing.cells() for timing in self.timings)]
        width = max(len(row[0]) for row in rows)
        table = [f"  {name:<{width}}  {middle:>7}  {half:>14}  {most:>7}" for name, middle, half, most in rows]
        return "\n".join([self.title, *table, *(f"  {each}" for each in self.verdicts), *self._notes("  ")])

    def markdown(self, part: str) -> str:
        """For the docs, with the picture that is drawn of this part."""
        rows = [HEADER, ("---", "---:", "---:", "---:"), *(timing.cells() for timing in self.timings)]
        table = [f"| {' | '.join(row)} |" for row in rows]
        verdicts = [f"- {each}" for each in self.verdicts]
        picture = f"![Medians of the table below](benchmarks-{part}.svg)"
        head = [f"### {self.title}", "", picture, "", *table, ""]
        return "\n".join([*head, *verdicts, *self._notes("")]).rstrip() + "\n"

    def figures(self) -> dict[str, object]:
        """What is told of it, for the pictures."""
        return {"title": self.title, "timings": [timing.figures() for timing in self.timings]}

    def _notes(self, indent: str) -> list[str]:
        return [f"{indent}{self.note}"] if self.note else []


HEADER = ("ms", "median", "middle half", "most")


def machine() -> str:
    """Where this is measured, and how busy it is before: other people's load makes every number here noisier."""
    load = f"load average {os.getloadavg()[0]:.1f} before the run" if hasattr(os, "getloadavg") else "load unknown"
    cores = f"{os.cpu_count()} cores ({platform.machine()}, {platform.system()})"
    return f"{cores}, Python {platform.python_version()}, DuckDB {duckdb.__version__}, {load}"


def write(path: Path, where: str, sections: Mapping[str, Section]) -> None:
    """Put the results between their marks in the document, and their figures beside it."""
    text = "\n".join(section.markdown(part) for part, section in sections.items())
    _put(path, f"\n\nMeasured on {where}.\n\n{text}\n")
    _put_figures(path, {"measured_on": where, "parts": {part: each.figures() for part, each in sections.items()}})


def write_part(path: Path, where: str, part: str, section: Section) -> None:
    """Put one part's results in their place among the others, or behind them, saying where these were measured."""
    first, *told = re.split(r"(?m)^(?=### )", _results(path))
    text = f"{section.markdown(part)}\nMeasured on {where}.\n\n"
    is_told = [f"(benchmarks-{part}.svg)" in each for each in told]
    told = [text if is_it else each for is_it, each in zip(is_told, told, strict=True)] + [text] * (not any(is_told))
    _put(path, first + "".join(each.rstrip() + "\n\n" for each in told))
    figures = json.loads(path.with_suffix(".json").read_text("utf-8"))
    _put_figures(path, figures | {"parts": figures["parts"] | {part: section.figures()}})


def _results(path: Path) -> str:
    _, begin, rest = path.read_text("utf-8").partition(BEGIN)
    results, end, _ = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{path} has no place for results between {BEGIN!r} and {END!r}")
    return results


def _put(path: Path, results: str) -> None:
    path.write_text(path.read_text("utf-8").replace(_results(path), results), "utf-8")


def _put_figures(path: Path, figures: Mapping[str, object]) -> None:
    path.with_suffix(".json").write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


def _quartiles(numbers: Sequence[float]) -> tuple[float, float, float]:
    # Of a single round all are the same; older Pythons have no quantiles of it.
    low, middle, high = quantiles(numbers if len(numbers) > 1 else 2 * list(numbers), n=4, method="inclusive")
    return low, middle, high


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
