"""What the feed needs of a store, whatever keeps it: a DuckDB file, or a server that many hosts share.

Times are ms since 1970-01-01 UTC. Everything raises `StoreUnusable`, and nothing else, for what is wrong with it.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.store.duckdb import Coverage, Session, Store
from barfeed.store.place import NO_BARS, SymbolBars

if TYPE_CHECKING:
    # Only for the types: most hours have bars alone, of one symbol, and no lake.
    from barfeed.domain.life import Listing
    from barfeed.domain.market.membership import Seen
    from barfeed.store.lake.contents.origin import Origin
    from barfeed.store.market import Window
    from barfeed.store.port.kinds import KeptKinds
    from barfeed.store.revisions import Why


class SeriesBars(Protocol):
    """The bars of one series while the store is open."""

    def coverage(self) -> Coverage:
        """How many there are, the first and the last."""
        ...

    def bars(self, from_ms: int) -> list[Bar]:
        """Those that open at `from_ms` or later, ascending; a stored NULL comes as NaN."""
        ...

    def append(self, bars: Sequence[Bar]) -> int:
        """Insert those whose open_time is not there yet; how many were."""
        ...

    def would_take(self, bars: Sequence[Bar]) -> int:
        """How many of them can be stored: all, or it raises."""
        ...


class MarketBars(Protocol):
    """The bars of every symbol at one interval while the store is open, and what the exchange listed when."""

    def newest(self, from_ms: int) -> dict[str, int]:
        """The newest open_time of each symbol that has a bar at `from_ms` or later."""
        ...

    def newest_of(self, symbols: Sequence[str]) -> dict[str, int]:
        """The newest open_time of each of these that has any bar: looked for in all of them."""
        ...

    def symbols(self) -> set[str]:
        """Every symbol that has a bar, wherever it stands."""
        ...

    def coverage(self) -> dict[str, Coverage]:
        """How many bars each symbol has among the others, the first and the last."""
        ...

    def elsewhere(self) -> set[str]:
        """The names of the tables that hold one series alone: what stands there must not stand here, too."""
        ...

    def bars(self, from_ms: Mapping[str, int]) -> dict[str, list[Bar]]:
        """Each symbol's bars from the moment given with it on, ascending; a stored NULL comes as NaN."""
        ...

    def append(self, bars: Mapping[str, Sequence[Bar]]) -> dict[str, int]:
        """Insert those that are not there yet; how many were inserted of each symbol."""
        ...

    def windows(self, start_ms: int, end_ms: int) -> "dict[str, Window]":
        """What each symbol has of the window from `start_ms` to `end_ms`, both included."""
        ...

    def write_windows(self, path: Path, from_ms: Mapping[str, int], end_ms: int) -> int:
        """Write these symbols' bars to a Parquet file, each from the moment given with it to `end_ms`; how many.

        Columns: symbol, timestamp (UTC), open, high, low, close, volume; sorted by symbol, then time. Raises `OSError`
        where the disk of that file fails.
        """
        ...

    def end_of(self, path: Path) -> int | None:
        """The last open_time of a Parquet file of windows; None where it is no such file."""
        ...

    def membership(self) -> "list[Seen]":
        """Every listing that was noted, oldest first."""
        ...

    def note_membership(self, changed: "Sequence[Listing]", seen_at_ms: int) -> None:
        """Note listings that are another than they were."""
        ...

    def exchange_gaps(self, symbols: Sequence[str]) -> dict[str, list[Gap]]:
        """Where the exchange itself was seen to have none of a symbol's bars."""
        ...

    def first_bars(self) -> dict[str, int]:
        """The first bar of all, of each symbol of which the exchange was seen to have none before it."""
        ...

    def note_exchange_gaps(self, gaps: Sequence[tuple[str, Gap]], seen_at_ms: int) -> None:
        """Note what the exchange was seen to have none of, so that it is not asked for again."""
        ...

    def let_pass(self, symbol: str) -> list[Bar]:
        """The bars of a symbol that somebody let pass though their own columns contradict each other."""
        ...

    def expect_audit(self) -> None:
        """Return where bars can be changed: both versions of one are kept."""
        ...

    def revise(self, symbol: str, changes: Sequence[Change], why: "Why") -> int:
        """Put new versions in place of old ones, and keep both; how many were still what `old` says."""
        ...


class History(Protocol):
    """A store."""

    @property
    def name(self) -> str:
        """As messages tell it: nothing of it is secret."""
        ...

    @property
    def file(self) -> Store | None:
        """The DuckDB file that it is, None where it is none."""
        ...

    @property
    def origin(self) -> "Origin":
        """What a lake is made of."""
        ...

    @property
    def kinds(self) -> "KeptKinds":
        """The kinds that it keeps beside its bars."""
        ...

    def stand_in(self, folder: Path, away: StoreUnusable) -> "History":
        """What is judged by while it is `away`: what a feed last gave out. Raises `away` where nothing stands in."""
        ...

    def beside(self) -> Session:
        """A DuckDB in memory: what is staged there outlasts every use of the store."""
        ...

    def reading(self, series: Series) -> AbstractContextManager[SeriesBars]:
        """One series, to look at."""
        ...

    def appending(self, series: Series, *, create: bool) -> AbstractContextManager[SeriesBars]:
        """One series in one transaction; a store that is not there yet is made only with `create`."""
        ...

    def revising(
        self, series: Series, changes: Sequence[Change], why: "Why", *, dry_run: bool
    ) -> AbstractContextManager[SeriesBars]:
        """One series in a transaction in which `changes` are made and audited; `Unrepaired` where one is overtaken."""
        ...

    def let_pass(self, series: Series) -> list[Bar]:
        """The bars of the series that somebody let pass."""
        ...

    def reading_market(self, interval: Interval, pending: SymbolBars = NO_BARS) -> AbstractContextManager[MarketBars]:
        """A market, to look at as if what is `pending` were stored."""
        ...

    def writing_market(self, interval: Interval) -> AbstractContextManager[MarketBars]:
        """A market in one transaction: committed at the end, rolled back by any exception."""
        ...
