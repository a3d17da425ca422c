"""What a database holds of a lake's tables: looked through there, and copied into DuckDB's memory a part at a time."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, NamedTuple

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.kinds.table import KINDS
from barfeed.store import revisions
from barfeed.store.duckdb import Session
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.lake.contents.noted import NotedContents, contents_of
from barfeed.store.lake.contents.rows import Contents, Survey, refuse_other
from barfeed.store.lake.manifest import Manifest, Mark, Stamp
from barfeed.store.lake.table import NOTED, AnyTable, Noted, Table
from barfeed.store.place import Span, market_table
from barfeed.store.postgres.kinds.mirror import put_rows
from barfeed.store.postgres.kinds.tables import KindTable, is_there
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.server import Server
from barfeed.store.postgres.tables import mirror
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

_DAY_MS = 24 * HOUR_MS
# Of a history of years of minutes no statement counts more than the server allows.
_AT_ONCE_MS = 100 * _DAY_MS
# A moment as DuckDB writes it: the store may have been a file before.
_TEXT = "regexp_replace(to_char({}, 'YYYY-MM-DD HH24:MI:SS.US'), '\\.?0+$', '')"
_ENDS = f"SELECT {ms_of('min(timestamp)')}, {ms_of('max(timestamp)')} FROM {{table}} WHERE isfinite(timestamp)"
_STAMPS = f"""
SELECT to_char(day, 'YYYY-MM-DD'), rows, {_TEXT.format("newest")} FROM (
  SELECT timestamp::date AS day, count(*) AS rows, max(created_at) AS newest FROM {{table}}
  WHERE timestamp >= {MS.format("%s::bigint")} AND timestamp < {MS.format("%s::bigint")} GROUP BY timestamp::date
) AS days
"""
_SYMBOLS = f"""
SELECT DISTINCT symbol FROM {{table}}
WHERE timestamp >= {MS.format("%s::bigint")} AND timestamp < {MS.format("%s::bigint")} ORDER BY symbol
"""
_NEWEST = f"""
SELECT symbol, {_TEXT.format("timestamp")}, {_TEXT.format("created_at")} FROM {{table}}
WHERE isfinite(timestamp) ORDER BY timestamp DESC, symbol DESC LIMIT 1
"""
_WRITTEN = """
SELECT pg_stat_get_tuples_inserted('{table}'::regclass) + pg_stat_get_tuples_deleted('{table}'::regclass)
"""
_AT = f"SELECT {_TEXT.format('created_at')} FROM {{table}} WHERE symbol = %s AND timestamp = %s::timestamp"
_REVISED = f"""
SELECT to_char(timestamp, 'YYYY-MM-DD'), count(*) FROM {SCHEMA}.{revisions.TABLE}
WHERE split_part(series, ' ', 2) = %s GROUP BY 1
"""
_KIND_REVISED = f"""
SELECT to_char(timestamp, 'YYYY-MM-DD'), count(*) FROM {SCHEMA}.{kind_revisions.TABLE}
WHERE kind = %s AND interval LIKE %s GROUP BY 1
"""
# Of what was noted, as of bars; but it is small, and told apart by months.
_MONTH = "coalesce(CASE WHEN isfinite({when}) THEN to_char({when}, 'YYYY-MM') END, '1970-01')"
_NOTED_STAMPS = f"SELECT {_MONTH}, count(*), {_TEXT.format('max({when})')} FROM {{table}} GROUP BY 1"
_NOTED_WHEN = f"coalesce({_TEXT.format('{when}')}, '')"
_NOTED_ROW = f"{{whose}}, {_TEXT.format('{time}')}, {_NOTED_WHEN}"
_NOTED_NEWEST = f"""
SELECT {_NOTED_ROW} FROM {{table}} ORDER BY {{when}} DESC NULLS LAST, {{time}} DESC, {{whose}} DESC LIMIT 1
"""
_NOTED_AT = f"SELECT {_NOTED_WHEN} FROM {{table}} WHERE ({_NOTED_ROW}) = (%s, %s, %s) LIMIT 1"
_NOTED_OF = f"SELECT {{columns}} FROM {{table}} WHERE {_MONTH} = %s"


class OfDatabase:
    """See `Origin`; each look is of one moment."""

    def __init__(self, server: Server) -> None:
        self._server = server

    @property
    def name(self) -> str:
        """Its address."""
        return self._server.name

    def tables(self, interval: Interval) -> list[Table]:
        """See `Origin`."""
        with self._server.session(write=False) as connection:
            kinds = [each for each in KINDS.values() if interval in each.intervals]
            there = [each for each in kinds if is_there(connection, each, interval)]
        return [Table(interval), *(Table(interval, each) for each in there)]

    def noted(self) -> list[Noted]:
        """All: the schema has them."""
        return list(NOTED.values())

    @contextmanager
    def whole(self, table: AnyTable) -> Iterator["_Rows | _NotedRows"]:
        """Asked there."""
        with self._server.session(write=False) as connection:
            yield _whole(connection, table)

    @contextmanager
    def part(self, table: AnyTable, day: str) -> Iterator["_Part"]:
        """Copied; the database is asked no more."""
        with mirror.copy_of(self.name, self._server.beside()) as memory:
            with self._server.session(write=False) as connection:
                whole = _whole(connection, table)
                whole.put(day, memory)
                revised, changes = whole.revised(), whole.changes()
            yield _Part(memory, contents_of(memory, table), revised, changes)


def _whole(connection: Connection, table: AnyTable) -> "_Rows | _NotedRows":
    return _Rows(connection, table) if isinstance(table, Table) else _NotedRows(connection, table)


class _Part:
    """See `Part`."""

    def __init__(
        self, memory: Session, copy: Contents | NotedContents, revised: Mapping[str, int], changes: int
    ) -> None:
        self.connection = memory
        self._copy = copy
        self._revised = revised
        self._changes = changes
        self.relation, self.span, self.write = copy.relation, copy.span, copy.write

    def stamp(self, day: str) -> Stamp | None:
        """Of the copy, with what the database tells of changes."""
        return self._copy.stamps([day], self._revised).get(day)

    def changes(self) -> int:
        """As the database tells them."""
        return self._changes


class _Rows:
    """Bars of an interval, or a kind of it; see `Whole`."""

    def __init__(self, connection: Connection, table: Table) -> None:
        self._connection = connection
        self._table = table
        kind, interval = table.kind, table.interval
        self._name = kind.table(interval) if kind else market_table(interval)
        self._exists = not kind or is_there(connection, kind, interval)
        # What was counted of days by now.
        self._counted: dict[str, _Counted] = {}

    def survey(self, manifest: Manifest, lake: str) -> Survey:
        """The newest days, by what tells one version of a day from the next; every day where others may have changed.

        Every day is counted once a day, where more was inserted than the newest days have grown by, where anything was
        taken out, or where some are due. What a server tells of that may be a pass late.
        """
        for mark in manifest.marks.values():
            refuse_other(mark, self._asked(_AT, [mark.symbol, mark.timestamp]), lake)
        newest, written = self._asked(_NEWEST), self._written()
        since = self._since(manifest, newest)
        self._counted = self._count(since)
        before = {day: file.rows for day, file in manifest.files.items() if day >= since}
        grown = sum(each.rows for each in self._counted.values()) - sum(before.values())
        if since and not 0 <= written - manifest.marks[self._name].rowid <= grown:
            self._counted, before = self._count(), dict.fromkeys(manifest.files, 0)
        revised = self.revised()
        days = {day for day, times in revised.items() if times != manifest.revisions_of(day)}
        marks = {self._name: Mark(self._rows(manifest, before), written, *newest[0])} if newest else {}
        return Survey(marks, days.union(self._counted, before), revised)

    def _since(self, manifest: Manifest, newest: Sequence[tuple[str, str, str]]) -> str:
        """From which day on it may do to look; empty where every day is to be."""
        mark = manifest.marks.get(self._name)
        is_same_day = mark and newest and mark.timestamp[:10] == newest[0][1][:10]
        return (
            str(date.fromisoformat(newest[0][1][:10]) - timedelta(days=1)) if is_same_day and not manifest.due else ""
        )

    def _rows(self, manifest: Manifest, looked_at: Collection[str]) -> int:
        others = sum(file.rows for day, file in manifest.files.items() if day not in looked_at)
        return others + sum(each.rows for each in self._counted.values())

    def stamps(self, days: Collection[str], revised: Mapping[str, int]) -> dict[str, Stamp]:
        """See `Whole`."""
        for day in set(days).difference(self._counted):
            self._counted |= self._count_between(*_bounds(day))
        return {day: Stamp(*told, revised.get(day, 0)) for day, told in self._counted.items() if day in days}

    def days(self) -> set[str]:
        """See `Whole`."""
        return set(self._count())

    def changes(self) -> int:
        """See `Whole`."""
        return int(self._connection.execute(f"SELECT count(*) FROM {SCHEMA}.{self._table.audit}").fetchall()[0][0])

    def revised(self) -> dict[str, int]:
        """How often rows of each day were changed."""
        kind, interval = self._table.kind, str(self._table.interval)
        if not kind:
            return dict(self._connection.execute(_REVISED, [interval]).fetchall())
        return dict(self._connection.execute(_KIND_REVISED, [kind.name, interval if kind.length else "%"]).fetchall())

    def put(self, day: str, memory: Session) -> None:
        """A day, into the store in memory."""
        from_ms, to_ms = _bounds(day)
        kind, interval = self._table.kind, self._table.interval
        if kind:
            symbols = KindTable(self._connection, kind, interval).symbols()
            put_rows(self._connection, memory, kind, Span(tuple(symbols), interval, from_ms, to_ms))
        elif symbols := [symbol for (symbol,) in self._asked(_SYMBOLS, [from_ms, to_ms])]:
            mirror.put_span(self._connection, memory, Span(tuple(symbols), interval, from_ms, to_ms))

    def _written(self) -> int:
        """How often a row was inserted or taken out, as far as the server has counted that by now."""
        found = self._asked(_WRITTEN)
        return int(found[0][0]) if found else 0

    def _count(self, since: str = "") -> "dict[str, _Counted]":
        ends = self._asked(_ENDS)
        first_ms, last_ms = ends[0] if ends else (None, None)
        if first_ms is None:
            return {}
        begin_ms = _bounds(since)[0] if since else first_ms // _DAY_MS * _DAY_MS
        # A kind has no index by its moment alone: each look at it is one at all of it.
        step_ms = last_ms - begin_ms + 1 if self._table.kind else _AT_ONCE_MS
        found: dict[str, _Counted] = {}
        for at_ms in range(begin_ms, last_ms + 1, step_ms):
            found |= self._count_between(at_ms, min(at_ms + step_ms, last_ms + 1))
        return found

    def _count_between(self, from_ms: int, to_ms: int) -> "dict[str, _Counted]":
        return {day: _Counted(*told) for day, *told in self._asked(_STAMPS, [from_ms, to_ms])}

    def _asked(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        if not self._exists:
            return []
        return self._connection.execute(statement.format(table=f"{SCHEMA}.{self._name}"), values).fetchall()


class _Counted(NamedTuple):
    rows: int
    created_at: str | None


class _NotedRows:
    """An append-only table; see `Whole`."""

    def __init__(self, connection: Connection, table: Noted) -> None:
        self._connection = connection
        self._table = table

    def survey(self, manifest: Manifest, lake: str) -> Survey:
        """Every month."""
        for mark in manifest.marks.values():
            row = [mark.symbol, mark.timestamp, mark.created_at]
            refuse_other(mark, self._asked(_NOTED_AT, row), lake)
        newest = self._asked(_NOTED_NEWEST)
        rows = sum(each.rows for each in self._months.values())
        marks = {self._table.name: Mark(rows, 0, *newest[0])} if newest else {}
        return Survey(marks, self.days().union(manifest.files), {})

    def stamps(self, days: Collection[str], revised: Mapping[str, int]) -> dict[str, Stamp]:  # noqa: ARG002 - of bars
        """See `Whole`."""
        return {month: stamp for month, stamp in self._months.items() if month in days}

    def days(self) -> set[str]:
        """See `Whole`."""
        return set(self._months)

    def changes(self) -> int:
        """None: nothing of it is ever changed."""
        return 0

    def revised(self) -> dict[str, int]:
        """Nothing."""
        return {}

    def put(self, day: str, memory: Session) -> None:
        """A month, into the store in memory."""
        types = self._table.types
        memory.execute(
            f"CREATE TABLE store.main.{self._table.name} ({', '.join(f'{each} {of}' for each, of in types.items())})"
        )
        rows = self._asked(_NOTED_OF, [day])
        lists = [list(column) for column in zip(*rows, strict=True)]
        if rows:
            unnested = ", ".join(f"unnest(?::{each}[])" for each in types.values())
            memory.execute(f"INSERT INTO store.main.{self._table.name} SELECT {unnested}", lists)

    @cached_property
    def _months(self) -> dict[str, Stamp]:
        return {month: Stamp(rows, newest, 0) for month, rows, newest in self._asked(_NOTED_STAMPS)}

    def _asked(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        whose, time = self._table.key
        filled = statement.format(
            whose=whose, time=time, when=self._table.when, table=f"{SCHEMA}.{self._table.name}",
            columns=", ".join(self._table.types),
        )  # fmt: skip
        return self._connection.cursor(binary=True).execute(filled, values).fetchall()


def _bounds(day: str) -> tuple[int, int]:
    """From when to when a day is, in ms."""
    begin_ms = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()) * 1000
    return begin_ms, begin_ms + _DAY_MS
