"""`barfeed verify --symbols`: a whole market proven, by the rules and the messages of one series."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import NamedTuple

from barfeed.cli.commands.history.verify import (
    CONNECTIONS,
    LAKE_HINT,
    Report,
    Whom,
    compare,
    file_hint,
    findings_told,
    is_exchanges,
    lake_counts,
    proven_lake,
)
from barfeed.cli.hints import sister
from barfeed.cli.market.asking import Asking, asking_market
from barfeed.cli.market.choice import Choice, each_interval, folder
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.cli.values.addresses import check_address
from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, StoreEmpty, ValidationFailed
from barfeed.domain.grid import Gap
from barfeed.domain.market.selection import Selection
from barfeed.domain.market.telling import Word, of_all, rank, said_once
from barfeed.domain.rules import Finding
from barfeed.exchange.archive import Archive
from barfeed.exchange.market import History
from barfeed.exchange.rest import Rest
from barfeed.exchange.transport.single import open_transport
from barfeed.history.market.verification import check_market
from barfeed.history.verification import Proven, asked_span, check_runs, fillable
from barfeed.machine.clock import SystemClock
from barfeed.store.lake.proof import Proven as ProvenLake
from barfeed.store.port.whole import WholeHistory

# So many bars of the exchange's are in memory at once.
_BARS_AHEAD = 50_000
# More symbols than a command line is read with: then those that this one was called with.
_NAMED_MAX = 5
# What is wrong with a value weighs more than what is missing, and what is stored more than what was published of it.
_WORST_FIRST = (
    "shape", "unique", "on_grid", "finite", "not_negative", "above_zero", "high_low", "mismatch", "unknown", "gap",
)  # fmt: skip


class Against(NamedTuple):
    """Whom the bars that open in `[from_ms, to_ms)` are compared with, None for nobody."""

    source: str | None
    archive_url: str
    from_ms: int | None
    to_ms: int | None

    @property
    def bounds(self) -> tuple[int | None, int | None]:
        """The first moment, and the end."""
        return self.from_ms, self.to_ms


class _Found(NamedTuple):
    """A finding, and of whom: empty where it is of a file that holds everybody."""

    symbol: str
    finding: Finding

    @property
    def said(self) -> tuple[str, str]:
        return self.finding.rule, str(self.finding)


@dataclass
class _Market:
    """What was proven of a market at one interval, and what was found, as it comes."""

    interval: Interval
    selection: Selection
    reports: dict[str, Report]
    failed: dict[str, BarfeedError]
    proven: Proven
    quiet: dict[str, str] = field(default_factory=dict)
    lake: ProvenLake | None = None

    @property
    def of_files(self) -> list[Finding]:
        """What was found of files that hold everybody: those of the runs, and the lake's."""
        return [*self.proven.findings, *(self.lake.findings if self.lake else ())]

    @property
    def found(self) -> list[_Found]:
        """Worst first; of what is as bad, what is of most series first."""
        own = [_Found(each.series.symbol, found) for each in self.reports.values() for found in each.all_findings]
        times: dict[tuple[str, str], int] = {}
        for each in own:
            times[each.said] = times.get(each.said, 0) + 1
        worst_first = sorted(
            own, key=lambda each: (_WORST_FIRST.index(each.finding.rule), -times[each.said], each.said)
        )
        return [*worst_first, *(_Found("", each) for each in self.of_files)]

    @property
    def exit_code(self) -> int:
        """The worst series' one."""
        codes = [each.exit_code for each in self.failed.values()] + [ValidationFailed.exit_code] * bool(self.found)
        return min(codes, key=rank, default=0)

    def with_rule(self, rule: str) -> list[Report]:
        """The series of which a rule is broken."""
        return [each for each in self.reports.values() if any(found.rule == rule for found in each.all_findings)]


def _rank(rule: str) -> int:
    # What a source's own rows break comes last.
    return _WORST_FIRST.index(rule) if rule in _WORST_FIRST else len(_WORST_FIRST)


