"""A lake, read as a store is: Parquet that nobody locks, a file a day."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreUnusable, UsageError
from barfeed.domain.verdict import Remedies
from barfeed.history.reading.source import Stock, nothing_of
from barfeed.history.reading.span import SYMBOL_COLUMNS, Span, within
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Session, Store
from barfeed.store.troubles.file import reading_lake

_TABLES = "kind=ohlcv"


class LakeFolder:
    """A folder of `barfeed run --lake`. It has each bar as it is now: what was changed, only the store can tell."""

    def __init__(self, folder: Path) -> None:
        """Raises `StoreUnusable` for a folder that is no lake."""
        self._folder = folder.absolute()
        if not (self._folder / _TABLES).is_dir():
            raise StoreUnusable(
                f"{self} is a folder, and no lake: there is no {_TABLES} in it", hint="open a store's file, or a lake"
            )
        self._memory = Store(self._folder, SystemClock(), 0)
        self._turn = Lock()

    def __str__(self) -> str:
        return str(self._folder)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """DuckDB with nothing attached; by one thread at a time."""
        with self._turn, reading_lake(self._folder):
            connection = self._memory.beside()
            connection.execute("RESET threads")
            yield connection

    def bars(self, connection: Session, span: Span) -> str:
        """Raises `UsageError` where bars are wanted as of a moment."""
        if span.as_of_ms is not None:
            raise self._only_now("the bars as of a moment")
        days = self._relation(span.interval) if span.interval in self._intervals() else None
        held = f"SELECT DISTINCT symbol FROM {days}" if days else ""
        there = {symbol for (symbol,) in connection.sql(held).fetchall()} if held else set()
        if absent := [each for each in span.symbols if each not in there]:
            raise nothing_of(self, absent, span.interval)
        named = ", ".join(f"'{each}'" for each in span.symbols)
        columns = f"{', '.join(SYMBOL_COLUMNS)}, true AS is_known"
        return f"(SELECT {columns} FROM {days} WHERE symbol IN ({named}) AND {within(span)}{_days(span)})"

    def stocks(self, connection: Session) -> list[Stock]:  # noqa: ARG002 - a store has to be asked
        """Each interval's days."""
        return [Stock(each, self._relation(each)) for each in self._intervals()]

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

    def _intervals(self) -> list[Interval]:
        return [each for each in Interval if any(self._table(each).glob("*/*.parquet"))]

    def _table(self, interval: Interval) -> Path:
        return self._folder / _TABLES / f"interval={interval}"

    def _relation(self, interval: Interval) -> str:
        quoted = str(self._table(interval) / "*" / "*.parquet").replace("'", "''")
        return f"read_parquet('{quoted}', hive_partitioning = true)"

    def _only_now(self, what: str) -> UsageError:
        return UsageError(f"{self} is a lake, which does not tell {what}", hint="open the store that it is made of")


def _days(span: Span) -> str:
    """The days that can hold any of it: the others are not opened."""
    bounds = [(">=", span.from_ms), ("<=", span.to_ms)]
    return "".join(f" AND date {sign} DATE '{grid.timestamp(ms)[:10]}'" for sign, ms in bounds if ms is not None)
