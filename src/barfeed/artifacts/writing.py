"""The files of a run: whole under their name, or absent.

A file is written in a hidden working folder beside its place, flushed to the disk, renamed, and the
folder's entry flushed too. What a killed process left in its working folder is swept later.
"""

import csv
import fnmatch
import hashlib
import io
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from barfeed.domain import grid
from barfeed.domain.bars import COLUMNS, Bar
from barfeed.domain.errors import ArtifactsUnusable
from barfeed.machine.atomic import Unflushed, flush, flush_entries, open_regular
from barfeed.machine.locks import locked

LATEST_NAME = "latest_for_inference.csv"
LATEST_WINDOWS_NAME = "latest_for_inference.parquet"
# What was known of other kinds beside each bar of the windows: of all, and of one series each as CSV.
LATEST_FEATURES_NAME = "latest_features_input.parquet"
FEATURES = "features_input"
# No cycle lives as long: what is older in the working folder was left by a killed process.
ABANDONED_AFTER_SEC = 24 * 3600

_WORKING_FOLDER = ".unfinished"
_SERIES_NAME = ".series"
_LATEST_LOCK = "latest.lock"
_KINDS = (
    "api_pull.csv",
    "api_pull.parquet",
    "for_inference.csv",
    f"{FEATURES}.parquet",
    "kinds_pull.parquet",
    "run.json",
)


# Writes a file of its own making under a name, and tells how many rows it has.
Make = Callable[[Path], int]
# The last open_time (ms) in such a file, None where it is none.
EndOf = Callable[[Path], int | None]


class Written(NamedTuple):
    """One CSV of a run, as the manifest tells it: file name, sha256 in hex, number of bars."""

    file: str
    sha256: str
    rows: int


def slug(dataset: str) -> str:
    """The folder name of a dataset label: `BINANCE_BTCUSDT.P, 60` is `BINANCE_BTCUSDT.P_60`."""
    name = re.sub(r"[^A-Za-z0-9._-]", "_", dataset.replace(",", ""))
    return re.sub(r"^\.{0,2}$", "_", name)


def csv_bytes(bars: Iterable[Bar], *, plain_decimals: bool = False) -> bytes:
    """`bars` as a CSV whose numbers read back as the very same doubles; with `plain_decimals` none has an exponent."""
    return table_bytes(COLUMNS, bars, plain_decimals=plain_decimals)


