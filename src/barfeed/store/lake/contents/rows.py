"""What the store holds of bars or of a kind: which days changed since a mark, and a day as Parquet."""

# ruff: noqa: S608 - tables and days are of our own making

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable, StoreUnusable
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.store import place, revisions
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds.tables import KindTable
from barfeed.store.lake.contents import parquet
from barfeed.store.lake.manifest import Manifest, Mark, Stamp
from barfeed.store.lake.table import Table
from barfeed.store.market import MarketTable
from barfeed.store.own import shape

_THERE = """
SELECT table_name FROM duckdb_tables()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name IN (SELECT unnest(?::VARCHAR[]))
"""
_DAYS = "SELECT day::VARCHAR FROM (SELECT DISTINCT timestamp::DATE AS day FROM {rows})"
_STAMPS = """
SELECT timestamp::DATE::VARCHAR, count(*), max(created_at)::VARCHAR FROM {rows} GROUP BY timestamp::DATE
"""
_SPAN = "SELECT min(timestamp)::VARCHAR, max(timestamp)::VARCHAR FROM {rows}"
_ROW = "SELECT symbol, timestamp::VARCHAR, created_at::VARCHAR FROM {rows}"
_AT = "SELECT created_at::VARCHAR FROM {rows} WHERE symbol = ? AND timestamp = TRY_CAST(? AS TIMESTAMP)"
_REVISED = f"""
SELECT timestamp::DATE::VARCHAR, count(*) FROM store.main.{revisions.TABLE}
WHERE split_part(series, ' ', 2) = ? GROUP BY timestamp::DATE
"""


class Survey(NamedTuple):
    """How far each table reaches, which days may differ from the lake's, and how often rows of each were changed."""

    marks: dict[str, Mark]
    days: set[str]
    revisions: dict[str, int]


class _Source(NamedTuple):
    """A table, its rows as the lake has them, and which of them are meant."""

    table: str
    select: str
    condition: str = "true"

    def rows(self, where: str = "true") -> str:
        return f"{self.select} WHERE {self.condition} AND {where}"


class Contents:
    """Every row of a table while the store is open: of bars those in a market's, and those of one series each."""

    def __init__(self, connection: Session, table: Table) -> None:
        """Raises `StoreUnusable` where the market's or the kind's table is another's."""
        self.connection = connection
        self._table = table
        self._sources = dict(_sources(connection, table))

    def survey(self, manifest: Manifest, lake: str) -> Survey:
        """What may have changed since the manifest was written, by its marks.

        Costs what came since, not what is there: rows are only ever appended. Where they were not, every day is looked
        at. Raises `LakeUnusable` where the lake is ahead of the store, or another store's.
        """
        marks = {table: mark for table in self._sources if (mark := self._mark(table))}
        revised = self._revisions()
        broken = [table for table, mark in manifest.marks.items() if not self._is_continued(table, mark)]
        for table in broken:
            self._refuse_other(manifest.marks[table], lake)
        if broken:
            return Survey(marks, self.days().union(manifest.files), revised)
        days = {day for day, times in revised.items() if times != manifest.revisions_of(day)}
        for table, source in self._sources.items():
            since = manifest.marks.get(table)
            days |= self._days(f"({source.rows(f'rowid > {since.rowid}' if since else 'true')})")
        return Survey(marks, days, revised)

    def stamps(self, days: Collection[str], revised: Mapping[str, int]) -> dict[str, Stamp]:
        """What the store says of these days; nothing of one that it has no row of."""
        wanted = set(days)
        if not wanted or not self._sources:
            return {}
        rows = self.connection.execute(_STAMPS.format(rows=self._rows(min(wanted), max(wanted)))).fetchall()
        return {day: Stamp(bars, newest, revised.get(day, 0)) for day, bars, newest in rows if day in wanted}

    def stamp(self, day: str) -> Stamp | None:
        """What the store says of a day; None where it has no row of it."""
        return self.stamps([day], self._revisions()).get(day)

    def span(self, day: str) -> tuple[str, str]:
        """The first and the last timestamp of a day."""
        first, last = self.connection.execute(_SPAN.format(rows=self._rows(day, day))).fetchall()[0]
        return str(first), str(last)

    def write(self, day: str, path: Path) -> None:
        """Write a day to a Parquet file. Raises `LakeUnusable` for what its disk says."""
        parquet.write(self.connection, self._table, self._rows(day, day), path)

    def changes(self) -> int:
        """How often anything was changed in all that has its audit; none where the audit's name is another table's."""
        with suppress(StoreUnusable):
            return kind_revisions.counted(self.connection) if self._table.kind else revisions.counted(self.connection)
        return 0

    def relation(self, day: str) -> str:
        """The rows of a day, with the lake's columns, as SQL takes them."""
        return self._rows(day, day)

    def days(self) -> set[str]:
        """Every day that has a row."""
        return self._days(self._rows()) if self._sources else set()

    def _rows(self, first: str = "", last: str = "") -> str:
        within = "true"
        if first:
            within = f"timestamp >= TIMESTAMP '{first}' AND timestamp < TIMESTAMP '{last}' + INTERVAL 1 DAY"
        return f"({' UNION ALL '.join(source.rows(within) for source in self._sources.values()) or self._nothing()})"

    def _nothing(self) -> str:
        nulls = ", ".join(f"NULL::{type_} AS {name}" for name, type_ in self._table.types.items())
        return f"SELECT {nulls} WHERE false"

    def _days(self, rows: str) -> set[str]:
        found = self.connection.execute(_DAYS.format(rows=rows)).fetchall()
        # A user's own table may hold a timestamp that is no moment; what reads it as a series refuses it.
        return {day for (day,) in found if day and self._table.part_of(self._table.partition(day))}

    def _mark(self, table: str) -> Mark | None:
        source = self._sources[table]
        rows = self._count(source, "true")
        # No row is numbered lower than how many there are; so the last one is found without a look at all of them.
        found = self.connection.execute(f"SELECT max(rowid) FROM {source.table} WHERE rowid >= {rows - 1}").fetchall()[
            0
        ][0]
        if not rows or found is None:
            return None
        symbol, timestamp, created_at = self._rows_at(source, found)[0]
        return Mark(rows, found, symbol, timestamp, created_at)

    def _is_continued(self, table: str, mark: Mark) -> bool:
        """Whether what was there when the mark was set still is, untouched, and everything new stands behind it."""
        source = self._sources.get(table)
        if source is None or self._rows_at(source, mark.rowid) != [(mark.symbol, mark.timestamp, mark.created_at)]:
            return False
        return self._count(source, "true") == mark.rows + self._count(source, f"rowid > {mark.rowid}")

    def _rows_at(self, source: _Source, rowid: int) -> list[tuple[str, str, str | None]]:
        every = source._replace(condition="true")
        return self.connection.execute(_ROW.format(rows=f"({every.rows(f'rowid = {rowid}')})")).fetchall()

    def _count(self, source: _Source, where: str) -> int:
        return int(self.connection.execute(f"SELECT count(*) FROM {source.table} WHERE {where}").fetchall()[0][0])

    def _refuse_other(self, mark: Mark, lake: str) -> None:
        """Return where the marked bar is in the store, appended when it was: the table was only written anew."""
        at = [mark.symbol, mark.timestamp]
        found = self.connection.execute(_AT.format(rows=self._rows()), at).fetchall() if self._sources else []
        refuse_other(mark, found, lake)

    def _revisions(self) -> dict[str, int]:
        """How often a row of each day was changed; nothing where the audit table's name is another table's."""
        interval, kind = self._table.interval, self._table.kind
        with suppress(StoreUnusable):
            if kind:
                return kind_revisions.by_day(self.connection, kind, interval)
            if revisions.is_there(self.connection):
                return dict(self.connection.execute(_REVISED, [str(interval)]).fetchall())
        return {}


