"""What one pass over a market did, series by series: the manifest and the summary line made of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from barfeed import __version__
from barfeed.artifacts.told import file_told, finding_told, revision_told, span_told
from barfeed.artifacts.writing import Written
from barfeed.domain import grid, rules
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval
from barfeed.domain.errors import BarfeedError, ExchangeUnavailable
from barfeed.domain.grid import Gap
from barfeed.domain.market.membership import Event
from barfeed.domain.market.telling import Word, rank, said_once
from barfeed.exchange.rest import Conversation
from barfeed.exchange.wire import ExchangeInfo
from barfeed.feed.record import (
    MANIFEST_VERSION,
    Ended,
    Failure,
    LakeLeft,
    Lived,
    Measured,
    Newest,
    exchange_told,
    failure_of,
)
from barfeed.machine.clock import Clock


@dataclass
class Outcome:
    """How a pass ended for one symbol. Times are ms since 1970-01-01 UTC."""

    symbol: str
    target_ms: int
    pulled: int = 0
    validated: int = 0
    appended: int = 0
    pending: int = 0
    failure: Failure | None = None
    # Why it has no bar of this hour, and it is nobody's trouble: it is settled, halted, or still to come.
    quiet: str = ""
    # Why its window is not among the published ones, where nothing is wrong with it.
    short: str = ""
    flat: list[Gap] = field(default_factory=list)
    is_published: bool = False
    # The newest bar that is stored.
    newest_ms: int | None = None
    # The stored bars in whose place the exchange's were taken.
    revised: list[Change] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`appended`, `pending`, `up_to_date`, `quiet`, or the error's name."""
        if self.failure:
            return self.failure.status
        if self.quiet:
            return "quiet"
        if self.pending:
            return "pending"
        if self.appended:
            return "appended"
        return "revised" if self.revised else "up_to_date"

    @property
    def flat_text(self) -> str:
        """What there is to say of its bars without a trade; empty where there are none."""
        return rules.not_traded(map(str, self.flat))

    @property
    def is_late(self) -> bool:
        """Whether it may be shown, or answered, in a moment."""
        return self.failure is not None and self.failure.exit_code == ExchangeUnavailable.exit_code

    def fail(self, error: BarfeedError) -> None:
        """Note why there is no bar of it; what else is fed goes on."""
        self.failure = failure_of(error)

    def has_all(self, appended: int, *, dry_run: bool) -> None:
        """Note that it is stored up to its target, by so many bars that were appended; or would be."""
        self.appended = appended
        self.newest_ms = self.newest_ms if dry_run else self.target_ms

    def carried(self) -> "Outcome":
        """As a later pass over the same bar has it, which asks nothing of it."""
        return replace(self, pulled=0, validated=0, appended=0, revised=[])

    def told(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        failure = self.failure
        return {
            "symbol": self.symbol,
            "status": self.status,
            "target": grid.text(self.target_ms),
            "pulled": self.pulled,
            "validated": self.validated,
            "appended": self.appended,
            "pending": self.pending,
            "published": self.is_published,
            "message": failure.message if failure else self.quiet or self.short,
            "hint": failure.hint if failure else "",
            "findings": [finding_told(each) for each in failure.findings] if failure else [],
            "revisions": [revision_told(each) for each in self.revised],
            "flat": [span_told(each) for each in self.flat],
        }


@dataclass
class MarketRecord(Lived):
    """The facts of one pass. Times are ms since 1970-01-01 UTC by the exchange's clock."""

    interval: Interval
    dataset: str
    selection: str
    dry_run: bool
    clock: Clock
    now_ms: int | None = None
    target_ms: int | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    events: Sequence[Event] = ()
    # What the windows have and the store has not: another process had it.
    pending: Mapping[str, Sequence[Bar]] = field(default_factory=dict)
    pull: Written | None = None
    inference: Written | None = None
    csvs: dict[str, Written] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    # What ended the pass for every series at once.
    failure: Failure | None = None
    durations_sec: dict[str, float] = field(default_factory=dict)
    then: Ended | None = None
    lake: LakeLeft | None = None
    run_time: str | None = None
    manifest_path: str | None = None
    # Of a pass before it, over the same bar: what is not asked again, and whose windows it has published.
    carried: frozenset[str] = frozenset()
    published_before: frozenset[str] = frozenset()
    features_before: frozenset[str] = frozenset()
    # From where on (ms) each window is given to the models.
    begins_ms: Mapping[str, int] = field(default_factory=dict)
    # What the exchange listed; and of a pass before its bar has settled, the series that are left to the clock.
    info: ExchangeInfo | None = None
    is_early: bool = False
    awaited: Sequence[str] = ()

    def carry(self, before: "MarketRecord | None") -> None:
        """Take over what a pass before it, over the same bar, did well, and what waits for the clock."""
        if before is None or before.failure or before.target_ms != self.target_ms:
            return
        self.published_before = frozenset(name for name, each in before.outcomes.items() if each.is_published)
        self.outcomes = {
            name: each.carried() for name, each in before.outcomes.items() if not self._is_asked_again(each, before)
        }
        self.carried = frozenset(self.outcomes)
        self.inference = before.inference
        self.features_before = before.kinds.features.of if before.kinds else frozenset()

    def _is_asked_again(self, outcome: Outcome, before: "MarketRecord") -> bool:
        if outcome.pending:
            # What is not stored yet has to be pulled anew: nothing else has its bars.
            return True
        if self.is_early:
            # What was not late needs more time than that.
            return outcome.is_late
        return bool(outcome.failure or (before.is_early and outcome.quiet))

    @property
    def fed(self) -> str:
        """Which symbols, as they were asked for, and at what interval."""
        return f"{self.selection} {self.interval}"

    @property
    def troubles(self) -> list[Outcome]:
        """The series that failed, worst first."""
        failed = [(rank(each.failure.exit_code), each.symbol) for each in self.outcomes.values() if each.failure]
        return [self.outcomes[symbol] for _, symbol in sorted(failed)]

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """What there is to say of all that failed, worst first, with its hint; what is the same of many, once."""
        words = [Word(each.symbol, each.failure.message, each.failure.hint) for each in self.troubles if each.failure]
        own = [(self.failure.message, self.failure.hint)] if self.failure else []
        return own + said_once(words) + (self.kinds.complaints if self.kinds else [])

    @property
    def trouble(self) -> str:
        """The pass's own trouble, or how many series failed and how; empty where it ended well."""
        if self.failure or not self.troubles:
            return super().trouble
        counts = Counter(each.status for each in self.troubles)
        counted = " ".join(f"{status}={count}" for status, count in counts.items())
        kinds = f"; {self.kinds.trouble}" if self.kinds and self.kinds.trouble else ""
        return f"{len(self.troubles)} of {len(self.outcomes)} series failed: {counted}{kinds}"

    @property
    def status(self) -> str:
        """The pass's own error, or that of its worst series; `dry_run`, `pending`, `appended` or `up_to_date`."""
        if failure := self.failure or next((each.failure for each in self.troubles), self.kinds_failure):
            return failure.status
        if self.dry_run:
            return "dry_run"
        if self.pending:
            return "pending"
        if any(each.appended for each in self.outcomes.values()):
            return "appended"
        return "revised" if self.revised else "up_to_date"

    @property
    def revised(self) -> int:
        """In place of how many stored bars the exchange's were taken."""
        return sum(len(each.revised) for each in self.outcomes.values())

    @property
    def exit_code(self) -> int:
        """What the process ends with: the worst series' one."""
        if self.failure:
            return self.failure.exit_code
        failures = [*(each.failure for each in self.troubles[:1]), self.kinds_failure]
        return min((each.exit_code for each in failures if each), key=rank, default=0)

    @property
    def measured(self) -> Measured:
        """What there is to count of it: of its series nothing where it failed, or leaves some to the clock."""
        outcomes = self.outcomes.values()
        appended = 0 if self.dry_run else sum(each.appended for each in outcomes)
        newest_of = self._newest_of()
        newest_ms = max((each.newest_ms for each in newest_of.values() if each.newest_ms is not None), default=None)
        revised = 0 if self.dry_run else self.revised
        if self.failure or self.is_early:
            return Measured(newest_ms, appended, revised, [self.failure] if self.failure else [])
        failures = [each.failure for each in self.troubles if each.failure]
        failures += self.kinds.failures if self.kinds else []
        ended, windows = Counter(each.status for each in outcomes), sum(each.is_published for each in outcomes)
        known = None if self.away else newest_of
        return Measured(newest_ms, appended, revised, failures, ended=ended, newest_of=known, windows=windows)

    def _newest_of(self) -> dict[str, Newest]:
        """Each series' newest; what stands in for a database does not know what is stored."""
        known = [] if self.away else [each for each in self.outcomes.values() if not each.quiet]
        return {each.symbol: Newest(each.newest_ms, each.target_ms) for each in known}

    @property
    def is_of_use(self) -> bool:
        """Whether it ended well, or gave the models what is well: one series' trouble is not the market's."""
        return (super().is_of_use and not self.troubles) or bool(self.fresh)

    @property
    def fresh(self) -> list[str]:
        """The symbols whose window, up to the target, this pass was the first to publish."""
        published = [symbol for symbol, each in self.outcomes.items() if each.is_published]
        return [symbol for symbol in published if symbol not in self.published_before]

    @property
    def missing(self) -> list[str]:
        """The symbols that were to be fed and whose window is not."""
        return [symbol for symbol, each in self.outcomes.items() if not each.is_published] + list(self.awaited)

    @property
    def counts(self) -> dict[str, int]:
        """How many series ended how, and how many bars came; of what did not happen there is nothing."""
        outcomes = self.outcomes.values()
        name = "would_append" if self.dry_run else "appended"
        counts = {"series": len(outcomes), name: sum(each.appended > 0 for each in outcomes)}
        counts |= {"bars": sum(each.appended for each in outcomes)} | Counter(each.status for each in self.troubles)
        kinds = {
            "would_revise" if self.dry_run else "revised": self.revised,
            "pending": len(self.pending),
            "quiet": sum(bool(each.quiet) for each in outcomes),
            "short": sum(bool(each.short) for each in outcomes),
            "awaited": len(self.awaited),
        }
        return counts | {kind: count for kind, count in kinds.items() if count}

    def line(self) -> str:
        """The summary line: a pass in one breath."""
        facts: dict[str, object] = {"failed": self.status, "exit": self.exit_code} if self.exit_code else {}
        facts |= self.counts
        facts |= {"interval": str(self.interval)} | ({"target": self.target} if self.target else {})
        facts |= {"windows": sum(each.is_published for each in self.outcomes.values())}
        facts |= self.kinds.facts(dry_run=self.dry_run) if self.kinds else {}
        facts |= {"inference": self.inference.file if self.inference else "none"}
        return " ".join(f"{name}={value}" for name, value in facts.items()) + f" {self._total_sec():.2f} s"

    def news(self, folder: Path) -> dict[str, str]:
        """What the user's command gets in its environment; nothing where the pass failed, or no window is fresh."""
        if self.failure or not (self.inference and self.fresh and self.manifest_path):
            return {}
        return {
            "BARFEED_INFERENCE_PARQUET": str((folder / self.inference.file).absolute()),
            "BARFEED_TARGET": self.target or "",
            "BARFEED_MANIFEST": str(Path(self.manifest_path).absolute()),
            "BARFEED_FRESH": ",".join(self.fresh),
            "BARFEED_MISSING": ",".join(self.missing),
            **(self.kinds.features.news(folder) if self.kinds else {}),
        }

    def manifest(self, talk: Conversation) -> dict[str, Any]:
        """The record as the manifest keeps it: JSON types only."""
        return {
            "manifest_version": MANIFEST_VERSION,
            "barfeed": __version__,
            "run_time": self.run_time,
            "series": {"symbols": self.selection, "interval": str(self.interval)},
            "dataset": self.dataset,
            "status": self.status,
            "exit_code": self.exit_code,
            "message": self.failure.message if self.failure else "",
            "hint": self.failure.hint if self.failure else "",
            "target": self.target,
            "exchange": exchange_told(talk, self.now_ms),
            "dry_run": self.dry_run,
            "counts": self.counts,
            # The run's own; the latest windows are the next run's, too.
            "files": {"api_pull": file_told(self.pull)}
            | {f"for_inference_{symbol}": file_told(each) for symbol, each in self.csvs.items()}
            | (self.kinds.files_told() if self.kinds else {}),
            "windows": file_told(self.inference),
            "inference_from": None if self.inference is None else "db,api" if self.pending or self.away else "db",
            "outcomes": [each.told() for each in self.outcomes.values()],
            "awaited": list(self.awaited),
            "membership": [each._asdict() for each in self.events],
            "warnings": self.warnings,
            "then": self.then._asdict() if self.then else None,
            "lake": self.lake.told() if self.lake else None,
            **(self.kinds.told() if self.kinds else {}),
            "durations_sec": self.durations_sec | {"total": round(self._total_sec(), 6)},
        }
