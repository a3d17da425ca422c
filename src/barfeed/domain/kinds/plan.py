"""What to ask of a kind for each symbol, and what comes of the answer beside what is stored. Pure."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import Mismatch
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.holes import remembered_from_ms
from barfeed.domain.kinds.kind import Kind, Row, Stamp, pair
from barfeed.domain.kinds.table import KLINES
from barfeed.domain.rules import Finding


class Subject(NamedTuple):
    """A series whose kinds are fed, and the open_time of its last bar: after a symbol's end there is nothing.

    `is_well`: that bar is stored, and what stands beside it in its row may be, too.
    """

    series: Series
    last_ms: int
    is_well: bool = True

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.series.symbol

    def has(self, kind: Kind) -> bool:
        """Whether there can be any: what a delivery stands on is another, or has none of its own."""
        if kind is KLINES:
            return self.is_well
        return not kind.of_perpetuals or pair(self.symbol) == self.symbol


class Reach(NamedTuple):
    """How far back is asked: the stored periods that are proven anew, and all of them where nothing is stored."""

    n_recent: int
    window: int


def span(kind: Kind, subject: Subject, reach: Reach, newest_ms: int | None, now_ms: int) -> tuple[int, int] | None:
    """The first and last `timestamp` to ask for; None where all that is due is stored."""
    step_ms = subject.series.interval.ms
    if kind.stamp is Stamp.MOMENT:
        return _span_of_moments(kind, subject, reach, newest_ms, now_ms)
    last_ms = min(kind.newest_due_ms(now_ms, subject.series.interval), subject.last_ms)
    if newest_ms is not None and newest_ms >= last_ms:
        return None
    recent_ms = grid.window_start(last_ms, reach.n_recent, step_ms)
    whole_ms = grid.window_start(last_ms, max(reach.window, reach.n_recent), step_ms)
    first_ms = whole_ms if newest_ms is None else min(recent_ms, newest_ms + step_ms)
    return max(first_ms, remembered_from_ms(kind, subject.series.interval, now_ms)), last_ms


def _span_of_moments(
    kind: Kind, subject: Subject, reach: Reach, newest_ms: int | None, now_ms: int
) -> tuple[int, int] | None:
    """From some hours back on, as of periods: what an answer left out, or came late, is found by the next pass."""
    # What is settled at the last bar's close is told some milliseconds after it.
    ends_ms = subject.last_ms + 2 * subject.series.interval.ms - 1
    last_ms = min(kind.newest_due_ms(now_ms, subject.series.interval), ends_ms)
    whole_ms = last_ms - reach.window * subject.series.interval.ms
    first_ms = grid.floor(
        whole_ms if newest_ms is None else min(newest_ms, last_ms - reach.n_recent * HOUR_MS), HOUR_MS
    )
    return (first_ms, last_ms) if first_ms <= last_ms else None


def repair(series: Series, kind: Kind) -> str:
    """The command that shows both versions of a series' rows, and takes the exchange's after a yes."""
    return f"barfeed repair --symbol {series.symbol} --interval {series.interval} --kinds {kind.name}"


def new_rows(
    kind: Kind,
    series: Series,
    told: Sequence[Row],
    stored: Sequence[Row],
    repaired_by: Callable[[Series, Kind], str],
) -> list[Row]:
    """The rows that are not stored yet; `Mismatch` where the exchange contradicts one that is.

    What either does not tell is no contradiction: the archive has fewer columns than REST.
    """
    held = {row.timestamp_ms: row for row in stored}
    findings = [found for row in told if (found := _difference(kind, row, held.get(row.timestamp_ms)))]
    if findings:
        raise Mismatch(
            f"{series} {kind.name}: {len(findings)} of {len(held)} stored rows differ from the exchange;"
            f" first: {findings[0]}",
            hint=f"see both versions, and take the exchange's if it is right: {repaired_by(series, kind)}",
            findings=findings,
        )
    return [row for row in told if row.timestamp_ms not in held]


def _difference(kind: Kind, told: Row, stored: Row | None) -> Finding | None:
    if stored is None:
        return None
    differing = {
        name: (old, new)
        for name, old, new in zip(kind.names, stored.values, told.values, strict=True)
        if old is not None and new is not None and old != new
    }
    if not differing:
        return None
    said = ", ".join(f"{name} stored {old}, exchange {new}" for name, (old, new) in differing.items())
    return Finding(
        "mismatch", told.timestamp_ms, said, {name: old for name, (old, _) in differing.items()},
        {name: new for name, (_, new) in differing.items()},
    )  # fmt: skip


def gaps_between(wanted: Gap, seams: Sequence[tuple[int, int | None]], step_ms: int, reach_ms: int) -> list[Gap]:
    """What is missing of a span: where more than `reach_ms` is from a row to the one after it, or to the span's ends.

    `seams` has each such row, the first and the last, with the one after it.
    """
    if not seams:
        return [wanted]
    ends = [(wanted.first_ms - step_ms, seams[0][0]), (seams[-1][0], wanted.last_ms + step_ms)]
    inside = [(at, after) for at, after in seams if after is not None]
    apart = [(at, after) for at, after in (ends[0], *inside, ends[1]) if after - at > reach_ms]
    return [grid.gap_between(at, after, step_ms) for at, after in apart]
