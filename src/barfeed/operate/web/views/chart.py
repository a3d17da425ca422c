"""The chart: bars in levels of detail, and what stands beside them."""

from barfeed.domain.bars import VALUE_COLUMNS, Series
from barfeed.domain.grid import Gap
from barfeed.history.reading.rows import RevisionRow
from barfeed.operate.web import answers, levels
from barfeed.operate.web.views.predictions import predictions
from barfeed.operate.web.views.sources import Sources, finite, ms

POINTS_MAX = 5000


def candles(sources: Sources, series: Series, bounds: tuple[int | None, int | None], points: int) -> answers.Candles:
    """The bars between two moments, all where none is given, in the finest steps of which `points` are enough."""
    history, span, step_ms = steps(sources, series, bounds, points)
    rows = sources.candles(series, span, step_ms)
    values: list[answers.Values] = [[None] * span.bars for _ in VALUE_COLUMNS]
    bars = [0] * span.bars
    for row in rows:
        step = (ms(row.timestamp) - span.first_ms) // step_ms
        bars[step] = row.bars
        for column, value in zip(values, row[1:6], strict=True):
            column[step] = finite(value)
    opens, highs, lows, closes, volumes = values
    return answers.Candles(
        series.symbol, str(series.interval), span.first_ms, step_ms, step_ms // series.interval.ms,
        opens, highs, lows, closes, volumes, bars, history,
    )  # fmt: skip


def steps(
    sources: Sources, series: Series, bounds: tuple[int | None, int | None], points: int
) -> tuple[tuple[int, int], Gap, int]:
    """The span of all that is stored, the steps between two moments, and how long one is, in ms."""
    held = sources.holding(series)
    history = (ms(held.first), ms(held.last))
    first_ms = history[0] if bounds[0] is None else max(bounds[0], history[0])
    last_ms = max(first_ms, history[1] if bounds[1] is None else min(bounds[1], history[1]))
    # By what is asked for, of which not all may be stored: the steps of a view do not hang on what it has.
    asked_ms = (bounds[1] or last_ms) - (bounds[0] or first_ms) + 1
    step_ms = levels.step_ms(series.interval.ms, max(asked_ms, last_ms - first_ms + 1), max(1, min(points, POINTS_MAX)))
    span = levels.whole_steps(first_ms, last_ms, step_ms)
    return history, span, step_ms


def marks(sources: Sources, series: Series, first_ms: int, last_ms: int) -> answers.Marks:
    """The gaps, revisions, refused hours and predictions between two moments."""
    held = sources.holding(series)
    span = Gap(max(first_ms, ms(held.first)), min(last_ms, ms(held.last)), 0)
    revised = [revision(each) for each in sources.revisions(series)]
    return answers.Marks(
        [each for each in _gaps(sources, series) if each.last_ms >= first_ms and each.first_ms <= last_ms],
        [each for each in revised if first_ms <= each.at_ms <= last_ms],
        # The hour that is due next may have been refused, too.
        sources.refusals(series, span.first_ms, min(last_ms, span.last_ms + series.interval.ms)),
        predictions(sources, series, span),
    )


def _gaps(sources: Sources, series: Series) -> list[answers.Gap]:
    about = (series.symbol, str(series.interval))
    rows = sources.looks.look(("gaps", series), lambda reader: list(reader.gaps(*about)))
    return [answers.Gap(ms(each.first), ms(each.last), each.bars) for each in rows]


def revision(row: RevisionRow) -> answers.Revision:
    """A change as the page tells it."""
    old, new = (row.old_open, row.old_high, row.old_low, row.old_close, row.old_volume), row[8:13]
    before = [] if row.old_close is None else [finite(value) for value in old]
    return answers.Revision(
        ms(row.timestamp), before, [finite(value) for value in new], ms(row.seen_at), row.reason, row.run
    )
