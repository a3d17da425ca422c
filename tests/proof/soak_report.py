"""What a soak did: counts and samples as it goes, Markdown for docs/proof.md in the end."""

import platform
from array import array
from collections import Counter
from pathlib import Path
from statistics import median
from typing import NamedTuple, TypeVar

import duckdb

PAGE = Path(__file__).resolve().parents[2] / "docs" / "proof.md"
BEGIN, END = "<!-- soak: make soak ARGS=--write -->", "<!-- end of soak -->"

_Value = TypeVar("_Value", int, float)

# A last tenth that is so many times the second is no longer flat. The first tenth still warms up.
_TIME_FACTOR = 1.5
_MEMORY_FACTOR = 1.15


class Sample(NamedTuple):
    """The process at one moment."""

    resident_mb: float
    open_files: int


class Report:
    """The facts of one soak."""

    def __init__(self, cycles: int, seed: int) -> None:
        self.cycles = cycles
        self.seed = seed
        self.ended: Counter[str] = Counter()
        self.repairs: Counter[str] = Counter()
        self.struck: Counter[str] = Counter()
        self.ended_under: dict[str, Counter[str]] = {}
        self.samples: list[Sample] = []
        self.rows = 0
        self.revisions = 0
        self.repaired = 0
        self.tries_to_recover = 0
        self.took_sec = 0.0
        self._calm_sec = array("d")

    def count(self, kinds: tuple[str, ...], status: str, took_sec: float) -> None:
        """One hour has ended; what it took counts where nothing disturbed it."""
        self.ended[status] += 1
        for kind in set(kinds):
            self.struck[kind] += 1
            self.ended_under.setdefault(kind, Counter())[status] += 1
        if not kinds and status == "appended":
            self._calm_sec.append(took_sec)

    def sample(self, resident_mb: float, open_files: int) -> None:
        """The process as it is now."""
        self.samples.append(Sample(resident_mb, open_files))

    @property
    def cycle_ms(self) -> tuple[float, float]:
        """CPU time of an undisturbed cycle: median of the second tenth and of the last."""
        early, late = _tenths(list(self._calm_sec))
        return median(early) * 1000, median(late) * 1000

    @property
    def memory_mb(self) -> tuple[float, float]:
        """Resident memory: median of the second tenth of the run and of the last."""
        early, late = _tenths([each.resident_mb for each in self.samples])
        return median(early), median(late)

    @property
    def open_files(self) -> tuple[int, int]:
        """Open files, in the second tenth and at most in the last."""
        early, late = _tenths([each.open_files for each in self.samples])
        return max(early), max(late)

    @property
    def is_flat(self) -> bool:
        """Whether time, memory and open files are at the end what they were at the beginning."""
        (time, later_time), (memory, later_memory) = self.cycle_ms, self.memory_mb
        files, later_files = self.open_files
        return later_time <= _TIME_FACTOR * time and later_memory <= _MEMORY_FACTOR * memory and later_files <= files

    def markdown(self) -> str:
        """For people."""
        return "\n".join([*self._head(), *self._ends(), "", *self._faults()]) + "\n"

    def _head(self) -> list[str]:
        (time, later_time), (memory, later_memory) = self.cycle_ms, self.memory_mb
        files, later_files = self.open_files
        python = f"Python {platform.python_version()}, DuckDB {duckdb.__version__}"
        truth = (
            f"{self.rows:,} bars, each the exchange's to the last digit; {self.revisions} revisions on the way, each"
        )
        return [
            f"{self.cycles:,} hours, seed {self.seed}, in {self.took_sec / 60:.0f} minutes; {python}.",
            "",
            f"- The store in the end: {truth} with its old version; {self.repaired} bars mended by the last `repair`.",
            f"- Repairs that the operator ran on the way: {_told(self.repairs) or 'none'}.",
            f"- Back at the target after the last storm: {self.tries_to_recover} run(s).",
            f"- CPU time of an undisturbed cycle: {time:.1f} ms in the second tenth, {later_time:.1f} ms in the last.",
            f"- Memory: {memory:.0f} MB in the second tenth, {later_memory:.0f} MB in the last.",
            f"- Open files: {files} in the second tenth, {later_files} in the last.",
            f"- Flat: {'yes' if self.is_flat else 'NO'}.",
            "",
        ]

    def _ends(self) -> list[str]:
        rows = [f"| `{status}` | {count:,} |" for status, count in self.ended.most_common()]
        return ["| how an hour ended | hours |", "| --- | ---: |", *rows]

    def _faults(self) -> list[str]:
        rows = [
            f"| `{kind}` | {count:,} | {_told(self.ended_under[kind])} |" for kind, count in sorted(self.struck.items())
        ]
        return ["| fault | hours | how they ended, other faults of the hour included |", "| --- | ---: | --- |", *rows]


def put(text: str, page: Path = PAGE) -> None:
    """Put a report of the soak into the document."""
    put_between(BEGIN, END, text, page)


def put_between(begin: str, end: str, text: str, page: Path = PAGE) -> None:
    """Put a text between two marks of the document."""
    head, begin_mark, rest = page.read_text("utf-8").partition(begin)
    _, end_mark, tail = rest.partition(end)
    if not (begin_mark and end_mark):
        raise ValueError(f"{page} has no place for a report between {begin!r} and {end!r}")
    page.write_text(f"{head}{begin}\n\n{text.rstrip()}\n\n{end}{tail}", "utf-8")


def _told(ended: Counter[str]) -> str:
    return ", ".join(f"{status} {count:,}" for status, count in ended.most_common())


def _tenths(values: list[_Value]) -> tuple[list[_Value], list[_Value]]:
    """The second tenth and the last."""
    tenth = max(1, len(values) // 10)
    return values[tenth : 2 * tenth] or values, values[-tenth:] or values
