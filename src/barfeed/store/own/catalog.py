"""What DuckDB says of a table or view in the attached store, asked by its name in lower case."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import duckdb

_VIEW = """
SELECT view_name FROM duckdb_views()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(view_name) = ?
"""
_TABLE = _VIEW.replace("view", "table")
_ELSEWHERE = """
SELECT schema_name FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name != 'main' AND lower(table_name) = ? ORDER BY schema_name LIMIT 1
"""
# Where there is but one index, it is the key on the timestamp; a foreign key counts as one, too.
_COUNTS = """
SELECT check_constraint_count, index_count FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
"""
_PLAIN_INDEXES = """
SELECT count(*) FROM duckdb_indexes()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ? AND NOT is_unique
"""
_FRESH = r"(?i)\b(nextval|random|uuid\w*|gen_random_uuid)\s*\("
_USUAL = "CURRENT_TIMESTAMP"


class Column(NamedTuple):
    """A column as DuckDB describes it; `is_failing` where its default cannot be what a row has in it."""

    name: str
    type: str
    is_nullable: bool
    is_key: bool
    default: str = ""
    is_failing: bool = False

    @property
    def is_needed(self) -> bool:
        """Whether a row must bring it."""
        return not (self.is_nullable or self.default)


def columns(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[Column, ...]:
    """The columns of a table or view; none where there is nothing, or a view of what is not there."""
    # Not duckdb_columns(): its first use in a process takes thirty times as long.
    try:
        return tuple(map(_column, connection.execute(f"DESCRIBE {relation(table)}").fetchall()))
    except (duckdb.BinderException, duckdb.CatalogException):
        return ()


def tried(connection: duckdb.DuckDBPyConnection, column: Column) -> Column:
    """The column, by what its default comes to: it may fail, or be the NULL that is there without one."""
    if column.default in {"", _USUAL} or is_fresh(column.default):
        return column
    try:
        value = connection.execute(f"SELECT CAST(({column.default}) AS {column.type}) IS NULL").fetchall()
    except (duckdb.ProgrammingError, duckdb.DataError) as problem:
        # A sequence behind a macro goes on only in a file that is open for writing.
        return column._replace(is_failing="read-only" not in str(problem))
    return column._replace(default="") if value[0][0] else column


def is_fresh(expression: str) -> bool:
    """Whether it comes to another value each time: which one, is known only once it is stored."""
    return re.search(_FRESH, expression) is not None


def is_view(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether it is a view, be it of what is not there."""
    return bool(connection.execute(_VIEW, [table]).fetchall())


def is_table(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether there is a table of that name."""
    return bool(connection.execute(_TABLE, [table]).fetchall())


def elsewhere(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """The first schema but `main` that has such a table, empty where none has."""
    return "".join(schema for (schema,) in connection.execute(_ELSEWHERE, [table]).fetchall())


def may_refuse(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether a table has anything but one key that could refuse a row: most have not."""
    counted = connection.execute(_COUNTS, [table]).fetchall()
    return any(checks > 0 or (indexes > 1 and indexes - _plain(connection, table) > 1) for checks, indexes in counted)


def takes(connection: duckdb.DuckDBPyConnection, statement: str) -> bool:
    """Whether DuckDB would run a statement: it is prepared and no more, so that it may be one that writes."""
    try:
        connection.execute(f"PREPARE taken AS {statement}")
        connection.execute("DEALLOCATE taken")
    except (duckdb.BinderException, duckdb.CatalogException, duckdb.NotImplementedException):
        return False
    return True


def relation(table: str) -> str:
    """The table as SQL names it."""
    return f"store.main.{quoted(table)}"


def quoted(name: str) -> str:
    """A name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def _plain(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return int(connection.execute(_PLAIN_INDEXES, [table]).fetchall()[0][0])


def _column(described: Sequence[Any]) -> Column:
    name, kind, null, key, default, *_ = described
    # NULL is what there is without a default, too.
    return Column(name, kind, null != "NO", bool(key), "" if default in {None, "NULL"} else str(default))
