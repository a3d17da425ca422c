"""How long the files of runs stay: what is old is folded into one zip a month, or let go.

Only files that a manifest vouches for are ever touched. A zip is whole on the disk, and read back,
before a file it holds goes; a run goes by first taking its manifest away, so that killed anywhere
the folder holds nothing that a manifest lacks, and the next call finishes.
"""

import logging
import shutil
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder, Manifest, Zip
from barfeed.domain.errors import ArtifactsUnusable, BarfeedError
from barfeed.machine.atomic import UNFINISHED_SUFFIX, flush_entries, whole_file
from barfeed.machine.locks import locked

DAY_MS = 24 * 3_600_000

_DAY_CHARS = len("20240115")
_LEAVING_FOLDER = ".leaving"
_LOCK_NAME = ".prune.lock"

_log = logging.getLogger(__name__)


class Keep(NamedTuple):
    """What stays: the runs of the last `days` days; what goes is folded, or with `discard` lost."""

    days: int
    discard: bool = False
    dry_run: bool = False


class Pruned(NamedTuple):
    """What a prune did, or with `dry_run` would do: runs and files taken out, their bytes, and the zips they are in.

    `kept` is the newest run with a good inference file; `left` says of each old file that stays why it does.
    """

    runs: int
    files: int
    bytes: int
    zips: tuple[str, ...]
    kept: str | None
    left: tuple[str, ...]


class _Old(NamedTuple):
    """A run whose time has come, with its own files."""

    run: str
    manifest: Manifest
    files: tuple[str, ...]


def due(names: Sequence[str], now_ms: int, keep: Keep) -> list[str]:
    """Those of `names`, runs in the order of their age, that are older than `keep` says.

    Counted back from the newest run where that is before `now_ms`, so that no clock that runs ahead takes everything.
    """
    ages = {run: age.ms for run in names if (age := reading.age(run))}
    if not ages:
        return []
    bound_ms = min(now_ms, max(ages.values())) - keep.days * DAY_MS
    return [run for run, ms in ages.items() if ms < bound_ms]


def prune(path: Path, now_ms: int, keep: Keep) -> Pruned:
    """Take out of the artifact folder `path` what is older than `keep` says at `now_ms` (ms since 1970-01-01 UTC).

    Raises `ArtifactsUnusable`; then every file is still there, in the folder or in a zip.
    """
    with _telling(path), nullcontext() if keep.dry_run else _alone(path):
        _finish_leaving(path, keep)
        folder = Folder(path)
        names = reading.runs(folder)
        kept = reading.publisher(reading.newest_good(folder, names) or "") or None
        late = [run for run in due(names, now_ms, keep) if run != kept]
        left = _orphans(folder, names, now_ms, keep)
        old = [each for run in late if (each := _examined(folder, run, left))]
        return _take_out(folder, old, kept, left, keep)


def retain(path: Path, now_ms: int, days: int) -> Pruned | None:
    """A feed's own prune, after the first run of each UTC day; None after the others, and where it failed.

    To add one run to a month's zip costs as much as to add a day's: the hour stays as short as it is.
    """
    try:
        newest = [run[:_DAY_CHARS] for run in reading.as_written(Folder(path))[-2:]]
        is_first = len(set(newest)) > 1
        done = prune(path, now_ms, Keep(days)) if is_first else None
    except Exception as problem:
        # Whatever it is, the hour is done and told: nothing of it may fail because of old files.
        _log.warning("old runs were not folded away: %s", problem, exc_info=not isinstance(problem, BarfeedError))
        return None
    for each in done.left if done else ():
        _log.warning("not folded away: %s", each)
    return done


def _orphans(folder: Folder, names: Sequence[str], now_ms: int, keep: Keep) -> list[str]:
    alone = reading.without_manifest(folder)
    late = set(due([*(run for run, _ in alone), *names[-1:]], now_ms, keep))
    return [f"{name} has no manifest" for run, name in alone if run in late]


def _examined(folder: Folder, run: str, left: list[str]) -> _Old | None:
    """The run, if it is only what its manifest says; else it is told in `left`."""
    try:
        manifest = reading.read_manifest(folder, run)
        # One that is not there has been let go before, or is in the zip.
        files = [told for told in manifest.csvs if told.file in folder.names()]
        foreign = [told.file for told in files if not _is_own(folder, told)]
    except ArtifactsUnusable as problem:
        left.append(str(problem))
        return None
    if foreign:
        left.extend(f"{name} is not what its manifest says: the run stays" for name in foreign)
        return None
    return _Old(run, manifest, (*(told.file for told in files), reading.manifest_name(run)))


