"""Stored rows of kinds proven: by their rules all of them, and a span of them by what a source says today."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from barfeed.domain import grid, sources
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, ContractBroken
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.checks import Asked, check
from barfeed.domain.kinds.holes import may_lack
from barfeed.domain.kinds.kind import Kind, Row, Stamp
from barfeed.domain.market.selection import Selection
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Note
from barfeed.exchange.kinds import archive
from barfeed.exchange.steps import Crowd
from barfeed.history.kinds import answers, jobs
from barfeed.history.kinds.answers import Judged
from barfeed.history.kinds.asking import Answer, Content, Rows, Trouble
from barfeed.history.kinds.fill import FILES_AT_ONCE, KindsTools
from barfeed.history.kinds.jobs import Filled, KindsOrder
from barfeed.store.port.kinds import KeptKinds, KindRows

Against = Literal["rest", "archive"]
# A source's rows are compared as they come; so many answers share one look into the store.
_ANSWERS_AT_ONCE = 64


@dataclass
class Proven:
    """One kind of one series: how many rows are stored, what of them was compared, and what was found."""

    kind: Kind
    series: Series
    span: Gap
    rows: int = 0
    compared: int = 0
    findings: list[Finding] = field(default_factory=list)
    # Stored rows that the archive lacks: it has holes of its own, which says nothing against them.
    not_compared: list[int] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    failure: BarfeedError | None = None

    def __str__(self) -> str:
        return f"{self.series} {self.kind.name}"


class _Told(NamedTuple):
    """What a source says of some spans of one kind of one series."""

    judged: Judged
    asked: list[Gap]


def by_rules(kept: KeptKinds, kinds: Sequence[Kind], selection: Selection, interval: Interval) -> list[Proven]:
    """Every stored row by the rules of its kind; `Proven` of each series that has rows."""
    found = []
    for kind in kinds:
        with kept.reading(kind, interval) as table:
            oldest = table.oldest([symbol for symbol in table.symbols() if selection.includes(symbol)])
            own = [_by_rules(table, kind, Series(symbol, interval), oldest[symbol]) for symbol in sorted(oldest)]
            _note_holes(table, kind, own)
            found += own
    return found


def _note_holes(table: KindRows, kind: Kind, own: Sequence[Proven]) -> None:
    """Tell what is missing between a series' rows: who has them is asked of a source, which may have none either."""
    if not own:
        return
    interval = own[0].series.interval
    spans = {each.series.symbol: each.span for each in own}
    missing = table.lacking(spans, jobs.step_ms(kind, interval), jobs.reach_ms(kind, interval))
    for each in own:
        if holes := missing[each.series.symbol]:
            each.notes.append(Note("hole", str(each), f"nothing is stored of {jobs.named(kind, holes)}"))


def _by_rules(table: KindRows, kind: Kind, series: Series, first_ms: int) -> Proven:
    rows = table.rows({series.symbol: first_ms})[series.symbol]
    last_ms = rows[-1].timestamp_ms
    # What is stored was over then, whatever this machine's clock says.
    refused, _ = check(rows, Asked(kind, series, first_ms, last_ms, kind.end_ms(last_ms, series.interval)))
    own_ms = jobs.step_ms(kind, series.interval)
    span = sources.span(grid.floor(first_ms, own_ms), grid.floor(last_ms, own_ms), own_ms)
    found = Proven(kind, series, span, len(rows), findings=refused)
    if kind.stamp is Stamp.MOMENT:
        _note_lacking(found, rows)
    return found


def _note_lacking(proven: Proven, rows: Sequence[Row]) -> None:
    """Tell where those around are closer together: it may be lost, or the exchange settled it less often for once."""
    kind, interval = proven.kind, proven.series.interval
    at_ms = [row.timestamp_ms for row in rows]
    if spans := may_lack(at_ms, jobs.step_ms(kind, interval), jobs.reach_ms(kind, interval)):
        said = f"one may be missing in {jobs.named(kind, spans)}: those before and after are closer together"
        proven.notes.append(Note("hole", str(proven), said))


