"""The runs that an artifact folder holds: their manifests and CSVs, there or folded away in monthly zips."""

import calendar
import hashlib
import re
import time
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple, Protocol

import msgspec

from barfeed.domain.errors import ArtifactsUnusable
from barfeed.machine.atomic import open_regular

ZIP_SUFFIX = "_runs.zip"
# The manifest of 1,500 findings has half a megabyte.
MANIFEST_BYTES_MAX = 64 * 1024 * 1024

_MANIFEST_SUFFIX = "_run.json"
# Compiled where they are first used: of many commands there are no runs to be read.
_RUN = r"([0-9]{8}_[0-9]{6}Z)(?:-([0-9]{1,9}))?"
_ZIP = r"[0-9]{4}-[0-9]{2}" + re.escape(ZIP_SUFFIX)
# One that is shorter than it was asked for has its hours in its name: `..._for_inference_77h.csv`.
# Of a market it has its symbol, which may be in any letters.
_KIND = {
    "api_pull": r"api_pull\.(?:csv|parquet)",
    "for_inference": r"for_inference(?:_[^./]{1,40})?\.csv",
    "kinds_pull": r"kinds_pull\.parquet",
    "features_input": r"features_input(?:\.parquet|(?:_[^./]{1,40})?\.csv)",
}
_FILE = rf"({_RUN})_(?:{'|'.join(_KIND.values())}|run\.json)"
_PUBLISHED = rf"({_RUN})_{_KIND['for_inference']}"
_CHUNK_BYTES = 1024 * 1024
_UNREADABLE = (OSError, zipfile.BadZipFile, zlib.error, EOFError, KeyError, RuntimeError, ValueError)


class Told(msgspec.Struct, frozen=True):
    """A CSV as its manifest tells it: name, sha256 in hex, number of bars."""

    file: str
    sha256: str
    rows: int


class ShortWindow(msgspec.Struct, frozen=True):
    """A window shorter than asked for: its bars, its first one, and from when it is whole, as messages say it."""

    bars: int
    asked: int
    first: str | None = None
    whole_from: str | None = None

    def told(self) -> dict[str, object]:
        """As JSON types."""
        return msgspec.structs.asdict(self)

    def __str__(self) -> str:
        begin = f", from {self.first} on" if self.first else ""
        return f"{self.bars} of {self.asked} bars{begin}" + (
            f"; whole from {self.whole_from}" if self.whole_from else ""
        )


class Outcome(msgspec.Struct, frozen=True):
    """How a pass ended for one symbol of a market; `status` is the error's name where it failed."""

    symbol: str
    status: str
    message: str = ""
    published: bool = False


class Manifest(msgspec.Struct, frozen=True):
    """What is read back of a manifest; `target` and `last_bar` are open_times as messages write them."""

    manifest_version: int
    run_time: str
    dataset: str
    series: dict[str, str]
    status: str
    exit_code: int
    files: dict[str, Told | None]
    message: str = ""
    hint: str = ""
    target: str | None = None
    last_bar: str | None = None
    flat: list[dict[str, str | int]] = []
    short_window: ShortWindow | None = None
    # Of a pass over a market: each series, and the table of their windows.
    outcomes: list[Outcome] = []
    windows: Told | None = None

    @property
    def target_ms(self) -> int | None:
        """The target in ms; None where there is none."""
        return moment_ms(self.target)

    @property
    def last_bar_ms(self) -> int | None:
        """The settled symbol's last bar in ms; None where there is none."""
        return moment_ms(self.last_bar)

    @property
    def made_do_with(self) -> ShortWindow | None:
        """The short window that was enough for a good run."""
        return None if self.exit_code else self.short_window

    @property
    def csvs(self) -> list[Told]:
        """The CSVs that the run wrote."""
        return [told for told in self.files.values() if told]


class Shelf(Protocol):
    """Where files of runs stand. What cannot be read raises `ArtifactsUnusable`."""

    path: Path

    def names(self) -> set[str]:
        """The files there."""
        ...

    def open(self, name: str) -> IO[bytes]:
        """One of them; `OSError` and what a broken zip raises."""
        ...


class Folder:
    """An artifact folder, which may be absent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._names: set[str] | None = None

    def names(self) -> set[str]:
        """Every file's name; looked up once."""
        if self._names is None:
            try:
                self._names = {each.name for each in self.path.iterdir()}
            except FileNotFoundError:
                self._names = set()
            except OSError as problem:
                raise unreadable(self.path, problem) from problem
        return self._names

    def written_ns(self, run: str) -> int:
        """When the run's manifest was written, by the file's own time in ns; 0 where it is gone."""
        with suppress(OSError):
            return (self.path / manifest_name(run)).stat().st_mtime_ns
        return 0

    def open(self, name: str) -> IO[bytes]:
        """The file's bytes."""
        return open_regular(self.path / name)


class Zip:
    """A month's runs, folded away."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # zipfile itself would wait at a pipe.
            open_regular(path).close()
            self._zip = zipfile.ZipFile(path)
        except _UNREADABLE as problem:
            raise unreadable(path, problem) from problem

    def names(self) -> set[str]:
        """Every entry's name."""
        return set(self._zip.namelist())

    def open(self, name: str) -> IO[bytes]:
        """The entry's bytes."""
        return self._zip.open(name)

    def close(self) -> None:
        """Let go of the file; `OSError`."""
        self._zip.close()


