"""What the exchange answered for one kind of a series, by the rules of all kinds and its own. Pure."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Series
from barfeed.domain.kinds.kind import Kind, Row, Stamp, by_name
from barfeed.domain.rules import Finding


class Asked(NamedTuple):
    """The rows that were asked for: `timestamp`s from `first_ms` to `last_ms`, both included, at `now_ms`."""

    kind: Kind
    series: Series
    first_ms: int
    last_ms: int
    now_ms: int


class Checked(NamedTuple):
    """What is broken: for `refused` no row of the answer is believed, `warned` is odd and may be true."""

    refused: list[Finding]
    warned: list[Finding]


def check(rows: Sequence[Row], asked: Asked) -> Checked:
    """Every rule that an answer breaks, oldest row first."""
    kind = asked.kind
    refused = [found for row in rows for found in _of_time(row, asked)]
    refused += [found for earlier, later in pairwise(rows) for found in _of_order(earlier, later)]
    warned = []
    for row in rows:
        values = by_name(kind, row.values)
        refused += [
            Finding(name, row.timestamp_ms, said) for name, rule in kind.refused.items() if (said := rule(values))
        ]
        warned += [
            Finding(name, row.timestamp_ms, said) for name, rule in kind.warned.items() if (said := rule(values))
        ]
    return Checked(refused, warned)


def _of_time(row: Row, asked: Asked) -> list[Finding]:
    at_ms, interval = row.timestamp_ms, asked.series.interval
    found = []
    # Funding is settled at a whole hour, or some milliseconds later.
    beside_ms, within_ms = (
        (at_ms % HOUR_MS, MINUTE_MS) if asked.kind.stamp is Stamp.MOMENT else (at_ms % interval.ms, 0)
    )
    if beside_ms > within_ms:
        found.append(Finding("on_grid", at_ms, f"is {beside_ms} ms beside the {interval} grid"))
    if asked.kind.end_ms(at_ms, interval) > asked.now_ms:
        found.append(Finding("closed", at_ms, f"is not over: it is {grid.text(asked.now_ms)} on the exchange"))
    if not asked.first_ms <= at_ms <= asked.last_ms:
        said = f"was not asked for: {grid.text(asked.first_ms)}..{grid.text(asked.last_ms)} was"
        found.append(Finding("as_asked", at_ms, said))
    return found


def _of_order(earlier: Row, later: Row) -> list[Finding]:
    if later.timestamp_ms == earlier.timestamp_ms:
        return [Finding("unique", later.timestamp_ms, "comes twice")]
    if later.timestamp_ms < earlier.timestamp_ms:
        said = f"comes after {grid.text(earlier.timestamp_ms)}: rows are not ascending"
        return [Finding("ascending", later.timestamp_ms, said)]
    return []
