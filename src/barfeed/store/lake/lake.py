"""A lake by its address: a folder, or `s3://bucket/prefix`."""

import math
from functools import partial
from pathlib import Path

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable, UsageError
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Store
from barfeed.store.lake.address import is_bucket
from barfeed.store.lake.contents.origin import OfFile, Origin
from barfeed.store.lake.exporter import Exported, Until, export, until
from barfeed.store.lake.files import Files
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.table import AnyTable, Noted


class Lake:
    """Where the store is kept once more as Parquet. Nothing is asked or opened before it is used."""

    def __init__(self, address: str, clock: Clock) -> None:
        """`UsageError` where the address wants a library that is not installed."""
        self.address = address
        self._clock = clock
        if is_bucket(address):
            _require_obstore()

    def export(self, store: Store | Origin, interval: Interval) -> Exported:
        """Make the lake's tables of an interval what the store is: bars first, then each kind that is stored.

        What was noted beside them is brought up to it, too, and not counted. Stops at the first that fails. Raises
        `LakeUnusable` and `StoreUnusable`.
        """
        origin = origin_of(store)
        end, notes = until(self._clock, interval), _Notes(self, origin, self._clock)
        done = [
            export(origin, self.files(table), table, end, partial(notes.cover, table.audit))
            for table in origin.tables(interval)
        ]
        if not any(each.is_busy for each in done):
            notes.cover_all()
        written, left, rows = (sum(each[place] for each in done) for place in range(3))
        return Exported(written, left, rows, any(each.is_busy for each in done))

    def files(self, table: AnyTable) -> Files:
        """Those of a table."""
        if not is_bucket(self.address):
            return Folder(Path(self.address) / table.folder)
        from barfeed.store.lake.bucket import Bucket  # noqa: PLC0415 - a folder goes by without its library

        bucket, _, prefix = self.address.removeprefix("s3://").strip("/").partition("/")
        return Bucket(bucket, f"{prefix}/{table.folder}".lstrip("/"), self._clock)


def origin_of(store: Store | Origin) -> Origin:
    """What a lake is made of: of a file, the file."""
    return OfFile(store) if isinstance(store, Store) else store


class _Notes:
    """The append-only tables of a lake, in one pass: each is written once, and again where it has grown meanwhile.

    A change stands in the lake before the row that it changed: what a row was before can be told at any moment.
    """

    def __init__(self, lake: Lake, origin: Origin, clock: Clock) -> None:
        self._lake = lake
        self._origin = origin
        # However long it takes: they are small, and half of one would tell something else.
        self._until = Until(clock, math.inf)
        self._meant = {each.name: each for each in origin.noted()}
        self._rows: dict[str, int] = {}

    def cover(self, name: str, rows: int) -> None:
        """Return once the lake has so many rows of one of them. Raises as `Lake.export`."""
        if name in self._meant and self._rows.get(name, -1) < rows:
            self._rows[name] = self._written(self._meant[name])

    def cover_all(self) -> None:
        """Return once the lake has each as it was in this pass."""
        for name in self._meant:
            self.cover(name, 0)

    def _written(self, table: Noted) -> int:
        files = self._lake.files(table)
        done = export(self._origin, files, table, self._until, lambda _: None)
        if done.is_busy:
            raise LakeUnusable(
                f"{files.address} is being written by another process", hint="the next pass writes what is missing"
            )
        return done.rows


def _require_obstore() -> None:
    try:
        import obstore  # noqa: F401, PLC0415 - only looked for
    except ModuleNotFoundError:
        raise UsageError(
            "s3:// needs a library that is not installed: obstore", hint="pip install 'barfeed[s3]'"
        ) from None
