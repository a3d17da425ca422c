"""What a user's own table asks of a bar beside its key: CHECKs, further keys, references; and the bars that break it.

DuckDB says so only once a bar is appended, and mostly not of which constraint. So bars are held against them before.
"""

# ruff: noqa: S608 - tables are named by us, columns and expressions by DuckDB's own catalog

import re
from collections.abc import Iterator, Sequence, Set
from contextlib import suppress
from typing import Literal, NamedTuple

import duckdb

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS
from barfeed.domain.grid import Gap
from barfeed.store.own.catalog import is_fresh, quoted, relation

Kind = Literal["CHECK", "FOREIGN KEY", "key", "index"]

_CONSTRAINTS = """
SELECT constraint_type, constraint_name, constraint_text, constraint_column_names, expression,
       referenced_table, referenced_column_names
FROM duckdb_constraints()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ? AND constraint_type != 'NOT NULL'
ORDER BY constraint_index
"""
_INDEXES = """
SELECT index_name, trim(sql, ';'), expressions::VARCHAR[] FROM duckdb_indexes()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ? AND is_unique ORDER BY index_name
"""
_DEFAULTS = """
SELECT lower(column_name), column_name, data_type, coalesce(column_default, 'NULL') FROM duckdb_columns()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
"""
_REFERRERS = """
SELECT DISTINCT table_name FROM duckdb_constraints()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(referenced_table) = ? AND lower(table_name) != ?
ORDER BY table_name
"""
_NEWEST = f"""
SELECT timestamp AS newest, {", ".join(VALUE_COLUMNS)} FROM {{relation}}
WHERE timestamp = (SELECT max(timestamp) FROM {{relation}} WHERE isfinite(timestamp)) LIMIT 1
"""
# Values of a bar that was stored: what those of another will be, nobody knows.
_NEXT = f"""
SELECT newest + to_milliseconds(?) AS timestamp, {", ".join(VALUE_COLUMNS)}
FROM (SELECT 1) LEFT JOIN ({_NEWEST}) ON true
"""
_OPENING = f"""
SELECT timestamp, {", ".join(VALUE_COLUMNS)}
FROM (SELECT unnest(generate_series(make_timestamp_ms(first), make_timestamp_ms(last), to_milliseconds(?))) AS timestamp
      FROM (SELECT unnest(?::BIGINT[]) AS first, unnest(?::BIGINT[]) AS last))
LEFT JOIN ({_NEWEST}) ON true
"""
_VALUES = frozenset(VALUE_COLUMNS)
_TEXT_MAX = 200
_WORD = re.compile(r"\w+")


class Constraint(NamedTuple):
    """One constraint or unique index: its name and text in DuckDB's catalog, and the columns that it speaks of.

    `broken_by` is the SELECT of the timestamps in a relation `rows` that break it.
    """

    kind: Kind
    name: str
    text: str
    columns: frozenset[str]
    broken_by: str
    refers_to: str = ""

    def __str__(self) -> str:
        return f"{self.name}, {self.text[:_TEXT_MAX]}"


class Refusal(NamedTuple):
    """A constraint that some bars break: how many, and the open_time (ms) of the first, None where it is every bar."""

    constraint: Constraint
    bars: int
    first_ms: int | None


def further(connection: duckdb.DuckDBPyConnection, table: str, unique: str = "timestamp") -> list[Constraint]:
    """Every constraint of a table that may refuse a row that is new by its column `unique`; empty for none."""
    return [*_constraints(connection, table, unique), *_unique_indexes(connection, table, unique)]


def referrers(connection: duckdb.DuckDBPyConnection, table: str) -> tuple[str, ...]:
    """The tables that refer to this one, which DuckDB changes no more than it drops while they do."""
    return tuple(name for (name,) in connection.execute(_REFERRERS, [table, table]).fetchall())


def refusal_of(
    connection: duckdb.DuckDBPyConnection, table: str, select: str, values: Sequence[object] = ()
) -> Refusal | None:
    """The first constraint that bars break, new or in place of stored ones, given as a SELECT of COLUMNS."""
    return _refusal(connection, table, _Bars(select, values))


def refusal_of_opens(
    connection: duckdb.DuckDBPyConnection, table: str, spans: Sequence[Gap], step_ms: int
) -> Refusal | None:
    """The first constraint that will refuse a bar that opens in `spans`, as far as that is known without its values.

    A CHECK of values alone that the newest bar has kept is taken to be kept.
    """
    opening = _OPENING.format(relation=relation(table))
    values = [step_ms, [each.first_ms for each in spans], [each.last_ms for each in spans]]
    unknown = frozenset() if _holds_bars(connection, table) else _VALUES
    return _refusal(connection, table, _Bars(opening, values, _VALUES, unknown))


