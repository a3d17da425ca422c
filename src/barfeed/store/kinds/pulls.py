"""What the exchange said of kinds in one pass, in DuckDB's memory: a first one is some hundred thousand rows of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS
from barfeed.store.troubles import disk

# One table for all kinds: a column of another kind is NULL.
_NAMES = tuple(dict.fromkeys(name for kind in KINDS.values() for name in kind.names))
_CREATE = f"""
CREATE OR REPLACE TEMP TABLE kinds_pulled (
  kind VARCHAR, symbol VARCHAR, timestamp TIMESTAMP, {", ".join(f"{name} DOUBLE" for name in _NAMES)}
)
"""
# Unnested of a row that holds them: lists that are parameters themselves are read anew for each part of them.
_PUT = """
INSERT INTO temp.kinds_pulled (kind, symbol, timestamp, {names})
SELECT ?, unnest(symbol), make_timestamp_ms(unnest(timestamp_ms)), {unnested}
FROM (SELECT ?::VARCHAR[] AS symbol, ?::BIGINT[] AS timestamp_ms, {lists})
"""
_SAVE = """
COPY (FROM temp.kinds_pulled ORDER BY rowid) TO '{path}' (FORMAT parquet, COMPRESSION zstd)
"""


@contextmanager
def kind_pulls(connection: duckdb.DuckDBPyConnection) -> Iterator["KindPulls"]:
    """Room for what is pulled; it is let go of at the end."""
    connection.execute(_CREATE)
    try:
        yield KindPulls(connection)
    finally:
        # A database that broke has been let go of, with all that was in its memory.
        with suppress(duckdb.Error):
            connection.execute("DROP TABLE IF EXISTS temp.kinds_pulled")


class KindPulls:
    """The rows that were pulled so far, as they came."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self.rows = 0

    def put(self, kind: Kind, told: Mapping[str, Sequence[Row]]) -> None:
        """Take what was told of these symbols."""
        flat = [(symbol, row.timestamp_ms, *row.values) for symbol, rows in told.items() for row in rows]
        if not flat:
            return
        filled = _PUT.format(
            names=", ".join(kind.names),
            unnested=", ".join(f"unnest({name})" for name in kind.names),
            lists=", ".join(f"?::DOUBLE[] AS {name}" for name in kind.names),
        )
        try:
            self._connection.execute(filled, [kind.name, *(list(column) for column in zip(*flat, strict=True))])
            self.rows += len(flat)
        except duckdb.ConnectionException:
            # A store that broke has been let go of, with all that was in memory: that is told by whoever met it.
            self.rows = 0

    def save(self, path: Path) -> int:
        """Write all of it to a Parquet file; how many rows. Raises `OSError` where the disk fails."""
        quoted = str(path).replace("'", "''")
        return disk.copied(self._connection, _SAVE.format(path=quoted))
