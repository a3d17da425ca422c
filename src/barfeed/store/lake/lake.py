"""A lake by its address: a folder, or `s3://bucket/prefix`."""

from pathlib import Path

from barfeed.domain.bars import Interval
from barfeed.domain.errors import UsageError
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Store
from barfeed.store.lake.address import is_bucket
from barfeed.store.lake.contents import stored
from barfeed.store.lake.exporter import Exported, export, until
from barfeed.store.lake.files import Files
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.table import Table


class Lake:
    """Where the store is kept once more as Parquet. Nothing is asked or opened before it is used."""

    def __init__(self, address: str, clock: Clock) -> None:
        """`UsageError` where the address wants a library that is not installed."""
        self.address = address
        self._clock = clock
        if is_bucket(address):
            _require_obstore()

    def export(self, store: Store, interval: Interval) -> Exported:
        """Make the lake's tables of an interval what the store is: bars first, then each kind that is stored.

        Stops at the first that fails. Raises `LakeUnusable` and `StoreUnusable`.
        """
        end = until(self._clock, interval)
        done = [export(store, self.files(table), table, end) for table in stored(store, interval)]
        written, left, rows = (sum(each[place] for each in done) for place in range(3))
        return Exported(written, left, rows, any(each.is_busy for each in done))

    def files(self, table: Table) -> Files:
        """Those of a table."""
        if not is_bucket(self.address):
            return Folder(Path(self.address) / table.folder)
        from barfeed.store.lake.bucket import Bucket  # noqa: PLC0415 - a folder goes by without its library

        bucket, _, prefix = self.address.removeprefix("s3://").strip("/").partition("/")
        return Bucket(bucket, f"{prefix}/{table.folder}".lstrip("/"), self._clock)


def _require_obstore() -> None:
    try:
        import obstore  # noqa: F401, PLC0415 - only looked for
    except ModuleNotFoundError:
        raise UsageError(
            "s3:// needs a library that is not installed: obstore", hint="pip install 'barfeed[s3]'"
        ) from None
