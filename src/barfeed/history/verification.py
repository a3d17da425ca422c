"""What is stored, proven: the whole table by the rules, every run's files, every bar against a source.

Nothing here changes anything. The table is read in a few statements, however many bars it holds; the
network is never used while the store is open.
"""

# ruff: noqa: S608 - tables and columns are named here

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder, Shelf, Told, Zip
from barfeed.artifacts.writing import FEATURES, LATEST_NAME, LATEST_WINDOWS_NAME
from barfeed.domain import grid
from barfeed.domain.bars import VALUE_COLUMNS, Bar, Series
from barfeed.domain.errors import ArtifactsUnusable, StoreEmpty
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Note, Part, Source, bars_in, between, cut, named, span
from barfeed.store.duckdb import Session
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.lacking import gaps_in, opens_within
from barfeed.store.incoming.sql_rules import MESSAGES, STORED_RULES, broken
from barfeed.store.incoming.staging import Staging
from barfeed.store.place import Span, place_of
from barfeed.store.port.whole import WholeHistory

# What is closed, only an exchange can say; a bar it does not have yet shows against it.
_RULES = {name: predicate for name, predicate in STORED_RULES.items() if name != "closed"}
_OPEN_TIME = "CASE WHEN isfinite(timestamp) THEN epoch_ms(timestamp) END"
_OF_VALUES = frozenset({"high_low", "not_negative", "above_zero", "finite"})
_LATEST_FEATURES = f"latest_{FEATURES}"
_SHA256_CHARS = 12
# A comparison knows no time: what is still forming shows as a difference.
_FOREVER_MS = 253_402_300_800_000


class Held(NamedTuple):
    """What the table holds: rows, the span from its first to its last open_time on the grid, and what is missing in it.

    Without any such open_time there is no span.
    """

    rows: int
    span: Gap | None
    gaps: Sequence[Gap] = ()


class Proven(NamedTuple):
    """What checking the runs took: how many manifests and CSVs there were, and what was found."""

    manifests: int
    files: int
    findings: list[Finding]


class Difference(NamedTuple):
    """One stored bar and what others say of it, by their names; None where one has no such bar."""

    stored: Bar
    others: dict[str, Bar | None]

    @property
    def open_time_ms(self) -> int:
        """The bar's, in ms since 1970-01-01 UTC."""
        return self.stored.open_time_ms

    @property
    def values(self) -> dict[str, dict[str, float] | None]:
        """What each side says of the columns that are not the same everywhere, the store first."""
        sides = {"stored": self.stored, **self.others}
        bars = [bar for bar in sides.values() if bar]
        names = [name for name in VALUE_COLUMNS if any(getattr(bar, name) != getattr(bars[0], name) for bar in bars)]
        return {side: {name: getattr(bar, name) for name in names} if bar else None for side, bar in sides.items()}

    @property
    def finding(self) -> Finding:
        """The difference as a rule that is broken: `mismatch`, or `unknown` where nobody else has the bar."""
        values = self.values
        said = [
            f"{name} " + ", ".join(f"{side} {told[name]}" for side, told in values.items() if told)
            for name in values["stored"] or {}
        ]
        absent = [f"{side} has no such bar" for side, told in values.items() if told is None]
        rule = "mismatch" if any(self.others.values()) else "unknown"
        return Finding(rule, self.open_time_ms, "; ".join([*said, *absent]))


class Compared(NamedTuple):
    """A part of a source beside the store: bars that both have, what differs, bars only the store has, notes.

    `findings` are the rules that the source's own rows break.
    """

    bars: int
    differences: list[Difference]
    alone: list[Bar]
    notes: tuple[Note, ...]
    findings: list[Finding]


def check_table(store: WholeHistory, series: Series) -> tuple[Held, list[Finding]]:
    """Every rule that the stored bars break, in the order of time; and what there is.

    Raises `StoreEmpty` where there is no bar, `StoreUnusable`.
    """
    store.expect_there()
    with store.looking_at_one(Span((series.symbol,), series.interval)) as connection:
        table, trouble = store.readable(connection, series)
        stored = table.place.rows
        held = _held(connection, stored, series.interval.ms) if table.exists else None
        if not (held and held.rows):
            raise trouble or _empty(store, series)
        found = [Finding("shape", None, f"{trouble}; {trouble.hint}")] if trouble else []
        bars = f"(SELECT '' AS symbol, * FROM {stored})"
        found += [finding for _, finding in broken_bars(connection, bars, series.interval.ms)]
        found += _twice(connection, stored)
        if held.span:
            held = held._replace(gaps=gaps_in(connection, stored, held.span, series.interval.ms))
            found += gap_findings(held.gaps)
    return held, by_time(found)


