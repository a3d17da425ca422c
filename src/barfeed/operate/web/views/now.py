"""Now: the exchange's clock, the newest run, and the last line of the log."""

from pathlib import Path

from barfeed import __version__
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.operate.web import answers
from barfeed.operate.web.views.sources import Sources

_TAIL_BYTES = 8192
_LINE_MAX = 500


def now(sources: Sources) -> answers.Now:
    """How it is."""
    newest = next(iter(sources.newest_runs(1)), None)
    skew_sec = newest.skew_sec if newest else None
    interval_ms = Interval(newest.interval).ms if newest else HOUR_MS
    return answers.Now(sources.exchange_ms(newest), skew_sec, newest, last_line(sources.log), interval_ms, __version__)


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
