"""Bars on their way into a store, or beside it: a table in memory that DuckDB fills, checks and compares.

Everything is one statement over all of it, never a loop over rows. It knows nothing of where bars come from.
"""

# ruff: noqa: S608 - tables and columns are named here; the one foreign thing, a path, is quoted

import glob
import gzip
import math
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.bars import VALUE_COLUMNS, Bar, Series, Turnover
from barfeed.domain.grid import Gap
from barfeed.domain.rules import TURNOVER_RULES, Finding, but_let_pass
from barfeed.domain.sources import ARCHIVE_COLUMNS, PLAIN_COLUMNS, Csv, Rows
from barfeed.store.sql_rules import FLAT, INCOMING_RULES, MESSAGES, broken

_VALUES = ", ".join(VALUE_COLUMNS)
_INCOMING = "temp.incoming"
# By their place in the archive's layout.
_FURTHER_COLUMNS = {
    "close_time": ("c6", "BIGINT"),
    "quote_volume": ("c7", "DOUBLE"),
    "trades": ("c8", "BIGINT"),
    "taker_buy_volume": ("c9", "DOUBLE"),
    "taker_buy_quote_volume": ("c10", "DOUBLE"),
}
_CREATE = f"""
CREATE OR REPLACE TEMP TABLE incoming (
  timestamp TIMESTAMP, {", ".join(f"{name} DOUBLE" for name in VALUE_COLUMNS)},
  {", ".join(f"{name} {kind}" for name, (_, kind) in _FURTHER_COLUMNS.items())}
)
"""
_PUT = f"""
INSERT INTO {_INCOMING}
SELECT make_timestamp_ms(unnest(?::BIGINT[])), {", ".join(["unnest(?::DOUBLE[])"] * 5)},
       {", ".join(f"unnest(?::{kind}[])" for _, kind in _FURTHER_COLUMNS.values())}
"""
_NO_BAR = " OR ".join(f"{name} IS NULL" for name in ("timestamp", *VALUE_COLUMNS))
_HEAD_BYTES = 4096
# What a time written in microseconds is above, and one in milliseconds below.
_MS_MAX = 10**13


class SourceUnreadable(Exception):
    """A CSV that is none, or not of a layout that is known; says why, without its name."""


class Difference(NamedTuple):
    """One bar that two sides have with other values."""

    stored: Bar
    incoming: Bar


