"""What keeps a user's own table from being a series' table, and the SQL that mends it: one decision for every command.

`look` asks DuckDB; what follows from it is pure. `refuse` and `refusal_of_next` are about a table of the right shape
whose constraints refuse a bar.
"""

# ruff: noqa: S608 - tables are named by us, columns by DuckDB's own catalog

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import duckdb

from barfeed.domain import grid
from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS
from barfeed.domain.grid import Gap
from barfeed.store.own import catalog
from barfeed.store.own.catalog import Column

if TYPE_CHECKING:
    from barfeed.store.own.constraints import Refusal

_TYPES = {"timestamp": "TIMESTAMP"} | dict.fromkeys(VALUE_COLUMNS, "DOUBLE")
_ONE_EACH = " ON CONFLICT (timestamp) DO NOTHING"

# Each with what it is unique by as text, `[timestamp]` or `['"timestamp"']`, and NULL where it allows doubles.
_INDEXES = """
SELECT CASE WHEN is_unique THEN expressions END FROM duckdb_indexes()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
"""
_KEYS = """
SELECT constraint_column_names::VARCHAR FROM duckdb_constraints()
WHERE database_name = 'store' AND schema_name = 'main' AND lower(table_name) = ?
  AND constraint_type IN ('PRIMARY KEY', 'UNIQUE')
"""
_TWICE = f"""
SELECT epoch_ms(timestamp), count(*), count(DISTINCT ({", ".join(VALUE_COLUMNS)})) AS versions
FROM ({{bars}}) GROUP BY timestamp HAVING timestamp IS NULL OR count(*) > 1
ORDER BY timestamp IS NULL, versions DESC, timestamp LIMIT 1
"""
_PLAIN_NAME = r"[a-z_][a-z0-9_]*"

# How a moment of another type is read, as an expression over `{}`.
_MOMENTS = dict.fromkeys(["TIMESTAMP_NS", "TIMESTAMP_MS", "TIMESTAMP_S", "DATE"], "{}::TIMESTAMP") | {
    "TIMESTAMP WITH TIME ZONE": "{} AT TIME ZONE 'UTC'",
    # A text without a zone is of the session's, which is set before.
    "VARCHAR": "{}::TIMESTAMPTZ AT TIME ZONE 'UTC'",
}
_DEFAULT_MAX = 100
_SESSION_ZONE = "SET TimeZone = 'UTC'"
_INTEGERS = frozenset(f"{sign}{size}" for sign in ("", "U") for size in ("SMALLINT", "INTEGER", "BIGINT", "HUGEINT"))
_NUMBERS = _INTEGERS | {"DOUBLE"}
# What a time in seconds, in ms and in us since 1970 is below, and how it is read; above them are ns.
_UNITS = (
    (10**11, "make_timestamp({}::BIGINT * 1000000)"),
    (10**14, "make_timestamp_ms({}::BIGINT)"),
    (10**17, "make_timestamp({}::BIGINT)"),
)
_NANOSECONDS = "make_timestamp({}::BIGINT // 1000)"


class Twice(NamedTuple):
    """An open_time (ms, None for a NULL) that is stored `rows` times, with so many `versions` of its values."""

    open_time_ms: int | None
    rows: int
    versions: int


