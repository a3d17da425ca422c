"""What the store holds of an append-only table of the lake: small beside the bars, so all of it is looked at."""

# ruff: noqa: S608 - tables and columns are of our own making, a month is digits

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from barfeed.store.duckdb import Session, Store
from barfeed.store.lake.contents import parquet
from barfeed.store.lake.contents.rows import Contents, Survey, refuse_other
from barfeed.store.lake.manifest import Manifest, Mark, Stamp
from barfeed.store.lake.table import NOTED, AnyTable, Noted, Table

# In one look: each takes as long as a statement.
_COLUMNS = """
SELECT lower(table_name), lower(column_name), data_type FROM duckdb_columns()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) IN (SELECT unnest(?::VARCHAR[]))
UNION ALL
SELECT lower(view_name), '', 'VIEW' FROM duckdb_views()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(view_name) IN (SELECT unnest(?::VARCHAR[]))
"""
# Whatever tells no moment is of the first month of all.
_MONTH = "coalesce(CASE WHEN isfinite({when}) THEN strftime({when}, '%Y-%m') END, '1970-01')"
_STAMPS = "SELECT {month}, count(*), max({when})::VARCHAR FROM {rows} GROUP BY ALL"
_SPAN = "SELECT min({when})::VARCHAR, max({when})::VARCHAR FROM {rows}"
_COUNT = "SELECT count(*) FROM {rows}"
_ROW = "coalesce({whose}, ''), coalesce({time}::VARCHAR, ''), coalesce(({when})::VARCHAR, '')"
_NEWEST = f"SELECT {_ROW} FROM {{rows}} ORDER BY {{when}} DESC NULLS LAST, {{time}} DESC, {{whose}} DESC LIMIT 1"
_HAS = f"SELECT count(*) FROM {{rows}} WHERE ({_ROW}) = (?, ?, ?)"


class NotedContents:
    """Every row of such a table while the store is open, none where it has no such table; see `Contents`."""

    def __init__(self, connection: Session, table: Noted) -> None:
        self.connection = connection
        self._table = table
        self._exists = _is_there(table, _found(connection, [table]))

    def survey(self, manifest: Manifest, lake: str) -> Survey:
        """Every month, where any is another. Raises `LakeUnusable` where the lake is ahead, or another store's."""
        if self._stamps == {month: file.stamp for month, file in manifest.files.items()}:
            return Survey(manifest.marks, set(), {})
        for mark in manifest.marks.values():
            self._expect(mark, lake)
        newest = self._asked(_NEWEST)
        marks = {self._table.name: Mark(self.count(), 0, *newest[0])} if newest else {}
        return Survey(marks, self.days().union(manifest.files), {})

    @cached_property
    def _stamps(self) -> dict[str, Stamp]:
        return {month: Stamp(rows, newest, 0) for month, rows, newest in self._asked(_STAMPS)}

    def stamps(self, days: Collection[str], revised: Mapping[str, int]) -> dict[str, Stamp]:  # noqa: ARG002 - of bars
        """What the store says of these months; nothing of one that it has no row of."""
        return {month: stamp for month, stamp in self._stamps.items() if month in days}

    def stamp(self, day: str) -> Stamp | None:
        """What the store says of a month; None where it has no row of it."""
        return self.stamps([day], {}).get(day)

    def span(self, day: str) -> tuple[str, str]:
        """When the first and the last row of a month was noted."""
        first, last = self._asked(_SPAN, day)[0]
        return str(first), str(last)

    def write(self, day: str, path: Path) -> None:
        """Write a month to a Parquet file. Raises `LakeUnusable` for what its disk says."""
        parquet.write(self.connection, self._table, self.relation(day), path)

    def relation(self, day: str = "") -> str:
        """The rows of a month, or all, with the lake's columns, as SQL takes them."""
        types = self._table.types
        if not self._exists:
            return f"(SELECT {', '.join(f'NULL::{type_} AS {name}' for name, type_ in types.items())} WHERE false)"
        where = f" WHERE {_MONTH.format(when=self._table.when)} = '{day}'" if day else ""
        return f"(SELECT {', '.join(types)} FROM store.main.{self._table.name}{where})"

    def days(self) -> set[str]:
        """Every month that has a row."""
        return set(self._stamps)

    def count(self) -> int:
        """How many rows there are."""
        return int(self._asked(_COUNT)[0][0])

    def changes(self) -> int:
        """None: nothing of it is ever changed."""
        return 0

    def _expect(self, mark: Mark, lake: str) -> None:
        """Return where the marked row is in the store."""
        there = self._asked(_HAS, values=[mark.symbol, mark.timestamp, mark.created_at or ""]) != [(0,)]
        refuse_other(mark, [(mark.created_at,)] if there else [], lake)

    def _asked(self, query: str, day: str = "", values: Sequence[str] = ()) -> list[tuple[Any, ...]]:
        whose, time = self._table.key
        when, rows = self._table.when, self.relation(day)
        asked = query.format(whose=whose, time=time, when=when, month=_MONTH.format(when=when), rows=rows)
        return self.connection.execute(asked, list(values)).fetchall()


def contents_of(connection: Session, table: AnyTable) -> Contents | NotedContents:
    """What the store holds of a table. Raises `StoreUnusable` where the market's or the kind's table is another's."""
    return Contents(connection, table) if isinstance(table, Table) else NotedContents(connection, table)


def noted(store: Store) -> list[Noted]:
    """Those tables of the lake that the store has or may have: no table of a user's own has the name."""
    with store.looking() as connection:
        found = _found(connection, list(NOTED.values()))
    return [each for each in NOTED.values() if each.name not in found or _is_there(each, found)]


def _found(connection: Session, tables: Sequence[Noted]) -> dict[str, dict[str, str]]:
    """The columns of whatever has these names, and their types."""
    names = [each.name for each in tables]
    found: dict[str, dict[str, str]] = {}
    for name, column, type_ in connection.execute(_COLUMNS, [names, names]).fetchall():
        found.setdefault(name, {})[column] = type_
    return found


def _is_there(table: Noted, found: Mapping[str, Mapping[str, str]]) -> bool:
    columns = found.get(table.name, {})
    # A view has one without a name.
    return "" not in columns and table.types.items() <= columns.items()
