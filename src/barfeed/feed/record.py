"""What one cycle did: the facts as they come, then the manifest and the exit line made of them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from barfeed import __version__
from barfeed.artifacts.told import file_told, finding_told, revision_told, span_told
from barfeed.artifacts.writing import Written
from barfeed.domain import grid, rules
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import HOUR_MS, Bar, Series
from barfeed.domain.errors import INTERRUPTED_EXIT_CODE, BarfeedError, StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding
from barfeed.exchange.rest import Conversation
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Coverage

if TYPE_CHECKING:
    from barfeed.domain.window import Shortage
    from barfeed.feed.kinds.left import KindsLeft

# Raised when a key changes its meaning, so that scripts can tell.
MANIFEST_VERSION = 1

# What a cycle does, and how long each took: keys of the manifest, and labels of a metric.
Step = Literal[
    "time", "membership", "pull", "confirm", "evidence", "store", "ask_again", "publish", "inquiry", "then", "lake",
    "kinds",
]  # fmt: skip


class Ended(NamedTuple):
    """How the user's command ended: its exit code (negative: the signal), None where it ran out of time."""

    command: str
    exit_code: int | None


class Failure(NamedTuple):
    """How a cycle that did not end well ended."""

    status: str
    exit_code: int
    message: str
    hint: str
    findings: tuple[Finding, ...]
    retry_after_sec: float | None
    last_bar_ms: int | None = None


class Newest(NamedTuple):
    """A series' newest stored open_time, None where it has no bar, and the newest that there is to store; in ms."""

    newest_ms: int | None
    due_ms: int


class Measured(NamedTuple):
    """What there is to count of a cycle or a pass; of many series also how many ended how, and each one's newest."""

    newest_ms: int | None
    appended: int
    revised: int
    failures: Sequence[Failure]
    stored_bars: int | None = None
    ended: Mapping[str, int] | None = None
    newest_of: Mapping[str, Newest] | None = None
    windows: int | None = None


