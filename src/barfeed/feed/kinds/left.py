"""How a pass left the kinds that it feeds beside its bars: the manifest's part, and what the line and messages say."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from barfeed.artifacts.told import file_told, finding_told
from barfeed.artifacts.writing import FEATURES, Written
from barfeed.domain import grid
from barfeed.domain.errors import BarfeedError
from barfeed.domain.market.telling import Word, named, rank, said_once
from barfeed.domain.rules import Finding
from barfeed.feed.record import Failure, failure_of

# A CSV of one series among many has its symbol in its name, and is no news of the pass.
_OWN_ENDS = {"PARQUET": f"{FEATURES}.parquet", "CSV": f"{FEATURES}.csv"}


@dataclass
class KindLeft:
    """How one kind was left: of how many series something was due, what came, and why it did not of the others."""

    kind: str
    series: int = 0
    validated: int = 0
    appended: int = 0
    # Rows that the exchange told otherwise, and whose new version was accepted.
    revised: int = 0
    failures: dict[str, Failure] = field(default_factory=dict)
    # What is odd and may be true, by symbol.
    warned: dict[str, list[Finding]] = field(default_factory=dict)
    # What ended the work on this kind for all series at once.
    failure: Failure | None = None
    # Whether another process had the store: the next pass that gets it has all of this.
    is_pending: bool = False

    def fail(self, symbol: str, error: BarfeedError) -> None:
        """Note why there is nothing of one series."""
        self.failures[symbol] = failure_of(error)

    @property
    def worst(self) -> Failure | None:
        """The trouble that weighs most."""
        found = [*([self.failure] if self.failure else []), *self.failures.values()]
        return min(found, key=lambda each: rank(each.exit_code), default=None)

    @property
    def status(self) -> str:
        """`appended`, `pending`, `up_to_date`, or the worst trouble's name."""
        if self.worst:
            return self.worst.status
        if self.is_pending:
            return "pending"
        return "appended" if self.appended else "up_to_date"

    def words(self) -> Iterable[Word]:
        """What there is to say of each series that failed."""
        return [Word(symbol, each.message, each.hint) for symbol, each in self.failures.items()]

    @property
    def warnings(self) -> list[str]:
        """What is odd, rule by rule: of how many series, and the first."""
        by_rule: dict[str, list[tuple[str, Finding]]] = {}
        for symbol, findings in self.warned.items():
            for found in findings:
                by_rule.setdefault(found.rule, []).append((symbol, found))
        return [
            f"{self.kind}: {rule} of {named(list(dict.fromkeys(symbol for symbol, _ in each)))}: {each[0][1]}"
            for rule, each in by_rule.items()
        ]

    def told(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        return {
            "kind": self.kind,
            "status": self.status,
            "series": self.series,
            "validated": self.validated,
            "appended": self.appended,
            "revised": self.revised,
            "message": self.failure.message if self.failure else "",
            "hint": self.failure.hint if self.failure else "",
            "failed": [_failure_told(symbol, each) for symbol, each in self.failures.items()],
            "warnings": self.warnings,
        }


class Features(NamedTuple):
    """The wide table that is published of a bar: of which symbols, and the files of this pass, its CSVs by symbol."""

    of: frozenset[str] = frozenset()
    table: Written | None = None
    csvs: Mapping[str, Written] = MappingProxyType({})

    def told(self) -> dict[str, Any]:
        """As the manifest keeps it, among the run's files."""
        csvs = {f"{FEATURES}_{symbol}": file_told(each) for symbol, each in self.csvs.items()}
        return {FEATURES: file_told(self.table)} | csvs

    def news(self, folder: Path) -> dict[str, str]:
        """What the user's command gets of it in its environment."""
        files = {"PARQUET": self.table, "CSV": next(iter(self.csvs.values()), None)}
        names = {kind: each.file for kind, each in files.items() if each and each.file.endswith(_OWN_ENDS[kind])}
        return {f"BARFEED_FEATURES_{kind}": str((folder / name).absolute()) for kind, name in names.items()}


@dataclass
class KindsLeft:
    """How a pass left every kind that it feeds."""

    kinds: list[KindLeft] = field(default_factory=list)
    # What the exchange said of them; what came with the bars is with theirs.
    pull: Written | None = None
    features: Features = field(default_factory=Features)
    # Why there is no wide table.
    failure: Failure | None = None
    # When the next of them can be had of the same bar, in ms by the exchange's clock; None where none is left.
    again_ms: int | None = None
    # What is missing of kinds that the exchange forgets, as messages with their hints; None where nobody looked.
    holes: list[tuple[str, str]] | None = None

    @property
    def worst(self) -> Failure | None:
        """The trouble that weighs most of all."""
        return min(self.failures, key=lambda each: rank(each.exit_code), default=None)

    @property
    def failures(self) -> list[Failure]:
        """The worst trouble of each kind that has one."""
        return [each.worst for each in self.kinds if each.worst] + ([self.failure] if self.failure else [])

    @property
    def appended(self) -> int:
        """How many rows came, of all kinds."""
        return sum(each.appended for each in self.kinds)

    @property
    def complaints(self) -> list[tuple[str, str]]:
        """What there is to say of all that failed, with its hint; what is the same of many, once."""
        said = [(f"no wide table was written: {self.failure.message}", self.failure.hint)] if self.failure else []
        for each in self.kinds:
            said += [(each.failure.message, each.failure.hint)] if each.failure else []
            said += said_once(each.words())
        return said

    @property
    def trouble(self) -> str:
        """Which kinds failed, and how; empty where none did."""
        failed = [f"{each.kind} {each.status}" for each in self.kinds if each.worst]
        if not self.failures:
            return ""
        message, hint = self.complaints[0]
        if not failed:
            return f"{message} ({hint})"
        return f"{len(failed)} of {len(self.kinds)} kinds failed: {', '.join(failed)}; first: {message} ({hint})"

    @property
    def warnings(self) -> list[str]:
        """What is odd in any of them."""
        return [said for each in self.kinds for said in each.warnings]

    def facts(self, *, dry_run: bool) -> dict[str, object]:
        """Words of the summary line."""
        failed = [each.kind for each in self.kinds if each.worst]
        name = "would_append_rows" if dry_run else "rows_of_kinds"
        facts: dict[str, object] = {"kinds": len(self.kinds), name: self.appended}
        revised = sum(each.revised for each in self.kinds)
        facts |= {"would_revise_rows" if dry_run else "revised_of_kinds": revised} if revised else {}
        facts |= {"kinds_failed": ",".join(failed)} if failed else {}
        return facts | {"features": self.features.table.file if self.features.table else "none"}

    def files_told(self) -> dict[str, Any]:
        """As the manifest keeps them, among the run's files."""
        return {"kinds_pull": file_told(self.pull)} | self.features.told()

    def told(self) -> dict[str, Any]:
        """As the manifest keeps it."""
        again = None if self.again_ms is None else grid.text(self.again_ms)
        missing = None if self.holes is None else [said for said, _ in self.holes]
        return {"kinds": [each.told() for each in self.kinds], "kinds_again": again, "kinds_missing": missing}


def _failure_told(symbol: str, failure: Failure) -> dict[str, Any]:
    return {
        "symbol": symbol,
        "status": failure.status,
        "message": failure.message,
        "hint": failure.hint,
        "findings": [finding_told(each) for each in failure.findings],
    }
