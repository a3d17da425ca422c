"""A DuckDB file as the feed uses it: one series or a market, in the same file."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.store.duckdb import Store, Table
from barfeed.store.place import NO_BARS, SymbolBars

if TYPE_CHECKING:
    # Only for the types: an hour of one series goes by without them.
    from barfeed.store.market import MarketTable
    from barfeed.store.revisions import Why


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
