"""The kinds that a database keeps beside its bars."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.holes import Hole, Holes, remembered_from_ms
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.store.duckdb import Session, in_memory
from barfeed.store.kinds.revisions import Revision
from barfeed.store.kinds.windows import WideWindows
from barfeed.store.place import Span, market_table
from barfeed.store.postgres.kinds import revisions
from barfeed.store.postgres.kinds.mirror import put_kinds, put_rows
from barfeed.store.postgres.kinds.tables import KindTable, is_there, relation
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import mirror
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of
from barfeed.store.troubles import disk

if TYPE_CHECKING:
    from barfeed.store.postgres.server import Server

# One writes a kind at a time: what it has compared stays so until it has appended. The number is nobody else's.
_ALONE = "SELECT pg_advisory_xact_lock(hashtextextended(%s, 7236227131907))"
# A bar stands for what there should be: what is settled or halted has none. Nothing is due before a kind's first row.
_HOLES = f"""
SELECT bar.symbol, count(*), {ms_of("min(bar.timestamp)")}
FROM (SELECT symbol, min(timestamp) AS begins FROM {{table}} GROUP BY symbol) AS own
JOIN {{bars}} AS bar ON bar.symbol = own.symbol AND bar.timestamp >= own.begins
  AND bar.timestamp BETWEEN {MS.format("%s::bigint")} AND {MS.format("%s::bigint")}
WHERE NOT EXISTS (
  SELECT FROM {{table}} AS held WHERE held.symbol = bar.symbol AND held.timestamp = bar.timestamp
)
GROUP BY bar.symbol ORDER BY bar.symbol COLLATE "C"
"""


class ServerKinds:
    """See `KeptKinds`."""

    def __init__(self, server: "Server") -> None:
        self._server = server

    def beside(self) -> Session:
        """That of the server."""
        return self._server.beside()

    def newest(
        self,
        kinds: Sequence[Kind],
        interval: Interval,
        symbols: Sequence[str],
        recent_ms: int,  # noqa: ARG002 - the port's
    ) -> dict[str, Mapping[str, int] | StoreUnusable]:
        """By the key, however long ago that is."""
        try:
            with self._server.session(write=False) as connection:
                return {kind.name: KindTable(connection, kind, interval).newest(symbols) for kind in kinds}
        except StoreUnusable as trouble:
            return dict.fromkeys((kind.name for kind in kinds), trouble)

    @contextmanager
    def reading(self, kind: Kind, interval: Interval) -> Iterator[KindTable]:
        """As of one moment."""
        with self._server.session(write=False) as connection:
            yield KindTable(connection, kind, interval)

    @contextmanager
    def writing(self, kind: Kind, interval: Interval) -> Iterator[KindTable]:
        """Other hosts that would write it wait until this one is through."""
        with self._server.session(write=True) as connection:
            connection.execute(_ALONE, [relation(kind, interval)])
            yield KindTable(connection, kind, interval)

    def holes(self, interval: Interval, now_ms: int) -> list[Holes]:
        """See `KeptKinds`."""
        forgotten = [each for each in KINDS.values() if each.remembered_ms is not None and interval in each.intervals]
        with self._server.session(write=False) as connection:
            found = [Holes(kind, interval, _holes(connection, kind, interval, now_ms)) for kind in forgotten]
        return [each for each in found if each.holes]

    @contextmanager
    def looking_at(self, kind: Kind, span: Span) -> Iterator[Session]:
        """Copied as of one moment; the database is asked no more."""
        with mirror.copy_of(self._server.name, self.beside()) as memory:
            with self._server.session(write=False) as connection:
                put_rows(connection, memory, kind, span)
            yield memory

    @contextmanager
    def wide_windows(
        self, kinds: Sequence[Kind], interval: Interval, begins_ms: Mapping[str, int], end_ms: int, aside: Path
    ) -> Iterator[WideWindows]:
        """Of a copy in the memory of a DuckDB of its own, as of one moment."""
        span = Span(tuple(begins_ms), interval, min(begins_ms.values()), end_ms + interval.ms)
        name = self._server.name
        # Bounded before anything is copied: a table that is in memory goes by way of the disk, too.
        with closing(in_memory()) as own, disk.bounded(own, aside / "features"), mirror.copy_of(name, own) as memory:
            with self._server.session(write=False) as connection:
                mirror.put_span(connection, memory, span)
                put_kinds(connection, memory, kinds, span)
            yield WideWindows(memory, kinds, interval, begins_ms, end_ms)

    def revisions(self, interval: Interval) -> list[Revision]:
        """See `KeptKinds`."""
        with self._server.session(write=False) as connection:
            return revisions.listed(connection, interval)


def _holes(connection: Connection, kind: Kind, interval: Interval, now_ms: int) -> tuple[Hole, ...]:
    if not is_there(connection, kind, interval):
        return ()
    statement = _HOLES.format(table=relation(kind, interval), bars=f"{SCHEMA}.{market_table(interval)}")
    bounds = [remembered_from_ms(kind, interval, now_ms), kind.newest_due_ms(now_ms, interval)]
    return tuple(Hole(*row) for row in connection.execute(statement, bounds).fetchall())