class LakeLeft(NamedTuple):
    """How the lake was left behind a cycle: days written, days left to the next one, and rows in all; or why not."""

    address: str
    written: int = 0
    left: int = 0
    rows: int = 0
    is_busy: bool = False
    failure: Failure | None = None

    @property
    def status(self) -> str:
        """`written`, `up_to_date`, `behind`, `busy`, or the error's name."""
        if self.failure:
            return self.failure.status
        if self.is_busy:
            return "busy"
        return "behind" if self.left else "written" if self.written else "up_to_date"

    def told(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        message, hint = (self.failure.message, self.failure.hint) if self.failure else ("", "")
        facts = {"address": self.address, "status": self.status, "written": self.written, "left": self.left}
        return facts | {"rows": self.rows, "message": message, "hint": hint}


class Lived(ABC):
    """What is noted of a cycle and of a pass alike: for which bar it was, how long it took, how it ended."""

    clock: Clock
    dry_run: bool
    target_ms: int | None
    inference: Written | None
    warnings: list[str]
    failure: Failure | None
    durations_sec: dict[str, float]
    then: Ended | None
    lake: LakeLeft | None
    run_time: str | None
    manifest_path: str | None
    # Whether it was before its bar had settled, and left something to the clock.
    is_early: bool = False
    # Why the store could not be asked, where what was last given out stood in for it.
    away: Failure | None = None
    # How the kinds beside the bars were left; None where none is fed.
    kinds: "KindsLeft | None" = None

    @property
    @abstractmethod
    def fed(self) -> str:
        """What it feeds, as messages write it: `BTCUSDT 1h`, `all 1h`."""

    @property
    @abstractmethod
    def status(self) -> str:
        """How it ended, in a word: the manifest's."""

    @property
    def is_of_use(self) -> bool:
        """Whether it did what it is for: a dead-man's switch hears of that. Another kind's trouble is not the bars'."""
        return not (self.failure and self.failure.exit_code)

    @property
    @abstractmethod
    def measured(self) -> Measured:
        """What there is to count of it."""

    @abstractmethod
    def manifest(self, talk: Conversation) -> dict[str, Any]:
        """The record as the manifest keeps it: JSON types only."""

    @abstractmethod
    def news(self, folder: Path) -> dict[str, str]:
        """What the user's command gets in its environment; nothing where there is nothing to run it for."""

    @contextmanager
    def step(self, name: Step) -> Iterator[None]:
        """Measure a step of the cycle."""
        begin_sec = self.clock.steady_sec()
        try:
            yield
        finally:
            before_sec = self.durations_sec.get(name, 0.0)
            self.durations_sec[name] = round(before_sec + self.clock.steady_sec() - begin_sec, 6)

    def fail(self, error: BaseException) -> None:
        """Note the error that ends the cycle; one that is not ours is a bug, or a signal to stop."""
        self.failure = failure_of(error)

    @property
    def exit_code(self) -> int:
        """What the process ends with."""
        ended = self.failure or self.kinds_failure
        return ended.exit_code if ended else 0

    @property
    def kinds_failure(self) -> Failure | None:
        """What weighs most of what failed of the kinds beside the bars."""
        return self.kinds.worst if self.kinds else None

    @property
    def trouble(self) -> str:
        """What there is to say of how it ended, with what helps; empty where it ended well."""
        if self.failure:
            return f"{self.failure.message} ({self.failure.hint})"
        return self.kinds.trouble if self.kinds else ""

    @property
    def again_ms(self) -> int | None:
        """When there is more to be had of the same bar, in ms by the exchange's clock."""
        return self.kinds.again_ms if self.kinds else None

    def pass_on(self, why: str) -> None:
        """Note that this hour is left to another process, and a newer one is lived instead."""
        self.failure = Failure("overtaken", 0, why, "", (), None)

    @property
    def target(self) -> str | None:
        """The target as messages write it."""
        return None if self.target_ms is None else grid.text(self.target_ms)

    def _total_sec(self) -> float:
        return sum(self.durations_sec.values())


class Record(Lived):
    """The facts of one cycle. Times are ms since 1970-01-01 UTC by the exchange's clock."""

    def __init__(self, series: Series, dataset: str, inference_source: str, clock: Clock, *, dry_run: bool) -> None:
        self.series = series
        self.dataset = dataset
        self.inference_source = inference_source
        self.dry_run = dry_run
        self.clock = clock
        self.now_ms: int | None = None
        self.target_ms: int | None = None
        self.pull: Written | None = None
        self.inference: Written | None = None
        self.inference_from: Literal["db", "api", "db,api"] | None = None
        self.validated = 0
        self.appended = 0
        # Given to the model, and not stored yet: another process had the store.
        self.pending = 0
        self.would_append = 0
        self.revised: list[Change] = []
        self.coverage: Coverage | None = None
        # Runs of bars without a trade that reach into the pull; None until that is known.
        self.flat: list[Gap] | None = None
        self.warnings: list[str] = []
        self.failure: Failure | None = None
        self.shortage: Shortage | None = None
        self.durations_sec: dict[str, float] = {}
        self.then: Ended | None = None
        self.lake: LakeLeft | None = None
        self.run_time: str | None = None
        self.manifest_path: str | None = None

    def grow(self, appended: Sequence[Bar]) -> None:
        """Note that the store, whose coverage is known, has these bars now, too."""
        self.coverage = self.coverage and self.coverage.grown_by(appended)

    @property
    def fed(self) -> str:
        """The series."""
        return str(self.series)

    @property
    def measured(self) -> Measured:
        """What there is to count of it."""
        # What stands in for a database does not know what is stored.
        coverage, revised = None if self.away else self.coverage, 0 if self.dry_run else len(self.revised)
        failures = [self.failure] if self.failure else list(self.kinds.failures) if self.kinds else []
        if coverage is None:
            return Measured(None, self.appended, revised, failures)
        return Measured(coverage.last_ms, self.appended, revised, failures, coverage.rows)

    @property
    def status(self) -> str:
        """`appended`, `pending`, `revised`, `up_to_date`, `dry_run`, or the error's name."""
        if failure := self.failure or self.kinds_failure:
            return failure.status
        if self.dry_run:
            return "dry_run"
        if self.pending:
            return "pending"
        if self.appended:
            return "appended"
        return "revised" if self.revised else "up_to_date"

    def note_flat(self, runs: Sequence[Gap], from_ms: int) -> None:
        """Note the runs of bars without a trade that reach beyond `from_ms`."""
        self.flat = [run for run in runs if run.last_ms >= from_ms]
        self.warnings += [self.flat_text] if self.flat else []

    @property
    def flat_text(self) -> str:
        """What there is to say of bars without a trade; empty where there are none."""
        return rules.not_traded(map(str, self.flat or ()))

    @property
    def short_hours(self) -> int | None:
        """How many whole hours a window has that is shorter than asked for; None for a whole one."""
        return self.shortage.bars * self.series.interval.ms // HOUR_MS if self.shortage else None

    def line(self) -> str:
        """The exit line: a cycle in one breath."""
        failed = self.failure or self.kinds_failure
        facts: dict[str, object] = {"failed": self.status, "exit": self.exit_code} if failed else {}
        facts |= {"pulled": self.pull.rows if self.pull else 0, "validated": self.validated}
        facts |= {"would_append": self.would_append} if self.dry_run else {"appended": self.appended}
        facts |= {"pending": self.pending} if self.pending else {}
        facts |= {"would_revise" if self.dry_run else "revised": len(self.revised)} if self.revised else {}
        facts |= {"target": self.target} if self.target else {}
        if self.coverage and self.coverage.first_ms is not None and self.coverage.last_ms is not None:
            span = f"{grid.text(self.coverage.first_ms)}..{grid.text(self.coverage.last_ms)}"
            facts |= {"coverage": span, "rows": self.coverage.rows}
        facts |= self.kinds.facts(dry_run=self.dry_run) if self.kinds else {}
        facts |= {"inference": self.inference.file if self.inference else "none"}
        return " ".join(f"{name}={value}" for name, value in facts.items()) + f" {self._total_sec():.2f} s"

    def news(self, folder: Path) -> dict[str, str]:
        """What the user's command gets in its environment; nothing where no CSV is fresh."""
        if not (self.inference and self.manifest_path):
            return {}
        return {
            "BARFEED_INFERENCE_CSV": str((folder / self.inference.file).absolute()),
            "BARFEED_TARGET": self.target or "",
            "BARFEED_MANIFEST": str(Path(self.manifest_path).absolute()),
            **(self.kinds.features.news(folder) if self.kinds else {}),
        }

    def manifest(self, talk: Conversation) -> dict[str, Any]:
        """The record as the manifest keeps it: JSON types only."""
        failure = self.failure or self.kinds_failure
        return {
            "manifest_version": MANIFEST_VERSION,
            "barfeed": __version__,
            "run_time": self.run_time,
            "series": {"symbol": self.series.symbol, "interval": str(self.series.interval)},
            "dataset": self.dataset,
            "status": self.status,
            "exit_code": self.exit_code,
            "message": failure.message if failure else "",
            "hint": failure.hint if failure else "",
            "target": self.target,
            "exchange": exchange_told(talk, self.now_ms),
            "dry_run": self.dry_run,
            "inference_source": self.inference_source,
            "inference_from": self.inference_from,
            "counts": self._counts(),
            "coverage": self._coverage(),
            "files": {"api_pull": file_told(self.pull), "for_inference": file_told(self.inference)}
            | (self.kinds.files_told() if self.kinds else {}),
            "findings": [finding_told(each) for each in self.failure.findings] if self.failure else [],
            "short_window": _short(self.shortage) if self.shortage else None,
            "last_bar": self._last_bar(),
            "revisions": [revision_told(each) for each in self.revised],
            "flat": [span_told(each) for each in self.flat or ()],
            "warnings": self.warnings,
            "then": self.then._asdict() if self.then else None,
            "lake": self.lake.told() if self.lake else None,
            **(self.kinds.told() if self.kinds else {}),
            "durations_sec": self.durations_sec | {"total": round(self._total_sec(), 6)},
        }

    def _last_bar(self) -> str | None:
        last_ms = self.failure.last_bar_ms if self.failure else None
        return None if last_ms is None else grid.text(last_ms)

    def _counts(self) -> dict[str, int]:
        return {
            "pulled": self.pull.rows if self.pull else 0,
            "validated": self.validated,
            "appended": self.appended,
            "pending": self.pending,
            "would_append": self.would_append,
        }

    def _coverage(self) -> dict[str, Any] | None:
        if self.coverage is None:
            return None
        ends = (self.coverage.first_ms, self.coverage.last_ms)
        first, last = (None if each is None else grid.text(each) for each in ends)
        return {"rows": self.coverage.rows, "first": first, "last": last}


def pending_text(bars: int, trouble: StoreUnusable) -> str:
    """What there is to say of bars that a window has and the store has not, for another had it, or it was away."""
    if not bars:
        return "nothing is new, and what was last given is given again"
    one, it = ("bar is", "it") if bars == 1 else ("bars are", "them")
    gets = "gets the file" if trouble.is_held else "reaches the database"
    return f"{bars} {one} in the window and not stored yet; the next cycle that {gets} appends {it}"


def failure_of(error: BaseException) -> Failure:
    """How what ends with this error ended; one that is not ours is a bug, or a signal to stop."""
    if not isinstance(error, BarfeedError):
        bug = f"{type(error).__name__}: {error}"
        return Failure("interrupted", INTERRUPTED_EXIT_CODE, bug, "run it again", (), None)
    said = (error.status, error.exit_code, str(error), error.hint)
    return Failure(*said, error.findings, error.retry_after_sec, error.last_bar_ms)


def exchange_told(talk: Conversation, now_ms: int | None) -> dict[str, Any]:
    """Whom a manifest's cycle asked, and how often."""
    return {
        "base_url": talk.base_url,
        "time": None if now_ms is None else grid.text(now_ms),
        "skew_sec": round(talk.time.skew_sec, 3) if talk.time else None,
        "requests": talk.requests,
        "retries": dict(talk.retries),
        "used_weight": talk.used_weight,
    }


def _short(shortage: "Shortage") -> dict[str, Any]:
    first, whole = (None if each is None else grid.text(each) for each in (shortage.first_ms, shortage.whole_ms))
    return {"bars": shortage.bars, "asked": shortage.asked, "first": first, "whole_from": whole}
