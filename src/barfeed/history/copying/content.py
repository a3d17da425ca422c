"""What of a store is copied by its months: the bars of an interval, or the rows of a kind at it. Pure."""

from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.store.place import market_table
from barfeed.store.postgres.tables import columns


class Content(NamedTuple):
    """A table with a row a symbol and moment: bars where no kind is given."""

    interval: Interval
    kind: Kind | None = None

    @property
    def table(self) -> str:
        """The table that many symbols are in, `ohlcv_1h` or `open_interest_1h`."""
        return self.kind.table(self.interval) if self.kind else market_table(self.interval)

    @property
    def sent(self) -> columns.Sent:
        """Its columns, as a chunk of it has them."""
        return columns.of_kind(self.kind) if self.kind else columns.BARS


def _all() -> list[Content]:
    kinds = [
        Content(interval, kind)
        for kind in KINDS.values()
        # What has no period is one table for all of them.
        for interval in (kind.intervals if kind.length else (Interval.ONE_HOUR,))
    ]
    return [*map(Content, Interval), *kinds]


ALL = _all()
