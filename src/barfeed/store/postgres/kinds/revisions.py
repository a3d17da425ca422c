"""Both versions of every row of a kind that was ever changed, a row a column. In a transaction of the caller's."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Sequence

from barfeed.domain.bars import Interval
from barfeed.domain.kinds.kind import Kind
from barfeed.store.kinds.revisions import Change, Revision, Why
from barfeed.store.postgres.kinds.making import REVISIONS
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

_UPDATE = f"""
UPDATE {{table}} SET {{became}} WHERE symbol = %s AND timestamp = {MS.format("%s::bigint")} AND {{was}} RETURNING 1
"""
_AUDIT = f"""
INSERT INTO {SCHEMA}.{REVISIONS} (kind, interval, symbol, timestamp, name, old, new, seen_at, reason, run)
VALUES (%s, %s, %s, {MS.format("%s::bigint")}, %s, %s, %s, {MS.format("%s::bigint")}, %s, %s)
"""
_LIST = f"""
SELECT kind, symbol, {ms_of("timestamp")}, name, old, new, {ms_of("seen_at")},
       {ms_of("date_trunc('milliseconds', accepted_at)")}, reason, run
FROM {SCHEMA}.{REVISIONS} WHERE interval = %s ORDER BY accepted_at, kind, symbol, timestamp, name
"""


def revise(
    connection: Connection, table: str, of: tuple[Kind, Interval], changes: Sequence[Change], why: Why
) -> list[Change]:
    """Put new values in place of old ones, and keep both; the changes whose old row was still what it says.

    When a row was known stays what it was.
    """
    kind, interval = of
    made = []
    for change in changes:
        columns = list(change.columns(kind))
        names, old, new = (list(each) for each in zip(*columns, strict=True))
        became, was = (between.join(f"{name} = %s" for name in names) for between in (", ", " AND "))
        whose = [change.symbol, change.old.timestamp_ms]
        statement = _UPDATE.format(table=table, became=became, was=was)
        if not connection.execute(statement, [*new, *whose, *old]).fetchall():
            continue
        made.append(change)
        for each in columns:
            audit = [kind.name, str(interval), *whose, *each, why.seen_at_ms, why.reason, why.run]
            connection.execute(_AUDIT, audit)
    return made


def listed(connection: Connection, interval: Interval) -> list[Revision]:
    """Every change at this interval, oldest first."""
    rows = connection.cursor(binary=True).execute(_LIST, [str(interval)]).fetchall()
    return [Revision(*row) for row in rows]
