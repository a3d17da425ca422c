"""What came, as rows that may be stored: judged by the kind's rules, row by row where a file has them. Pure."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from barfeed.domain import grid, sources
from barfeed.domain.errors import ContractBroken
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.checks import Asked, check
from barfeed.domain.kinds.kind import Row
from barfeed.domain.sources import Note
from barfeed.exchange.archive import FileBroken
from barfeed.exchange.kinds import archive
from barfeed.history.kinds.asking import Content
from barfeed.history.kinds.jobs import Filled, Page, last_ms

# In the archive an open interest of zero is an outage: those of 2022-03-07 and 2022-03-08 are.
_NOT_OF_FILES = frozenset({"no_interest"})


class Judged(NamedTuple):
    """The rows of one kind and series that may be stored, what of what was asked is not among them, and what is odd."""

    of: Filled
    rows: list[Row]
    absent: list[Gap]
    notes: list[Note]


def of_page(page: Page, rows: Sequence[Row], now_ms: int) -> Judged:
    """What REST answered; `ContractBroken` where it breaks a rule."""
    each = page.of
    asked = Asked(each.kind, each.series, page.span.first_ms, last_ms(each, page.span), now_ms)
    refused, _ = check(rows, asked)
    if refused:
        raise ContractBroken(
            f"{each}: the exchange's answer breaks {len(refused)} rules; first: {refused[0].rule} {refused[0]}",
            hint="what came before is stored; run it again, and report it if it stays",
            findings=refused,
        )
    return _judged(each, rows, [page.span], [])


def of_file(told: Content, now_ms: int) -> Iterator[Judged]:
    """What a file has of each that was wanted of it; what breaks a rule is left out and told."""
    for each in told.job.of:
        span = archive.covers(told.job.file, each.kind)
        asked = sources.cut(each.missing, span.first_ms, span.last_ms, each.step_ms)
        if told.content is None:
            yield Judged(each, [], asked, [told.note] if told.note else [])
            continue
        try:
            held = archive.read(each.kind, told.job.file, told.content)
        except FileBroken as problem:
            yield Judged(each, [], asked, [Note("broken", told.job.file.name, str(problem))])
            continue
        rows, notes = _good(each, told.job.file.name, held.rows, now_ms)
        yield _judged(each, rows, asked, [*held.notes, *notes])


def _good(each: Filled, name: str, rows: Sequence[Row], now_ms: int) -> tuple[list[Row], list[Note]]:
    if not rows:
        return [], []
    refused, warned = check(rows, Asked(each.kind, each.series, rows[0].timestamp_ms, rows[-1].timestamp_ms, now_ms))
    found = [*refused, *(each for each in warned if each.rule in _NOT_OF_FILES)]
    bad = {finding.open_time_ms for finding in found}
    if not bad:
        return list(rows), []
    at_ms = sorted(at for at in bad if at is not None)
    said = f"{len(at_ms)} rows of {each.kind.name} were left out, from {grid.text(at_ms[0])} on: {found[0]}"
    return [row for row in rows if row.timestamp_ms not in bad], [Note(found[0].rule, name, said)]


def _judged(each: Filled, rows: Sequence[Row], asked: Sequence[Gap], notes: list[Note]) -> Judged:
    own = [row for row in rows if any(span.first_ms <= row.timestamp_ms <= last_ms(each, span) for span in asked)]
    return Judged(each, own, _absent(each, asked, own), notes)


def _absent(each: Filled, asked: Sequence[Gap], rows: Sequence[Row]) -> list[Gap]:
    """What of the spans did not come; of moments none are known to be there."""
    if each.step_ms != each.series.interval.ms or not each.kind.length:
        return list(asked) if not rows else []
    expected = [at for span in asked for at in grid.opens(span.first_ms, span.last_ms, each.step_ms)]
    return grid.gaps(grid.missing(expected, [row.timestamp_ms for row in rows]), each.step_ms)


def once_each(notes: Sequence[Note]) -> list[Note]:
    """Each note once: a file of five kinds is told five times."""
    return [note for note, _ in groupby(sorted(set(notes)))]
