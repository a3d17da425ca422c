"""What a store holds of a series, read and spoiled by nobody's code but the database's own."""

from pathlib import Path
from typing import Any, NamedTuple, Protocol

import duckdb

from pg_server import looked_at

Values = tuple[float, ...]
_VALUES = ("open", "high", "low", "close", "volume")


class Change(NamedTuple):
    """A row of the audit table."""

    at_ms: int
    old: Values
    new: Values


class Kept(NamedTuple):
    """Where a series is kept: which rows of which table, which of the audit's, and how its windows' names end."""

    rows: str
    audit: str
    windows: str

    @classmethod
    def alone(cls) -> "Kept":
        """One series in a table of its own."""
        return cls("ohlcv_btcusdt_1h WHERE true", "ohlcv_revisions WHERE true", "for_inference.csv")

    @classmethod
    def together(cls, symbol: str) -> "Kept":
        """One symbol of a market."""
        rows, audit = f"ohlcv_1h WHERE symbol = '{symbol}'", f"ohlcv_revisions WHERE series = '{symbol} 1h'"
        return cls(rows, audit, f"for_inference_{symbol}.csv")

    @classmethod
    def among_others(cls, symbol: str) -> "Kept":
        """One series that is fed alone, in a database: it stands in the market's table."""
        return cls.together(symbol)._replace(windows=cls.alone().windows)


Read = tuple[list[tuple[int, Values]], list[Change]]


class Holdings(Protocol):
    """A store; each look is of one moment."""

    def read(self, kept: Kept) -> Read:
        """The bars of a series, by open_time, and what was ever changed of them, in that order."""
        ...

    def take_out(self, kept: Kept, at_ms: int) -> None:
        """A person takes a bar out."""
        ...


class InFile:
    """A DuckDB file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, kept: Kept) -> Read:
        """See `Holdings`."""
        if not self._path.exists():
            return [], []
        READER.execute(f"ATTACH '{self._path}' AS store (READ_ONLY)")
        try:
            tables = {row[0] for row in READER.execute("SELECT name FROM (SHOW ALL TABLES)").fetchall()}
            bars = self._rows(kept.rows, "") if kept.rows.partition(" ")[0] in tables else []
            changes = self._rows(kept.audit, "old_", "new_") if "ohlcv_revisions" in tables else []
        finally:
            READER.execute("DETACH store")
        return _told(bars, changes)

    def take_out(self, kept: Kept, at_ms: int) -> None:
        """See `Holdings`."""
        with duckdb.connect(self._path) as connection:
            connection.execute(f"DELETE FROM {kept.rows} AND timestamp = make_timestamp_ms(?)", [at_ms])

    def _rows(self, rows: str, *sides: str) -> list[tuple[Any, ...]]:
        query = f"SELECT epoch_ms(timestamp), {_columns(*sides)} FROM store.main.{rows} ORDER BY rowid"
        return READER.execute(query).fetchall()


class InDatabase:
    """A PostgreSQL database."""

    def __init__(self, address: str) -> None:
        self._address = address

    def read(self, kept: Kept) -> Read:
        """See `Holdings`."""
        at = "SELECT (extract(epoch FROM timestamp) * 1000)::bigint"
        with looked_at(self._address) as connection:
            # A feeder that was killed may be about to end its COMMIT.
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            bars = connection.execute(f"{at}, {_columns('')} FROM barfeed.{kept.rows}").fetchall()
            audit = f"{at}, {_columns('old_', 'new_')} FROM barfeed.{kept.audit} ORDER BY id"
            return _told(bars, connection.execute(audit).fetchall())

    def take_out(self, kept: Kept, at_ms: int) -> None:
        """See `Holdings`."""
        at = "to_timestamp(%s::bigint / 1000) AT TIME ZONE 'UTC'"
        with looked_at(self._address) as connection:
            connection.execute(f"DELETE FROM barfeed.{kept.rows} AND timestamp = {at}", [at_ms])


def _columns(*sides: str) -> str:
    return ", ".join(f"{side}{name}" for side in sides for name in _VALUES)


def _told(bars: list[tuple[Any, ...]], changes: list[tuple[Any, ...]]) -> Read:
    half = 1 + len(_VALUES)
    return [(row[0], row[1:]) for row in bars], [Change(row[0], row[1:half], row[half:]) for row in changes]


# A new DuckDB for each look would take longer than what is looked at.
READER = duckdb.connect(config={"threads": 1})
