"""Some rows of many symbols as columns, sorted by symbol and time, and what proves that two are the same. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from barfeed.store.postgres.tables.columns import Sent


class Chunk(NamedTuple):
    """Rows: `place` is where in `symbols`, which are sorted, each one's symbol is; the columns are those of `sent`.

    Moments are us since 2000-01-01 UTC; `nulls` has a bit for each value that is NULL, which then is NaN, or 0.
    """

    sent: Sent
    symbols: Sequence[str]
    columns: dict[str, Any]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self.columns["place"])

    def sorted(self) -> "Chunk":
        """By symbol, then time."""
        order = np.lexsort((self.columns["timestamp"], self.columns["place"]))
        return Chunk(self.sent, self.symbols, {name: column[order] for name, column in self.columns.items()})

    def add_to(self, summing: "hashlib._Hash") -> None:
        """Add every symbol that has rows, and all columns of theirs to the last bit, little-endian, to a sum."""
        ends = np.searchsorted(self.columns["place"], np.arange(len(self.symbols) + 1))
        for symbol, begin, end in zip(self.symbols, ends, ends[1:], strict=False):
            if begin < end:
                summing.update(f"{symbol} {end - begin}\n".encode())
                for name, (_, kind) in self.sent.items():
                    summing.update(self.columns[name][begin:end].astype(kind.replace(">", "<")).tobytes())
