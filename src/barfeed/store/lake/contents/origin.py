"""What a lake is made of: a DuckDB file, attached, or a database, of which a part at a time is copied into DuckDB."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

from barfeed.domain.bars import Interval
from barfeed.store.duckdb import Session, Store
from barfeed.store.lake.contents.noted import NotedContents, contents_of, noted
from barfeed.store.lake.contents.rows import Contents, Survey, stored
from barfeed.store.lake.manifest import Manifest, Stamp
from barfeed.store.lake.table import AnyTable, Noted, Table


class Whole(Protocol):
    """All of a table."""

    def survey(self, manifest: Manifest, lake: str) -> Survey:
        """What may have changed since the manifest was written. Raises `LakeUnusable` where it is another store's."""
        ...

    def stamps(self, days: Collection[str], revised: Mapping[str, int]) -> dict[str, Stamp]:
        """What the store says of these parts; nothing of one that it has no row of."""
        ...

    def days(self) -> set[str]:
        """Every part that has a row."""
        ...

    def changes(self) -> int:
        """How many changes the audit of the table tells."""
        ...


class Part(Protocol):
    """A part of a table, in DuckDB."""

    @property
    def connection(self) -> Session:
        """Where it can be asked for."""
        ...

    def relation(self, day: str) -> str:
        """Its rows, with the lake's columns, as SQL takes them."""
        ...

    def stamp(self, day: str) -> Stamp | None:
        """What the store says of it; None where it has no row of it."""
        ...

    def span(self, day: str) -> tuple[str, str]:
        """Its first and its last moment."""
        ...

    def write(self, day: str, path: Path) -> None:
        """Write it to a Parquet file. Raises `LakeUnusable` for what its disk says."""
        ...

    def changes(self) -> int:
        """How many changes the audit of the table tells, as of the same moment."""
        ...


class Origin(Protocol):
    """Everything raises `StoreUnusable` for what is wrong with the store."""

    @property
    def name(self) -> str:
        """As messages tell it."""
        ...

    def tables(self, interval: Interval) -> list[Table]:
        """Bars of an interval, and every kind beside them of which there is a row."""
        ...

    def noted(self) -> list[Noted]:
        """The append-only tables that it has or may have."""
        ...

    def whole(self, table: AnyTable) -> AbstractContextManager[Whole]:
        """A table, to look through; it is let go of at the end."""
        ...

    def part(self, table: AnyTable, day: str) -> AbstractContextManager[Part]:
        """A day of it, or a month, likewise."""
        ...


class OfFile:
    """A DuckDB file, whichever tables it has."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def name(self) -> str:
        """Its path."""
        return str(self._store.path)

    def tables(self, interval: Interval) -> list[Table]:
        """See `Origin`."""
        return stored(self._store, interval)

    def noted(self) -> list[Noted]:
        """But those whose name a table of a user's own has."""
        return noted(self._store)

    @contextmanager
    def whole(self, table: AnyTable) -> Iterator[Contents | NotedContents]:
        """The file, attached."""
        with self._store.looking() as connection:
            yield contents_of(connection, table)

    def part(self, table: AnyTable, day: str) -> AbstractContextManager[Contents | NotedContents]:  # noqa: ARG002 - a database's
        """The same: nothing of it is copied."""
        return self.whole(table)