class Staging:
    """The table `incoming` of a DuckDB connection; with a store attached it can be compared and appended.

    Use it also while no store is open: it lives in the connection's memory.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, let_pass: Sequence[Bar] = ()) -> None:
        self._connection = connection
        self._let_pass = frozenset(let_pass)
        connection.execute(_CREATE)

    def clear(self) -> None:
        """Forget every bar."""
        self._connection.execute(_CREATE)

    def put_rows(self, rows: Rows) -> None:
        """Take bars at hand, and what is known beside them."""
        if rows.bars:
            unknown = [None] * len(rows.bars)
            turnovers = zip(*rows.turnovers, strict=True) if rows.turnovers else [unknown] * len(Turnover._fields)
            columns = (*zip(*rows.bars, strict=True), rows.close_times_ms or unknown, *turnovers)
            self._connection.execute(_PUT, [list(column) for column in columns])

    def put_csv(self, path: Path) -> None:
        """Take a CSV, plain or `.gz`: the archive's twelve columns or timestamp and the five values.

        With or without a header; times are ms, us, or text in UTC. Raises `SourceUnreadable`.
        """
        layout = _layout(path)
        with _unreadable():
            self._connection.execute(f"INSERT INTO {_INCOMING} SELECT {layout.typed} FROM {layout.reader}")
            if self._number(f"SELECT count(*) FROM {_INCOMING} WHERE {layout.no_bar}"):
                raise self._first_bad_row(layout)

    def put(self, data: Rows | Csv) -> None:
        """Take what a source gave. Raises `SourceUnreadable`."""
        if isinstance(data, Rows):
            self.put_rows(data)
        elif data.path:
            self.put_csv(Path(data.path))
        else:
            with _as_file(data.content) as path:
                self.put_csv(path)

    def rows(self) -> int:
        """How many bars there are."""
        return self._number(f"SELECT count(*) FROM {_INCOMING}")

    def span(self, step_ms: int) -> Gap | None:
        """From the first open_time to the last, None where there is no bar."""
        first, last = self._ask(f"SELECT epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {_INCOMING}")[0]
        return None if first is None else Gap(first, last, (last - first) // step_ms + 1)

    def findings(self, step_ms: int, now_ms: int, limit: int = 100) -> list[Finding]:
        """The first `limit` broken rules, each bar by itself and each open_time once."""
        found = self._ask(
            f"""
            SELECT epoch_ms(timestamp), unnest({broken(INCOMING_RULES, step_ms, now_ms)}) FROM {_INCOMING}
            UNION ALL
            SELECT epoch_ms(timestamp), 'unique' FROM {_INCOMING} GROUP BY timestamp HAVING count(*) > 1
            ORDER BY ALL LIMIT {int(limit)}
            """
        )
        findings = [Finding(rule, open_time_ms, MESSAGES[rule]) for open_time_ms, rule in found]
        return but_let_pass(findings, self._contradicting(findings), self._let_pass) if self._let_pass else findings

    def _contradicting(self, findings: Sequence[Finding]) -> list[Bar]:
        opens = {found.open_time_ms for found in findings if found.rule in TURNOVER_RULES}
        return self.bars([Gap(each, each, 1) for each in sorted(each for each in opens if each is not None)])

    def lacking(self, spans: Sequence[Gap], step_ms: int) -> list[Gap]:
        """The gaps in `spans`: what should be here and is not."""
        return [gap for each in spans for gap in gaps(self._connection, _INCOMING, each, step_ms)]

    def flat_bars(self) -> list[Bar]:
        """The bars in which nothing was traded, ascending."""
        return self._bars(f"WHERE {FLAT}")

    def take_out_flat(self) -> None:
        """Forget the bars in which nothing was traded."""
        self._connection.execute(f"DELETE FROM {_INCOMING} WHERE {FLAT}")

    def bars(self, spans: Sequence[Gap]) -> list[Bar]:
        """The bars of `spans`, ascending."""
        return [bar for each in spans for bar in self._bars(f"WHERE {_within(each)}")]

    def keep_only(self, span: Gap) -> int:
        """Forget what lies outside of a span; how many bars did."""
        before = self.rows()
        self._connection.execute(f"DELETE FROM {_INCOMING} WHERE NOT ({_within(span)})")
        return before - self.rows()

    def mismatches(self, series: Series) -> list[Difference]:
        """The bars that the attached store has too, with other values; compared exactly, ascending."""
        columns = ", ".join(f"{side}.{name}" for side in ("ours", "theirs") for name in VALUE_COLUMNS)
        found = self._ask(
            f"""
            SELECT epoch_ms(ours.timestamp), {columns}
            FROM {stored(series)} ours JOIN {_INCOMING} theirs USING (timestamp)
            WHERE {" OR ".join(f"ours.{name} IS DISTINCT FROM theirs.{name}" for name in VALUE_COLUMNS)}
            ORDER BY ours.timestamp
            """
        )
        return [Difference(_bar(row[0], row[1:6]), _bar(row[0], row[6:])) for row in found]

    def append_new(self, series: Series) -> int:
        """Insert the bars whose open_time the attached store does not have; how many were."""
        return self._number(
            f"""
            INSERT INTO {stored(series)} (timestamp, {_VALUES})
            SELECT timestamp, {_VALUES} FROM {_INCOMING} theirs
            WHERE NOT EXISTS (SELECT 1 FROM {stored(series)} ours WHERE ours.timestamp = theirs.timestamp)
            ORDER BY timestamp
            """
        )

    def _bars(self, where: str) -> list[Bar]:
        return [
            Bar(*row)
            for row in self._ask(f"SELECT epoch_ms(timestamp), {_VALUES} FROM {_INCOMING} {where} ORDER BY timestamp")
        ]

    def _first_bad_row(self, layout: "_Layout") -> SourceUnreadable:
        """A cell that is no number must not become a NULL in silence."""
        cells = f"concat_ws(',', {', '.join(layout.columns)}) AS cells"
        row = self._ask(
            f"SELECT cells FROM (SELECT {cells}, {layout.typed} FROM {layout.reader}) WHERE {layout.no_bar} LIMIT 1"
        )
        return SourceUnreadable(f"a row is no bar: {row[0][0][:120]!a}")

    def _number(self, statement: str) -> int:
        return int(self._ask(statement)[0][0])

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()


def stored(series: Series) -> str:
    """A series' table in the attached store, as SQL names it."""
    return f'store.main."{series.table}"'


