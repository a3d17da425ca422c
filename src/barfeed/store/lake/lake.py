"""A lake by its address: a folder, or `s3://bucket/prefix`."""

from pathlib import Path

from barfeed.domain.bars import Interval
from barfeed.domain.errors import UsageError
from barfeed.machine.clock import Clock
from barfeed.store.duckdb import Store
from barfeed.store.lake.exporter import Exported, export
from barfeed.store.lake.files import Files
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.manifest import table_folder


class Lake:
    """Where the store is kept once more as Parquet. Nothing is asked or opened before it is used."""

    def __init__(self, address: str, clock: Clock) -> None:
        """`UsageError` where the address wants a library that is not installed."""
        self.address = address
        self._clock = clock
        if is_bucket(address):
            _require_obstore()

    def export(self, store: Store, interval: Interval) -> Exported:
        """Make the lake's table of an interval what the store is. Raises `LakeUnusable` and `StoreUnusable`."""
        return export(store, self.table(interval), interval, self._clock)

    def table(self, interval: Interval) -> Files:
        """The files of an interval."""
        folder = table_folder(str(interval))
        if not is_bucket(self.address):
            return Folder(Path(self.address) / folder)
        from barfeed.store.lake.bucket import Bucket  # noqa: PLC0415 - a folder goes by without its library

        bucket, _, prefix = self.address.removeprefix("s3://").strip("/").partition("/")
        return Bucket(bucket, f"{prefix}/{folder}".lstrip("/"), self._clock)


def is_bucket(address: str) -> bool:
    """Whether it is no folder."""
    return address.startswith("s3://")


def _require_obstore() -> None:
    try:
        import obstore  # noqa: F401, PLC0415 - only looked for
    except ModuleNotFoundError:
        raise UsageError(
            "s3:// needs a library that is not installed: obstore", hint="pip install 'barfeed[s3]'"
        ) from None
