"""A DuckDB file behind the page."""

from collections.abc import Sequence
from pathlib import Path

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind
from barfeed.history.reading.reader import Reader
from barfeed.history.reading.source import StoreFile

Stamp = tuple[tuple[int, int], ...]


class HeldFile:
    """See `Held`."""

    flags = ""

    def __init__(self, path: Path, lock_timeout_sec: float) -> None:
        self.name = path.name
        self._path = path
        self._lock_timeout_sec = lock_timeout_sec

    def keeps(self, kinds: Sequence[Kind], interval: Interval) -> bool:  # noqa: ARG002 - the port's
        """Who reads it sees."""
        return True

    def stamp(self) -> Stamp:
        """That of the file and of the log beside it."""
        return stamp_of(self._path)

    def size_bytes(self) -> int:
        """Of both."""
        return sum(size for _, size in self.stamp())

    def feeders(self) -> None:
        """None: the runs of this host tell."""

    def opened(self) -> Reader:
        """Opened late and closed early, by each question."""
        try:
            return Reader(StoreFile(self._path, self._lock_timeout_sec))
        except StoreUnusable as problem:
            problem.hint = "start it: barfeed run --catch-up; or point --duckdb at the store"
            raise

    def rest(self) -> None:
        """Nothing is held between two questions."""

    def close(self) -> None:
        """Nor after the last."""


def stamp_of(path: Path) -> Stamp:
    """What changes whenever the file, or the log beside it, is written."""
    return tuple(_stamp(each) for each in (path, path.with_name(f"{path.name}.wal")))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)