def table_bytes(columns: Sequence[str], rows: Iterable[tuple[Any, ...]], *, plain_decimals: bool = False) -> bytes:
    """The same of rows of a moment in ms and numbers, each under the name of its column; what is None is empty."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    written = plain if plain_decimals else float
    lines.writerows(
        (grid.timestamp(opens_ms), *(None if each is None else written(each) for each in values))
        for opens_ms, *values in rows
    )
    return text.getvalue().encode()


def plain(number: float) -> str:
    """The shortest decimal that reads back as the very double, without an exponent: 0.0000157066 for 1.57066e-05."""
    text = repr(number)
    if "e" not in text:
        return text
    # Imported only here: hardly a price needs it.
    from decimal import Decimal  # noqa: PLC0415

    decimal = f"{Decimal(text):f}"
    return decimal if "." in decimal else f"{decimal}.0"


class Run:
    """The files of one run, under a name that no other run has."""

    def __init__(self, folder: Path, name: str, *, plain_decimals: bool = False) -> None:
        self.folder = folder
        self.name = name
        self.plain_decimals = plain_decimals
        self._working = folder / _WORKING_FOLDER

    @property
    def aside(self) -> Path:
        """A folder for what is worked with until the run ends."""
        return self._working / self.name

    def save_pull(self, bars: Sequence[Bar]) -> Written:
        """The evidence: what the exchange said, before anything is decided."""
        return self._save_csv("api_pull.csv", bars)

    def publish(self, bars: Sequence[Bar], short_hours: int | None = None) -> Written:
        """The inference CSV, under its own name; one that is shorter than asked for has its hours in it."""
        kind = "for_inference.csv" if short_hours is None else f"for_inference_{short_hours}h.csv"
        return self._save_csv(kind, bars)

    def replace_latest(self, published: Written, end_ms: int, newest_ms: int) -> None:
        """Let what was published be the latest: it ends at the bar `end_ms`, the newest closed one is `newest_ms`.

        The latest only goes forward: one that a quicker process published of a newer hour stays. A link of that
        name is replaced, not followed.
        """
        path = self.folder / published.file
        with _translated(path):
            content = path.read_bytes()
        self._go_forward(LATEST_NAME, content, end_ms, newest_ms)

    def save_pulls(self, make: Make) -> Written:
        """The evidence of many series, in one file that `make` writes."""
        return self._save_made(f"{self.name}_api_pull.parquet", make)

    def save_kinds(self, make: Make) -> Written:
        """The evidence of other kinds of series, in one file that `make` writes."""
        return self._save_made(f"{self.name}_kinds_pull.parquet", make)

    def replace_latest_windows(self, make: Make, end_ms: int, newest_ms: int, end_of: EndOf) -> Written:
        """Let what `make` writes be the latest of many series; it only goes forward, as that of one series does."""
        latest = self.folder / LATEST_WINDOWS_NAME
        with self._alone():
            ends_ms = end_of(latest) if latest.is_file() else None
            if ends_ms is not None and end_ms < ends_ms <= newest_ms:
                return Written(latest.name, _sha256(latest), 0)
            return self._save_made(LATEST_WINDOWS_NAME, make)

    def publish_for(self, symbol: str, bars: Sequence[Bar], newest_ms: int) -> Written:
        """The inference CSV of one series of many; its latest is replaced, too, and only goes forward."""
        content = csv_bytes(bars, plain_decimals=self.plain_decimals)
        path = self._save(f"{self.name}_for_inference_{symbol}.csv", content)
        self._go_forward(f"latest_for_inference_{symbol}.csv", content, bars[-1].open_time_ms, newest_ms)
        return Written(path.name, hashlib.sha256(content).hexdigest(), len(bars))

    def publish_features(self, make: Make) -> Written:
        """The wide table that `make` writes, under the run's own name."""
        return self._save_made(f"{self.name}_{FEATURES}.parquet", make)

    def replace_latest_features(self, published: Written, end_ms: int, newest_ms: int, end_of: EndOf) -> None:
        """Let a copy of what was published be the latest wide table; it only goes forward, as the windows do."""
        latest = self.folder / LATEST_FEATURES_NAME

        def copy(path: Path) -> int:
            shutil.copyfile(self.folder / published.file, path)
            return published.rows

        with self._alone():
            ends_ms = end_of(latest) if latest.is_file() else None
            if ends_ms is None or not end_ms < ends_ms <= newest_ms:
                self._save_made(LATEST_FEATURES_NAME, copy)

    def publish_features_csv(self, name: str, content: bytes, end_ms: int, newest_ms: int) -> Written:
        """The wide table of one series, one of many where it has a name; its latest is replaced, too."""
        kind = f"{FEATURES}_{name}.csv" if name else f"{FEATURES}.csv"
        path = self._save(f"{self.name}_{kind}", content)
        self._go_forward(f"latest_{kind}", content, end_ms, newest_ms)
        # A line a row, and their header.
        return Written(path.name, hashlib.sha256(content).hexdigest(), content.count(b"\n") - 1)

    def save_manifest(self, manifest: dict[str, Any]) -> Path:
        """The record of the run, as JSON."""
        return self._save(f"{self.name}_run.json", msgspec.json.format(msgspec.json.encode(manifest)) + b"\n")

    def _go_forward(self, name: str, content: bytes, end_ms: int, newest_ms: int) -> None:
        latest = self.folder / name
        with self._alone():
            with _translated(latest):
                ends = _end(latest)
            # One that ends after the newest closed bar is of another exchange's time.
            if not grid.timestamp(end_ms) < ends <= grid.timestamp(newest_ms):
                self._save(name, content)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = self._working / _LATEST_LOCK
        with _translated(lock), locked(lock, wait=True) as is_ours:
            if not is_ours:
                raise _held(lock)
            yield

    def _save_made(self, name: str, make: Make) -> Written:
        path = self.folder / name
        with _translated(path):
            unfinished = self.aside / name
            rows = make(unfinished)
            with unfinished.open("rb+") as file:
                flush(file.fileno())
            written = Written(name, _sha256(unfinished), rows)
            unfinished.replace(path)
            flush_entries(self.folder)
        return written

    def _save_csv(self, kind: str, bars: Sequence[Bar]) -> Written:
        content = csv_bytes(bars, plain_decimals=self.plain_decimals)
        path = self._save(f"{self.name}_{kind}", content)
        return Written(path.name, hashlib.sha256(content).hexdigest(), len(bars))

    def _save(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        with _translated(path):
            unfinished = self.aside / name
            with unfinished.open("wb") as file:
                file.write(content)
                file.flush()
                flush(file.fileno())
            unfinished.replace(path)
            flush_entries(self.folder)
        return path


def keep_for(folder: Path, series: str) -> None:
    """Return for the folder of a series, or one that nobody has yet: then it is that series' from now on.

    Two labels may have one slug, and one series' CSV must never stand under the name of another's.
    Raises `ArtifactsUnusable`.
    """
    mark = folder / _SERIES_NAME
    with _translated(folder):
        folder.mkdir(parents=True, exist_ok=True)
        owner = _owner(mark)
        if not owner:
            # Killed before it is written, it is empty, and the folder nobody's yet.
            mark.write_text(f"{series}\n", "utf-8")
    if owner not in {"", series}:
        raise ArtifactsUnusable(
            f"{folder} holds the runs of {owner[:60]!r}, not of {series}",
            hint="give each series a folder of its own: another --dataset or another --persist-dir",
        )


def has_published(folder: Path, but: str) -> bool:
    """Whether a run that is not named `but` has left an inference CSV of its own in the folder; `ArtifactsUnusable`."""
    try:
        published = fnmatch.filter((path.name for path in folder.iterdir()), "*_for_inference*.csv")
    except OSError as problem:
        raise ArtifactsUnusable(f"{folder} cannot be read: {problem.strerror}") from problem
    return any(name != LATEST_NAME and not name.startswith(f"{but}_") for name in published)


def _owner(mark: Path) -> str:
    with _translated(mark), suppress(FileNotFoundError), open_regular(mark) as file:
        return file.read().decode("utf-8", "replace").strip()
    return ""


@contextmanager
def run_files(folder: Path, run_time_ms: int, *, plain_decimals: bool = False) -> Iterator[Run]:
    """A run's files in `folder`, named after `run_time_ms` (UTC); a second run in a second gets its own name.

    With `plain_decimals` no number of its CSVs has an exponent.

    Raises `ArtifactsUnusable`, and nothing else, for what is wrong with the folder.
    """
    with _translated(folder):
        working = folder / _WORKING_FOLDER
        working.mkdir(parents=True, exist_ok=True)
        name = _claim(folder, time.strftime("%Y%m%d_%H%M%SZ", time.gmtime(run_time_ms // 1000)))
        _sweep(working, name)
    try:
        yield Run(folder, name, plain_decimals=plain_decimals)
    finally:
        # Told to ignore errors it still lets some through; what stays is swept later.
        with suppress(OSError):
            shutil.rmtree(working / name, ignore_errors=True)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _held(lock: Path) -> ArtifactsUnusable:
    return ArtifactsUnusable(
        f"{lock} is held by another process that does not let go of it", hint="find that process with fuser, and end it"
    )


def _end(csv_path: Path) -> str:
    """The last timestamp of a CSV of bars, as it is written there; empty where there is none."""
    with suppress(FileNotFoundError), open_regular(csv_path) as file:
        last_line = file.read().rpartition(b"\n")[0].rpartition(b"\n")[2]
        return last_line.partition(b",")[0].decode("ascii", "replace")
    return ""


def _claim(folder: Path, run_time: str) -> str:
    number = 1
    while True:
        name = run_time if number == 1 else f"{run_time}-{number}"
        working = folder / _WORKING_FOLDER / name
        with suppress(FileExistsError):
            # First the folder, which only one process can make, then the look: a run that ended
            # in between has its files in place before it lets go of its folder.
            working.mkdir()
            if not any((folder / f"{name}_{kind}").exists() for kind in _KINDS):
                return name
            working.rmdir()
        number += 1


def _sweep(working: Path, own_name: str) -> None:
    now_sec = (working / own_name).stat().st_mtime
    for left in working.iterdir():
        # Another process may be sweeping, too.
        with suppress(FileNotFoundError):
            if now_sec - left.stat().st_mtime > ABANDONED_AFTER_SEC:
                shutil.rmtree(left, ignore_errors=True)


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except Unflushed as problem:
        said = f"{path} stands whole, but its folder cannot be flushed to the disk: {problem.strerror}"
        raise ArtifactsUnusable(said, hint="the file is good; see to the disk: a power cut may take it") from problem
    except OSError as problem:
        raise ArtifactsUnusable(f"{path} cannot be written: {problem.strerror or problem}") from problem
