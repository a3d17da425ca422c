"""A store as one side of a copy, and what it tells of itself there."""

from typing import Any, NamedTuple, Protocol

from barfeed.history.copying.chunk import Chunk
from barfeed.history.copying.content import Content
from barfeed.store import market, revisions
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds import tables as kinds

# What was noted beside the rows: small, and copied whole. In this order it was noted.
TABLES = {
    revisions.TABLE: (revisions.COLUMN_NAMES, "coalesce(accepted_at, seen_at), timestamp"),
    kind_revisions.TABLE: (kind_revisions.COLUMN_NAMES, "accepted_at, kind, interval, symbol, timestamp, name"),
    kinds.LATE: (tuple(kinds.LATE_TYPES), "seen_at, kind, interval, symbol, since"),
    market.MEMBERSHIP: (market.MEMBERSHIP_NAMES, "seen_at, symbol"),
    market.EXCHANGE_GAPS: (market.GAP_NAMES, "seen_at, symbol, interval, first"),
}
Rows = list[tuple[Any, ...]]


class Extent(NamedTuple):
    """A content, and the `timestamp` of its first row and of its last."""

    content: Content
    first_ms: int
    last_ms: int


class Side(Protocol):
    """A store. Moments are ms since 1970-01-01 UTC; everything raises `StoreUnusable`."""

    @property
    def name(self) -> str:
        """As messages tell it."""
        ...

    def extents(self) -> list[Extent]:
        """Of each content that there is any row of."""
        ...

    def chunk(self, content: Content, from_ms: int, to_ms: int) -> Chunk:
        """The rows of `[from_ms, to_ms)`, sorted."""
        ...

    def put_chunk(self, content: Content, rows: Chunk) -> None:
        """Insert those whose key is not there yet, in one transaction."""
        ...

    def rows(self, table: str) -> Rows:
        """All of one of `TABLES`, in its order."""
        ...

    def put_rows(self, table: str, rows: Rows) -> None:
        """Insert them, in one transaction."""
        ...