def refuse_other(mark: Mark, found: Sequence[tuple[str | None]], lake: str) -> None:
    """Return where what was found in the marked row's place was stored when it was. Raises `LakeUnusable`."""
    if found == [(mark.created_at,)]:
        return
    bar, hint = f"{mark.symbol} {mark.timestamp}", other_hint(lake)
    if not found:
        raise LakeUnusable(
            f"{lake} is ahead of the store, or another store's: it has {bar}, the store has not", hint=hint
        )
    raise LakeUnusable(
        f"{lake} is another store's: {bar} was stored at {mark.created_at} there, here at {found[0][0]}", hint=hint
    )


def other_hint(lake: str) -> str:
    """What helps where a lake is ahead of the store, or another's."""
    return (
        "give each store a lake of its own: --lake; if this store takes the place of the one that the lake was written"
        f" from, take {lake} away: the next pass writes it anew"
    )


def stored(store: Store, interval: Interval) -> list[Table]:
    """The tables that the store has rows for at an interval: bars, and every kind that was ever fed beside them."""
    kinds = {each.table(interval): each for each in KINDS.values() if interval in each.intervals}
    with store.looking() as connection:
        found = {name for (name,) in connection.execute(_THERE, [list(kinds)]).fetchall()}
        there = [kind for name, kind in kinds.items() if name in found and _is_kind(connection, kind, interval)]
    return [Table(interval), *(Table(interval, kind) for kind in there)]


def _is_kind(connection: Session, kind: Kind, interval: Interval) -> bool:
    # A table of a user's own may have a kind's name; every command that is asked for the kind says so.
    with suppress(StoreUnusable):
        return KindTable(connection, kind, interval).exists
    return False


def _sources(connection: Session, table: Table) -> Iterator[tuple[str, _Source]]:
    return _of_kind(connection, table.kind, table.interval) if table.kind else _of_bars(connection, table.interval)


def _of_kind(connection: Session, kind: Kind, interval: Interval) -> Iterator[tuple[str, _Source]]:
    table = KindTable(connection, kind, interval)
    if table.exists:
        select = f"SELECT {', '.join(Table(interval, kind).types)} FROM {table.relation}"
        yield kind.table(interval), _Source(table.relation, select)


def _of_bars(connection: Session, interval: Interval) -> Iterator[tuple[str, _Source]]:
    market, own = MarketTable(connection, interval), []
    for series in place.alone(connection):
        seen = shape.look(connection, series.table) if series.interval is interval else None
        # What cannot be read as bars is none of them, and every command that is asked for it says so.
        if seen and not seen.mistyped:
            own.append(f"'{series.symbol}'")
            select = place.stamped(connection, place.own(series), f"'{series.symbol}' AS symbol")
            yield series.table, _Source(place.own(series).table, select)
    if market.exists:
        name = place.market_table(interval)
        there = place.Place(f"store.main.{name}")
        condition = f"symbol NOT IN ({', '.join(own)})" if own else "true"
        yield name, _Source(there.table, place.stamped(connection, there, "symbol"), condition)
