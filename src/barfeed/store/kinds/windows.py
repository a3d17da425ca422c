"""The wide table of the windows that a pass gives to its models, bounded in memory, for a file or row by row."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds.wide import wide_table
from barfeed.store.market import end_of_windows
from barfeed.store.place import Span, rows_of_all
from barfeed.store.troubles import disk

_BARS = """
(SELECT bar.* FROM {rows} AS bar JOIN (VALUES {begins}) AS asked(symbol, begins_ms) ON asked.symbol = bar.symbol
 WHERE bar.timestamp BETWEEN make_timestamp_ms({from_ms}) AND make_timestamp_ms({end_ms})
   AND bar.timestamp >= make_timestamp_ms(asked.begins_ms))
"""


class WideWindows:
    """The bars of these symbols, each from the moment given with it to `end_ms`, and what was known beside each."""

    def __init__(
        self, connection: Session, kinds: Sequence[Kind], interval: Interval, begins_ms: Mapping[str, int], end_ms: int
    ) -> None:
        """Raises `StoreUnusable` for a table that is another's."""
        from_ms = min(begins_ms.values())
        begins = ", ".join(f"('{symbol}', {ms})" for symbol, ms in begins_ms.items())
        rows = rows_of_all(connection, list(begins_ms), interval)
        bars = _BARS.format(rows=rows, begins=begins, from_ms=from_ms, end_ms=end_ms)
        span = Span(tuple(begins_ms), interval, from_ms, end_ms + interval.ms)
        self._connection = connection
        self._table = wide_table(connection, bars, kinds, span)
        self.columns = ("timestamp", *self._table.values)

    def write(self, path: Path, key: Sequence[str]) -> int:
        """Write them to a Parquet file, sorted by `key` and led by it; how many rows. Raises `OSError`."""
        quoted = str(path).replace("'", "''")
        query = f"SELECT {', '.join((*key, *self._table.values))} FROM {self._table.relation} ORDER BY {', '.join(key)}"
        return disk.copied(self._connection, f"COPY ({query}) TO '{quoted}' (FORMAT parquet, COMPRESSION snappy)")

    def rows(self, symbol: str) -> list[tuple[Any, ...]]:
        """One symbol's, ascending: `timestamp` in ms since 1970-01-01 UTC, then its values."""
        values = ", ".join(self._table.values)
        query = f"SELECT epoch_ms(timestamp), {values} FROM {self._table.relation} WHERE symbol = ? ORDER BY timestamp"
        return self._connection.execute(query, [symbol]).fetchall()

    def end_of(self, path: Path) -> int | None:
        """The last open_time of a file that was written so; None where it is no such file."""
        return end_of_windows(self._connection, path)


@contextmanager
def wide_windows(
    store: Store, kinds: Sequence[Kind], interval: Interval, begins_ms: Mapping[str, int], end_ms: int, *, aside: Path
) -> Iterator[WideWindows]:
    """Those of a store, by a DuckDB of its own: what bounds its memory bounds nobody else's.

    What it has no room for is put `aside`, a folder.
    """
    with store.another().session(write=False) as connection, disk.bounded(connection, aside / "features"):
        yield WideWindows(connection, kinds, interval, begins_ms, end_ms)
