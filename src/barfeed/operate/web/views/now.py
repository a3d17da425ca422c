"""Now: the exchange's clock, the newest run, and the last line of the log."""

from pathlib import Path

from barfeed import __version__
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.operate import feeders
from barfeed.operate.web import answers
from barfeed.operate.web.views.sources import Sources

_TAIL_BYTES = 8192
_LINE_MAX = 500


def now(sources: Sources) -> answers.Now:
    """How it is."""
    newest = next(iter(sources.newest_runs(1)), None)
    now_ms = sources.exchange_ms(newest)
    skew_sec = newest.skew_sec if newest else None
    interval_ms = Interval(newest.interval).ms if newest else HOUR_MS
    told = answers.Now(now_ms, skew_sec, newest, last_line(sources.log), interval_ms, __version__)
    try:
        told.feeders = _feeders(sources, now_ms)
    except StoreUnusable as problem:
        told.trouble, told.hint = str(problem), problem.hint
    return told


def _feeders(sources: Sources, now_ms: int) -> list[answers.Feeder] | None:
    """Who feeds a database, worst first; None of a file."""
    found = sources.looks.held.feeders()
    return None if found is None else [_feeder(each) for each in feeders.conditions(found, now_ms)]


def _feeder(condition: feeders.Condition) -> answers.Feeder:
    host, feed, version, last_pass_ms, status, *_ = condition.feeder
    said = (condition.lag_ms, condition.trouble, condition.hint)
    return answers.Feeder(host, feed, version, last_pass_ms, status, *said)


def last_line(path: Path | None) -> str:
    """The last line of a file that says something; empty where there is none."""
    if path is None:
        return ""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return next((line.strip()[:_LINE_MAX] for line in reversed(lines) if line.strip()), "")