class BarRefused(Exception):
    """A bar that a constraint of a user's own table refuses: says which, without the file's name, and what helps."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class Shape(NamedTuple):
    """What stands under a series' name. Everything but the columns is looked for only where something is wrong.

    `greatest` is the largest time where times are numbers; `referrers` are the tables that refer to this one, and
    `elsewhere` is the schema that has a table of this name where `main` has none.
    """

    table: str
    columns: tuple[Column, ...]
    is_view: bool = False
    is_computed: bool = False
    is_unique: bool = True
    has_index: bool = False
    has_constraints: bool = False
    referrers: tuple[str, ...] = ()
    elsewhere: str = ""
    greatest: float = 0
    twice: Twice | None = None

    @property
    def wrong(self) -> str:
        """What keeps it from being used, in words; empty where nothing does."""
        if self.elsewhere:
            return f"it is in the schema {self.elsewhere}, expected in main"
        if not self.columns:
            return "it is a view of what is not there, expected a table"
        found = [f"{name} is {told}, expected {_TYPES[name]}" for name, told in self.mistyped.items()]
        found += [f"{name} is NOT NULL without a default" for name in self.needed]
        found += [f"the default of {each.name} fails: {each.default[:_DEFAULT_MAX]}" for each in self.failing]
        if self.is_view:
            found.append("it is a view, expected a table")
        if self.is_computed:
            found.append("a column of a bar is computed (GENERATED)")
        if not (self.is_unique or self.is_view):
            found.append("it has no primary key and no unique index on timestamp alone")
        return "; ".join(found + ([_said(self.twice)] if self.twice else []))

    @property
    def mistyped(self) -> dict[str, str]:
        """The columns of a bar that are not what they should be, and what they are: another type, or missing."""
        types = {column.name.lower(): column.type for column in self.columns}
        return {name: types.get(name, "missing") for name, type_ in _TYPES.items() if types.get(name) != type_}

    @property
    def needed(self) -> list[str]:
        """Further columns that no bar brings."""
        return [column.name for column in self.columns if column.is_needed and column.name.lower() not in _TYPES]

    @property
    def failing(self) -> list[Column]:
        """Further columns whose default fails."""
        return [column for column in self.columns if column.is_failing and column.name.lower() not in _TYPES]

    @property
    def remedy(self) -> str:
        """What mends it, as a hint tells it."""
        alter = f"ALTER TABLE {_quoted(self.table)}"
        if self.elsewhere:
            copied = f"CREATE TABLE {_quoted(self.table)} AS FROM {_quoted(self.elsewhere)}.{_quoted(self.table)}"
            return f"bring it over in DuckDB while no feed runs, this tells what is left: {copied}"
        if not self.columns:
            return f"take it away in DuckDB: DROP VIEW {_quoted(self.table)}; or point --duckdb at another file"
        if "missing" in self.mistyped.values():
            absent = next(name for name, told in self.mistyped.items() if told == "missing")
            return f"name the column so, {alter} RENAME COLUMN ... TO {absent}, or point --duckdb at another file"
        if lossy := [name for name, cast in self.casts.items() if not cast]:
            aside = f"{alter} RENAME TO {_quoted(f'{self.table}_before')}"
            return f"{lossy[0]} has lost digits: move it aside, {aside}; then fetch the history anew: barfeed backfill"
        if self.twice and self.twice.open_time_ms is not None and self.twice.versions > 1:
            # What is of another type, verify cannot read.
            types = "" if self.is_view or not self.mistyped else f"mend its types in DuckDB: {self._retyped()}; then "
            return (
                f"{types}take out the wrong one of each two rows, which barfeed verify names; this tells what is left"
            )
        return f"mend it in DuckDB 1.2 or newer while no feed runs: {'; '.join(self.statements)}"

    @property
    def statements(self) -> list[str]:
        """The SQL that makes it a table that can be used, with every bar and every column."""
        zone = [_SESSION_ZONE] if "TIMESTAMPTZ" in self.casts.get("timestamp", "") else []
        return [*zone, *(self._altered() if self._can_be_altered else self.rebuilt)]

    @property
    def casts(self) -> dict[str, str]:
        """What reads each mistyped column as what it should be, to the last digit; empty where nothing can."""
        return {name: self._cast(name) for name in self.mistyped}

    @property
    def _can_be_altered(self) -> bool:
        # DuckDB changes no column that a key is of, none of a table with an index, and adds no second key.
        has_key = any(column.is_key for column in self.columns)
        needs_key = any(column.is_key for column in self.columns if column.name in self.needed)
        is_kept = has_key and (not self.is_unique or "timestamp" in self.mistyped or needs_key)
        # Nor one that a CHECK speaks of.
        is_kept = is_kept or (self.has_constraints and bool(self.mistyped))
        return not (self.is_view or self.is_computed or self.has_index or self.twice or is_kept or self.referrers)

    def _altered(self) -> list[str]:
        alter = f"ALTER TABLE {_quoted(self.table)}"
        types = [f"{alter} ALTER {name} TYPE {_TYPES[name]}{_using(name, cast)}" for name, cast in self.casts.items()]
        needed = [f"{alter} ALTER {_quoted(name)} {_unneeded(name)}" for name in self.needed]
        failing = [f"{alter} ALTER {_quoted(each.name)} DROP DEFAULT" for each in self.failing]
        needed += [f"{alter} ALTER {_quoted(each.name)} DROP NOT NULL" for each in self.failing if not each.is_nullable]
        return [*types, *needed, *failing, *([] if self.is_unique else [f"{alter} ADD PRIMARY KEY (timestamp)"])]

    @property
    def rebuilt(self) -> list[str]:
        """The SQL that makes it anew of its rows, with the key and the defaults, and no other constraint."""
        table, copy = _quoted(self.table), _quoted(f"{self.table}_rows")
        rows = self._rows()
        made = [f"CREATE OR REPLACE TABLE {table} AS {rows}"]
        if self.is_view:
            made = [f"CREATE TABLE {copy} AS {rows}", f"DROP VIEW {table}", f"ALTER TABLE {copy} RENAME TO {table}"]
        # What is made of rows has neither their key nor their defaults.
        defaults = [f"ALTER TABLE {table} ALTER {name} SET DEFAULT {told}" for name, told in self._defaults.items()]
        # DuckDB replaces no table while another refers to it; made of its rows, that one refers to nothing.
        freed = [f"CREATE OR REPLACE TABLE {_quoted(each)} AS FROM {_quoted(each)}" for each in self.referrers]
        return [*freed, *made, *defaults, f"ALTER TABLE {table} ADD PRIMARY KEY (timestamp)"]

    @property
    def _defaults(self) -> dict[str, str]:
        further = (each for each in self.columns if each.name.lower() not in {*_TYPES, "created_at"})
        kept = {_quoted(each.name): each.default for each in further if each.default and not each.is_failing}
        return kept | ({"created_at": "CURRENT_TIMESTAMP"} if self._is_stamped else {})

    def _retyped(self) -> str:
        table = _quoted(self.table)
        return f"CREATE OR REPLACE TABLE {table} AS SELECT {_columns(self.casts)} FROM {table}"

    def _rows(self) -> str:
        rows = f"{_columns(self.casts)} FROM {_quoted(self.table)}"
        if not self.twice:
            return f"SELECT {rows}"
        # Of equal bars, the one that was there first.
        order = "timestamp, created_at" if self._is_stamped else "timestamp"
        return f"SELECT DISTINCT ON (timestamp) {rows} WHERE timestamp IS NOT NULL ORDER BY {order}"

    @property
    def _is_stamped(self) -> bool:
        return any(column.name.lower() == "created_at" for column in self.columns)

    def _cast(self, name: str) -> str:
        told = self.mistyped[name]
        if name == "timestamp":
            form = _MOMENTS.get(told, "")
            if told in _NUMBERS:
                form = next((form for end, form in _UNITS if self.greatest < end), _NANOSECONDS)
            return form.format(name)
        is_exact = told in _INTEGERS or told == "VARCHAR" or told.startswith("DECIMAL")
        return f"{name}::DOUBLE" if is_exact else ""


def look(connection: duckdb.DuckDBPyConnection, table: str) -> Shape | None:
    """What stands in the attached store under a table's name, in lower case; None where nothing does."""
    columns = [catalog.tried(connection, each) for each in catalog.columns(connection, table)]
    if not columns:
        return _not_there(connection, table)
    shape = Shape(table, tuple(columns))
    keys = [column.name.lower() for column in columns if column.is_key]
    # DuckDB knows best whether it would take a bar; a view is described as its table is.
    if not shape.wrong and keys == ["timestamp"] and catalog.takes(connection, _into(table) + _ONE_EACH):
        return shape
    return _looked_at_closely(connection, shape)


