"""The kinds that a DuckDB file keeps beside its bars."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.holes import Holes
from barfeed.domain.kinds.kind import Kind
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds import revisions, tables
from barfeed.store.kinds.holes import holes
from barfeed.store.kinds.revisions import Revision
from barfeed.store.kinds.tables import KindTable
from barfeed.store.kinds.windows import WideWindows, wide_windows
from barfeed.store.place import Span


class FileKinds:
    """See `KeptKinds`."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def beside(self) -> Session:
        """That of the file."""
        return self._store.beside()

    def newest(
        self, kinds: Sequence[Kind], interval: Interval, symbols: Sequence[str], recent_ms: int
    ) -> dict[str, Mapping[str, int] | StoreUnusable]:
        """Nothing, where there is no file yet."""
        if not self._store.exists():
            return {kind.name: {} for kind in kinds}
        try:
            with self._store.session(write=False) as connection:
                return {kind.name: _newest(connection, kind, interval, symbols, recent_ms) for kind in kinds}
        except StoreUnusable as trouble:
            return dict.fromkeys((kind.name for kind in kinds), trouble)

    def reading(self, kind: Kind, interval: Interval) -> AbstractContextManager[KindTable]:
        """The file stays as it is, and a missing one missing."""
        return tables.reading(self._store, kind, interval)

    def writing(self, kind: Kind, interval: Interval) -> AbstractContextManager[KindTable]:
        """A missing file is made."""
        return tables.writing(self._store, kind, interval)

    def holes(self, interval: Interval, now_ms: int) -> list[Holes]:
        """See `KeptKinds`."""
        return holes(self._store, interval, now_ms)

    def looking_at(self, kind: Kind, span: Span) -> AbstractContextManager[Session]:  # noqa: ARG002 - the port's
        """The whole file, attached."""
        return self._store.session(write=False)

    def wide_windows(
        self, kinds: Sequence[Kind], interval: Interval, begins_ms: Mapping[str, int], end_ms: int, aside: Path
    ) -> AbstractContextManager[WideWindows]:
        """By a DuckDB of its own."""
        return wide_windows(self._store, kinds, interval, begins_ms, end_ms, aside=aside)

    def revisions(self, interval: Interval) -> list[Revision]:
        """Raises `StoreUnusable`, too, where there is no file."""
        self._store.expect_file()
        with self._store.session(write=False) as connection:
            return revisions.listed(connection, interval)


def _newest(
    connection: Session, kind: Kind, interval: Interval, symbols: Sequence[str], recent_ms: int
) -> Mapping[str, int] | StoreUnusable:
    """The newest `timestamp` of each of these symbols, or why the table cannot be used."""
    try:
        table = KindTable(connection, kind, interval)
    except StoreUnusable as trouble:
        return trouble
    found = table.newest(symbols, recent_ms)
    # The table has no order by which one symbol's newest would be found at once.
    return found | table.newest([each for each in symbols if each not in found])
