"""Both versions of every row of a kind that was ever changed: `kinds_revisions`, append-only, a row a column."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.store.duckdb import Session

TABLE = "kinds_revisions"
TYPES = {
    "kind": "VARCHAR", "interval": "VARCHAR", "symbol": "VARCHAR", "timestamp": "TIMESTAMP", "name": "VARCHAR",
    "old": "DOUBLE", "new": "DOUBLE", "seen_at": "TIMESTAMP", "accepted_at": "TIMESTAMP", "reason": "VARCHAR",
    "run": "VARCHAR",
}  # fmt: skip
COLUMN_NAMES = tuple(TYPES)
_CREATE = f"""
CREATE TABLE IF NOT EXISTS store.main.{TABLE} (
  {", ".join(f"{name} {type_}" for name, type_ in TYPES.items())}
)
"""
_COLUMNS = """
SELECT column_name, data_type FROM duckdb_columns()
WHERE database_name = 'store' AND schema_name = 'main' AND table_name = ?
"""
_AUDIT = f"""
INSERT INTO store.main.{TABLE} ({", ".join(TYPES)})
VALUES (?, ?, ?, make_timestamp_ms(?), ?, ?, ?, make_timestamp_ms(?), CURRENT_TIMESTAMP, ?, ?)
"""
_LIST = f"""
SELECT kind, symbol, epoch_ms(timestamp), name, old, new, epoch_ms(seen_at), epoch_ms(accepted_at), reason, run
FROM store.main.{TABLE} WHERE interval = ? ORDER BY accepted_at, kind, symbol, timestamp, name
"""
_BY_DAY = f"""
SELECT timestamp::DATE::VARCHAR, count(*) FROM store.main.{TABLE}
WHERE kind = ? AND {{is_meant}} GROUP BY timestamp::DATE
"""

# The oldest revision after the moment is the one that knows what a value was at the moment.
_AS_OF = """
(SELECT stored.* REPLACE ({values})
 FROM {rows} AS stored LEFT JOIN (
   SELECT symbol, timestamp, {olds} FROM {audit}
   WHERE kind = '{kind}' AND {is_meant} AND accepted_at >= {end} GROUP BY symbol, timestamp
 ) AS later ON later.symbol = stored.symbol AND later.timestamp = stored.timestamp
 WHERE coalesce(stored.created_at < {end}, true))
"""


class Change(NamedTuple):
    """A stored row, and what the exchange has in its place; what either does not tell stays."""

    symbol: str
    old: Row
    new: Row

    def columns(self, kind: Kind) -> Iterator[tuple[str, float, float]]:
        """Each column that differs, with both values."""
        for name, old, new in zip(kind.names, self.old.values, self.new.values, strict=True):
            if old is not None and new is not None and old != new:
                yield name, old, new


class Why(NamedTuple):
    """When the exchange was seen to say otherwise (ms), why its word is taken, and by which run."""

    seen_at_ms: int
    reason: str
    run: str


class Revision(NamedTuple):
    """One column of one row that was changed. Times are ms since 1970-01-01 UTC."""

    kind: str
    symbol: str
    timestamp_ms: int
    name: str
    old: float
    new: float
    seen_at_ms: int
    accepted_at_ms: int
    reason: str
    run: str


def revise(connection: Session, kind: Kind, interval: Interval, changes: Sequence[Change], why: Why) -> list[Change]:
    """Put new values in place of old ones, and keep both; the changes whose old row was still what it says.

    In the transaction of its caller. When a row was known stays what it was.
    """
    if changes:
        # Before anything is changed: a table of that name may be another's.
        make_table(connection)
    made = []
    for change in changes:
        columns = list(change.columns(kind))
        names, old, new = (list(each) for each in zip(*columns, strict=True))
        became, was = (between.join(f"{name} = ?" for name in names) for between in (", ", " AND "))
        updated = connection.execute(
            f"UPDATE store.main.{kind.table(interval)} SET {became}"
            f" WHERE symbol = ? AND timestamp = make_timestamp_ms(?) AND {was} RETURNING 1",
            [*new, change.symbol, change.old.timestamp_ms, *old],
        ).fetchall()
        if not updated:
            continue
        made.append(change)
        whose = [kind.name, str(interval), change.symbol, change.old.timestamp_ms]
        for each in columns:
            connection.execute(_AUDIT, [*whose, *each, why.seen_at_ms, why.reason, why.run])
    return made


def listed(connection: Session, interval: Interval) -> list[Revision]:
    """Every change at this interval, oldest first. Raises `StoreUnusable` for another's table of that name."""
    if not is_there(connection):
        return []
    return [Revision(*row) for row in connection.execute(_LIST, [str(interval)]).fetchall()]


def counted(connection: Session) -> int:
    """How many there are, of all kinds. Raises as `listed`."""
    return (
        int(connection.execute(f"SELECT count(*) FROM store.main.{TABLE}").fetchall()[0][0])
        if is_there(connection)
        else 0
    )


def by_day(connection: Session, kind: Kind, interval: Interval) -> dict[str, int]:
    """How many values of a kind were changed, by the UTC day of their rows. Raises as `listed`."""
    if not is_there(connection):
        return {}
    statement = _BY_DAY.format(is_meant=_is_meant(kind, interval))
    return dict(connection.execute(statement, [kind.name]).fetchall())


def as_of(connection: Session, kind: Kind, interval: Interval, moment_ms: int) -> str:
    """The rows of a kind's table, which is there, as they stood at the end of millisecond `moment_ms`: a relation.

    Raises `StoreUnusable` for another's table of the name of revisions.
    """
    audit = f"store.main.{TABLE}" if is_there(connection) else None
    return as_of_rows(f"store.main.{kind.table(interval)}", audit, kind, interval, moment_ms)


def as_of_rows(rows: str, audit: str | None, kind: Kind, interval: Interval, moment_ms: int) -> str:
    """The same of any relations: rows of a kind, and the table of revisions, where there is one."""
    end = f"make_timestamp_ms({moment_ms + 1})"
    if audit is None:
        return f"(FROM {rows} WHERE coalesce(created_at < {end}, true))"
    return _AS_OF.format(
        values=", ".join(f"coalesce(later.{name}, stored.{name}) AS {name}" for name in kind.names),
        olds=", ".join(f"arg_min(old, accepted_at) FILTER (name = '{name}') AS {name}" for name in kind.names),
        rows=rows,
        audit=audit,
        kind=kind.name,
        is_meant=_is_meant(kind, interval),
        end=end,
    )


def make_table(connection: Session) -> None:
    """Make it where there is none. Raises `StoreUnusable` for another's table of that name."""
    is_there(connection)
    connection.execute(_CREATE)


def _is_meant(kind: Kind, interval: Interval) -> str:
    # What has no period is one table for all of them.
    return f"interval = '{interval}'" if kind.length else "true"


def is_there(connection: Session) -> bool:
    """Whether any row was ever changed. Raises `StoreUnusable` for another's table of that name."""
    found = dict(connection.execute(_COLUMNS, [TABLE]).fetchall())
    if found and found != TYPES:
        said = ", ".join(f"{name} {type_}" for name, type_ in found.items())
        raise StoreUnusable(f"table {TABLE} has another shape: {said}", hint=f"rename that table; {TABLE} is barfeed's")
    return bool(found)
