"""A database, read as a file is: what a question is about comes into DuckDB's memory, in columns."""

import shlex
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from threading import Lock

from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.domain.verdict import Remedies
from barfeed.history.reading import questions
from barfeed.history.reading.rows import CandleRow, CoverageRow, GapRow
from barfeed.history.reading.source import nothing_of
from barfeed.history.reading.span import relation
from barfeed.history.reading.wide import any_of
from barfeed.machine.clock import SystemClock
from barfeed.store import revisions
from barfeed.store.duckdb import Coverage, Session
from barfeed.store.kinds.wide import wide_table
from barfeed.store.market import MEMBERSHIP
from barfeed.store.place import Span
from barfeed.store.postgres.kinds.mirror import put_kinds
from barfeed.store.postgres.kinds.tables import is_there
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.server import Server, lag_of
from barfeed.store.postgres.tables import mirror
from barfeed.store.postgres.tables.lacking import Lacking


class DatabaseSource:
    """A PostgreSQL database, or a standby of it."""

    def __init__(self, address: str, wait_sec: float, read_from: str = "") -> None:
        """`read_from`: a standby that is read in its place; then it is looked whether it is up to date."""
        self._primary = Server(address, SystemClock(), wait_sec)
        self._server = Server(read_from, SystemClock(), wait_sec) if read_from else self._primary
        self._turn = Lock()
        self._database: Connection | None = None

    def __str__(self) -> str:
        return self._server.name

    @contextmanager
    def session(self) -> Iterator[Session]:
        """An empty store in DuckDB's memory, and all that is looked at of one moment; by one thread at a time."""
        # Let go of at the end of each look: a notebook keeps no connection.
        with self._turn, closing(self._server), self._server.session(write=False) as database:
            memory = self._server.beside()
            memory.execute("RESET threads")
            with mirror.opened(memory):
                self._database = database
                yield memory

    def bars(self, connection: Session, span: Span) -> str:
        """Raises `StoreUnusable`, too, where a standby has not got what its primary has."""
        self._expect_there(span)
        mirror.put_span(self._asked(), connection, span)
        return relation(connection, span)

    def candles(self, connection: Session, span: Span, step_ms: int) -> str:
        """Summed up there: of a year's minutes none is sent. Raises as `bars`."""
        self._expect_there(span)
        rows = self._server.market(self._asked(), span.interval).candles(span, step_ms)
        return questions.told(connection, CandleRow, rows)

    def _expect_there(self, span: Span) -> None:
        """Return where every symbol has a bar, and a standby is up to date."""
        database = self._asked()
        newest_ms = self._server.market(database, span.interval).newest_of(span.symbols)
        self._expect_up_to_date(database, span, newest_ms)
        if absent := [each for each in span.symbols if each not in newest_ms]:
            raise nothing_of(self, absent, span.interval)

    def kinds(self, connection: Session, interval: Interval) -> tuple[Kind, ...]:  # noqa: ARG002 - a file has to be asked
        """Those of which there is a table."""
        found = tuple(kind for kind in KINDS.values() if is_there(self._asked(), kind, interval))
        return any_of(found, interval, self)

    def wide(self, connection: Session, span: Span, kinds: Sequence[Kind]) -> str:
        """Raises as `bars`."""
        bars = self.bars(connection, span)
        put_kinds(self._asked(), connection, kinds, span)
        return wide_table(connection, bars, kinds, span).relation

    def coverage(self, connection: Session) -> str:
        """Counted there."""
        rows = [
            (symbol, str(interval), *held)
            for interval in Interval
            for symbol, held in self._server.market(self._asked(), interval).coverage().items()
        ]
        return questions.told(connection, CoverageRow, rows)

    def gaps(self, connection: Session, symbol: str | None, interval: str | None) -> str:
        """Found there."""
        rows = [
            (each, str(step), gap.first_ms, gap.last_ms, gap.bars)
            for step in ([Interval(interval)] if interval else Interval)
            for each, found in Lacking(self._asked(), step).between(self._covered(step, symbol)).items()
            for gap in found
        ]
        return questions.told(connection, GapRow, rows)

    def _covered(self, interval: Interval, symbol: str | None) -> dict[str, Coverage]:
        market = self._server.market(self._asked(), interval)
        return market.coverage() if symbol is None else {symbol: market.coverage_of(symbol)}

    def revisions(self, connection: Session) -> str | None:
        """The table of them, where there is any."""
        return f"store.main.{revisions.TABLE}" if mirror.put_revisions(self._asked(), connection) else None

    def membership(self, connection: Session) -> str | None:
        """The table of it, where there is any."""
        return f"store.main.{MEMBERSHIP}" if mirror.put_membership(self._asked(), connection) else None

    def remedies(self, series: Series) -> Remedies:
        """As they are typed for this very database."""
        of_series = ["--store", self._primary.name, "--symbol", series.symbol, "--interval", str(series.interval)]
        run, repair, backfill = (shlex.join(["barfeed", each, *of_series]) for each in ("run", "repair", "backfill"))
        return Remedies(f"{run} --catch-up", repair, backfill)

    def _asked(self) -> Connection:
        assert self._database
        return self._database

    def _expect_up_to_date(self, database: Connection, span: Span, seen_ms: dict[str, int]) -> None:
        """Return where the newest bar of the span, by the primary, is seen here, too."""
        if self._server is self._primary:
            return
        with closing(self._primary), self._primary.session(write=False) as primary:
            newest_ms = self._primary.market(primary, span.interval).newest_of(span.symbols)
        if behind := [each for each, at_ms in newest_ms.items() if _lacks(span, seen_ms.get(each), at_ms)]:
            lag_sec = lag_of(database)
            lag = "" if lag_sec is None else f"; it lags by {lag_sec:.1f} s"
            raise self._behind(f"{behind[0]} {span.interval}", seen_ms.get(behind[0]), newest_ms[behind[0]], lag)

    def _behind(self, series: str, seen_ms: int | None, newest_ms: int, lag: str) -> StoreUnusable:
        newest = "none" if seen_ms is None else grid.text(seen_ms)
        return StoreUnusable(
            f"{self} is behind {self._primary.name}: its newest bar of {series} is {newest}, not"
            f" {grid.text(newest_ms)}{lag}",
            hint="ask again in a moment; if it stays, see pg_stat_replication there, or read from the primary",
            is_away=True,
        )


def _lacks(span: Span, seen_ms: int | None, newest_ms: int) -> bool:
    """Whether a standby that has seen bars up to one has not got some of the span that there are."""
    if seen_ms is None:
        return True
    return seen_ms < newest_ms and (span.to_ms is None or seen_ms + span.interval.ms < span.to_ms)
