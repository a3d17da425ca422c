"""A lake, read as a store is: Parquet that nobody locks, a file a day."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import LakeUnusable, StoreUnusable, UsageError
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.domain.verdict import Remedies
from barfeed.history.reading import questions
from barfeed.history.reading.questions import Stock
from barfeed.history.reading.source import nothing_of
from barfeed.history.reading.span import SYMBOL_COLUMNS, days_of, within
from barfeed.machine.clock import SystemClock
from barfeed.store import revisions
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds.wide import beside, joined, no_rows
from barfeed.store.lake.files import saved
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.table import BARS, KIND_REVISIONS, LISTINGS, REVISIONS, Noted, Table
from barfeed.store.place import Span
from barfeed.store.troubles.file import PROVE_LAKE_HINT, reading_lake

_TABLES = f"kind={BARS}"


class Days(Protocol):
    """Where a lake's files are to be read from, a folder of them a table."""

    def has(self, table: Table) -> bool:
        """Whether the lake has such a table."""
        ...

    def folder(self, table: Table, span: Span | None = None) -> Path | None:
        """The folder with the days of a table, of a span at least; None where the lake has no such table."""
        ...

    def noted(self, table: Noted) -> Mapping[Path, str] | None:
        """The files of an append-only table, each with its sha256; None where the lake does not tell all of it."""
        ...


class FolderDays:
    """The folder of a lake, read where it stands."""

    def __init__(self, folder: Path) -> None:
        """Raises `StoreUnusable` for a folder that is no lake."""
        self._folder = folder.absolute()
        if not (self._folder / _TABLES).is_dir():
            raise StoreUnusable(
                f"{self} is a folder, and no lake: there is no {_TABLES} in it", hint="open a store's file, or a lake"
            )

    def __str__(self) -> str:
        return str(self._folder)

    def has(self, table: Table) -> bool:
        """See `Days`."""
        return self.folder(table) is not None

    def folder(self, table: Table, span: Span | None = None) -> Path | None:  # noqa: ARG002 - all are there
        """See `Days`."""
        folder = self._folder / table.folder
        return folder if any(folder.glob("*/*.parquet")) else None

    def noted(self, table: Noted) -> Mapping[Path, str] | None:
        """See `Days`: by the manifest."""
        folder = self._folder / table.folder
        told = saved(Folder(folder), table)
        if told is None or told.due:
            return None
        return {folder / table.file_name(month): file.sha256 for month, file in told.files.items()}