def verify_market(settings: Settings, many: Choice, against: Against) -> int:
    """Prove each interval, say what was found; the worst exit code of all."""
    if against.source:
        check_address("--archive-url", against.archive_url)
    store = open_whole(settings, SystemClock())

    def verify(interval: Interval) -> int:
        market = _proven(settings, store, many.selection, interval)
        if against.source:
            _compare(settings, store, market, against)
        market.lake = proven_lake(settings, store, interval)
        say(*([json.dumps(_facts(market))] if settings.json else _lines(market)))
        _complain(market)
        return market.exit_code

    return each_interval(many, verify)


def _proven(settings: Settings, store: WholeHistory, selection: Selection, interval: Interval) -> _Market:
    checked = check_market(store, interval, selection)
    if not checked:
        raise StoreEmpty(
            f"market {interval}: {store.name} holds no bar to verify", hint=f"fill it: {sister('run', '--catch-up')}"
        )
    failed = {symbol: each for symbol, each in checked.items() if isinstance(each, BarfeedError)}
    reports = {
        symbol: Report(Series(symbol, interval), each.held, each.findings, Proven(0, 0, []))
        for symbol, each in checked.items()
        if not isinstance(each, BarfeedError)
    }
    return _Market(interval, selection, reports, failed, check_runs(folder(settings, interval)))


def _compare(settings: Settings, store: WholeHistory, market: _Market, against: Against) -> None:
    """Compare every series with a source; why one cannot be is noted, and the others go on."""
    with asking_market(settings, market.interval) as asking:
        history = History(asking.talk, asking.ask, settings.max_wait_sec)
        archive = _archives(settings, asking, against.archive_url) if against.source == "archive" else None
        bounds = (against.from_ms, against.to_ms)
        for reports in _batches(list(market.reports.values()), bounds):
            if archive is None:
                history.fetch_ahead(_spans(reports, bounds))
            for each in reports:
                whom = Whom(history.of(each.series), archive(each) if archive else None)
                try:
                    compare(store, each, whom, bounds)
                except BarfeedError as trouble:
                    _note(market, each, trouble, asking)


def _note(market: _Market, report: Report, trouble: BarfeedError, asking: Asking) -> None:
    series = report.series
    newest_ms = report.held.span.last_ms if report.held.span else None
    why = asking.explained(series, trouble, newest_ms, sister("backfill", "--symbol", series.symbol))
    if asking.is_nobodys(series, trouble, market.selection):
        market.quiet[series.symbol] = str(why)
    else:
        market.failed[series.symbol] = why


def _archives(settings: Settings, asking: Asking, url: str) -> Callable[[Report], Archive]:
    """The archive of each series, over a few connections that all of them share."""
    clock = SystemClock()
    rests = [Rest(url, open_transport(url, clock), clock) for _ in range(CONNECTIONS)]
    turns = cycle(rests)

    def of(report: Report) -> Archive:
        return Archive(
            report.series,
            lambda: next(turns),
            settings.max_wait_sec,
            lambda: asking.talk.now_ms,
            connections=CONNECTIONS,
        )

    return of


def _spans(reports: Sequence[Report], bounds: tuple[int | None, int | None]) -> Mapping[Series, Sequence[Gap]]:
    spans = {each.series: asked_span(each.held, each.series, *bounds) for each in reports}
    return {series: [span] for series, span in spans.items() if span}


def _batches(reports: Sequence[Report], bounds: tuple[int | None, int | None]) -> Iterator[list[Report]]:
    batch: list[Report] = []
    bars = 0
    for each in reports:
        batch.append(each)
        span = asked_span(each.held, each.series, *bounds)
        bars += span.bars if span else 0
        if bars >= _BARS_AHEAD:
            yield batch
            batch, bars = [], 0
    if batch:
        yield batch


def _lines(market: _Market) -> list[str]:
    """The summary; then what is wrong, worst first, and what is the same of many once; then the notes."""
    summary = " ".join(f"{name}={value}" for name, value in _summary(market).items())
    said: dict[tuple[str, str], list[str]] = {}
    for each in market.found:
        said.setdefault(each.said, []).append(each.symbol)
    lines = [f"{rule}: {_of_whom(symbols, message)}" for (rule, message), symbols in said.items()]
    return [summary, *lines, *(f"note: {note}" for note in _notes(market))]


def _of_whom(symbols: Sequence[str], message: str) -> str:
    return of_all(symbols, message) if symbols[0] else message