def _not_there(connection: duckdb.DuckDBPyConnection, table: str) -> Shape | None:
    # A view is none any more once what it shows is gone.
    if catalog.is_view(connection, table):
        return Shape(table, (), is_view=True, is_unique=False)
    elsewhere = catalog.elsewhere(connection, table)
    return Shape(table, (), elsewhere=elsewhere) if elsewhere else None


def refuse(connection: duckdb.DuckDBPyConnection, table: str, bars: str, values: Sequence[object] = ()) -> None:
    """Return where a table would take bars, a SELECT of COLUMNS with its values; raises `BarRefused` where not."""
    from barfeed.store.own import constraints  # noqa: PLC0415 - most tables have none

    if refusal := constraints.refusal_of(connection, table, bars, values):
        raise _told(connection, table, refusal)


def refuse_opens(connection: duckdb.DuckDBPyConnection, table: str, spans: Sequence[Gap], step_ms: int) -> None:
    """Return where nothing is known that keeps a table from bars in `spans`; raises `BarRefused` where something is."""
    from barfeed.store.own import constraints  # noqa: PLC0415 - as above

    if refusal := constraints.refusal_of_opens(connection, table, spans, step_ms):
        raise _told(connection, table, refusal)


def refusal_of_next(connection: duckdb.DuckDBPyConnection, table: str, step_ms: int) -> BarRefused | None:
    """Why the bar after the newest will be refused, as far as that is known before it is there."""
    from barfeed.store.own import constraints  # noqa: PLC0415 - as above

    refusal = constraints.refusal_of_next(connection, table, step_ms)
    return _told(connection, table, refusal) if refusal else None


