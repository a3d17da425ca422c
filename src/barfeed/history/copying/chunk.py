"""Some bars of a market as columns, sorted by symbol and time, and what proves that two of them are the same. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Column = "np.ndarray[tuple[int], np.dtype[Any]]"
# In this order they are summed up; each little-endian.
_SUMMED = {
    "timestamp": "<i8", "created_at": "<i8", "nulls": "<i4", "open": "<f8", "high": "<f8", "low": "<f8", "close": "<f8",
    "volume": "<f8",
}  # fmt: skip


class Chunk(NamedTuple):
    """Bars: `place` is where in `symbols`, which are sorted, each one's symbol is; the columns are those of a store.

    Moments are us since 2000-01-01 UTC; `nulls` has a bit for each value that is NULL, which then is NaN.
    """

    symbols: Sequence[str]
    columns: dict[str, Any]

    @property
    def rows(self) -> int:
        """How many bars there are."""
        return len(self.columns["place"])

    def sorted(self) -> "Chunk":
        """By symbol, then time."""
        order = np.lexsort((self.columns["timestamp"], self.columns["place"]))
        return Chunk(self.symbols, {name: column[order] for name, column in self.columns.items()})

    def add_to(self, summing: "hashlib._Hash") -> None:
        """Add every symbol that has bars, and all columns of theirs to the last bit, to a sum."""
        ends = np.searchsorted(self.columns["place"], np.arange(len(self.symbols) + 1))
        for symbol, begin, end in zip(self.symbols, ends, ends[1:], strict=False):
            if begin < end:
                summing.update(f"{symbol} {end - begin}\n".encode())
                for name, kind in _SUMMED.items():
                    summing.update(self.columns[name][begin:end].astype(kind).tobytes())
