"""Looks into the store: none of them twice for the same."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.history.reading.reader import Reader

if TYPE_CHECKING:
    # Only for the types: most stores are files.
    from barfeed.store.postgres.tables.feeders import Feeder

_KEPT_MAX = 64

_Seen = TypeVar("_Seen")


class Held(Protocol):
    """Whatever the page shows. What is asked of it raises `StoreUnusable` where it is not there."""

    @property
    def name(self) -> str:
        """As the page tells it."""
        ...

    @property
    def flags(self) -> str:
        """What a command is told to mean it."""
        ...

    def keeps(self, kinds: Sequence[Kind], interval: Interval) -> bool:
        """Whether any of these kinds of series may stand beside its bars."""
        ...

    def stamp(self) -> Hashable:
        """What changes whenever something is written to it."""
        ...

    def size_bytes(self) -> int:
        """How large it is."""
        ...

    def feeders(self) -> "Sequence[Feeder] | None":
        """Who feeds it; None where that is this host alone."""
        ...

    def opened(self) -> Reader:
        """What reads it."""
        ...

    def rest(self) -> None:
        """Nobody asks for the time being."""
        ...

    def close(self) -> None:
        """The page ends."""
        ...


class Looks:
    """What was read of a store, for as long as it is the same; one look at a time."""

    def __init__(self, held: Held) -> None:
        self.held = held
        self.reads = 0
        self._lock = Lock()
        self._reader: Reader | None = None
        self._kept: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()

    def look(self, key: Hashable, read: Callable[[Reader], _Seen]) -> _Seen:
        """What is read; raises `StoreUnusable`, and `StoreEmpty` where nothing is stored of what is asked for."""
        with self._lock:
            stamp = self.held.stamp()
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
            self._reader = self.held.opened()
        self.reads += 1
        return self._reader