class Age(NamedTuple):
    """When a run began, in ms since 1970-01-01 UTC, and its number among those of that second."""

    ms: int
    number: int


def age(run: str) -> Age | None:
    """Read a run's name, `20240115_142345Z` or `20240115_142345Z-2`; None where it is no such name."""
    named = re.fullmatch(_RUN, run)
    if not named:
        return None
    try:
        moment = time.strptime(named[1], "%Y%m%d_%H%M%SZ")
    except ValueError:
        return None
    return Age(calendar.timegm(moment) * 1000, int(named[2] or 1))


def named(shelf: Shelf) -> list[str]:
    """The runs whose manifest stands there, by nothing but their names, in no order."""
    manifests = (name.removesuffix(_MANIFEST_SUFFIX) for name in shelf.names() if name.endswith(_MANIFEST_SUFFIX))
    return [run for run in manifests if re.fullmatch(_RUN, run)]


def runs(shelf: Shelf) -> list[str]:
    """The runs whose manifest stands there, oldest first."""
    aged = [(when, run) for run in named(shelf) if (when := age(run))]
    return [run for _, run in sorted(aged)]


def as_written(folder: Folder) -> list[str]:
    """The runs whose manifest stands there, in the order that the manifests were written in.

    By its name, a run that the exchange did not tell its time is as old as the machine's clock says: years off, maybe.
    """
    return sorted(named(folder), key=lambda run: (folder.written_ns(run), run))


def without_manifest(shelf: Shelf) -> list[tuple[str, str]]:
    """Run and name of each file that is named like a run's, but has no manifest beside it."""
    named = ((match[1], name) for name in sorted(shelf.names()) if (match := re.fullmatch(_FILE, name)))
    return [(run, name) for run, name in named if age(run) and manifest_name(run) not in shelf.names()]


def zips(folder: Folder) -> list[Path]:
    """The monthly zips in a folder, oldest first."""
    return [folder.path / name for name in sorted(folder.names()) if re.fullmatch(_ZIP, name)]


def zip_name(run: str) -> str:
    """The monthly zip that a run belongs in, `2024-01_runs.zip`."""
    return f"{run[:4]}-{run[4:6]}{ZIP_SUFFIX}"


def manifest_name(run: str) -> str:
    """The manifest's file name."""
    return f"{run}{_MANIFEST_SUFFIX}"


def publisher(name: str) -> str:
    """The run that published a file of this name; empty where it is none of a run's inference files."""
    published = re.fullmatch(_PUBLISHED, name)
    return published[1] if published else ""


def read_manifest(shelf: Shelf, run: str) -> Manifest:
    """A run's manifest; `ArtifactsUnusable` where it is none, or tells of files that are not its own."""
    name = manifest_name(run)
    try:
        with shelf.open(name) as file:
            manifest = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX), type=Manifest)
    except (*_UNREADABLE, msgspec.DecodeError) as problem:
        raise unreadable(shelf.path / name, problem) from problem
    if manifest.run_time != run or not all(_is_named(told, run, kind) for kind, told in manifest.files.items() if told):
        raise unreadable(shelf.path / name, ValueError("it tells of another run's files"))
    return manifest


def _is_named(told: Told, run: str, kind: str) -> bool:
    pattern = next((each for name, each in _KIND.items() if kind.startswith(name)), None)
    return pattern is not None and bool(re.fullmatch(f"{re.escape(run)}_{pattern}", told.file, re.ASCII))


def sha256(shelf: Shelf, name: str) -> str:
    """A file's sha256 in hex; `ArtifactsUnusable` where it cannot be read to its end."""
    digest = hashlib.sha256()
    try:
        with shelf.open(name) as file:
            for chunk in _chunks(file):
                digest.update(chunk)
    except _UNREADABLE as problem:
        raise unreadable(shelf.path / name, problem) from problem
    return digest.hexdigest()


def newest_good(folder: Folder, names: Sequence[str]) -> str | None:
    """The newest inference file of these runs that is there and what its manifest says."""
    for run in reversed(names):
        with suppress(ArtifactsUnusable):
            told = read_manifest(folder, run).files.get("for_inference")
            if told and told.file in folder.names() and sha256(folder, told.file) == told.sha256:
                return told.file
    return None


def unreadable(path: Path, problem: Exception) -> ArtifactsUnusable:
    """The error for a file of a run that cannot be read."""
    said = getattr(problem, "strerror", None) or str(problem) or type(problem).__name__
    return ArtifactsUnusable(
        f"{path} cannot be read: {said[:200]!r}",
        hint="check its owner and mode; restore it from a backup, or move it out of the folder",
    )


def moment_ms(text: str | None) -> int | None:
    """`2024-02-10 13:00` in ms since 1970-01-01 UTC; None where it is none."""
    # Somebody may have written into the file.
    with suppress(ValueError):
        return calendar.timegm(time.strptime(text or "", "%Y-%m-%d %H:%M")) * 1000
    return None


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK_BYTES):
        yield chunk
