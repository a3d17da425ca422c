"""What the exchange said of a market's symbols, in DuckDB's memory: a first start is half a million rows of it.

As Python's own objects they would take ten times the room. What it said is saved from here, and judged from here.
"""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import duckdb

from barfeed.domain.bars import VALUE_COLUMNS, Bar, Pull, Turnover
from barfeed.store.troubles import disk

# As it came, all columns of a kline but the last, which means nothing.
_COLUMNS = {
    "symbol": "VARCHAR", "open_time_ms": "BIGINT", **dict.fromkeys(VALUE_COLUMNS, "DOUBLE"), "close_time_ms": "BIGINT",
    "quote_volume": "DOUBLE", "trades": "BIGINT", "taker_buy_volume": "DOUBLE", "taker_buy_quote_volume": "DOUBLE",
}  # fmt: skip
_CREATE = f"""
CREATE OR REPLACE TEMP TABLE pulled ({", ".join(f"{name} {type_}" for name, type_ in _COLUMNS.items())})
"""
# Unnested of a row that holds them: lists that are parameters themselves are read anew for each part of them.
_PUT = f"""
INSERT INTO temp.pulled SELECT {", ".join(f"unnest({name})" for name in _COLUMNS)}
FROM (SELECT {", ".join(f"?::{type_}[] AS {name}" for name, type_ in _COLUMNS.items())})
"""
_DROP = "DELETE FROM temp.pulled WHERE symbol IN (SELECT unnest(?::VARCHAR[]))"
# Whatever order the rows came in is for the rules to see.
_OF = f"""
SELECT {", ".join(_COLUMNS)} FROM temp.pulled WHERE symbol IN (SELECT unnest(?::VARCHAR[])) ORDER BY rowid
"""
_SAVE = """
COPY (
  SELECT symbol, make_timestamp_ms(open_time_ms) AS timestamp, * EXCLUDE (symbol, open_time_ms, close_time_ms),
         make_timestamp_ms(close_time_ms) AS close_time
  FROM temp.pulled ORDER BY rowid
) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""
_VALUES_END = 2 + len(VALUE_COLUMNS)


@contextmanager
def pulls(connection: duckdb.DuckDBPyConnection) -> Iterator["Pulls"]:
    """Room for what is pulled; it is let go of at the end."""
    connection.execute(_CREATE)
    try:
        yield Pulls(connection)
    finally:
        # A database that broke has been let go of, with all that was in its memory.
        with suppress(duckdb.Error):
            connection.execute("DROP TABLE IF EXISTS temp.pulled")


class Pulls:
    """What was pulled so far, by symbol."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        # What was put last is at hand as it is: an hour's few bars are all of it.
        self._last: Mapping[str, Pull] = {}

    def put(self, of_symbols: Mapping[str, Pull]) -> None:
        """Take what was pulled of these symbols, each once."""
        rows = [
            (symbol, bar.open_time_ms, *bar.values, close_time_ms, *turnover)
            for symbol, pull in of_symbols.items()
            for bar, close_time_ms, turnover in zip(pull.bars, pull.close_times_ms, pull.turnovers, strict=True)
        ]
        if rows:
            self._connection.execute(_PUT, [list(column) for column in zip(*rows, strict=True)])
        self._last = of_symbols

    def replace(self, of_symbols: Mapping[str, Pull]) -> None:
        """Take what was pulled of these symbols in place of what there is of them."""
        self._connection.execute(_DROP, [list(of_symbols)])
        self.put(of_symbols)

    def of(self, symbols: Sequence[str]) -> dict[str, Pull]:
        """What was pulled of each of these, its rows as they came."""
        if self._last.keys() >= set(symbols):
            return {symbol: self._last[symbol] for symbol in symbols}
        rows = self._connection.execute(_OF, [list(symbols)]).fetchall()
        found = {symbol: _pull(list(each)) for symbol, each in groupby(rows, itemgetter(0))}
        return {symbol: found.get(symbol, Pull((), (), ())) for symbol in symbols}

    def save(self, path: Path) -> int:
        """Write all of it to a Parquet file, every column; how many rows. Raises `OSError` where the disk fails."""
        quoted = str(path).replace("'", "''")
        return disk.copied(self._connection, _SAVE.format(path=quoted))


def _pull(rows: Sequence[Sequence[int | float]]) -> Pull:
    return Pull(
        tuple(Bar(*row[1:_VALUES_END]) for row in rows),  # type: ignore[arg-type] # of the types that were put
        tuple(int(row[_VALUES_END]) for row in rows),
        tuple(Turnover(*row[_VALUES_END + 1 :]) for row in rows),  # type: ignore[arg-type] # likewise
    )
