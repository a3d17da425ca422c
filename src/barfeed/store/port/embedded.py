"""A DuckDB file as the feed and the commands of history use it: one series or a market, in the same file."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.store.duckdb import Session, Store, Table, transaction
from barfeed.store.place import NO_BARS, Place, Span, SymbolBars

if TYPE_CHECKING:
    # Only for the types: an hour of one series goes by without them.
    from barfeed.domain.kinds.kind import Kind
    from barfeed.store.kinds.kept import FileKinds
    from barfeed.store.lake.contents.origin import OfFile
    from barfeed.store.market import MarketTable
    from barfeed.store.port.last_windows import LastWindows
    from barfeed.store.revisions import Revision, Why

_Value = TypeVar("_Value")
_Looked = TypeVar("_Looked")


class Embedded(Store):
    """The file. What most hours do not need is imported where it is used: the hourly command must start fast."""

    @property
    def name(self) -> str:
        """Its path."""
        return str(self.path)

    @property
    def file(self) -> Store:
        """Itself."""
        return self

    @property
    def origin(self) -> "OfFile":
        """What a lake is made of."""
        from barfeed.store.lake.contents.origin import OfFile  # noqa: PLC0415

        return OfFile(self)

    @property
    def kinds(self) -> "FileKinds":
        """The kinds beside its bars."""
        from barfeed.store.kinds.kept import FileKinds  # noqa: PLC0415

        return FileKinds(self)

    def stand_in(self, folder: Path, away: StoreUnusable) -> "LastWindows":
        """The windows that were last given to the models. Raises `away` where there are none."""
        from barfeed.store.port.last_windows import LastWindows  # noqa: PLC0415

        return LastWindows(folder, self.name, self.beside(), away)

    @contextmanager
    def reading(self, series: Series) -> Iterator[Table]:
        """One series, to look at; away where another process writes the file, which lets nobody read it."""
        with _away_while_written(super().reading(series)) as table:
            yield table

    def revising(
        self, series: Series, changes: Sequence[Change], why: "Why", *, dry_run: bool
    ) -> AbstractContextManager[Table]:
        """One series in a transaction in which `changes` are made and audited; `Unrepaired` where one is overtaken."""
        from barfeed.store.revisions import revised  # noqa: PLC0415

        return revised(self, series, changes, why, dry_run=dry_run)

    def let_pass(self, series: Series) -> list[Bar]:
        """The bars of the series that somebody let pass."""
        from barfeed.store.revisions import let_pass  # noqa: PLC0415

        with self.session(write=False) as connection:
            return let_pass(connection, series)

    def reading_market(
        self, interval: Interval, pending: SymbolBars = NO_BARS
    ) -> "AbstractContextManager[MarketTable]":
        """A market, to look at as if what is `pending` were stored."""
        from barfeed.store.market import reading  # noqa: PLC0415

        return _away_while_written(reading(self, interval, pending))

    def writing_market(self, interval: Interval) -> "AbstractContextManager[MarketTable]":
        """A market in one transaction: committed at the end, rolled back by any exception."""
        from barfeed.store.market import writing  # noqa: PLC0415

        return writing(self, interval)

    def expect_there(self) -> None:
        """Return where there is a file."""
        self.expect_file()

    def looking_at(
        self,
        span: Span,  # noqa: ARG002 - the port's
        kinds: "Sequence[Kind] | None" = None,  # noqa: ARG002 - likewise
    ) -> AbstractContextManager[Session]:
        """The whole file, attached."""
        return self.session(write=False)

    def looking_at_one(
        self,
        span: Span,  # noqa: ARG002 - the port's
        kinds: "Sequence[Kind] | None" = None,  # noqa: ARG002 - likewise
    ) -> AbstractContextManager[Session]:
        """The whole file, attached."""
        return self.session(write=False)

    def portions(self, interval: Interval, symbols: Sequence[str]) -> Iterator[Sequence[str]]:  # noqa: ARG002 - the port's
        """All at once: nothing of it is copied."""
        yield symbols

    def expect_audit(self) -> None:
        """Return where bars can be changed; `StoreUnusable` where the audit table's name is another table's."""
        from barfeed.store.revisions import is_there  # noqa: PLC0415

        with self.session(write=False) as connection:
            is_there(connection)

    def revisions(self, series: Series) -> "list[Revision]":
        """Every revision of the series, in the order they were accepted."""
        from barfeed.store.revisions import listed  # noqa: PLC0415

        with self.session(write=False) as connection:
            self.table(connection, series)
            return listed(connection, series)

    def revisions_of_all(self, interval: Interval) -> "list[tuple[str, Revision]]":
        """Every revision at an interval and whose it is, in the order they were accepted."""
        from barfeed.store.revisions import listed_of_all  # noqa: PLC0415

        with self.session(write=False) as connection:
            return listed_of_all(connection, interval)

    def noted_let_pass(self, series: Series, bar: Bar) -> "Revision | None":
        """The first note by which a bar with these very values is let pass."""
        from barfeed.store.revisions import noted_let_pass  # noqa: PLC0415

        if not self.exists():
            return None
        with self.session(write=False) as connection:
            return noted_let_pass(connection, series, bar)

    def note_let_pass(self, series: Series, bar: Bar, why: "Why") -> "Revision | None":
        """Let a bar with these very values pass from now on; the note of whoever was quicker."""
        from barfeed.store.revisions import note_let_pass  # noqa: PLC0415

        with self.session(write=True) as connection, transaction(connection):
            return note_let_pass(connection, series, bar, why)

    def gaps(self, series: Series, span: Gap) -> list[Gap]:
        """The open_times of a span that the series lacks, as maximal runs."""
        from barfeed.store.incoming.lacking import gaps_in  # noqa: PLC0415

        if not self.exists():
            return [span]
        with self.session(write=False) as connection:
            table = self.table(connection, series)
            return gaps_in(connection, table.place.rows, span, series.interval.ms) if table.exists else [span]

    def lacking(self, series: Series, span: Gap) -> list[Gap]:
        """The same for who is about to fill them: a table is made where there is none, and takes them, or it raises."""
        from barfeed.store.incoming.lacking import gaps_in  # noqa: PLC0415

        with self.session(write=True) as connection:
            table = self.table(connection, series)
            if not table.exists:
                table.append([])
            found = gaps_in(connection, table.place.rows, span, series.interval.ms)
            table.would_take_opens(found)
            return found

    def neighbours(self, series: Series, span: Gap) -> tuple[int | None, int | None]:
        """When the last bar before a span opens (ms), and the first after it."""
        from barfeed.store.incoming.lacking import neighbours  # noqa: PLC0415

        with self.session(write=False) as connection:
            return neighbours(connection, series, span)

    def gaps_of_all(self, interval: Interval, wanted: Mapping[str, Gap]) -> Mapping[str, list[Gap]]:
        """The open_times that each symbol's span lacks among the others, as maximal runs; what is whole is left out."""
        from barfeed.store.incoming.lacking import Lacking  # noqa: PLC0415

        with self.reading_market(interval) as table:
            if not table.exists:
                return {symbol: [span] for symbol, span in wanted.items()}
            return Lacking(table.connection, interval).gaps(wanted)

    def traded(self, series: Series, spans: Sequence[Gap]) -> list[int]:
        """When the bars of these spans open (ms) in which something was traded, ascending; of a market's series."""
        from barfeed.store.incoming.lacking import Lacking  # noqa: PLC0415

        with self.reading_market(series.interval) as table:
            return Lacking(table.connection, series.interval).traded(series.symbol, spans) if table.exists else []

    def last_traded(self, interval: Interval, symbols: Sequence[str]) -> Mapping[str, int]:
        """When the last bar opens (ms) in which something was traded, of each symbol of a market that has one."""
        from barfeed.store.incoming.lacking import Lacking  # noqa: PLC0415

        with self.reading_market(interval) as table:
            lacking = Lacking(table.connection, interval)
            found = {each: lacking.last_traded(each) for each in symbols} if table.exists else {}
        return {symbol: at_ms for symbol, at_ms in found.items() if at_ms is not None}

    def filling_one(
        self,
        series: Series,
        span: Gap,  # noqa: ARG002 - the port's
        do: Callable[[Place], _Value],
    ) -> _Value:
        """What `do` makes of the series' table, in one transaction."""
        with self.session(write=True) as connection:
            table = self.table(connection, series)
            with transaction(connection):
                if not table.exists:
                    table.append([])
                return do(table.place)

    def filling(
        self,
        interval: Interval,
        spans: Mapping[str, Gap],  # noqa: ARG002 - the port's
        do: "Callable[[MarketTable], _Value]",
    ) -> _Value:
        """What `do` makes of the market's table, in one transaction."""
        with self.writing_market(interval) as table:
            if not table.exists:
                table.append({})
            return do(table)


@contextmanager
def _away_while_written(opening: AbstractContextManager[_Looked]) -> Iterator[_Looked]:
    """What it opens; a file that cannot even be read is as far away as a server that does not answer."""
    with ExitStack() as opened:
        try:
            looked = opened.enter_context(opening)
        except StoreUnusable as trouble:
            trouble.is_away = trouble.is_held
            raise
        yield looked
