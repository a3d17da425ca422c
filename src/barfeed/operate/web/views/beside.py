"""What is fed beside the bars and has a pane below the chart: funding and open interest."""

from collections.abc import Sequence
from datetime import UTC, datetime

from barfeed.domain.bars import Series
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Column, Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.history.reading.reader import Reader
from barfeed.operate.web import answers
from barfeed.operate.web.views.chart import steps
from barfeed.operate.web.views.sources import Sources, finite, ms

# Each by its first column.
_PANES = (KINDS["funding"], KINDS["open_interest"])

# The place of a step, and what was known of each column at its end.
_Known = tuple[int, list[float | None]]


def beside(sources: Sources, series: Series, bounds: tuple[int | None, int | None], points: int) -> answers.Beside:
    """Each pane of which anything was known between two moments."""
    _, span, step_ms = steps(sources, series, bounds, points)
    kinds = [each for each in _PANES if series.interval in each.intervals]
    known = _known(sources, series, span, step_ms, kinds) if kinds else []
    made = [_pane(kind.columns[0], span.bars, known, which) for which, kind in enumerate(kinds)]
    panes = [each for each in made if any(value is not None for value in each.values)]
    return answers.Beside(series.symbol, str(series.interval), span.first_ms, step_ms, panes)


def _pane(column: Column, steps: int, known: Sequence[_Known], which: int) -> answers.Pane:
    values: answers.Values = [None] * steps
    for step, told in known:
        values[step] = told[which]
    return answers.Pane(column.name, column.unit, values)


def _known(sources: Sources, series: Series, span: Gap, step_ms: int, kinds: Sequence[Kind]) -> list[_Known]:
    start, end = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (span.first_ms, span.last_ms + 1))
    names, columns = [each.name for each in kinds], [each.columns[0].name for each in kinds]

    def read(reader: Reader) -> list[_Known]:
        if not sources.looks.held.keeps(kinds, series.interval):
            return []
        rows = reader.wide(series.symbol, str(series.interval), start, end, kinds=names, every_ms=step_ms)
        return [
            ((ms(row.timestamp) - span.first_ms) // step_ms, [finite(getattr(row, each)) for each in columns])
            for row in rows
        ]

    return sources.looks.look(("beside", series, span, step_ms), read)
