"""What a store has beside its bars: how far each kind goes, and which table by the name of one is none of it."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind, Stamp
from barfeed.domain.kinds.table import KINDS
from barfeed.operate.status import GRACE_MS
from barfeed.store.duckdb import Store
from barfeed.store.kinds.tables import KindTable
from barfeed.store.port.kinds import KeptKinds


class Fed(NamedTuple):
    """A kind of which there are rows: the newest `timestamp` (ms) of each symbol that has any."""

    kind: Kind
    interval: Interval
    newest_ms: Mapping[str, int]

    def behind(self, symbol: str, last_bar_ms: int | None, now_ms: int) -> int | None:
        """How many rows a symbol lacks up to its newest bar (ms); None where nobody knows when the next is settled."""
        if self.kind.stamp is Stamp.MOMENT or last_bar_ms is None:
            return None
        due_ms = min(last_bar_ms, self.kind.newest_due_ms(now_ms - GRACE_MS, self.interval))
        return max(0, (due_ms - self.newest_ms[symbol]) // self.interval.ms)


class Beside(NamedTuple):
    """Every kind at one interval of which there are rows; and why a table by the name of one cannot be read."""

    fed: tuple[Fed, ...] = ()
    unusable: tuple[StoreUnusable, ...] = ()


def look(store: Store, interval: Interval, symbols: Collection[str]) -> Beside:
    """What there is of these symbols; nothing where there is no file. Raises `StoreUnusable` for the file itself."""
    if not store.exists():
        return Beside()
    fed: list[Fed] = []
    unusable: dict[str, StoreUnusable] = {}
    with store.session(write=False) as connection:
        for kind in (each for each in KINDS.values() if interval in each.intervals):
            try:
                newest_ms = KindTable(connection, kind, interval).newest(sorted(symbols))
            except StoreUnusable as trouble:
                # That of the kinds that are late is told once, not with each of them.
                unusable[str(trouble)] = trouble
                continue
            if newest_ms:
                fed.append(Fed(kind, interval, newest_ms))
    return Beside(tuple(fed), tuple(unusable.values()))


def kept(kinds: KeptKinds, interval: Interval, symbols: Collection[str]) -> Beside:
    """The same of a database, whose tables are all barfeed's. Raises `StoreUnusable`."""
    ours = [each for each in KINDS.values() if interval in each.intervals]
    found = kinds.newest(ours, interval, sorted(symbols), 0)
    fed: list[Fed] = []
    for kind in ours:
        newest_ms = found[kind.name]
        if isinstance(newest_ms, StoreUnusable):
            raise newest_ms
        if newest_ms:
            fed.append(Fed(kind, interval, newest_ms))
    return Beside(tuple(fed))
