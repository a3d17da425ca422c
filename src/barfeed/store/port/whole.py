"""What the commands of history need of a store besides what the feed does: all of it, proven, mended and filled.

What they ask is asked of DuckDB, wherever the bars stand: a file is attached, of a database a part is copied into
memory. Everything raises `StoreUnusable`, and nothing else, for what is wrong with it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Protocol, TypeVar

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.store.duckdb import Session, Table
from barfeed.store.place import Place, Span
from barfeed.store.port.history import History

if TYPE_CHECKING:
    # Only for the types: who proves a table needs nothing of a market, nor of what was revised.
    from barfeed.domain.kinds.kind import Kind
    from barfeed.store.market import MarketTable
    from barfeed.store.revisions import Revision, Why

_Value = TypeVar("_Value")


class WholeHistory(History, Protocol):
    """A store, all of it."""

    def exists(self) -> bool:
        """Whether there is a store."""
        ...

    def expect_there(self) -> None:
        """Return where there is a store, for those who only look."""
        ...

    def looking_at(self, span: Span, kinds: "Sequence[Kind] | None" = None) -> AbstractContextManager[Session]:
        """A DuckDB to ask about a span, whose bars stand in the tables of the store that is attached as `store`.

        As of a moment, what was revised stands there, too; so does whatever else a file has. So does what of these
        `kinds` can stand beside the bars; none of them means all that are stored.
        """
        ...

    def looking_at_one(self, span: Span, kinds: "Sequence[Kind] | None" = None) -> AbstractContextManager[Session]:
        """The same of one symbol, be there any bar of it or none."""
        ...

    def portions(self, interval: Interval, symbols: Sequence[str]) -> Iterator[Sequence[str]]:
        """The symbols in their order, as many together as can be looked at together."""
        ...

    def table(self, connection: Session, series: Series) -> Table:
        """The series' table where it is looked at; `StoreUnusable` where it has another shape."""
        ...

    def readable(self, connection: Session, series: Series) -> tuple[Table, StoreUnusable | None]:
        """The same to look at, though no bar can be appended: then with the reason."""
        ...

    def expect_audit(self) -> None:
        """Return where bars can be changed: both versions of one are kept."""
        ...

    def revisions(self, series: Series) -> "list[Revision]":
        """Every revision of the series, in the order they were accepted."""
        ...

    def revisions_of_all(self, interval: Interval) -> "list[tuple[str, Revision]]":
        """Every revision at an interval and whose it is, in the order they were accepted."""
        ...

    def noted_let_pass(self, series: Series, bar: Bar) -> "Revision | None":
        """The first note by which a bar with these very values is let pass."""
        ...

    def note_let_pass(self, series: Series, bar: Bar, why: "Why") -> "Revision | None":
        """Let a bar with these very values pass from now on; the note of whoever was quicker."""
        ...

    def gaps(self, series: Series, span: Gap) -> list[Gap]:
        """The open_times of a span that the series lacks, as maximal runs."""
        ...

    def lacking(self, series: Series, span: Gap) -> list[Gap]:
        """The same for who is about to fill them: a table is made where there is none, and takes them, or it raises."""
        ...

    def neighbours(self, series: Series, span: Gap) -> tuple[int | None, int | None]:
        """When the last bar before a span opens (ms), and the first after it."""
        ...

    def gaps_of_all(self, interval: Interval, wanted: Mapping[str, Gap]) -> Mapping[str, list[Gap]]:
        """The open_times that each symbol's span lacks among the others, as maximal runs; what is whole is left out."""
        ...

    def traded(self, series: Series, spans: Sequence[Gap]) -> list[int]:
        """When the bars of these spans open (ms) in which something was traded, ascending; of a market's series."""
        ...

    def last_traded(self, interval: Interval, symbols: Sequence[str]) -> Mapping[str, int]:
        """When the last bar opens (ms) in which something was traded, of each symbol of a market that has one."""
        ...

    def filling_one(self, series: Series, span: Gap, do: Callable[[Place], _Value]) -> _Value:
        """What `do` makes of the series' table, attached with the bars of a span at least, in one transaction.

        What it inserts there is appended. Where another feeder was quicker with a bar, all of it is done anew.
        """
        ...

    def filling(self, interval: Interval, spans: Mapping[str, Gap], do: "Callable[[MarketTable], _Value]") -> _Value:
        """The same of a span of each of many symbols, and of what is noted of the exchange's gaps."""
        ...
