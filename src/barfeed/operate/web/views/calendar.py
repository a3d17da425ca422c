"""The calendar of a series: what is true of each of its days."""

from barfeed.domain import grid
from barfeed.domain.bars import Series
from barfeed.domain.grid import Gap
from barfeed.operate.web import answers
from barfeed.operate.web.manifests import DAY_MS
from barfeed.operate.web.views import days
from barfeed.operate.web.views.sources import Sources, ms


def calendar(sources: Sources, series: Series, first_ms: int, last_ms: int) -> answers.Calendar:
    """The days between two moments, from the first stored bar to the last."""
    held = sources.holding(series)
    first_ms, last_ms = max(first_ms, ms(held.first)), min(last_ms, ms(held.last))
    if last_ms < first_ms:
        return answers.Calendar(series.symbol, str(series.interval), [])
    span = Gap(grid.floor(first_ms, DAY_MS), grid.floor(last_ms, DAY_MS) + DAY_MS - 1, 0)
    stored = {ms(each.timestamp): each.bars for each in sources.candles(series, span, DAY_MS)}
    refused = [days.Refused(each.at_ms, each.status) for each in sources.refusals(series, first_ms, last_ms)]
    revised = [at_ms for each in sources.revisions(series) if first_ms <= (at_ms := ms(each.timestamp)) <= last_ms]
    found = days.days((first_ms, last_ms), series.interval.ms, stored, revised, refused)
    return answers.Calendar(series.symbol, str(series.interval), found)