class LakeSource:
    """What `barfeed run --lake` writes, as far as it has been written."""

    def __init__(self, days: Days) -> None:
        self._days = days
        self._memory = Store(Path(str(days)), SystemClock(), 0)
        self._turn = Lock()
        self._seen: list[tuple[Noted, Mapping[Path, str]]] = []

    def __str__(self) -> str:
        return str(self._days)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """DuckDB with nothing attached; by one thread at a time."""
        with self._turn, reading_lake(str(self)):
            connection = self._memory.beside()
            connection.execute("RESET threads")
            self._seen = []
            yield connection
            self._expect_as_seen()

    def _expect_as_seen(self) -> None:
        """Return where nothing was noted meanwhile: a bar may have been read that was changed since."""
        for table, seen in self._seen:
            if self._days.noted(table) != seen:
                raise LakeUnusable(f"{self} was written while it was read", is_torn=True, hint="ask again")

    def bars(self, connection: Session, span: Span) -> str:
        """Raises `UsageError`, too, where the lake does not tell what they were at the moment that is meant."""
        days = self._relation(Table(span.interval), span)
        if self._absent(connection, days, span):
            # A symbol may have its bars in other days.
            days = self._relation(Table(span.interval))
            if absent := self._absent(connection, days, span):
                raise nothing_of(self, absent, span.interval)
        columns, named = ", ".join(SYMBOL_COLUMNS), ", ".join(f"'{each}'" for each in span.symbols)
        held = f"(SELECT {columns}, created_at FROM {days} WHERE symbol IN ({named}) AND {within(span)}{_dated(span)})"
        if span.as_of_ms is None:
            return f"(SELECT {columns}, true AS is_known FROM {held})"
        # What was changed is looked at behind the bars: a change is in the lake before the bar is.
        audit = self._noted(REVISIONS, "the bars as of a moment")
        return f"({revisions.as_of_rows(held, audit, span.interval, span.as_of_ms)})"

    def candles(self, connection: Session, span: Span, step_ms: int) -> str:
        """Raises as `bars`."""
        return questions.candles(self.bars(connection, span), step_ms)

    def kinds(self, connection: Session, interval: Interval) -> tuple[Kind, ...]:  # noqa: ARG002 - a store has to be asked
        """Those of which there is a table."""
        own = (each for each in KINDS.values() if interval in each.intervals)
        return tuple(each for each in own if self._days.has(Table(interval, each)))

    def wide(self, connection: Session, span: Span, kinds: Sequence[Kind]) -> str:
        """Raises as `bars`."""
        bars = self.bars(connection, span)
        return joined(bars, [(each, self._beside(connection, each, span)) for each in kinds], span.interval)

    def coverage(self, connection: Session) -> str:  # noqa: ARG002 - likewise
        """Of every day."""
        return questions.coverage(self._stocks())

    def gaps(self, connection: Session, symbol: str | None, interval: str | None) -> str:  # noqa: ARG002 - likewise
        """Of every day."""
        return questions.only(questions.gaps(self._stocks()), symbol, interval)

    def _stocks(self) -> list[Stock]:
        """Each interval's days."""
        found = ((each, self._relation(Table(each))) for each in Interval)
        return [Stock(interval, relation) for interval, relation in found if relation]

    def revisions(self, connection: Session) -> str | None:  # noqa: ARG002 - likewise
        """Raises `UsageError` where the lake does not tell it yet."""
        return self._noted(REVISIONS, "what was changed")

    def membership(self, connection: Session) -> str | None:  # noqa: ARG002 - likewise
        """Raises `UsageError` likewise."""
        return self._noted(LISTINGS, "what was listed")

    def remedies(self, series: Series) -> Remedies:
        """Those of the store that it is made of."""
        of_series = f"--symbol {series.symbol} --interval {series.interval}"
        return Remedies(
            f"barfeed run {of_series} --catch-up", f"barfeed repair {of_series}", f"barfeed backfill {of_series}"
        )

    def _absent(self, connection: Session, days: str | None, span: Span) -> list[str]:
        held = connection.sql(f"SELECT DISTINCT symbol FROM {days}").fetchall() if days else []
        there = {symbol for (symbol,) in held}
        return [each for each in span.symbols if each not in there]

    def _beside(self, connection: Session, kind: Kind, span: Span) -> str:
        # Of every day: the newest row that was known may be as old as the kind.
        rows = self._relation(Table(span.interval, kind))
        if rows is None:
            return no_rows(kind)
        if span.as_of_ms is not None:
            audit = self._noted(KIND_REVISIONS, f"{kind.name} as of a moment")
            rows = kind_revisions.as_of_rows(rows, audit, kind, span.interval, span.as_of_ms)
        return beside(connection, rows, span)

    def _relation(self, table: Table, span: Span | None = None) -> str | None:
        folder = self._days.folder(table, span)
        if folder is None:
            return None
        quoted = str(folder / "*" / "*.parquet").replace("'", "''")
        return f"read_parquet('{quoted}', hive_partitioning = true)"

    def _noted(self, table: Noted, what: str) -> str | None:
        """All of an append-only table as a relation; None where nothing is in it."""
        files = self._days.noted(table)
        if files is None:
            raise UsageError(
                f"{self} is a lake, which does not tell {what}: it is of an older barfeed, or was not finished",
                hint="the next pass with --lake writes it; until then, open the store that it is made of",
            )
        if gone := [each for each in files if not each.is_file()]:
            name = "/".join((table.folder, *gone[0].parts[-2:]))
            said = f"{self} cannot be read as a lake: {name} is not there"
            raise LakeUnusable(said, is_torn=True, hint=PROVE_LAKE_HINT)
        self._seen.append((table, files))
        quoted = ", ".join(f"""'{str(each).replace("'", "''")}'""" for each in files)
        return f"read_parquet([{quoted}], hive_partitioning = false)" if files else None


def _dated(span: Span) -> str:
    """The days that can hold any of it: the others are not opened."""
    bounds = zip((">=", "<="), days_of(span), strict=True)
    return "".join(f" AND date {sign} DATE '{day}'" for sign, day in bounds if day is not None)
