"""What is due of each series of one kind, and of how many at once."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from barfeed.domain.kinds.plan import Subject

# So many rows are Python's own objects at once: some 20 MB.
_BLOCK_ROWS = 40_000


class Due(NamedTuple):
    """What is due of one series: its rows from `first_ms` to `last_ms`, and the newest that is stored."""

    subject: Subject
    first_ms: int
    last_ms: int
    newest_ms: int | None

    @property
    def symbol(self) -> str:
        """Its symbol."""
        return self.subject.symbol

    @property
    def rows(self) -> int:
        """About how many rows these are."""
        return (self.last_ms - self.first_ms) // self.subject.series.interval.ms + 1


def blocks(due: Sequence[Due]) -> Iterator[list[Due]]:
    """As many at once as memory has room for the rows of, one at least."""
    rest = iter(due)
    while block := list(islice(rest, max(1, _BLOCK_ROWS // max((each.rows for each in due), default=1)))):
        yield block
