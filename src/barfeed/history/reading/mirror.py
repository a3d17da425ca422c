"""A lake in a bucket, read from copies of its files: each is fetched once, and again where it was replaced."""

import shutil
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from barfeed.history.reading.span import days_of
from barfeed.machine.clock import SystemClock
from barfeed.store.lake.files import Files, saved
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.manifest import File
from barfeed.store.lake.table import AnyTable, Noted, Table
from barfeed.store.place import Span

# A bucket answers each request late, and many at once.
_AT_ONCE = 16


class Mirror:
    """See `Days`. The copies go with the object that has them; what is asked of a bucket raises `LakeUnusable`."""

    def __init__(self, address: str) -> None:
        """`UsageError` where the library of buckets is not installed."""
        self._lake = Lake(address, SystemClock())
        self._copies = Path(mkdtemp(prefix="barfeed-lake-"))
        weakref.finalize(self, shutil.rmtree, self._copies, ignore_errors=True)
        self._held: dict[Path, str] = {}

    def __str__(self) -> str:
        return self._lake.address

    def has(self, table: Table) -> bool:
        """See `Days`: by the bucket's manifest."""
        return bool(self._told(table))

    def folder(self, table: Table, span: Span | None = None) -> Path | None:
        """See `Days`: once the bucket's manifest says what is new there, and that is fetched."""
        told = self._told(table)
        copies = self._copies / table.folder
        self._forget(table, told)
        self._fetch(table, _wanted(told, span))
        return copies if any(copies.glob("*/*.parquet")) else None

    def noted(self, table: Noted) -> Mapping[Path, str] | None:
        """See `Days`: by the bucket's manifest, likewise."""
        told = saved(self._lake.files(table), table)
        if told is None or told.due:
            return None
        self._forget(table, told.files)
        self._fetch(table, told.files)
        return {self._copy(table, month): file.sha256 for month, file in told.files.items()}

    def _told(self, table: Table) -> Mapping[str, File]:
        """Each day's file, as the bucket's manifest has it."""
        told = saved(self._lake.files(table), table)
        return told.files if told else {}

    def _copy(self, table: AnyTable, part: str) -> Path:
        return self._copies / table.folder / table.file_name(part)

    def _forget(self, table: AnyTable, told: Mapping[str, File]) -> None:
        """Take away the copies of what the lake has no more."""
        there = {self._copy(table, part) for part in told}
        folder = self._copies / table.folder
        for copy in [copy for copy in self._held if copy.is_relative_to(folder) and copy not in there]:
            copy.unlink()
            del self._held[copy]

    def _fetch(self, table: AnyTable, told: Mapping[str, File]) -> None:
        due = [part for part, file in told.items() if self._held.get(self._copy(table, part)) != file.sha256]
        if not due:
            return
        files = self._lake.files(table)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            copied = pool.map(lambda part: _copied(files, table.file_name(part), self._copy(table, part)), due)
            for part, is_there in zip(due, copied, strict=True):
                if is_there:
                    self._held[self._copy(table, part)] = told[part].sha256


def _wanted(told: Mapping[str, File], span: Span | None) -> dict[str, File]:
    first, last = days_of(span) if span else (None, None)
    return {date: file for date, file in told.items() if (first or date) <= date <= (last or date)}


def _copied(files: Files, name: str, copy: Path) -> bool:
    """Whether the day was there to be copied: it may be newer by then than the manifest that was read."""
    with files.at_hand(name) as path:
        if path is None:
            return False
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    return True