def gap_findings(gaps: Sequence[Gap]) -> list[Finding]:
    """A finding for each gap."""
    return [Finding("gap", gap.first_ms, _missing(gap)) for gap in gaps]


def by_time(findings: Sequence[Finding]) -> list[Finding]:
    """In the order of time, behind those that are of none."""
    return sorted(findings, key=lambda each: -math.inf if each.open_time_ms is None else each.open_time_ms)


def check_runs(path: Path) -> Proven:
    """Every manifest in the artifact folder `path` and in its monthly zips, against the files it tells of."""
    proven = _check_runs(path)
    # A feed or a prune may have been at work meanwhile: what is wrong stays wrong.
    return _check_runs(path) if proven.findings else proven


def _check_runs(path: Path) -> Proven:
    folder = Folder(path)
    shelves: dict[str, Zip] = {}
    findings = []
    for each in reading.zips(folder):
        try:
            shelves[each.name] = Zip(each)
        except ArtifactsUnusable as problem:
            findings.append(Finding("zip", None, str(problem)))
    manifests = files = 0
    everywhere: list[Shelf] = [folder, *shelves.values()]
    for shelf in everywhere:
        for run in reading.runs(shelf):
            checked, found = _check_run(shelf, run, shelves)
            manifests, files, findings = manifests + 1, files + checked, findings + found
    return Proven(manifests, files, [*findings, *_check_latest(path), *_check_latest_of_all(folder, everywhere)])


class Comparison:
    """The stored bars of a series beside a source's, part by part."""

    def __init__(self, store: WholeHistory, series: Series) -> None:
        self._store = store
        self._series = series
        self._staging = Staging(store.beside(), store.let_pass(series))

    def with_source(self, source: Source, name: str, asked: Gap) -> Iterator[Compared]:
        """Ask the source for a span; each part as it comes, `name` beside its values.

        Raises what the source raises, and `StoreUnusable`.
        """
        for part in source.fetch([asked]):
            # A file may hold more than was asked for.
            for within in cut([part.span], asked.first_ms, asked.last_ms, self._series.interval.ms):
                trimmed = part._replace(span=within)
                notes = self._take(trimmed)
                yield self._beside_store(trimmed, name)._replace(notes=(*part.notes, *notes))

    def third_opinion(self, source: Source, name: str, differences: Sequence[Difference]) -> list[Difference]:
        """The same differences with what another source says of their bars."""
        opens = [each.open_time_ms for each in differences]
        said: dict[int, Bar] = {}
        for part in source.fetch([Gap(each, each, 1) for each in opens]) if opens else ():
            self._take(part)
            said |= {bar.open_time_ms: bar for bar in self._staging.bars([part.span])}
        return [Difference(each.stored, {**each.others, name: said.get(each.open_time_ms)}) for each in differences]

    def lacking(self, source: Source, asked: Sequence[Gap]) -> list[Gap]:
        """What of ascending gaps the source lacks as well; raises what the source raises."""
        step_ms = self._series.interval.ms
        found = []
        for part in source.fetch(asked) if asked else ():
            self._take(part)
            within = cut(asked, part.span.first_ms, part.span.last_ms, step_ms)
            found += self._staging.lacking(within, step_ms)
        return found

    def _take(self, part: Part) -> list[Note]:
        self._staging.clear()
        if part.data is None:
            return []
        try:
            self._staging.put(part.data)
        except SourceUnreadable as problem:
            self._staging.clear()
            return [Note("broken", part.name, str(problem))]
        self._staging.keep_only(part.span)
        return []

    def _beside_store(self, part: Part, name: str) -> Compared:
        lacking = self._staging.lacking([part.span], self._series.interval.ms)
        end_ms = part.span.last_ms + self._series.interval.ms
        asked = Span((self._series.symbol,), self._series.interval, part.span.first_ms, end_ms)
        with self._store.looking_at_one(asked) as connection:
            place = place_of(connection, self._series)
            differing = self._staging.mismatches(place)
            alone = [bar for gap in lacking for bar in _bars(connection, place.rows, gap)]
            rows = _count(connection, place.rows, part.span)
        differences = [Difference(each.stored, {name: each.incoming}) for each in differing]
        broken = self._staging.findings(self._series.interval.ms, _FOREVER_MS, limit=None)
        findings = [found._replace(message=f"{name}: {found.message}") for found in broken]
        return Compared(rows - len(alone), differences, alone, (), findings)


