"""When the exchange's word is taken over a stored row of a kind: how far each value may be off. Pure."""

from collections.abc import Iterator, Mapping, Sequence

from barfeed.domain import acceptance, grid
from barfeed.domain.acceptance import Terms
from barfeed.domain.errors import Mismatch
from barfeed.domain.kinds.kind import Kind, Row


def acceptable(
    kind: Kind, told: Sequence[Row], stored: Sequence[Row], mismatch: Mismatch, terms: Terms
) -> list[tuple[Row, Row]]:
    """The stored rows that the exchange contradicts, each with its own; raises `mismatch` anew where one is beyond."""
    theirs, ours = _by_time(told), _by_time(stored)
    at_ms = [found.open_time_ms for found in mismatch.findings if found.open_time_ms is not None]
    changes = [(ours[each], theirs[each]) for each in at_ms]
    for old, new in changes:
        if said := acceptance.beyond(_sides(kind, old, new), terms):
            raise acceptance.not_accepted(mismatch, f"{grid.text(old.timestamp_ms)} {said}")
    return changes


def with_changes(stored: Sequence[Row], news: Sequence[Row]) -> list[Row]:
    """The stored rows as they are once these stand in their places."""
    theirs = _by_time(news)
    return [theirs.get(row.timestamp_ms, row) for row in stored]


def _sides(kind: Kind, stored: Row, told: Row) -> Iterator[tuple[str, float, float]]:
    """What both tell."""
    for name, old, new in zip(kind.names, stored.values, told.values, strict=True):
        if old is not None and new is not None:
            yield name, old, new


def _by_time(rows: Sequence[Row]) -> Mapping[int, Row]:
    return {row.timestamp_ms: row for row in rows}