class Comparison:
    """What is stored in a span compared with a source, `bounds` being its first moment and its end."""

    def __init__(
        self, tools: KindsTools, interval: Interval, against: Against, bounds: tuple[int | None, int | None]
    ) -> None:
        self._tools = tools
        self._interval = interval
        self._against: Against = against
        self._bounds = bounds
        self._of: dict[tuple[str, str], Proven] = {}

    def run(self, proven: Sequence[Proven]) -> None:
        """Compare all of them; what differs is found, and what the source cannot tell any more is noted."""
        self._tools.asking.begin(self._interval)
        self._of = {(each.kind.name, each.series.symbol): each for each in proven}
        self._compare([filled for each in proven if (filled := self._filled(each))])

    def _filled(self, each: Proven) -> Filled | None:
        """What is to be asked for, as if all of it were missing."""
        begin_ms, end_ms = self._bounds
        step_ms, now_ms = jobs.step_ms(each.kind, self._interval), self._tools.asking.talk.now_ms
        first_ms = max(each.span.first_ms, begin_ms or 0)
        last_ms = each.span.last_ms if end_ms is None else min(each.span.last_ms, end_ms - 1)
        inside = sources.cut([each.span], grid.floor(first_ms + step_ms - 1, step_ms), last_ms, step_ms)
        filled = Filled(each.kind, each.series, each.span, missing=inside)
        if self._against == "rest":
            filled.missing = jobs.still_there(filled, inside, now_ms)
            if beyond := sources.less(inside, filled.missing, step_ms):
                said = f"the exchange has forgotten {jobs.named(each.kind, beyond)}"
                each.notes.append(Note("forgotten", str(each), said))
        elif not archive.has(each.kind, each.series):
            each.notes.append(Note("none", str(each), "the archive has none at this interval"))
            return None
        return filled if filled.missing else None

    def _compare(self, filled: Sequence[Filled]) -> None:
        kinds = {each.kind.name: each.kind for each in filled}
        order = KindsOrder(tuple(kinds.values()), self._interval, self._against)
        pages, files = jobs.planned(order, filled, self._tools.asking.talk.now_ms)
        asking, at_once = self._tools.asking, self._tools.at_once
        asked = self._tools.ask(Crowd(map(asking.page, pages), at_once), Crowd(map(asking.file, files), FILES_AT_ONCE))
        told: list[_Told] = []
        with closing(asked) as came:
            for answer in came:
                told += self._told(answer) if answer is not None else ()
                if len(told) >= _ANSWERS_AT_ONCE:
                    self._look(told)
                    told = []
        self._look(told)

    def _told(self, answer: Answer) -> Iterator[_Told]:
        now_ms = self._tools.asking.talk.now_ms
        if isinstance(answer, Trouble):
            if self._tools.asking.refusal:
                raise self._tools.asking.refusal
            for each in answer.of:
                self._proven(each).failure = answer.error
        elif isinstance(answer, Rows):
            try:
                yield _Told(answers.of_page(answer.page, answer.rows, now_ms), [answer.page.span])
            except ContractBroken as broken:
                self._proven(answer.page.of).failure = broken
        elif isinstance(answer, Content):
            for judged in answers.of_file(answer, now_ms):
                span = archive.covers(answer.job.file, judged.of.kind)
                asked = sources.cut(judged.of.missing, span.first_ms, span.last_ms, judged.of.step_ms)
                yield _Told(judged, asked)

    def _proven(self, each: Filled) -> Proven:
        return self._of[each.kind.name, each.series.symbol]

    def _look(self, told: Sequence[_Told]) -> None:
        """Compare what came with what is stored of it."""
        for kind in {each.judged.of.kind.name: each.judged.of.kind for each in told}.values():
            with self._tools.kept.reading(kind, self._interval) as table:
                for each in told:
                    if each.judged.of.kind is kind:
                        self._compare_one(table, each)

    def _compare_one(self, table: KindRows, told: _Told) -> None:
        of, proven = told.judged.of, self._proven(told.judged.of)
        proven.notes += told.judged.notes
        held = [
            row for span in told.asked for row in table.between(of.series.symbol, span.first_ms, jobs.last_ms(of, span))
        ]
        compared = compare(of.kind, held, told.judged.rows, "exchange" if self._against == "rest" else "archive")
        proven.compared += compared.rows
        proven.findings += compared.findings
        if self._against == "rest":
            proven.findings += [Finding("unknown", at, "the exchange has no such row") for at in compared.alone]
        else:
            proven.not_compared += compared.alone


class Compared(NamedTuple):
    """How many rows both have, what differs or is not stored, and which are stored alone."""

    rows: int
    findings: list[Finding]
    alone: list[int]


def compare(kind: Kind, held: Sequence[Row], told: Sequence[Row], whose: str) -> Compared:
    """Stored rows beside a source's; what either does not tell is no difference."""
    theirs = {row.timestamp_ms: row for row in told}
    both = [(row, theirs.pop(row.timestamp_ms)) for row in held if row.timestamp_ms in theirs]
    in_both = {mine.timestamp_ms for mine, _ in both}
    findings = [found for mine, other in both if (found := _difference(kind, mine, other, whose))]
    findings += [Finding("gap", at_ms, f"is not stored, and the {whose} has it") for at_ms in sorted(theirs)]
    alone = [row.timestamp_ms for row in held if row.timestamp_ms not in in_both]
    return Compared(len(both), findings, alone)


def _difference(kind: Kind, mine: Row, other: Row, whose: str) -> Finding | None:
    sides = zip(kind.names, mine.values, other.values, strict=True)
    differing = [(name, a, b) for name, a, b in sides if a is not None and b is not None and a != b]
    if not differing:
        return None
    said = ", ".join(f"{name} stored {a}, {whose} {b}" for name, a, b in differing)
    stored, others = {name: a for name, a, _ in differing}, {name: b for name, _, b in differing}
    return Finding("mismatch", mine.timestamp_ms, said, stored, others)
