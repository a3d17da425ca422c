"""A lake in a bucket, read from copies of its days: each is fetched once, and again where it was replaced."""

import shutil
import weakref
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import mkdtemp

from barfeed.domain.bars import Interval
from barfeed.history.reading.span import days_of
from barfeed.machine.clock import SystemClock
from barfeed.store.lake import manifest as manifests
from barfeed.store.lake.files import Files
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.manifest import File, file_name, table_folder
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

    def folder(self, interval: Interval, span: Span | None = None) -> Path | None:
        """See `Days`: once the bucket's manifest says what is new there, and that is fetched."""
        files = self._lake.table(interval)
        content = files.read(manifests.NAME)
        if content is None:
            return None
        told = manifests.decoded(content, f"{files.address}/{manifests.NAME}", str(interval)).files
        table = self._copies / table_folder(str(interval))
        self._forget(table, told)
        self._fetch(files, table, _wanted(told, span))
        return table if any(table.glob("*/*.parquet")) else None

    def _forget(self, table: Path, told: Mapping[str, File]) -> None:
        """Take away the copies of days that the lake has no more."""
        there = {table / file_name(date) for date in told}
        for copy in [copy for copy in self._held if copy.is_relative_to(table) and copy not in there]:
            copy.unlink()
            del self._held[copy]

    def _fetch(self, files: Files, table: Path, told: Mapping[str, File]) -> None:
        due = [date for date, file in told.items() if self._held.get(table / file_name(date)) != file.sha256]
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for date, is_there in zip(due, pool.map(lambda date: _copied(files, table, date), due), strict=True):
                if is_there:
                    self._held[table / file_name(date)] = told[date].sha256


def _wanted(told: Mapping[str, File], span: Span | None) -> dict[str, File]:
    first, last = days_of(span) if span else (None, None)
    return {date: file for date, file in told.items() if (first or date) <= date <= (last or date)}


def _copied(files: Files, table: Path, date: str) -> bool:
    """Whether the day was there to be copied: it may be newer by then than the manifest that was read."""
    name = file_name(date)
    with files.at_hand(name) as path:
        if path is None:
            return False
        (table / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, table / name)
    return True
