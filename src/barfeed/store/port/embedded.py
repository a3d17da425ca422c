"""A DuckDB file as the feed and the commands of history use it: one series or a market, in the same file."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.store.duckdb import Session, Store, Table, transaction
from barfeed.store.place import NO_BARS, Span, SymbolBars

if TYPE_CHECKING:
    # Only for the types: an hour of one series goes by without them.
    from barfeed.store.market import MarketTable
    from barfeed.store.revisions import Revision, Why


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

    def stand_in(self, folder: Path, away: StoreUnusable) -> "Embedded":  # noqa: ARG002 - the port's
        """A file is never away: who has it lets it be read, or does not."""
        raise away

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

        return reading(self, interval, pending)

    def writing_market(self, interval: Interval) -> "AbstractContextManager[MarketTable]":
        """A market in one transaction: committed at the end, rolled back by any exception."""
        from barfeed.store.market import writing  # noqa: PLC0415

        return writing(self, interval)

    def expect_there(self) -> None:
        """Return where there is a file."""
        self.expect_file()

    def looking_at(self, span: Span) -> AbstractContextManager[Session]:  # noqa: ARG002 - the port's
        """The whole file, attached."""
        return self.session(write=False)

    def looking_at_one(self, span: Span) -> AbstractContextManager[Session]:  # noqa: ARG002 - the port's
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