def refusal_of_next(connection: duckdb.DuckDBPyConnection, table: str, step_ms: int) -> Refusal | None:
    """The first constraint that will refuse the bar after the newest, as far as that is known; of none, any bar."""
    bar, unknown = _NEXT.format(relation=relation(table)), frozenset(COLUMNS)
    if _holds_bars(connection, table):
        return _refusal(connection, table, _Bars(bar, [step_ms], _VALUES))
    return _refusal(connection, table, _Bars(bar, [step_ms], unknown, unknown))


def _holds_bars(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    return bool(connection.execute(_NEWEST.format(relation=relation(table))).fetchall())


class _Bars(NamedTuple):
    """Bars as a SELECT of COLUMNS with its values, and the columns of which nothing is known."""

    select: str
    values: Sequence[object] = ()
    unknown: Set[str] = frozenset()
    unknown_to_checks: Set[str] = frozenset()

    def are_known_to(self, constraint: Constraint) -> bool:
        """Whether all that a constraint speaks of is known."""
        return not constraint.columns & (self.unknown_to_checks if constraint.kind == "CHECK" else self.unknown)


def _refusal(connection: duckdb.DuckDBPyConnection, table: str, bars: _Bars) -> Refusal | None:
    defaults = _defaults(connection, table)
    for each in further(connection, table):
        brought = [sql for name, sql in defaults.items() if name in each.columns and name not in COLUMNS]
        if not bars.are_known_to(each) or is_fresh(" ".join([each.broken_by, *brought])):
            continue
        rows = f"WITH bars AS ({bars.select}), rows AS (SELECT {', '.join(['*', *brought])} FROM bars)"
        counted = f"{rows} SELECT count(*), epoch_ms(min(timestamp)) FROM ({each.broken_by})"
        # What cannot be asked, as a sequence behind a macro in a file that is only read, is not known either.
        with suppress(duckdb.ProgrammingError, duckdb.DataError):
            broken, first_ms = connection.execute(counted, list(bars.values)).fetchall()[0]
            if broken:
                return Refusal(each, broken, first_ms)
    return None


def _constraints(connection: duckdb.DuckDBPyConnection, table: str, unique: str) -> Iterator[Constraint]:
    for kind, name, text, names, expression, other, others in connection.execute(_CONSTRAINTS, [table]).fetchall():
        columns = frozenset(column.lower() for column in names)
        if kind == "CHECK":
            # What cannot be known, as by a NULL, refuses nothing.
            yield Constraint(kind, name, text, columns, f"SELECT timestamp FROM rows WHERE NOT TRY({expression})")
        elif kind == "FOREIGN KEY":
            yield Constraint(kind, name, text, columns, _not_referred_to(names, other, others), other)
        elif unique not in columns:
            yield Constraint("key", name, text, columns, _not_unique(table, [quoted(column) for column in names]))


def _unique_indexes(connection: duckdb.DuckDBPyConnection, table: str, unique: str) -> Iterator[Constraint]:
    names = set(_defaults(connection, table))
    for name, text, expressions in connection.execute(_INDEXES, [table]).fetchall():
        if unique not in [sql.strip('"').lower() for sql in expressions]:
            columns = frozenset(names & set(_WORD.findall(" ".join(expressions).lower())))
            yield Constraint("index", name, text, columns, _not_unique(table, expressions))


def _defaults(connection: duckdb.DuckDBPyConnection, table: str) -> dict[str, str]:
    """What a row that brings nothing for a column has in it, as `... AS "column"`, by the column's name."""
    found = connection.execute(_DEFAULTS, [table]).fetchall()
    return {key: f"CAST(({default}) AS {kind}) AS {quoted(name)}" for key, name, kind, default in found}


def _not_referred_to(names: Sequence[str], other: str, others: Sequence[str]) -> str:
    is_told = " AND ".join(f"rows.{quoted(name)} IS NOT NULL" for name in names)
    is_same = " AND ".join(
        f"rows.{quoted(ours)} = other.{quoted(theirs)}" for ours, theirs in zip(names, others, strict=True)
    )
    there = f"SELECT 1 FROM store.main.{quoted(other)} AS other WHERE {is_same}"
    return f"SELECT timestamp FROM rows WHERE {is_told} AND NOT EXISTS ({there})"


def _not_unique(table: str, expressions: Sequence[str]) -> str:
    keys = [f"key{number}" for number in range(len(expressions))]
    named = ", ".join(f"{sql} AS {key}" for sql, key in zip(expressions, keys, strict=True))
    stored = f"SELECT * FROM {relation(table)} ANTI JOIN rows USING (timestamp)"
    return (
        "SELECT min(timestamp) FILTER (is_new) AS timestamp FROM ("
        f"SELECT timestamp, true AS is_new, {named} FROM rows"
        f" UNION ALL SELECT timestamp, false, {named} FROM ({stored}))"
        f" WHERE {' AND '.join(f'{key} IS NOT NULL' for key in keys)}"
        f" GROUP BY {', '.join(keys)} HAVING bool_or(is_new) AND count(*) > 1"
    )
