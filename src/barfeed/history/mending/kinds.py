"""Rows of other kinds than bars that the store lacks, or that the exchange contradicts: shown first, then mended.

What differs is asked for twice, and mended only where the exchange says the same; both versions are kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import Literal, NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, ContractBroken
from barfeed.domain.kinds.checks import Asked, check
from barfeed.domain.kinds.holes import remembered_from_ms
from barfeed.domain.kinds.kind import Kind, Row, Stamp
from barfeed.exchange.kinds.asking import Hosts, Question, rows
from barfeed.exchange.steps import AskAll
from barfeed.store.kinds.revisions import Change, Why
from barfeed.store.port.kinds import KeptKinds, KindRows

What = Literal["missing", "mismatch"]


class Difference(NamedTuple):
    """A row that the store lacks, or has otherwise than the exchange."""

    kind: Kind
    series: Series
    told: Row
    stored: Row | None = None

    @property
    def what(self) -> What:
        """`missing` or `mismatch`."""
        return "missing" if self.stored is None else "mismatch"

    @property
    def change(self) -> Change | None:
        """What is to be changed of a row that is stored."""
        return None if self.stored is None else Change(self.series.symbol, self.stored, self.told)

    def __str__(self) -> str:
        where = f"{self.series} {self.kind.name} {grid.text(self.told.timestamp_ms)}"
        if self.change is None:
            return f"{where} missing"
        said = ", ".join(f"{name} stored {old}, exchange {new}" for name, old, new in self.change.columns(self.kind))
        return f"{where} {said}"


class Survey(NamedTuple):
    """What was compared and what differs; and of which series of which kind nothing is known, and why."""

    compared: int
    differences: list[Difference]
    unknown: list[tuple[str, BarfeedError]]


class Mended(NamedTuple):
    """What was done, and what the exchange did not say twice or somebody else changed meanwhile."""

    filled: int
    revised: int
    left: list[Difference]


class Span(NamedTuple):
    """From which `timestamp` on, and before which (ms); None for a window up to the newest that is due."""

    from_ms: int | None
    to_ms: int | None
    window: int


class KindsRepair:
    """Looks at the rows of kinds, and mends them."""

    def __init__(self, kept: KeptKinds, hosts: Hosts, ask: AskAll, now_ms: int, wait_sec: float) -> None:
        self._kept = kept
        self._hosts = hosts
        self._ask = ask
        self._now_ms = now_ms
        self._wait_sec = wait_sec

    def survey(self, kinds: Sequence[Kind], series: Sequence[Series], span: Span) -> Survey:
        """What differs of the kinds that are stored of these series. Raises `StoreUnusable`."""
        found = Survey(0, [], [])
        for kind in kinds:
            for interval, own in groupby(sorted(series, key=_step_ms), key=attrgetter("interval")):
                of_interval = list(own)
                with self._kept.reading(kind, interval) as table:
                    stored = table.newest([each.symbol for each in of_interval])
                asked = [each for each in of_interval if each.symbol in stored]
                part = self._compared(kind, [q for each in asked if (q := self._question(kind, each, span))])
                found = Survey(
                    found.compared + part.compared, found.differences + part.differences, found.unknown + part.unknown
                )
        return found

    def again(self, differences: Sequence[Difference]) -> list[Difference]:
        """Those of which the exchange says the same once more."""
        said: list[Difference] = []
        for (kind, series), own in groupby(differences, key=attrgetter("kind", "series")):
            mine = list(own)
            question = Question(kind, series, mine[0].told.timestamp_ms, mine[-1].told.timestamp_ms)
            [answer] = self._ask([rows(self._hosts.branch(kind, self._wait_sec), question)])
            told = {} if isinstance(answer, BarfeedError) else _by_time(answer.get(series.symbol, ()))
            said += [each for each in mine if told.get(each.told.timestamp_ms) == each.told]
        return said

    def apply(self, confirmed: Sequence[Difference], found: Survey, why: Why) -> Mended:
        """Make these changes, a kind and interval a transaction. Raises `StoreUnusable`."""
        filled = revised = 0
        done: list[Difference] = []
        ordered = sorted(confirmed, key=lambda each: (each.kind.name, each.series.interval.ms))
        for (kind, interval), own in groupby(ordered, key=lambda each: (each.kind, each.series.interval)):
            mine = list(own)
            with self._kept.writing(kind, interval) as table:
                missing: dict[str, list[Row]] = {}
                for each in mine:
                    if each.stored is None:
                        missing.setdefault(each.series.symbol, []).append(self._late(table, each))
                new = sum(table.append(missing).values()) if missing else 0
                made = table.revise([c for d in mine if (c := d.change)], why)
            filled, revised = filled + new, revised + len(made)
            done += [each for each in mine if each.change is None or each.change in made]
        return Mended(filled, revised, [each for each in found.differences if each not in done])

    def _late(self, table: KindRows, each: Difference) -> Row:
        """The row, known from now on where a pass was without it though it was due."""
        at_ms = each.told.timestamp_ms
        late = table.was_late(at_ms).get(each.series.symbol, ())
        if not any(old.since_ms < at_ms <= old.until_ms for old in late):
            return each.told
        return each.told._replace(known_at_ms=each.kind.known_at_ms(at_ms, each.series.interval, self._now_ms))

    def _question(self, kind: Kind, series: Series, span: Span) -> Question | None:
        step_ms = series.interval.ms
        due_ms = kind.newest_due_ms(self._now_ms, series.interval)
        last_ms = due_ms if span.to_ms is None else min(due_ms, span.to_ms - 1)
        last_ms = last_ms if kind.stamp is Stamp.MOMENT else grid.floor(last_ms, step_ms)
        whole_ms = grid.floor(last_ms, step_ms) - (span.window - 1) * step_ms
        first_ms = whole_ms if span.from_ms is None else grid.floor(span.from_ms + step_ms - 1, step_ms)
        first_ms = max(first_ms, remembered_from_ms(kind, series.interval, self._now_ms))
        return Question(kind, series, first_ms, last_ms) if first_ms <= last_ms else None

    def _compared(self, kind: Kind, questions: Sequence[Question]) -> Survey:
        found = Survey(0, [], [])
        if not questions:
            return found
        answers = self._ask([rows(self._hosts.branch(kind, self._wait_sec), each) for each in questions])
        held, begins_ms = self._held(kind, questions)
        for question, answer in zip(questions, answers, strict=True):
            symbol = question.series.symbol
            try:
                told = self._believed(question, answer)
            except BarfeedError as trouble:
                found.unknown.append((symbol, trouble))
                continue
            # Before its first row a kind is `backfill`'s.
            within = [row for row in told if row.timestamp_ms >= begins_ms[symbol]]
            found.differences.extend(_differences(question, within, held.get(symbol, {})))
            found = found._replace(compared=found.compared + len(within))
        return found

    def _believed(self, question: Question, answer: "dict[str, list[Row]] | BarfeedError") -> list[Row]:
        if isinstance(answer, BarfeedError):
            raise answer
        told = answer.get(question.series.symbol, [])
        kind, series, first_ms, last_ms, _ = question
        refused, _ = check(told, Asked(kind, series, first_ms, last_ms, self._now_ms))
        if refused:
            said = f"{series} {kind.name} breaks {len(refused)} rules; first: {refused[0].rule} {refused[0]}"
            raise ContractBroken(said, findings=refused)
        return told

    def _held(self, kind: Kind, questions: Sequence[Question]) -> tuple[dict[str, dict[int, Row]], dict[str, int]]:
        """The stored rows that these questions are about, and with which row each symbol begins."""
        from_ms = {each.series.symbol: each.first_ms for each in questions}
        with self._kept.reading(kind, questions[0].series.interval) as table:
            held = {symbol: _by_time(stored) for symbol, stored in table.rows(from_ms).items()}
            return held, table.oldest(list(from_ms))


def _differences(question: Question, told: Sequence[Row], held: Mapping[int, Row]) -> Iterator[Difference]:
    for row in told:
        found = Difference(question.kind, question.series, row, held.get(row.timestamp_ms))
        if found.change is None or any(True for _ in found.change.columns(question.kind)):
            yield found


def _by_time(rows_: Sequence[Row]) -> dict[int, Row]:
    return {row.timestamp_ms: row for row in rows_}


def _step_ms(series: Series) -> int:
    return series.interval.ms
