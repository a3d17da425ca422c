"""Looks into the store: none of them twice for the same bytes."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from barfeed.domain.errors import StoreUnusable
from barfeed.history.reading.reader import Reader
from barfeed.history.reading.source import StoreFile

_KEPT_MAX = 64

_Seen = TypeVar("_Seen")

Stamp = tuple[tuple[int, int], ...]


class Looks:
    """What was read of the store at `path`, for as long as its file is the same; one look at a time."""

    def __init__(self, path: Path, lock_timeout_sec: float) -> None:
        self.path = path
        self.reads = 0
        self._lock_timeout_sec = lock_timeout_sec
        self._lock = Lock()
        self._reader: Reader | None = None
        self._kept: OrderedDict[Hashable, tuple[Stamp, Any]] = OrderedDict()

    def look(self, key: Hashable, read: Callable[[Reader], _Seen]) -> _Seen:
        """What is read; raises `StoreUnusable`, and `StoreEmpty` where nothing is stored of what is asked for."""
        with self._lock:
            stamp = stamp_of(self.path)
            kept = self._kept.get(key)
            if kept and kept[0] == stamp:
                self._kept.move_to_end(key)
                seen: _Seen = kept[1]
                return seen
            seen = read(self._opened())
            self._kept[key] = (stamp, seen)
            while len(self._kept) > _KEPT_MAX:
                self._kept.popitem(last=False)
            return seen

    def _opened(self) -> Reader:
        if self._reader is None:
            try:
                self._reader = Reader(StoreFile(self.path, self._lock_timeout_sec))
            except StoreUnusable as problem:
                problem.hint = "start it: barfeed run --catch-up; or point --duckdb at the store"
                raise
        self.reads += 1
        return self._reader


def stamp_of(path: Path) -> Stamp:
    """What changes whenever the file, or the log beside it, is written."""
    return tuple(_stamp(each) for each in (path, path.with_name(f"{path.name}.wal")))


def _stamp(path: Path) -> tuple[int, int]:
    try:
        about = path.stat()
    except OSError:
        return (0, 0)
    return (about.st_mtime_ns, about.st_size)
