"""A database as the commands of history use it: looked at as a DuckDB store in memory, mended, filled."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind
from barfeed.store.duckdb import Session, Table
from barfeed.store.market import MarketTable
from barfeed.store.place import Place, Span, own
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import mirror, revisions
from barfeed.store.postgres.tables.lacking import Lacking
from barfeed.store.revisions import Revision, Why, note_of

# Of so many bars a copy in memory takes some hundred MB.
_BARS_AT_ONCE = 2_000_000

_Value = TypeVar("_Value")


class _Overtaken(Exception):
    """Another feeder has stored one of the bars meanwhile: it is to be compared."""


class WholeServer(Server):
    """A database, all of it."""

    def exists(self) -> bool:
        """Yes: whether it can be reached, the first question tells."""
        return True

    def expect_there(self) -> None:
        """Return: whether it is there, the first question tells."""

    @contextmanager
    def looking_at(self, span: Span, kinds: Sequence[Kind] | None = None) -> Iterator[Session]:
        """The bars of a span, copied as of one moment; the database is asked no more."""
        with self._copy_of_span(span, kinds, is_alone=False) as memory:
            yield memory

    @contextmanager
    def looking_at_one(self, span: Span, kinds: Sequence[Kind] | None = None) -> Iterator[Session]:
        """The same of one symbol, in a table of its own."""
        with self._copy_of_span(span, kinds, is_alone=True) as memory:
            yield memory

    @contextmanager
    def _copy_of_span(self, span: Span, kinds: Sequence[Kind] | None, *, is_alone: bool) -> Iterator[Session]:
        with self._copy() as memory:
            with self.session(write=False) as connection:
                mirror.put_span(connection, memory, span, is_alone=is_alone)
                if kinds is not None:
                    _put_kinds(connection, memory, kinds, span)
            yield memory

    def portions(self, interval: Interval, symbols: Sequence[str]) -> Iterator[Sequence[str]]:
        """So many together that their bars have room in memory."""
        with self.reading_market(interval) as table:
            held = table.coverage()
        portion: list[str] = []
        bars = 0
        for symbol in symbols:
            own = held[symbol].rows if symbol in held else 0
            if portion and bars + own > _BARS_AT_ONCE:
                yield portion
                portion, bars = [], 0
            portion.append(symbol)
            bars += own
        if portion:
            yield portion

    def table(self, connection: Session, series: Series) -> Table:
        """The table that `looking_at_one` made."""
        return Table(connection, series, exists=True)

    def readable(self, connection: Session, series: Series) -> tuple[Table, None]:
        """The same: the schema is ours, and takes every bar."""
        return self.table(connection, series), None

    def expect_audit(self) -> None:
        """Return: the schema has the table of both versions."""

    def revisions(self, series: Series) -> list[Revision]:
        """Every revision of the series, in the order they were accepted."""
        with self.session(write=False) as connection:
            return revisions.listed(connection, series)

    def revisions_of_all(self, interval: Interval) -> list[tuple[str, Revision]]:
        """Every revision at an interval and whose it is, in the order they were accepted."""
        with self.session(write=False) as connection:
            return revisions.listed_of_all(connection, interval)

    def noted_let_pass(self, series: Series, bar: Bar) -> Revision | None:
        """The first note by which a bar with these very values is let pass."""
        return note_of(bar, self.revisions(series))

    def note_let_pass(self, series: Series, bar: Bar, why: Why) -> Revision | None:
        """Let a bar with these very values pass from now on; the note of whoever was quicker."""
        with self.session(write=True) as connection:
            return revisions.note_let_pass(connection, series, bar, why)

    def gaps(self, series: Series, span: Gap) -> list[Gap]:
        """The open_times of a span that the series lacks, as maximal runs."""
        return self.gaps_of_all(series.interval, {series.symbol: span}).get(series.symbol, [])

    def lacking(self, series: Series, span: Gap) -> list[Gap]:
        """The same: the tables are there, and take every bar."""
        return self.gaps(series, span)

    def neighbours(self, series: Series, span: Gap) -> tuple[int | None, int | None]:
        """When the last bar before a span opens (ms), and the first after it."""
        with self.session(write=False) as connection:
            return Lacking(connection, series.interval).neighbours(series.symbol, span)

    def gaps_of_all(self, interval: Interval, wanted: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        """The open_times that each symbol's span lacks, as maximal runs; what is whole is left out."""
        with self.session(write=False) as connection:
            return Lacking(connection, interval).gaps(wanted)

    def traded(self, series: Series, spans: Sequence[Gap]) -> list[int]:
        """When the bars of these spans open (ms) in which something was traded, ascending."""
        with self.session(write=False) as connection:
            return Lacking(connection, series.interval).traded(series.symbol, spans)

    def last_traded(self, interval: Interval, symbols: Sequence[str]) -> Mapping[str, int]:
        """When the last bar opens (ms) in which something was traded, of each symbol that has one."""
        with self.session(write=False) as connection:
            return Lacking(connection, interval).last_traded(symbols)

    def filling_one(self, series: Series, span: Gap, do: Callable[[Place], _Value]) -> _Value:
        """What `do` makes of a copy of the series' bars in a span; what it inserts there is appended."""
        return self._filling(series.interval, {series.symbol: span}, lambda _: do(own(series)), is_alone=True)

    def filling(self, interval: Interval, spans: Mapping[str, Gap], do: Callable[[MarketTable], _Value]) -> _Value:
        """The same of a span of each of many symbols, and of what is noted of the exchange's gaps."""
        return self._filling(interval, spans, lambda memory: do(MarketTable(memory, interval)), is_alone=False)

    def _filling(
        self, interval: Interval, spans: Mapping[str, Gap], do: Callable[[Session], _Value], *, is_alone: bool
    ) -> _Value:
        # Bars are never taken out: each time there is less that anybody could be quicker with.
        while True:
            with suppress(_Overtaken):
                return self._filled(interval, spans, do, is_alone=is_alone)

    def _filled(
        self, interval: Interval, spans: Mapping[str, Gap], do: Callable[[Session], _Value], *, is_alone: bool
    ) -> _Value:
        """In one transaction: look, do, append. Raises `_Overtaken`, and nothing was done."""
        with self._copy() as memory, self._writing(interval) as table:
            news = mirror.put_spans(table.connection, memory, interval, spans, is_alone=is_alone)
            done = do(memory)
            for rows in news.bars():
                if len(table.append_rows(rows)) < len(rows):
                    raise _Overtaken
            for seen_at_ms, gaps in news.exchange_gaps(interval).items():
                table.note_exchange_gaps(gaps, seen_at_ms)
            return done

    def _copy(self) -> AbstractContextManager[Session]:
        """An empty store in DuckDB's memory."""
        return mirror.copy_of(self.name, self.beside())


def _put_kinds(connection: Connection, memory: Session, kinds: Sequence[Kind], span: Span) -> None:
    # Imported here: bars go by without it.
    from barfeed.domain.kinds.table import KINDS  # noqa: PLC0415
    from barfeed.store.postgres.kinds.mirror import put_kinds  # noqa: PLC0415

    put_kinds(connection, memory, kinds or tuple(KINDS.values()), span)
