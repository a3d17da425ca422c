"""The runs of every feed under a root, by their manifests: read once, and kept in few words."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from os import SEEK_END
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from barfeed.artifacts import reading
from barfeed.artifacts.reading import MANIFEST_BYTES_MAX, Folder, Told, Zip
from barfeed.domain.errors import ArtifactsUnusable

DAY_MS = 86_400_000


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """Why one series of a market has no bar of a pass."""

    symbol: str
    status: str
    message: str
    hint: str


class Run(msgspec.Struct, frozen=True, gc=False):
    """A run in few words: `series` is a symbol or a market's selection; times in ms, durations in seconds."""

    folder: str
    run: str
    at_ms: int
    series: str
    interval: str
    status: str
    exit_code: int
    target_ms: int | None
    message: str
    hint: str
    pulled: int
    validated: int
    appended: int
    published: int
    total_sec: float
    is_market: bool
    findings: int
    warnings: tuple[str, ...]
    files: tuple[Told, ...]
    skew_sec: float | None = None
    troubles: tuple[Trouble, ...] = ()

    def concerns(self, symbol: str, interval: str) -> bool:
        """Whether it lived, or may have lived, an hour of this series."""
        return self.interval == interval and (self.is_market or self.series == symbol)

    def trouble_of(self, symbol: str) -> Trouble | None:
        """Why the series has no bar of it; None where it has, or was no part."""
        own = next((each for each in self.troubles if each.symbol == symbol), None)
        if own or not self.exit_code or self.troubles:
            return own
        return Trouble(symbol, self.status, self.message, self.hint)


class Place(NamedTuple):
    """Where a run's files stand: the folder's own, or a zip's."""

    shelf: Folder | Zip
    run: str

    def bytes_of(self, name: str) -> int | None:
        """How many bytes a file has; None where it is gone."""
        if name not in self.shelf.names():
            return None
        with suppress(OSError), self.shelf.open(name) as file:
            return file.seek(0, SEEK_END)
        return None


class Manifests:
    """The runs under a root, one folder a feed; what was read of a manifest that is as it was is not read again."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._read: dict[tuple[str, str], tuple[int, Run | None]] = {}

    def folders(self) -> list[str]:
        """The feeds' folders, by name."""
        with suppress(OSError):
            return sorted(each.name for each in self._root.iterdir() if each.is_dir() and not each.is_symlink())
        return []

    def between(self, first_ms: int, last_ms: int) -> list[Run]:
        """The runs that began between these moments, oldest first."""
        found = [run for folder in self.folders() for run in self._of(folder, first_ms, last_ms)]
        return sorted(found, key=lambda run: (run.at_ms, run.folder, run.run))

    def newest(self, count: int, before_ms: int) -> list[Run]:
        """The newest runs that began before a moment, newest first."""
        there = {(folder, run): place for folder in self.folders() for run, place in self._places(folder).items()}
        aged = sorted(((_at_ms(run), folder, run) for folder, run in there), reverse=True)
        old = (key for at_ms, *key in aged if at_ms < before_ms)
        found = (self._summary(folder, there[folder, run]) for folder, run in old)
        return list(islice(filter(None, found), count))

    def find(self, folder: str, run: str) -> Run | None:
        """One run; None where it is absent or its manifest is none."""
        place = self.place(folder, run)
        return self._summary(folder, place) if place else None

    def place(self, folder: str, run: str) -> Place | None:
        """Where the files of a run are; None where it is none of ours, whatever else may have that name."""
        if folder not in self.folders() or reading.age(run) is None:
            return None
        here = Folder(self._root / folder)
        with suppress(ArtifactsUnusable):
            folded = (Zip(each) for each in reading.zips(here) if each.name == reading.zip_name(run))
            shelves: Iterator[Folder | Zip] = chain([here], folded)
            for shelf in shelves:
                if reading.manifest_name(run) in shelf.names():
                    return Place(shelf, run)
        return None

    def _places(self, folder: str) -> dict[str, Place]:
        """Every run of a folder, which is listed once for all of them."""
        found: dict[str, Place] = {}
        with suppress(ArtifactsUnusable):
            here = Folder(self._root / folder)
            shelves: Iterator[Folder | Zip] = chain([here], map(Zip, reading.zips(here)))
            for shelf in shelves:
                for run in reading.named(shelf):
                    if reading.age(run):
                        found.setdefault(run, Place(shelf, run))
        return found

    def _of(self, folder: str, first_ms: int, last_ms: int) -> Iterator[Run]:
        for run, place in self._places(folder).items():
            if first_ms <= _at_ms(run) <= last_ms and (found := self._summary(folder, place)):
                yield found

    def _summary(self, folder: str, place: Place) -> Run | None:
        written_ns = place.shelf.path.stat().st_mtime_ns
        if isinstance(place.shelf, Folder):
            written_ns = place.shelf.written_ns(place.run)
        known = self._read.get((folder, place.run))
        if known and known[0] == written_ns:
            return known[1]
        found = None
        with suppress(ArtifactsUnusable, msgspec.ValidationError):
            found = summary(folder, place.run, manifest(place))
        self._read[folder, place.run] = (written_ns, found)
        return found