def _held(connection: Session, bars: str, step_ms: int) -> Held:
    on_grid = f"isfinite(timestamp) AND epoch_us(timestamp) % {step_ms * 1000} = 0"
    rows, first_ms, last_ms = connection.execute(
        f"SELECT count(*), epoch_ms(min(timestamp) FILTER ({on_grid})), epoch_ms(max(timestamp) FILTER ({on_grid}))"
        f" FROM {bars}"
    ).fetchall()[0]
    return Held(rows, None if first_ms is None else span(first_ms, last_ms, step_ms))


def broken_bars(connection: Session, bars: str, step_ms: int) -> Iterator[tuple[str, Finding]]:
    """Every rule that a bar breaks by itself, and whose: of a relation with the columns of a market's table."""
    rules = broken(_RULES, step_ms, 0)
    columns = ", ".join(VALUE_COLUMNS)
    found = connection.execute(
        f"SELECT symbol, {_OPEN_TIME}, {columns}, rules FROM (SELECT *, {rules} AS rules FROM {bars})"
        " WHERE len(rules) > 0"
    )
    for symbol, open_time_ms, *values, names in found.fetchall():
        said = ", ".join(f"{name} {value}" for name, value in zip(VALUE_COLUMNS, values, strict=True))
        yield from ((symbol, Finding(name, open_time_ms, _message(name, said))) for name in names)


def _message(rule: str, values: str) -> str:
    return f"{MESSAGES[rule]}: {values}" if rule in _OF_VALUES else MESSAGES[rule]


def _twice(connection: Session, bars: str) -> list[Finding]:
    found = connection.execute(f"SELECT {_OPEN_TIME}, count(*) FROM {bars} GROUP BY timestamp HAVING count(*) > 1")
    return [Finding("unique", open_time_ms, f"is stored {times} times") for open_time_ms, times in found.fetchall()]


def with_own_holes(
    findings: Sequence[Finding], gaps: Sequence[Gap], lacking: Sequence[Gap], step_ms: int
) -> list[Finding]:
    """The findings, each gap with what the exchange itself lacks of it."""
    own = {gap.first_ms: _own_hole(gap, cut(lacking, gap.first_ms, gap.last_ms, step_ms)) for gap in gaps}
    return [
        each._replace(message=each.message + own.get(each.open_time_ms or 0, "")) if each.rule == "gap" else each
        for each in findings
    ]


def fillable(gaps: Sequence[Gap], lacking: Sequence[Gap], step_ms: int) -> list[Gap]:
    """The gaps of which the exchange may have a bar."""
    return [gap for gap in gaps if bars_in(cut(lacking, gap.first_ms, gap.last_ms, step_ms)) < gap.bars]


def _own_hole(gap: Gap, lacking: Sequence[Gap]) -> str:
    if not lacking:
        return ""
    if bars_in(lacking) < gap.bars:
        return f"; the exchange itself has no bar of {named(lacking)}"
    return f"; the exchange has no such bar{'s' * (gap.bars > 1)} either"


def _missing(gap: Gap) -> str:
    return "is missing" if gap.bars == 1 else f"to {grid.text(gap.last_ms)} are missing, {gap.bars} bars"


def _bars(connection: Session, bars: str, gap: Gap) -> list[Bar]:
    values = ", ".join(f"coalesce({name}, 'NaN')" for name in VALUE_COLUMNS)
    found = connection.execute(
        f"SELECT {_OPEN_TIME}, {values} FROM {bars} WHERE {opens_within(gap)} ORDER BY timestamp"
    )
    return [Bar(*row) for row in found.fetchall()]