def _is_own(folder: Folder, told: reading.Told) -> bool:
    return not (folder.path / told.file).is_symlink() and reading.sha256(folder, told.file) == told.sha256


def _take_out(folder: Folder, old: Sequence[_Old], kept: str | None, left: list[str], keep: Keep) -> Pruned:
    gone: list[_Old] = []
    zips: list[str] = []
    freed = 0
    for name, month in groupby(old, lambda each: reading.zip_name(each.run)):
        batch = list(month)
        if not keep.discard:
            batch = _folded(folder, name, batch, left, keep)
            zips.extend([name] if batch else [])
        for each in batch:
            freed += sum((folder.path / file).stat().st_size for file in each.files)
            if not keep.dry_run:
                _let_go(folder.path, each)
        gone.extend(batch)
    return Pruned(len(gone), sum(len(each.files) for each in gone), freed, tuple(zips), kept, tuple(left))


def _folded(folder: Folder, name: str, batch: Sequence[_Old], left: list[str], keep: Keep) -> list[_Old]:
    """Those of `batch` that are in the zip `name` afterwards, on the disk and read back."""
    path = folder.path / name
    there = Zip(path) if path.exists() else None
    fitting = [each for each in batch if _fits(folder, there, each, left)]
    new = [file for each in fitting for file in each.files if not there or file not in there.names()]
    if new and not keep.dry_run:
        with whole_file(path) as unfinished:
            if there:
                shutil.copyfile(path, unfinished)
            _add(folder, unfinished, new)
            _read_back(folder, unfinished, new)
    return fitting


def _fits(folder: Folder, there: Zip | None, old: _Old, left: list[str]) -> bool:
    """Whether the zip lacks the run's files or holds the very same."""
    other = [
        file
        for file in old.files
        if there and file in there.names() and reading.sha256(there, file) != reading.sha256(folder, file)
    ]
    left.extend(
        f"{file} is in {reading.zip_name(old.run)} already, with other content: the run stays" for file in other
    )
    return not other


def _add(folder: Folder, path: Path, names: Sequence[str]) -> None:
    # An empty file is no zip to append to.
    mode: Literal["a", "w"] = "a" if path.stat().st_size else "w"
    with zipfile.ZipFile(path, mode, zipfile.ZIP_DEFLATED, strict_timestamps=False) as archive:
        for name in names:
            archive.write(folder.path / name, name)


def _read_back(folder: Folder, path: Path, names: Sequence[str]) -> None:
    with closing(Zip(path)) as written:
        for name in names:
            if reading.sha256(written, name) != reading.sha256(folder, name):
                raise ArtifactsUnusable(f"{path}: {name} did not read back as it was written", hint="check the disk")


def _let_go(path: Path, old: _Old) -> None:
    leaving = path / _LEAVING_FOLDER
    leaving.mkdir(exist_ok=True)
    *csvs, manifest = old.files
    (path / manifest).replace(leaving / manifest)
    flush_entries(path)
    for name in csvs:
        (path / name).unlink(missing_ok=True)
    (leaving / manifest).unlink()


def _finish_leaving(path: Path, keep: Keep) -> None:
    """Let go of the rest of what a killed prune had begun with."""
    if keep.dry_run:
        return
    for begun in path.glob(f".*{reading.ZIP_SUFFIX}.*{UNFINISHED_SUFFIX}"):
        # The lock is held: nobody writes it any more, and this month may never be written again.
        begun.unlink()
    leaving = Folder(path / _LEAVING_FOLDER)
    folder = Folder(path)
    for run in reading.runs(leaving):
        manifest = reading.read_manifest(leaving, run)
        for told in manifest.csvs:
            if told.file in folder.names() and _is_own(folder, told):
                (path / told.file).unlink(missing_ok=True)
        (leaving.path / reading.manifest_name(run)).unlink()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder's lock: of two that add to one zip, the later would undo the earlier."""
    with locked(path / _LOCK_NAME, wait=False) as is_ours:
        if not is_ours:
            raise ArtifactsUnusable(
                f"{path} is being pruned by another process", hint="let it finish, then run it again"
            )
        yield


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, zipfile.BadZipFile, zlib.error) as problem:
        said = getattr(problem, "strerror", None) or str(problem)
        raise ArtifactsUnusable(
            f"{path} cannot be pruned: {said!r}",
            hint="check --persist-dir and --dataset, the folder's owner and mode, and that its disk is not full",
        ) from problem
