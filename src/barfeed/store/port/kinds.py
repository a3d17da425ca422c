"""What is needed of the kinds that a store keeps beside its bars, whatever keeps them.

Times are ms since 1970-01-01 UTC. Everything raises `StoreUnusable`, and nothing else, for what is wrong with it.
"""

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.holes import Holes
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.store.duckdb import Session
from barfeed.store.kinds.revisions import Change, Revision, Why
from barfeed.store.kinds.tables import Late
from barfeed.store.kinds.windows import WideWindows
from barfeed.store.place import Span

# The newest `timestamp` that is stored of each symbol; or why nothing of the kind can be.
Stored = Mapping[str, int] | StoreUnusable


class KindRows(Protocol):
    """The rows of one kind of every symbol at one interval while the store is open."""

    def newest(self, symbols: Sequence[str], from_ms: int = 0) -> dict[str, int]:
        """The newest `timestamp` of each of these symbols that has a row from `from_ms` on."""
        ...

    def symbols(self) -> list[str]:
        """Every symbol of which there is any row, sorted."""
        ...

    def oldest(self, symbols: Sequence[str]) -> dict[str, int]:
        """The oldest `timestamp` of each of these symbols that has any row."""
        ...

    def rows(self, from_ms: Mapping[str, int]) -> dict[str, list[Row]]:
        """Each symbol's rows from the moment given with it on, ascending."""
        ...

    def between(self, symbol: str, first_ms: int, last_ms: int) -> list[Row]:
        """The rows of one symbol from the one moment to the other, both included, ascending."""
        ...

    def lacking(self, wanted: Mapping[str, Gap], step_ms: int, reach_ms: int) -> dict[str, list[Gap]]:
        """What is missing of these spans of `timestamp`s, as maximal runs of steps.

        More than `reach_ms` from one row to the next is a gap: a step, where there is a row each.
        """
        ...

    def append(self, rows: Mapping[str, Sequence[Row]]) -> dict[str, int]:
        """Insert those that are not there yet; how many were inserted of each symbol."""
        ...

    def revise(self, changes: Sequence[Change], why: Why) -> list[Change]:
        """Put new values in place of old ones, and keep both; the changes whose old row was still what it says."""
        ...

    def was_late(self, from_ms: int) -> dict[str, list[Late]]:
        """What passes ended without of each symbol, as far as it reaches to `from_ms` or later."""
        ...

    def note_late(self, late: Sequence[Late], seen_at_ms: int) -> None:
        """Note what this pass ends without."""
        ...

    def make_views(self, symbols: Collection[str]) -> None:
        """For readers of one series, where each has a table of its own."""
        ...


class KeptKinds(Protocol):
    """The kinds in a store."""

    def beside(self) -> Session:
        """A DuckDB in memory: what is staged there outlasts every use of the store."""
        ...

    def newest(
        self, kinds: Sequence[Kind], interval: Interval, symbols: Sequence[str], recent_ms: int
    ) -> dict[str, Stored]:
        """What is stored of every kind, by its name, seen in one look; most symbols have a row since `recent_ms`.

        A table that cannot be used says so by itself.
        """
        ...

    def reading(self, kind: Kind, interval: Interval) -> AbstractContextManager[KindRows]:
        """The rows of a kind, to look at."""
        ...

    def writing(self, kind: Kind, interval: Interval) -> AbstractContextManager[KindRows]:
        """The rows of a kind in one transaction, by one at a time: what is looked at there stays so to its end."""
        ...

    def holes(self, interval: Interval, now_ms: int) -> list[Holes]:
        """What is missing at `now_ms` of each kind that the exchange forgets; nothing where nothing is."""
        ...

    def looking_at(self, kind: Kind, span: Span) -> AbstractContextManager[Session]:
        """A DuckDB to ask about a kind, whose rows of a span stand in its table of the store attached as `store`."""
        ...

    def wide_windows(
        self, kinds: Sequence[Kind], interval: Interval, begins_ms: Mapping[str, int], end_ms: int, aside: Path
    ) -> AbstractContextManager[WideWindows]:
        """The bars of these windows with what was known of every kind beside each.

        `aside` is a folder for what takes more memory than it may.
        """
        ...

    def revisions(self, interval: Interval) -> list[Revision]:
        """Every row that was changed at this interval, oldest first."""
        ...