def _count(connection: Session, bars: str, gap: Gap) -> int:
    counted = connection.execute(f"SELECT count(*) FROM {bars} WHERE {opens_within(gap)}")
    return int(counted.fetchall()[0][0])


def _check_run(shelf: Shelf, run: str, shelves: Mapping[str, Shelf]) -> tuple[int, list[Finding]]:
    try:
        manifest = reading.read_manifest(shelf, run)
    except ArtifactsUnusable as problem:
        return 0, [Finding("manifest", None, str(problem))]
    checked = [_check_file(shelf, told, shelves.get(reading.zip_name(run))) for told in manifest.csvs]
    return len(checked), [each for each in checked if each]


def _check_file(shelf: Shelf, told: Told, zipped: Shelf | None) -> Finding | None:
    if told.file not in shelf.names() and zipped and told.file in zipped.names():
        # A prune was killed between the two, and will go on.
        shelf = zipped
    path = shelf.path / told.file
    if told.file not in shelf.names():
        return Finding("file", None, f"{path} is gone, though its manifest tells of it")
    try:
        seen = reading.sha256(shelf, told.file)
    except ArtifactsUnusable as problem:
        return Finding("file", None, str(problem))
    if seen == told.sha256:
        return None
    found, expected = (f"{each[:_SHA256_CHARS]}..." for each in (seen, told.sha256))
    return Finding("file", None, f"{path} was changed: its sha256 is {found}, its manifest says {expected}")


def _check_latest(path: Path) -> list[Finding]:
    """The name that consumers read holds some run's inference file, byte for byte."""
    if not (path / LATEST_NAME).exists():
        return []
    latest = reading.sha256(Folder(path), LATEST_NAME)
    # Listed only now: a run publishes under its own name first.
    folder = Folder(path)
    published = sorted((name for name in folder.names() if reading.publisher(name)), reverse=True)
    if any(reading.sha256(folder, name) == latest for name in published):
        return []
    return [Finding("file", None, f"{path / LATEST_NAME} is not what any run published")]


def _check_latest_of_all(folder: Folder, everywhere: Sequence[Shelf]) -> list[Finding]:
    """What else consumers read by a latest name is of some run, as its manifest says."""
    names = [
        name for name in sorted(folder.names()) if name == LATEST_WINDOWS_NAME or name.startswith(_LATEST_FEATURES)
    ]
    if not names:
        return []
    killed = max((run for run, _ in reading.without_manifest(folder)), default="")
    newest_first = [(shelf, run) for shelf in everywhere for run in reversed(reading.runs(shelf))]
    return [found for name in names if (found := _check_latest_name(folder, name, newest_first, killed))]


def _check_latest_name(
    folder: Folder, name: str, newest_first: Sequence[tuple[Shelf, str]], killed: str
) -> Finding | None:
    seen = reading.sha256(folder, name)
    # What a run had published when it was killed, no manifest tells; the next one does.
    if any(run < killed or seen in _published(shelf, run, name) for shelf, run in newest_first):
        return None
    who = "pass" if name == LATEST_WINDOWS_NAME else "run"
    return Finding("file", None, f"{folder.path / name} is not what any {who} published")


def _published(shelf: Shelf, run: str, name: str) -> list[str]:
    """The sha256 of what a run published that may stand under a latest name."""
    try:
        manifest = reading.read_manifest(shelf, run)
    except ArtifactsUnusable:
        return []
    if name == LATEST_WINDOWS_NAME:
        return [manifest.windows.sha256] if manifest.windows else []
    return [told.sha256 for kind, told in manifest.files.items() if told and kind.startswith(FEATURES)]


def asked_span(held: Held, series: Series, from_ms: int | None, to_ms: int | None) -> Gap | None:
    """The stored bars that open in `[from_ms, to_ms)` (ms), None where there is none."""
    if held.span is None:
        return None
    first_ms = held.span.first_ms if from_ms is None else max(from_ms, held.span.first_ms)
    end_ms = held.span.last_ms + 1 if to_ms is None else min(to_ms, held.span.last_ms + 1)
    return between(first_ms, end_ms, series.interval.ms)


def _empty(store: WholeHistory, series: Series) -> StoreEmpty:
    return StoreEmpty(f"{series}: {store.name} holds no bar to verify")
