"""Both versions of every bar that was ever changed. What changes a bar stands in the transaction of its caller."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Sequence
from typing import Any

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import VALUE_COLUMNS, Bar, Interval, Series
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of
from barfeed.store.revisions import Revision, Why, note_of

_TABLE = f"{SCHEMA}.ohlcv_revisions"
_CHANGES = f"""
unnest(%s::bigint[], {", ".join(["%s::float8[]"] * 2 * len(VALUE_COLUMNS))})
  AS change(open_time_ms, {", ".join(f"{side}_{name}" for side in ("old", "new") for name in VALUE_COLUMNS)})
"""
# To the bit: -0.0 is another value than 0.0, which SQL takes for the same. A stored NULL is read as NaN.
_UNCHANGED = " AND ".join(
    f"float8send(coalesce(bar.{name}, 'NaN')) = float8send(change.old_{name})" for name in VALUE_COLUMNS
)
_IS_MEANT = f"bar.symbol = %s AND bar.timestamp = {MS.format('change.open_time_ms')}"
# Others that would change them wait here, by the key's own order.
_LOCK = f"""
SELECT 1 FROM {{bars}} AS bar WHERE bar.symbol = %s
  AND bar.timestamp IN (SELECT {MS.format("at_ms")} FROM unnest(%s::bigint[]) AS given(at_ms))
ORDER BY bar.timestamp FOR UPDATE
"""
_AUDIT = f"""
INSERT INTO {_TABLE}
  (series, timestamp, {", ".join(f"{side}_{name}" for side in ("old", "new") for name in VALUE_COLUMNS)},
   seen_at, reason, run)
SELECT %s, bar.timestamp, {", ".join(f"bar.{name}" for name in VALUE_COLUMNS)},
       {", ".join(f"change.new_{name}" for name in VALUE_COLUMNS)}, {MS.format("%s")}, %s, %s
FROM {_CHANGES} JOIN {{bars}} AS bar ON {_IS_MEANT}
WHERE {_UNCHANGED} ORDER BY bar.timestamp RETURNING 1
"""
_UPDATE = f"""
UPDATE {{bars}} AS bar SET {", ".join(f"{name} = change.new_{name}" for name in VALUE_COLUMNS)}
FROM {_CHANGES} WHERE {_IS_MEANT} AND {_UNCHANGED}
"""
# It has no old version. Two that note the same bar note it once: who is second waits, and finds it.
_ALONE = "SELECT pg_advisory_xact_lock(7236227131906)"
_NOTE_LET_PASS = f"""
INSERT INTO {_TABLE} (series, timestamp, {", ".join(f"new_{name}" for name in VALUE_COLUMNS)}, seen_at, reason, run)
VALUES (%s, {MS.format("%s")}, {", ".join(["%s"] * len(VALUE_COLUMNS))}, {MS.format("%s")}, %s, %s)
"""
_LIST = f"""
SELECT series, {ms_of("bar.timestamp")}, {
    ", ".join(f"coalesce(bar.{side}_{name}, 'NaN')" for side in ("old", "new") for name in VALUE_COLUMNS)
}, {ms_of("seen_at")}, {ms_of("date_trunc('milliseconds', accepted_at)")}, reason, run
FROM {_TABLE} AS bar WHERE {{meant}} ORDER BY accepted_at, timestamp
"""


def revise(connection: Connection, table: str, series: Series, changes: Sequence[Change], why: Why) -> int:
    """Put the new versions in place of the old, and both into the audit table; how many were changed."""
    if not changes:
        return 0
    lists = _lists(changes)
    connection.execute(_LOCK.format(bars=table), [series.symbol, lists[0]])
    facts = [str(series), why.seen_at_ms, why.reason, why.run]
    audited = connection.execute(_AUDIT.format(bars=table), [*facts, *lists, series.symbol]).fetchall()
    connection.execute(_UPDATE.format(bars=table), [*lists, series.symbol])
    return len(audited)


def let_pass(connection: Connection, series: Series) -> list[Bar]:
    """The bars of the series that were let pass."""
    return [each.change.new for each in listed(connection, series) if each.is_let_pass]


def note_let_pass(connection: Connection, series: Series, bar: Bar, why: Why) -> Revision | None:
    """Let a bar with these very values pass from now on; the note of whoever was quicker, and then none is made."""
    connection.execute(_ALONE)
    if noted := note_of(bar, listed(connection, series)):
        return noted
    connection.execute(_NOTE_LET_PASS, [str(series), *bar, why.seen_at_ms, why.reason, why.run])
    return None


def listed(connection: Connection, series: Series) -> list[Revision]:
    """Every revision of the series, in the order they were accepted."""
    return [revision for _, revision in _found(connection, "series = %s", str(series))]


def listed_of_all(connection: Connection, interval: Interval) -> list[tuple[str, Revision]]:
    """Every revision at an interval and whose it is, in the order they were accepted."""
    return _found(connection, "right(series, length(%s)) = %s", f" {interval}", f" {interval}")


def _found(connection: Connection, meant: str, *values: str) -> list[tuple[str, Revision]]:
    rows = connection.cursor(binary=True).execute(_LIST.format(meant=meant), values).fetchall()
    return [(series.partition(" ")[0], _revision(row)) for series, *row in rows]


def _revision(row: Sequence[Any]) -> Revision:
    open_time_ms, values = row[0], row[1:11]
    change = Change(Bar(open_time_ms, *values[:5]), Bar(open_time_ms, *values[5:]))
    return Revision(change, *row[11:])


def _lists(changes: Sequence[Change]) -> list[list[Any]]:
    olds = zip(*(change.old for change in changes), strict=True)
    news = zip(*(change.new.values for change in changes), strict=True)
    return [list(column) for column in (*olds, *news)]