def manifest(place: Place) -> dict[str, Any]:
    """The whole manifest as it was written; `ArtifactsUnusable`."""
    name = reading.manifest_name(place.run)
    # By its own reader first: what it tells of other runs' files is refused there.
    reading.read_manifest(place.shelf, place.run)
    with place.shelf.open(name) as file:
        told: dict[str, Any] = msgspec.json.decode(file.read(MANIFEST_BYTES_MAX))
    return told


class _Outcome(msgspec.Struct):
    symbol: str
    status: str
    message: str
    hint: str
    pulled: int
    validated: int
    appended: int
    published: bool
    findings: list[Any] = []


class _Exchange(msgspec.Struct):
    skew_sec: float | None = None


class _Manifest(msgspec.Struct):
    series: dict[str, str]
    status: str
    exit_code: int
    message: str
    hint: str
    target: str | None
    files: dict[str, Told | None]
    counts: dict[str, int] = {}
    findings: list[Any] = []
    windows: Told | None = None
    outcomes: list[_Outcome] = []
    warnings: list[str] = []
    exchange: _Exchange | None = None
    durations_sec: dict[str, float] = {}


def summary(folder: str, run: str, told: dict[str, Any]) -> Run:
    """A manifest in few words; `msgspec.ValidationError` where it is none."""
    whole = msgspec.convert(told, _Manifest)
    outcomes = whole.outcomes
    counts = _counts(whole)
    files = tuple(each for each in (*whole.files.values(), whole.windows) if each)
    return Run(
        folder=folder,
        run=run,
        at_ms=_at_ms(run),
        series=whole.series.get("symbol") or whole.series.get("symbols", ""),
        interval=whole.series["interval"],
        status=whole.status,
        exit_code=whole.exit_code,
        target_ms=reading.moment_ms(whole.target),
        message=whole.message or next((each.message for each in _failed(outcomes)), ""),
        hint=whole.hint or next((each.hint for each in _failed(outcomes)), ""),
        pulled=counts.get("pulled", 0),
        validated=counts.get("validated", 0),
        appended=counts.get("appended", 0),
        published=sum(each.published for each in outcomes) if outcomes else int("for_inference" in _names(whole.files)),
        total_sec=whole.durations_sec.get("total", 0.0),
        is_market="symbols" in whole.series,
        findings=len(whole.findings) + sum(len(each.findings) for each in outcomes),
        warnings=tuple(whole.warnings),
        files=files,
        skew_sec=whole.exchange.skew_sec if whole.exchange else None,
        troubles=tuple(Trouble(each.symbol, each.status, each.message, each.hint) for each in _failed(outcomes)),
    )


def _counts(whole: _Manifest) -> dict[str, int]:
    """Bars, of a market's pass those of all its series: its own counts are of series."""
    if not whole.outcomes:
        return whole.counts
    names = ("pulled", "validated", "appended")
    return {name: sum(getattr(each, name) for each in whole.outcomes) for name in names}


def _failed(outcomes: Sequence[_Outcome]) -> list[_Outcome]:
    return [each for each in outcomes if each.status not in {"appended", "up_to_date", "quiet"}]


def _names(files: dict[str, Told | None]) -> list[str]:
    return [kind for kind, told in files.items() if told]


def _at_ms(run: str) -> int:
    """When a run began, by its name."""
    age = reading.age(run)
    return age.ms if age else 0
