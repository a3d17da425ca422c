"""What is fed beside the bars and has a pane below the chart: funding and open interest."""

from datetime import UTC, datetime

from barfeed.domain.bars import Series
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.history.reading.reader import Reader
from barfeed.operate.web import answers
from barfeed.operate.web.views.chart import steps
from barfeed.operate.web.views.sources import Sources, finite, ms

# Each by its first column.
_PANES = (KINDS["funding"], KINDS["open_interest"])


def beside(sources: Sources, series: Series, bounds: tuple[int | None, int | None], points: int) -> answers.Beside:
    """Each pane of which anything was known between two moments."""
    _, span, step_ms = steps(sources, series, bounds, points)
    kinds = [each for each in _PANES if series.interval in each.intervals] if sources.looks.held.has_kinds else []
    made = [_pane(sources, series, span, step_ms, each) for each in kinds]
    panes = [each for each in made if any(value is not None for value in each.values)]
    return answers.Beside(series.symbol, str(series.interval), span.first_ms, step_ms, panes)


def _pane(sources: Sources, series: Series, span: Gap, step_ms: int, kind: Kind) -> answers.Pane:
    column = kind.columns[0]
    known = sources.looks.look(("beside", series, span, kind.name), lambda reader: _known(reader, series, span, kind))
    values: answers.Values = [None] * span.bars
    for at_ms, value in known:
        # Ascending: the newest of a step stays.
        values[(at_ms - span.first_ms) // step_ms] = value
    return answers.Pane(column.name, column.unit, values)


def _known(reader: Reader, series: Series, span: Gap, kind: Kind) -> list[tuple[int, float | None]]:
    start, end = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (span.first_ms, span.last_ms + 1))
    name = kind.columns[0].name
    try:
        rows = reader.wide(series.symbol, str(series.interval), start, end, kinds=(kind.name,))
        return [(ms(row.timestamp), finite(getattr(row, name))) for row in rows]
    except StoreEmpty:
        return []
