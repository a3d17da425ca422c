"""A lake in a bucket, read from copies of its days: each is fetched once, and again where it was replaced."""

import shutil
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from barfeed.history.reading.span import days_of
from barfeed.machine.clock import SystemClock
from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.files import Files
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.manifest import File
from barfeed.store.lake.table import Table
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

    def _told(self, table: Table) -> Mapping[str, File]:
        """Each day's file, as the bucket's manifest has it."""
        files = self._lake.files(table)
        content = files.read(manifests.NAME)
        return manifests.decoded(content, f"{files.address}/{manifests.NAME}", table).files if content else {}

    def _copy(self, table: Table, date: str) -> Path:
        return self._copies / table.folder / table.file_name(date)

    def _forget(self, table: Table, told: Mapping[str, File]) -> None:
        """Take away the copies of days that the lake has no more."""
        there = {self._copy(table, date) for date in told}
        folder = self._copies / table.folder
        for copy in [copy for copy in self._held if copy.is_relative_to(folder) and copy not in there]:
            copy.unlink()
            del self._held[copy]

    def _fetch(self, table: Table, told: Mapping[str, File]) -> None:
        due = [date for date, file in told.items() if self._held.get(self._copy(table, date)) != file.sha256]
        if not due:
            return
        files = self._lake.files(table)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            copied = pool.map(lambda date: _copied(files, table.file_name(date), self._copy(table, date)), due)
            for date, is_there in zip(due, copied, strict=True):
                if is_there:
                    self._held[self._copy(table, date)] = told[date].sha256


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