def gaps(connection: duckdb.DuckDBPyConnection, relation: str, span: Gap, step_ms: int) -> list[Gap]:
    """The open_times of `span` that a table lacks, as maximal runs; never more work than one pass over the span."""
    held = connection.execute(
        f"""
        SELECT at_ms, next_ms FROM (
          SELECT at_ms, lead(at_ms, 1, {span.last_ms + step_ms}) OVER (ORDER BY at_ms) AS next_ms
          FROM (SELECT {span.first_ms - step_ms} AS at_ms UNION ALL
                SELECT DISTINCT epoch_ms(timestamp) FROM {relation}
                WHERE {_within(span)} AND epoch_us(timestamp) % {step_ms * 1000} = 0)
        ) WHERE next_ms > at_ms + {step_ms} ORDER BY at_ms
        """
    ).fetchall()
    return [Gap(at + step_ms, until - step_ms, (until - at) // step_ms - 1) for at, until in held]


def _within(span: Gap) -> str:
    return f"timestamp BETWEEN make_timestamp_ms({span.first_ms}) AND make_timestamp_ms({span.last_ms})"


def _bar(open_time_ms: int, values: Sequence[float | None]) -> Bar:
    # A stored NULL is no number; the store's own reader says NaN for it too.
    return Bar(open_time_ms, *(math.nan if value is None else value for value in values))


class _Layout(NamedTuple):
    """How DuckDB is to read one CSV: its columns all as text, and the bar that they make."""

    reader: str
    columns: tuple[str, ...]

    @property
    def typed(self) -> str:
        """The columns of `incoming`, NULL where a text is none."""
        values = ", ".join(f"TRY_CAST(c{number} AS DOUBLE) AS {name}" for number, name in enumerate(VALUE_COLUMNS, 1))
        return f"{_moment('c0')} AS timestamp, {values}, {', '.join(map(self._further, _FURTHER_COLUMNS))}"

    @property
    def no_bar(self) -> str:
        """True for a typed row with a text that is none."""
        further = [f"{name} IS NULL" for name in _FURTHER_COLUMNS] if self._is_archive else []
        return " OR ".join([_NO_BAR, *further])

    @property
    def _is_archive(self) -> bool:
        return len(self.columns) == ARCHIVE_COLUMNS

    def _further(self, name: str) -> str:
        column, kind = _FURTHER_COLUMNS[name]
        if not self._is_archive:
            return f"NULL::{kind} AS {name}"
        if name == "close_time":
            return f"epoch_us({_moment(column)}) // 1000 AS {name}"
        return f"TRY_CAST({column} AS {kind}) AS {name}"


def _moment(column: str) -> str:
    """A TIMESTAMP from ms, us, or a text in UTC (`2024-01-15 13:00:00`, also with an offset); NULL for others."""
    number = f"TRY_CAST({column} AS BIGINT)"
    in_us = f"make_timestamp(CASE WHEN abs({number}) > {_MS_MAX} THEN {number} ELSE {number} * 1000 END)"
    return f"coalesce({in_us}, TRY_CAST({column} AS TIMESTAMPTZ)::TIMESTAMP)"


def _layout(path: Path) -> _Layout:
    first = _first_line(path)
    # As CSV has it, but a first line that begins with a digit is a bar.
    has_header = not first[:1].isdigit()
    names = [name.strip().strip('"').lower() for name in first.split(",")]
    if len(names) not in {ARCHIVE_COLUMNS, PLAIN_COLUMNS}:
        raise SourceUnreadable(f"{len(names)} columns in {first[:80]!a}, expected 12 or 6 with commas between")
    if has_header and names[1:PLAIN_COLUMNS] != list(VALUE_COLUMNS):
        raise SourceUnreadable(f"its header is {first[:120]!a}, expected a time, then {', '.join(VALUE_COLUMNS)}")
    columns = tuple(f"c{number}" for number in range(len(names)))
    types = ", ".join(f"'{name}': 'VARCHAR'" for name in columns)
    packed = "gzip" if path.suffix.lower() == ".gz" else "none"
    # As it is: DuckDB takes * and ? and [ of a name for a pattern, and reads every file that fits.
    quoted = glob.escape(str(path)).replace("'", "''")
    options = f"auto_detect = false, delim = ',', quote = '\"', header = {has_header}, compression = '{packed}'"
    return _Layout(f"read_csv('{quoted}', {options}, columns = {{{types}}})", columns)


def _first_line(path: Path) -> str:
    try:
        with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except (OSError, EOFError, zlib.error) as problem:
        raise SourceUnreadable(str(getattr(problem, "strerror", None) or problem)) from None
    # A mark that some editors put in front of UTF-8.
    return head.split(b"\n", 1)[0].removeprefix(b"\xef\xbb\xbf").strip().decode("utf-8", "replace")


@contextmanager
def _as_file(content: bytes) -> Iterator[Path]:
    """DuckDB reads files: the text as one, for as long as that takes."""
    with tempfile.TemporaryDirectory(prefix="barfeed-") as folder:
        path = Path(folder) / "part.csv"
        path.write_bytes(content)
        yield path


@contextmanager
def _unreadable() -> Iterator[None]:
    """DuckDB's refusal of a file: not the store's fault, whatever else is attached."""
    try:
        yield
    except duckdb.Error as problem:
        said = next((line for line in str(problem).splitlines() if line), type(problem).__name__)
        raise SourceUnreadable(ascii(said[:200])) from problem
