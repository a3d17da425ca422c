"""`barfeed verify`: prove what is stored."""

import json
import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import complain, log_to_stderr, say
from barfeed.cli.values.addresses import check_address
from barfeed.cli.values.moments import MOMENT
from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, StoreEmpty, UsageError
from barfeed.domain.grid import Gap
from barfeed.domain.sources import cut

if TYPE_CHECKING:
    from barfeed.domain.kinds.kind import Kind
    from barfeed.domain.rules import Finding
    from barfeed.exchange.archive import Archive
    from barfeed.exchange.market import HistoryOf
    from barfeed.exchange.paging import RestHistory
    from barfeed.history.verification import Compared, Comparison, Difference, Held, Proven
    from barfeed.store.lake.proof import Proven as ProvenLake
    from barfeed.store.port.whole import WholeHistory

# How a source's values are called: what REST says is what the exchange says.
EXCHANGE = "exchange"
CONNECTIONS = 4
LAKE_HINT = (
    "the next pass writes what the lake lacks; of a day that is another than the store's, take the folder away, and the"
    " next pass writes it anew; what is not in its manifest, take away"
)
_OF_SIDES = frozenset({"mismatch", "unknown"})


@dataclass
class Report:
    """Of one series: what was proven, and what was found, as it comes."""

    series: Series
    held: "Held"
    findings: "list[Finding]"
    proven: "Proven"
    compared: int | None = None
    differences: "list[Difference]" = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    # Open_times (ms) that the archive lacks. It has holes of its own: that says nothing against a stored bar.
    not_compared: list[int] = field(default_factory=list)
    # What of the stored history's gaps the exchange itself lacks.
    lacking: list[Gap] = field(default_factory=list)

    lake: "ProvenLake | None" = None

    @property
    def all_findings(self) -> "list[Finding]":
        """All that was found."""
        of_lake = self.lake.findings if self.lake else ()
        return [*self.findings, *(each.finding for each in self.differences), *self.proven.findings, *of_lake]


