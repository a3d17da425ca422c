"""What is read: a store's file, opened late and closed early, and what of it each question is about."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from threading import Lock
from typing import Protocol

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.verdict import Remedies
from barfeed.history.reading import questions
from barfeed.history.reading.questions import Stock
from barfeed.history.reading.span import relation
from barfeed.history.reading.wide import every_kind
from barfeed.machine.clock import SystemClock
from barfeed.store import place, revisions
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds.wide import wide_table
from barfeed.store.market import MEMBERSHIP, MarketTable
from barfeed.store.place import Span

# A process has the lock on a file once, and gives it back with the first of two that let go of the file.
_turns: defaultdict[Path, Lock] = defaultdict(Lock)


class Source(Protocol):
    """Whatever holds bars. All but `session` and `remedies` take what that gives."""

    def session(self) -> AbstractContextManager[Session]:
        """What is asked, opened for one look."""
        ...

    def bars(self, connection: Session, span: Span) -> str:
        """The bars of a span as a relation. Raises `StoreEmpty` where nothing is held of one of its symbols."""
        ...

    def candles(self, connection: Session, span: Span, step_ms: int) -> str:
        """The bars of a span summed up in steps, as a query of `CandleRow`; raises as `bars`."""
        ...

    def kinds(self, connection: Session, interval: Interval) -> tuple[Kind, ...]:
        """The kinds of series that are held beside the bars of an interval; `StoreEmpty` where there is none."""
        ...

    def wide(self, connection: Session, span: Span, kinds: Sequence[Kind]) -> str:
        """The bars of a span with what was known of these kinds beside each, as a relation; raises as `bars`."""
        ...

    def coverage(self, connection: Session) -> str:
        """How many bars of each series are held, from when to when, as a query of `CoverageRow`."""
        ...

    def gaps(self, connection: Session, symbol: str | None, interval: str | None) -> str:
        """Where bars are missing between two of a series, of all or of those that are meant, as a query of `GapRow`."""
        ...

    def revisions(self, connection: Session) -> str | None:
        """The table of revisions, where there is one."""
        ...

    def membership(self, connection: Session) -> str | None:
        """The table of what was listed when, where there is one."""
        ...

    def remedies(self, series: Series) -> Remedies:
        """The commands that fill what is missing."""
        ...


def nothing_of(source: object, symbols: Sequence[str], interval: Interval) -> StoreEmpty:
    """The error where nothing is held of these symbols."""
    return StoreEmpty(
        f"{source} holds no bar of {', '.join(symbols)} {interval}",
        hint="see what it holds: coverage() of what barfeed.open gives",
    )


class StoreFile:
    """A DuckDB file, whichever tables it has."""

    def __init__(self, path: Path, lock_timeout_sec: float) -> None:
        """Raises `StoreUnusable` where there is no such file."""
        self._store = Store(path, SystemClock(), lock_timeout_sec)
        self._store.expect_file()

    def __str__(self) -> str:
        return str(self._store.path)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """The file attached, by one thread of this process at a time."""
        with _turns[self._store.path], self._store.looking() as connection:
            # As many as DuckDB itself takes: no signal of ours has to be heard meanwhile.
            connection.execute("RESET threads")
            yield connection

    def bars(self, connection: Session, span: Span) -> str:
        """Raises `StoreUnusable`, too, for a table that cannot be read as bars."""
        absent = self._absent(connection, span)
        if absent:
            raise nothing_of(self, absent, span.interval)
        return relation(connection, span)

    def candles(self, connection: Session, span: Span, step_ms: int) -> str:
        """Raises as `bars`."""
        return questions.candles(self.bars(connection, span), step_ms)

    def kinds(self, connection: Session, interval: Interval) -> tuple[Kind, ...]:
        """Raises `StoreUnusable`, too, for a table that is another's."""
        return every_kind(connection, interval, self)

    def wide(self, connection: Session, span: Span, kinds: Sequence[Kind]) -> str:
        """Raises `StoreUnusable`, too, likewise."""
        return wide_table(connection, self.bars(connection, span), kinds, span).relation

    def _absent(self, connection: Session, span: Span) -> list[str]:
        alone = {series.symbol for series in place.alone(connection) if series.interval is span.interval}
        for symbol in alone.intersection(span.symbols):
            self._store.readable(connection, Series(symbol, span.interval))
        others = [each for each in span.symbols if each not in alone]
        held = MarketTable(connection, span.interval).held(others) if others else set()
        return [each for each in others if each not in held]

    def coverage(self, connection: Session) -> str:
        """Raises `StoreUnusable` for a table that cannot be read as bars."""
        return questions.coverage(self._stocks(connection))

    def gaps(self, connection: Session, symbol: str | None, interval: str | None) -> str:
        """Raises `StoreUnusable` likewise."""
        return questions.only(questions.gaps(self._stocks(connection)), symbol, interval)

    def _stocks(self, connection: Session) -> list[Stock]:
        """Each table of its own, and each market's."""
        alone = [
            Stock(series.interval, place.rows_of_all(connection, [series.symbol], series.interval))
            for series in place.alone(connection)
        ]
        markets = [Stock(each, f"store.main.{place.market_table(each)}") for each in place.markets(connection)]
        return [*alone, *markets]

    def revisions(self, connection: Session) -> str | None:
        """Raises `StoreUnusable` for a table of that name that is another's."""
        return f"store.main.{revisions.TABLE}" if revisions.is_there(connection) else None

    def membership(self, connection: Session) -> str | None:
        """Raises `StoreUnusable` likewise."""
        return f"store.main.{MEMBERSHIP}" if MarketTable(connection, Interval.ONE_HOUR).has_membership() else None

    def remedies(self, series: Series) -> Remedies:
        """As they are typed for this very file."""
        of_series = ["--duckdb", str(self), "--symbol", series.symbol, "--interval", str(series.interval)]
        run, repair, backfill = (shlex.join(["barfeed", each, *of_series]) for each in ("run", "repair", "backfill"))
        return Remedies(f"{run} --catch-up", repair, backfill)
