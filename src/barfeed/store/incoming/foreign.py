"""What others wrote: why it cannot be read, in our words, and the tables of other DuckDB files."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb

from barfeed.store.incoming.columns import ColumnsUnknown, quoted

# DuckDB's refusals of a CSV, as far as they are of use.
_WIDTH = re.compile(r"Expected Number of Columns: (?P<expected>\d+) Found: (?P<found>\d+)")
_LINE = re.compile(r"Line: (?P<line>\d+)")
_TABLES = """
SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'other'
UNION ALL SELECT schema_name, view_name FROM duckdb_views() WHERE database_name = 'other' AND NOT internal
ORDER BY ALL
"""


class SourceUnreadable(Exception):
    """A source that holds no bars, or not as anything that is known; says why, without its name."""


@contextmanager
def known() -> Iterator[None]:
    """Columns that make no bar are a source that cannot be read."""
    try:
        yield
    except ColumnsUnknown as problem:
        raise SourceUnreadable(str(problem)) from None


@contextmanager
def unreadable() -> Iterator[None]:
    """DuckDB's refusal of a file, in our words: not the store's fault, whatever else is attached."""
    try:
        yield
    except duckdb.InterruptException:
        raise
    except duckdb.Error as problem:
        raise SourceUnreadable(_in_our_words(str(problem))) from problem


def _in_our_words(said: str) -> str:
    line = _LINE.search(said)
    where = f"line {line['line']}" if line else "it"
    if width := _WIDTH.search(said):
        found, expected = int(width["found"]), int(width["expected"])
        if found > expected:
            # DuckDB counts no further.
            return f"{where} has more than {expected} cells: are there commas in its numbers?"
        return f"{where} has {found} cell{'s' * (found != 1)}, expected {expected}: is it a whole CSV?"
    if "not utf-8" in said:
        return f"{where} is not UTF-8: save it as UTF-8"
    if "unterminated quote" in said:
        return f"{where} has a quote that does not end: is it a whole CSV?"
    return "it cannot be read: it is broken, or another kind of file than its beginning says"


@contextmanager
def other_database(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[list[tuple[str, str]]]:
    """Another DuckDB file, attached read-only as `other`: its tables and views as (schema, name)."""
    escaped = str(path.absolute()).replace("'", "''")
    try:
        connection.execute(f"ATTACH '{escaped}' AS other (TYPE duckdb, READ_ONLY)")
    except duckdb.Error as problem:
        raise SourceUnreadable(_why_not_opened(str(problem))) from problem
    try:
        yield connection.execute(_TABLES).fetchall()
    finally:
        with suppress(duckdb.Error):
            connection.execute("DETACH other")


def one_table(tables: Sequence[tuple[str, str]], name: str) -> str:
    """The table that is called so, `trades` or `old.trades`, as SQL names it. Raises `SourceUnreadable`."""
    asked = name.lower()
    found = [each for each in tables if asked in {each[1].lower(), ".".join(each).lower()}]
    if len(found) == 1:
        schema, table = found[0]
        return f"other.{quoted(schema)}.{quoted(table)}"
    there = ", ".join(".".join(each) for each in found or tables)[:200]
    if found:
        raise SourceUnreadable(f"several tables are called {name[:60]!a}: {there!a}")
    raise SourceUnreadable(f"it has no table {name[:60]!a}, " + (f"only {there!a}" if tables else "nor any other"))


def _why_not_opened(said: str) -> str:
    if "lock on file" in said:
        return "another process holds it open for writing"
    if "ncrypt" in said:
        return "it is encrypted"
    if "version number" in said or "Storage Version" in said:
        return "this DuckDB does not read what another version wrote"
    return "it is no DuckDB file, or a broken one"