def _notes(market: _Market) -> list[str]:
    words = [Word(symbol, note) for symbol, each in market.reports.items() for note in each.notes]
    words += [Word(symbol, f"{why}; not compared") for symbol, why in market.quiet.items()]
    return [said for said, _ in said_once(words)]


def _summary(market: _Market) -> dict[str, object]:
    reports = market.reports.values()
    spans = [each.held.span for each in reports if each.held.span]
    facts: dict[str, object] = {"verified": sum(each.held.rows for each in reports), "series": len(reports)}
    facts |= {"failed": len(market.failed)} if market.failed else {}
    facts |= {"interval": str(market.interval)}
    if spans:
        first_ms, last_ms = min(each.first_ms for each in spans), max(each.last_ms for each in spans)
        facts |= {"span": f"{grid.text(first_ms)}..{grid.text(last_ms)}"}
    compared = [each.compared for each in reports if each.compared is not None]
    facts |= {"compared": sum(compared)} if compared else {}
    facts |= {"manifests": market.proven.manifests, "files": market.proven.files}
    facts |= lake_counts(market.lake)
    return facts | {"findings": len(market.found)}


def _facts(market: _Market) -> dict[str, object]:
    own = [{"symbol": symbol} | told for symbol, each in market.reports.items() for told in findings_told(each)]
    of_files = [{"symbol": None, "rule": each.rule, "bar": None, "message": each.message, "values": None}
                for each in market.of_files]  # fmt: skip
    failed = [
        {"symbol": symbol, "status": each.status, "message": str(each), "hint": each.hint}
        for symbol, each in market.failed.items()
    ]
    return _summary(market) | {"findings": own + of_files, "failed_series": failed, "notes": _notes(market)}


def _complain(market: _Market) -> None:
    if found := market.found:
        series = len({each.symbol for each in found if each.symbol})
        first = _lines(market)[1]
        complain(f"market {market.interval}: {len(found)} findings in {series} series; worst: {first}", _hint(market))
    worst_first = sorted(market.failed.items(), key=lambda each: rank(each[1].exit_code))
    for message, hint in said_once(Word(symbol, str(why), why.hint) for symbol, why in worst_first):
        complain(message, hint)


def _hint(market: _Market) -> str:
    hints = [_gap_hint(market), _mismatch_hint(market)]
    if any(each.rule == "file" for each in market.proven.findings):
        hints.append(file_hint(market.proven.findings))
    if market.lake and market.lake.findings:
        hints.append(LAKE_HINT)
    return "; ".join(each for each in hints if each)


def _gap_hint(market: _Market) -> str:
    torn = market.with_rule("gap")
    fill = [(each, gaps) for each in torn if (gaps := fillable(each.held.gaps, each.lacking, market.interval.ms))]
    if not torn or fill:
        return _plan_to_fill(market, fill) if fill else ""
    return "what the exchange has not got cannot be filled: nothing is made up"


def _plan_to_fill(market: _Market, fill: Sequence[tuple[Report, Sequence[Gap]]]) -> str:
    first_ms, last_ms = min(gaps[0].first_ms for _, gaps in fill), max(gaps[-1].last_ms for _, gaps in fill)
    plan = _repair(market, [report for report, _ in fill], first_ms, last_ms)
    return f"see the plan to fill what is missing: {plan} --only gaps"


def _mismatch_hint(market: _Market) -> str:
    differing = market.with_rule("mismatch")
    if not differing:
        return ""
    if all(is_exchanges(each.differences) for each in differing):
        return "the exchange says what is stored, the archive is odd: there is nothing to repair"
    opens = [found.open_time_ms for each in differing for found in each.differences]
    return f"see the plan to mend the bars: {_repair(market, differing, min(opens), max(opens))}"


def _repair(market: _Market, reports: Sequence[Report], first_ms: int, last_ms: int) -> str:
    """The command that looks at the bars of these from the one to the other, both included."""
    symbols = [each.series.symbol for each in reports]
    words = ",".join(symbols) if len(symbols) <= _NAMED_MAX else str(market.selection)
    end = grid.text(last_ms + market.interval.ms)
    which = ("--symbols", words, "--interval", str(market.interval))
    return sister("repair", *which, "--from", grid.text(first_ms), "--to", end, "--dry-run")