def _told(connection: duckdb.DuckDBPyConnection, table: str, refusal: "Refusal") -> BarRefused:
    from barfeed.store.own import constraints  # noqa: PLC0415 - as above

    constraint, bars, first_ms = refusal
    which = "every bar" if first_ms is None else f"the bar {grid.text(first_ms)}"
    which += f" and {bars - 1} more" if bars > 1 else ""
    remedy = [f"DROP INDEX {_quoted(constraint.name)}"]
    if constraint.kind != "index":
        referrers = constraints.referrers(connection, table)
        remedy = Shape(table, catalog.columns(connection, table), referrers=referrers).rebuilt
    fill = f"put what is referred to into {_quoted(constraint.refers_to)}, or " if constraint.refers_to else ""
    return BarRefused(
        f"table {table} refuses {which}: {constraint}",
        hint=f"{fill}take the constraint away in DuckDB 1.2 or newer while no feed runs: {'; '.join(remedy)}",
    )


def _looked_at_closely(connection: duckdb.DuckDBPyConnection, shape: Shape) -> Shape:
    table, is_view = shape.table, catalog.is_view(connection, shape.table)
    indexes = [columns for (columns,) in connection.execute(_INDEXES, [table]).fetchall()]
    is_unique = not is_view and (_timestamp_alone(indexes) or _timestamp_alone(_keys(connection, table)))
    has_all = "missing" not in shape.mistyped.values()
    shape = shape._replace(
        is_view=is_view,
        is_computed=has_all and not is_view and not catalog.takes(connection, _into(table)),
        is_unique=is_unique,
        has_index=bool(indexes),
    )
    return _with_what_mends_it(connection, shape) if shape.wrong else shape


def _with_what_mends_it(connection: duckdb.DuckDBPyConnection, shape: Shape) -> Shape:
    from barfeed.store.own import constraints  # noqa: PLC0415 - as above

    has_constraints = bool(constraints.further(connection, shape.table))
    shape = shape._replace(has_constraints=has_constraints, referrers=constraints.referrers(connection, shape.table))
    if shape.mistyped.get("timestamp") in _NUMBERS:
        shape = shape._replace(greatest=_greatest(connection, shape.table))
    # Only where nothing keeps a bar from coming twice.
    is_doubtful = not shape.is_unique and all(shape.casts.values())
    return shape._replace(twice=_twice(connection, shape)) if is_doubtful else shape


def _keys(connection: duckdb.DuckDBPyConnection, table: str) -> list[str | None]:
    return [columns for (columns,) in connection.execute(_KEYS, [table]).fetchall()]


def _timestamp_alone(keys: Sequence[str | None]) -> bool:
    return any(columns and columns.strip("[]'\"").lower() == "timestamp" for columns in keys)


def _greatest(connection: duckdb.DuckDBPyConnection, table: str) -> float:
    (found,) = _one(connection, f"SELECT max(abs(timestamp::DOUBLE)) FROM {catalog.relation(table)}") or (None,)
    return float(found or 0)


def _twice(connection: duckdb.DuckDBPyConnection, shape: Shape) -> Twice | None:
    """The worst of the open_times that are stored more than once, or are none."""
    bars = f"SELECT {_columns(shape.casts)} FROM {catalog.relation(shape.table)}"
    try:
        found = _one(connection, _TWICE.format(bars=bars))
    except duckdb.DataError:
        # A text that is no moment: the statement that mends it will say which.
        return None
    return Twice(*found) if found else None


def _one(connection: duckdb.DuckDBPyConnection, statement: str) -> tuple[Any, ...] | None:
    rows = connection.execute(statement).fetchall()
    return rows[0] if rows else None


def _into(table: str) -> str:
    return f"INSERT INTO {catalog.relation(table)} ({', '.join(COLUMNS)}) SELECT {', '.join(['NULL'] * len(COLUMNS))}"


def _said(twice: Twice) -> str:
    if twice.open_time_ms is None:
        return "a row has no timestamp"
    unlike = f" with {twice.versions} different values" if twice.versions > 1 else ""
    return f"{grid.text(twice.open_time_ms)} is stored {twice.rows} times{unlike}"


def _columns(casts: dict[str, str]) -> str:
    replaced = ", ".join(f"{cast} AS {name}" for name, cast in casts.items())
    return f"* REPLACE ({replaced})" if replaced else "*"


def _using(name: str, cast: str) -> str:
    return "" if cast == f"{name}::{_TYPES[name]}" else f" USING {cast}"


def _unneeded(name: str) -> str:
    return "SET DEFAULT CURRENT_TIMESTAMP" if name.lower() == "created_at" else "DROP NOT NULL"


def _quoted(name: str) -> str:
    return name if re.fullmatch(_PLAIN_NAME, name) else '"' + name.replace('"', '""') + '"'
