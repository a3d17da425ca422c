"""The runs: what each was for, how it ended, what it left, and whether that is still what it was."""

from barfeed.artifacts import reading
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.operate.web import answers, manifests
from barfeed.operate.web.manifests import DAY_MS, Run
from barfeed.operate.web.views.sources import Missing, Sources, hour_of

RUNS_MAX = 500


def of_day(sources: Sources, day_ms: int, series: Series | None) -> answers.RunList:
    """The runs that were for an hour of a UTC day, newest first."""
    step_ms = series.interval.ms if series else HOUR_MS
    found = sources.manifests.between(day_ms, day_ms + DAY_MS + step_ms)
    return _listed([run for run in reversed(found) if day_ms <= hour_of(run) < day_ms + DAY_MS], series)


def newest(sources: Sources, before_ms: int | None, series: Series | None, count: int) -> answers.RunList:
    """The newest runs before a moment, newest first."""
    return _listed(sources.newest_runs(max(1, min(count, RUNS_MAX)), before_ms), series)


def _listed(found: list[Run], series: Series | None) -> answers.RunList:
    return answers.RunList([run for run in found if not series or run.concerns(series.symbol, str(series.interval))])


def detail(sources: Sources, folder: str, run: str) -> answers.Detail:
    """A run with everything that its manifest tells."""
    found, place = _found(sources, folder, run)
    files = [answers.File(each.file, each.sha256, each.rows, place.bytes_of(each.file)) for each in found.files]
    manifest = manifests.manifest(place)
    return answers.Detail(found, manifest, files, reading.manifest_name(run), place.shelf.path.name)


def check(sources: Sources, folder: str, run: str, name: str) -> answers.Check:
    """Read a file of a run to its end, and compare it with what the manifest tells."""
    found, place = _found(sources, folder, run)
    told = next((each for each in found.files if each.file == name), None)
    if not told:
        raise Missing(f"run {run[:40]!r} tells of no file {name[:120]!r}")
    seen = reading.sha256(place.shelf, name)
    return answers.Check(name, told.sha256, seen, seen == told.sha256)


def content(sources: Sources, folder: str, run: str, name: str) -> bytes:
    """A file of a run, whole."""
    found, place = _found(sources, folder, run)
    own = {reading.manifest_name(run), *(each.file for each in found.files)}
    if name not in own or place.bytes_of(name) is None:
        raise Missing(f"run {run[:40]!r} has no file {name[:120]!r} any more")
    with place.shelf.open(name) as file:
        return file.read()


def _found(sources: Sources, folder: str, run: str) -> tuple[Run, manifests.Place]:
    found, place = sources.manifests.find(folder, run), sources.manifests.place(folder, run)
    if not found or not place:
        raise Missing(f"there is no run {run[:40]!r} in {folder[:80]!r}")
    return found, place