@click.command(
    epilog=examples(
        "barfeed verify",
        "barfeed verify --against rest --from 2024-01-01 --to 2024-02-01",
        "barfeed verify --symbols all --intervals 1h,4h",
        "barfeed verify --kinds open_interest,funding --against archive",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--against", type=click.Choice(["rest", "archive"]), help="Compare every stored bar with this, too.")
@click.option("--from", "from_ms", type=MOMENT, help="With --against: first open time, UTC.")
@click.option("--to", "to_ms", type=MOMENT, help="With --against: open time to end before, UTC.")
@click.option("--kinds", "of_kinds", default="", help="Prove rows of these kinds of series instead of bars.")
@click.option("--archive-url", default="https://data.binance.vision", show_default=True, help="The public archive.")
@options_of(
    "duckdb", "store", "persist_dir", "dataset", "symbol", "interval", "intervals", "weight_budget", "base_url",
    "max_wait_sec", "lock_timeout_sec", "debug", "spot_url",
    symbols="Prove many series: all that the store holds, or names and patterns of them.",
    lake="Prove this lake, too: each file by its sum, each row against the store's.",
    json="Print findings and summary as one line of JSON.",
)  # fmt: skip
def verify(
    *, against: str | None, from_ms: int | None, to_ms: int | None, of_kinds: str, archive_url: str, **values: Any
) -> int:
    """Prove the whole table by the rules, and every run's files by their manifest; change nothing.

    Exit 0 when nothing was found, 1 when something was.
    """
    settings = Settings(**values)
    log_to_stderr(settings)
    _check_span(against, from_ms, to_ms)
    if of_kinds:
        from barfeed.cli.kinds.verify import verify_kinds  # noqa: PLC0415
        from barfeed.cli.market.verify import Against  # noqa: PLC0415

        return verify_kinds(settings, of_kinds, Against(against, archive_url, from_ms, to_ms))
    if many := choice(settings):
        from barfeed.cli.market.verify import Against, verify_market  # noqa: PLC0415

        return verify_market(settings, many, Against(against, archive_url, from_ms, to_ms))
    series = settings.series()
    store = _store(settings)
    report = _prove(settings, store, series)
    if against:
        from barfeed.cli.wiring import told_by_its_life  # noqa: PLC0415

        with told_by_its_life(settings, sister("backfill")):
            compare(store, report, _whom(settings, against, archive_url), (from_ms, to_ms))
    report.lake = proven_lake(settings, store, series.interval)
    say(*([json.dumps(_facts(report))] if settings.json else _lines(report)))
    found = report.all_findings
    if found:
        complain(f"{series}: {len(found)} findings; first: {found[0]}", _hint(report))
    return int(bool(found))


def _check_span(against: str | None, from_ms: int | None, to_ms: int | None) -> None:
    if not against and (from_ms is not None or to_ms is not None):
        raise UsageError("--from and --to need --against: without it the whole table is proven")
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        raise UsageError("--from must be before --to")


def _store(settings: Settings) -> "WholeHistory":
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.stores import open_whole  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    return open_whole(settings, SystemClock())


def _prove(settings: Settings, store: "WholeHistory", series: Series) -> Report:
    from barfeed.artifacts.writing import slug  # noqa: PLC0415
    from barfeed.history.verification import check_runs, check_table  # noqa: PLC0415

    try:
        held, findings = check_table(store, series)
    except StoreEmpty as problem:
        raise StoreEmpty(str(problem), hint=f"fill it: {sister('backfill')}") from problem
    folder = settings.persist_dir / slug(settings.dataset or series.dataset)
    return Report(series, held, findings, check_runs(folder))


def proven_lake(
    settings: Settings, store: "WholeHistory", interval: Interval, of: "Sequence[Kind]" = ()
) -> "ProvenLake | None":
    """What there is to say of the lake's tables of an interval, or those `of` kinds; None where no lake is meant."""
    from barfeed.cli.stores import open_lake  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    lake = open_lake(settings, SystemClock())
    if lake is None:
        return None
    from barfeed.store.lake.proof import prove  # noqa: PLC0415 - most have none

    return prove(store.origin, lake, interval, of)


def lake_counts(lake: "ProvenLake | None") -> dict[str, int]:
    """How much of a lake was looked at, as a summary tells it; nothing where none is meant."""
    return {"lake_files": lake.files, "lake_rows": lake.rows} if lake else {}


def compare(store: "WholeHistory", report: Report, whom: "Whom", bounds: tuple[int | None, int | None]) -> None:
    """Compare the stored bars of the span with a source, and ask the exchange about those that differ."""
    from barfeed.history.verification import Comparison, asked_span  # noqa: PLC0415

    report.compared = 0
    asked = asked_span(report.held, report.series, *bounds)
    if asked is None:
        report.notes.append("no stored bar lies in that span: nothing was compared")
        return
    comparison = Comparison(store, report.series)
    can_ask = _start(whom, report)
    for part in comparison.with_source(whom.archive or whom.rest, whom.name, asked):
        _take(report, part, whom)
    lacking = grid.gaps(report.not_compared, report.series.interval.ms)
    report.notes += [f"{gap}: the archive has no such bars; they were not compared" for gap in lacking]
    if can_ask:
        with _asked_too(report):
            _ask_too(report, comparison, whom, asked)


def _ask_too(report: Report, comparison: "Comparison", whom: "Whom", asked: Gap) -> None:
    """What the exchange says of bars that the archive has otherwise, and of those that are missing."""
    from barfeed.history.verification import with_own_holes  # noqa: PLC0415

    if whom.archive:
        report.differences = comparison.third_opinion(whom.rest, EXCHANGE, report.differences)
    step_ms, gaps = report.series.interval.ms, report.held.gaps
    report.lacking = comparison.lacking(whom.rest, cut(gaps, asked.first_ms, asked.last_ms, step_ms))
    report.findings = with_own_holes(report.findings, gaps, report.lacking, step_ms)


def _start(whom: "Whom", report: Report) -> bool:
    """Ask the exchange for its time; without it the archive can be compared, too."""
    try:
        whom.rest.start(None)
    except BarfeedError as problem:
        if not whom.archive:
            raise
        report.notes.append(f"the exchange was not asked: {problem}")
        return False
    return True


@contextmanager
def _asked_too(report: Report) -> Iterator[None]:
    try:
        yield
    except BarfeedError as problem:
        # What differs is told all the same.
        report.notes.append(f"the exchange was not asked: {problem}")


def _take(report: Report, part: "Compared", whom: "Whom") -> None:
    from barfeed.history.verification import Difference  # noqa: PLC0415

    report.compared = (report.compared or 0) + part.bars
    report.differences += part.differences
    report.findings += part.findings
    report.notes += [str(note) for note in part.notes]
    if whom.archive:
        report.not_compared += [bar.open_time_ms for bar in part.alone]
    else:
        report.differences += [Difference(bar, {EXCHANGE: None}) for bar in part.alone]


class Whom(NamedTuple):
    """Whom the stored bars are compared with: the archive where there is one, else the exchange by REST."""

    rest: "RestHistory | HistoryOf"
    archive: "Archive | None"

    @property
    def name(self) -> str:
        """How its values are called."""
        return "archive" if self.archive else EXCHANGE


def _whom(settings: Settings, against: str, archive_url: str) -> Whom:
    from barfeed.cli.wiring import history_tools  # noqa: PLC0415

    check_address("--archive-url", archive_url)
    tools = history_tools(settings, CONNECTIONS, archive_url, None, writes=False)
    return Whom(tools.rest, tools.archive if against == "archive" else None)


def _lines(report: Report) -> list[str]:
    """One finding a line, then the notes, then the summary."""
    summary = " ".join(f"{name}={value}" for name, value in _summary(report).items())
    return [
        *(f"{each.rule}: {each}" for each in report.all_findings),
        *(f"note: {note}" for note in report.notes),
        summary,
    ]


def _summary(report: Report) -> dict[str, object]:
    span = report.held.span
    facts: dict[str, object] = {"verified": report.held.rows}
    facts |= {"span": f"{grid.text(span.first_ms)}..{grid.text(span.last_ms)}"} if span else {}
    facts |= {} if report.compared is None else {"compared": report.compared}
    facts |= {"manifests": report.proven.manifests, "files": report.proven.files}
    facts |= lake_counts(report.lake)
    return facts | {"findings": len(report.all_findings)}


def _facts(report: Report) -> dict[str, object]:
    return _summary(report) | {"findings": findings_told(report), "notes": report.notes}


def findings_told(report: Report) -> list[dict[str, object]]:
    """Each finding as JSON types."""
    values = {each.open_time_ms: _sides(each) for each in report.differences}
    return [
        {
            "rule": each.rule,
            "bar": None if each.open_time_ms is None else grid.text(each.open_time_ms),
            "message": each.message,
            "values": values.get(each.open_time_ms) if each.rule in _OF_SIDES and each.open_time_ms else None,
        }
        for each in report.all_findings
    ]


def _sides(difference: "Difference") -> dict[str, dict[str, float | None] | None]:
    # JSON has no NaN.
    return {
        side: None if told is None else {name: value if math.isfinite(value) else None for name, value in told.items()}
        for side, told in difference.values.items()
    }


def _hint(report: Report) -> str:
    rules = {each.rule for each in report.all_findings}
    hints = {
        "gap": _gap_hint(report),
        "mismatch": _mismatch_hint(report),
        "file": file_hint(report.proven.findings),
        "lake": LAKE_HINT,
    }
    return "; ".join(hint for rule, hint in hints.items() if rule in rules)


def _gap_hint(report: Report) -> str:
    from barfeed.history.verification import fillable  # noqa: PLC0415

    gaps = fillable(report.held.gaps, report.lacking, report.series.interval.ms)
    if not gaps or report.held.span is None:
        return "what the exchange has not got cannot be filled: nothing is made up"
    plan = _repair(report, gaps[0].first_ms, report.held.span.last_ms)
    return f"see the plan to fill what is missing: {plan} --only gaps"


def file_hint(findings: "Sequence[Finding]") -> str:
    """What helps where a file of a run is not what its manifest says."""
    messages = [each.message for each in findings if each.rule == "file"]
    # Imported here, as what else the proof needs.
    from barfeed.artifacts.writing import LATEST_NAME  # noqa: PLC0415

    of_latest = [LATEST_NAME in each for each in messages]
    hints = [] if all(of_latest) else ["a changed or lost file of a run comes back from a backup only"]
    hints += [f"the next good hour writes {LATEST_NAME} anew: {sister('run', '--catch-up')}"] if any(of_latest) else []
    return "; ".join(hints)


def is_exchanges(differences: "Sequence[Difference]") -> bool:
    """Whether the exchange says what is stored of all that differ from the archive."""
    return all(each.others.get(EXCHANGE) == each.stored for each in differences)


def _mismatch_hint(report: Report) -> str:
    if is_exchanges(report.differences):
        return "the exchange says what is stored, the archive is odd: there is nothing to repair"
    opens = [each.open_time_ms for each in report.differences]
    return f"see the plan to mend the bars: {_repair(report, min(opens), max(opens))}"


def _repair(report: Report, first_ms: int, last_ms: int) -> str:
    """The command that looks at the bars from the one to the other, both included."""
    end_ms = last_ms + report.series.interval.ms
    return sister("repair", "--from", grid.text(first_ms), "--to", grid.text(end_ms), "--dry-run")
