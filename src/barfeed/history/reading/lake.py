"""A lake, read as a store is: Parquet that nobody locks, a file a day."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreUnusable, UsageError
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.domain.verdict import Remedies
from barfeed.history.reading import questions
from barfeed.history.reading.questions import Stock
from barfeed.history.reading.source import nothing_of
from barfeed.history.reading.span import SYMBOL_COLUMNS, days_of, within
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds.wide import beside, joined, no_rows
from barfeed.store.lake.table import BARS, Table
from barfeed.store.place import Span
from barfeed.store.troubles.file import reading_lake

_TABLES = f"kind={BARS}"


class Days(Protocol):
    """Where a lake's files are to be read from, a folder of them a table."""

    def has(self, table: Table) -> bool:
        """Whether the lake has such a table."""
        ...

    def folder(self, table: Table, span: Span | None = None) -> Path | None:
        """The folder with the days of a table, of a span at least; None where the lake has no such table."""
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


class LakeSource:
    """What `barfeed run --lake` writes. It has each bar as it is now: what was changed, only the store can tell."""

    def __init__(self, days: Days) -> None:
        self._days = days
        self._memory = Store(Path(str(days)), SystemClock(), 0)
        self._turn = Lock()

    def __str__(self) -> str:
        return str(self._days)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """DuckDB with nothing attached; by one thread at a time."""
        with self._turn, reading_lake(str(self)):
            connection = self._memory.beside()
            connection.execute("RESET threads")
            yield connection

    def bars(self, connection: Session, span: Span) -> str:
        """Raises `UsageError` where bars are wanted as of a moment."""
        if span.as_of_ms is not None:
            raise self._only_now("the bars as of a moment")
        days = self._relation(Table(span.interval), span)
        if self._absent(connection, days, span):
            # A symbol may have its bars in other days.
            days = self._relation(Table(span.interval))
            if absent := self._absent(connection, days, span):
                raise nothing_of(self, absent, span.interval)
        named = ", ".join(f"'{each}'" for each in span.symbols)
        columns = f"{', '.join(SYMBOL_COLUMNS)}, true AS is_known"
        return f"(SELECT {columns} FROM {days} WHERE symbol IN ({named}) AND {within(span)}{_dated(span)})"

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
        """Raises `UsageError`."""
        raise self._only_now("what was changed")

    def membership(self, connection: Session) -> str | None:  # noqa: ARG002 - likewise
        """Raises `UsageError`."""
        raise self._only_now("what was listed")

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
        return beside(connection, rows, span) if rows else no_rows(kind)

    def _relation(self, table: Table, span: Span | None = None) -> str | None:
        folder = self._days.folder(table, span)
        if folder is None:
            return None
        quoted = str(folder / "*" / "*.parquet").replace("'", "''")
        return f"read_parquet('{quoted}', hive_partitioning = true)"

    def _only_now(self, what: str) -> UsageError:
        return UsageError(f"{self} is a lake, which does not tell {what}", hint="open the store that it is made of")


def _dated(span: Span) -> str:
    """The days that can hold any of it: the others are not opened."""
    bounds = zip((">=", "<="), days_of(span), strict=True)
    return "".join(f" AND date {sign} DATE '{day}'" for sign, day in bounds if day is not None)
