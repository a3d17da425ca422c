"""The market: every series that is stored, and what its feed's newest run said of it."""

from collections import Counter
from collections.abc import Mapping, Sequence

from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError
from barfeed.history.reading.rows import CoverageRow
from barfeed.operate.web import answers
from barfeed.operate.web.manifests import Run, Trouble
from barfeed.operate.web.views import standing
from barfeed.operate.web.views.sources import Sources

_RECENT_RUNS = 500


def market(sources: Sources) -> answers.Market:
    """Every series, worst first; why the store cannot be read where it cannot."""
    recent = sources.newest_runs(_RECENT_RUNS)
    now_ms, known, trouble, hint = sources.exchange_ms(next(iter(recent), None)), standing.NOTHING, "", ""
    held, size = sources.looks.held, 0
    try:
        size = held.size_bytes()
        known = _known(sources, recent)
    except BarfeedError as problem:
        trouble, hint = str(problem), problem.hint
    return answers.Market(now_ms, held.name, size, trouble, hint, standing.rows(known, now_ms), held.flags)


def _known(sources: Sources, recent: Sequence[Run]) -> standing.Known:
    held = sources.holdings()
    gaps = sources.looks.look("all gaps", lambda reader: list(reader.gaps()))
    revised = sources.looks.look("all revisions", lambda reader: list(reader.revisions()))
    listed = sources.looks.look("listings", lambda reader: list(reader.symbols()))
    missing: Counter[Series] = Counter()
    for each in gaps:
        missing[Series.of(each.symbol, each.interval)] += each.bars
    return standing.Known(
        held,
        missing,
        Counter(Series.of(each.symbol, each.interval) for each in revised),
        {each.symbol: each for each in listed},
        _troubles(recent, held),
        sources.looks.held.flags,
    )


def _troubles(recent: Sequence[Run], held: Sequence[CoverageRow]) -> Mapping[Series, Trouble]:
    """By each feed's newest run."""
    newest = {run.folder: run for run in reversed(recent)}
    troubles: dict[Series, Trouble] = {}
    for run in newest.values():
        concerned = [each for each in held if run.concerns(each.symbol, each.interval)]
        for each in concerned:
            if trouble := run.trouble_of(each.symbol):
                troubles[Series.of(each.symbol, each.interval)] = trouble
        for trouble in run.troubles:
            troubles[Series.of(trouble.symbol, run.interval)] = trouble
    return troubles
