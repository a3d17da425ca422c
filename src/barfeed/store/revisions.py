"""The audit table: both versions of every stored bar that was ever changed, and the store as it stood before.

`ohlcv_revisions` stands in the same file as the bars, is there only once a bar was changed, and is
append-only itself. Everything takes a connection of `Store.session`; what changes a bar stands in the
transaction of its caller. Moments are by the clock that `created_at` is told by: the machine's, UTC.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.errors import StoreUnusable, Unrepaired
from barfeed.store.duckdb import Session, Store, Table, transaction
from barfeed.store.own import audit, catalog, shape
from barfeed.store.place import place_of, rows_of_all

TABLE = "ohlcv_revisions"

TYPES = {
    "series": "VARCHAR",
    "timestamp": "TIMESTAMP",
    **{f"{side}_{name}": "DOUBLE" for side in ("old", "new") for name in VALUE_COLUMNS},
    "seen_at": "TIMESTAMP",
    "accepted_at": "TIMESTAMP",
    "reason": "VARCHAR",
    "run": "VARCHAR",
}
_DEFAULTS = {"accepted_at": " DEFAULT CURRENT_TIMESTAMP"}
# As they stand in the table.
COLUMN_NAMES = tuple(TYPES)
# What a bar that was let pass has, too.
_BROUGHT = frozenset(name for name in TYPES if not name.startswith("old_"))
_CREATE = f"""
CREATE TABLE IF NOT EXISTS store.main.{TABLE} (
  {", ".join(f"{name} {type_}{_DEFAULTS.get(name, '')}" for name, type_ in TYPES.items())}
)
"""
# A table that was copied may have lost its default, and with it the moment.
_ACCEPTED_AT = "coalesce(accepted_at, seen_at)"
# Cut, not rounded, as epoch_ms would: a version is accepted within the millisecond that is listed.
_LIST = f"""
SELECT epoch_ms(timestamp), {", ".join(f"coalesce(old_{name}, 'NaN')" for name in VALUE_COLUMNS)},
       {", ".join(f"coalesce(new_{name}, 'NaN')" for name in VALUE_COLUMNS)},
       epoch_ms(seen_at), epoch_ms(date_trunc('milliseconds', {_ACCEPTED_AT})), reason, run
FROM store.main.{TABLE} WHERE series = ? ORDER BY {_ACCEPTED_AT}, timestamp
"""  # noqa: S608 - of our own names only
# One list a column: a statement a bar takes a thousand times as long.
_CHANGES = f"""
(SELECT make_timestamp_ms(unnest(?::BIGINT[])) AS timestamp,
        {", ".join(f"unnest(?::DOUBLE[]) AS old_{name}" for name in VALUE_COLUMNS)},
        {", ".join(f"unnest(?::DOUBLE[]) AS new_{name}" for name in VALUE_COLUMNS)}) AS change
"""
_NEW_VERSIONS = f"""
SELECT timestamp, {", ".join(f"new_{name} AS {name}" for name in VALUE_COLUMNS)} FROM {_CHANGES}
"""  # noqa: S608 - of our own names only
# A stored NULL is read as NaN, so it is compared as NaN; the audit keeps it as it is.
_UNCHANGED = " AND ".join(f"coalesce(bar.{name}, 'NaN') = change.old_{name}" for name in VALUE_COLUMNS)
_AUDIT = f"""
INSERT INTO store.main.{TABLE}
  (series, timestamp, {", ".join(f"old_{name}" for name in VALUE_COLUMNS)},
   {", ".join(f"new_{name}" for name in VALUE_COLUMNS)}, seen_at, accepted_at, reason, run)
SELECT ?, bar.timestamp, {", ".join(f"bar.{name}" for name in VALUE_COLUMNS)},
       {", ".join(f"change.new_{name}" for name in VALUE_COLUMNS)}, make_timestamp_ms(?), CURRENT_TIMESTAMP, ?, ?
FROM {{bars}} AS bar JOIN {_CHANGES} ON bar.timestamp = change.timestamp WHERE {_UNCHANGED}
RETURNING epoch_ms(timestamp)
"""  # noqa: S608 - of our own names only
_UPDATE = f"""
UPDATE {{table}} AS bar SET {", ".join(f"{name} = change.new_{name}" for name in VALUE_COLUMNS)}
FROM {_CHANGES} WHERE {{is_meant}} AND bar.timestamp = change.timestamp AND {_UNCHANGED}
"""  # noqa: S608 - of our own names only
# A bar that was let pass is told from one that was changed by its run; it has no old version.
WAIVER = "let pass"
_NOTE_LET_PASS = f"""
INSERT INTO store.main.{TABLE}
  (series, timestamp, {", ".join(f"new_{name}" for name in VALUE_COLUMNS)}, seen_at, accepted_at, reason, run)
VALUES (?, make_timestamp_ms(?), ?, ?, ?, ?, ?, make_timestamp_ms(?), CURRENT_TIMESTAMP, ?, ?)
"""  # noqa: S608 - of our own names only
# The oldest revision after the moment is the one that knows what the bar was at the moment.
_AS_OF = f"""
SELECT bar.symbol, bar.timestamp, {
    ", ".join(
        f"CASE WHEN later.nth IS NULL THEN bar.{name} ELSE later.old_{name} END AS {name}" for name in VALUE_COLUMNS
    )
}, bar.created_at IS NOT NULL AS is_known
FROM {{bars}} AS bar LEFT JOIN (
  SELECT *, row_number() OVER (PARTITION BY series, timestamp ORDER BY {_ACCEPTED_AT}) AS nth
  FROM {{audit}}
  WHERE ends_with(series, ' {{interval}}') AND {_ACCEPTED_AT} >= {{end}} AND NOT starts_with(run, '{WAIVER} ')
) AS later ON later.series = bar.symbol || ' {{interval}}' AND later.timestamp = bar.timestamp AND later.nth = 1
"""  # noqa: S608 - of our own names only


_LIST_ALL = _LIST.replace("SELECT ", "SELECT series, ", 1).replace("series = ?", "ends_with(series, ?)")


class Revision(NamedTuple):
    """A change that was made. Moments are in ms since 1970-01-01 UTC, `reason` and `run` as they were given."""

    change: Change
    seen_at_ms: int
    accepted_at_ms: int
    reason: str
    run: str

    @property
    def is_let_pass(self) -> bool:
        """Whether the bar was not changed, but let pass though its own columns contradict each other."""
        return self.run.startswith(f"{WAIVER} ")


class Why(NamedTuple):
    """Why bars are changed: when the difference was seen (ms), the reason, and the run that did it."""

    seen_at_ms: int
    reason: str
    run: str


def revise(connection: Session, series: Series, changes: Sequence[Change], why: Why) -> int:
    """Put the new versions in place of the old, and both into the audit table; how many were changed.

    A bar that no longer is what `old` says is left alone: compare the answer with `len(changes)`.
    The caller holds the transaction, without which an interruption could leave one of the two undone.
    """
    if not changes:
        return 0
    connection.execute(_CREATE)
    lists = _lists(changes)
    place = place_of(connection, series)
    if catalog.may_refuse(connection, series.table):
        shape.refuse(connection, series.table, _NEW_VERSIONS, lists)
    facts = [str(series), why.seen_at_ms, why.reason, why.run]
    audited = connection.execute(_AUDIT.format(bars=place.rows), [*facts, *lists]).fetchall()
    connection.execute(_UPDATE.format(table=place.table, is_meant=place.is_meant), lists)
    return len(audited)


@contextmanager
def revised(
    store: Store, series: Series, changes: Sequence[Change], why: Why, *, dry_run: bool = False
) -> Iterator[Table]:
    """The table in a transaction in which `changes` are made and audited; committed at the end.

    Raises `Unrepaired`, and changes nothing, where a bar is no longer its old version. With `dry_run` it is only
    looked at: `StoreUnusable` where they could not be made.
    """
    with store.session(write=not dry_run) as connection:
        table = store.table(connection, series)
        is_there(connection)
        if dry_run:
            table.would_take([change.new for change in changes])
            yield table
            return
        with transaction(connection):
            if revise(connection, series, changes, why) != len(changes):
                raise overtaken(series)
            yield table


def note_let_pass(connection: Session, series: Series, bar: Bar, why: Why) -> Revision | None:
    """Let a bar with these very values pass from now on, whatever its row says beside them; in a transaction.

    Where that is noted already, nothing is written, and that note is given back.
    """
    if noted := noted_let_pass(connection, series, bar):
        return noted
    connection.execute(_CREATE)
    connection.execute(_NOTE_LET_PASS, [str(series), *bar, why.seen_at_ms, why.reason, why.run])
    return None


def noted_let_pass(connection: Session, series: Series, bar: Bar) -> Revision | None:
    """The first note by which a bar with these very values is let pass. Raises `StoreUnusable`."""
    return note_of(bar, listed(connection, series))


def note_of(bar: Bar, found: Sequence[Revision]) -> Revision | None:
    """The first of them by which a bar with these very values is let pass."""
    return next((each for each in found if each.is_let_pass and each.change.new == bar), None)


def let_pass(connection: Session, series: Series) -> list[Bar]:
    """The bars of the series that were let pass: none where the audit table's name is another table's."""
    with suppress(StoreUnusable):
        return [each.change.new for each in listed(connection, series) if each.is_let_pass]
    return []


def overtaken(series: Series) -> Unrepaired:
    """What there is to say where a bar is no longer what the revision began with."""
    return Unrepaired(
        f"{series}: the store was changed by another process meanwhile; nothing was repaired", hint="run it again"
    )


def listed(connection: Session, series: Series) -> list[Revision]:
    """Every revision of the series, in the order they were accepted. Raises `StoreUnusable`."""
    if not is_there(connection):
        return []
    return [_revision(row) for row in connection.execute(_LIST, [str(series)]).fetchall()]


def listed_of_all(connection: Session, interval: Interval) -> list[tuple[str, Revision]]:
    """Every revision at an interval and whose it is, in the order they were accepted. Raises `StoreUnusable`."""
    if not is_there(connection):
        return []
    rows = connection.execute(_LIST_ALL, [f" {interval}"]).fetchall()
    return [(series.partition(" ")[0], _revision(row)) for series, *row in rows]


def make_table(connection: Session) -> None:
    """The audit table, where there is none yet."""
    connection.execute(_CREATE)


def is_there(connection: Session) -> bool:
    """Whether any bar was ever changed; `StoreUnusable` where the audit table's name is another table's."""
    seen = audit.look(connection, TABLE, TYPES, _BROUGHT)
    if seen and seen.wrong:
        said = f"table {TABLE} is not the one that barfeed keeps the revisions in: {seen.wrong}"
        raise StoreUnusable(said, hint=seen.remedy)
    return seen is not None


def counted(connection: Session) -> int:
    """How many revisions there are, of all series. Raises `StoreUnusable`."""
    if not is_there(connection):
        return 0
    return int(connection.execute(f"SELECT count(*) FROM store.main.{TABLE}").fetchall()[0][0])  # noqa: S608 - see above


def as_of_query(connection: Session, symbols: Sequence[str], interval: Interval, moment_ms: int) -> str:
    """The SELECT of these symbols' bars as they stood at the end of millisecond `moment_ms`, in no order.

    Its columns are symbol, those of a CSV, and `is_known`: whether it is stored when the bar was appended. One of which
    it is not counts as having been there since it closed; none that had not closed is among them. Raises
    `StoreUnusable`.
    """
    audit = f"store.main.{TABLE}" if is_there(connection) else None
    return as_of_rows(rows_of_all(connection, symbols, interval), audit, interval, moment_ms)


def as_of_rows(bars: str, audit: str | None, interval: Interval, moment_ms: int) -> str:
    """The same of any relations: bars with their symbol and `created_at`, and the audit table, where there is one."""
    end = f"make_timestamp_ms({int(moment_ms) + 1})"
    was_there = f"WHERE bar.timestamp < make_timestamp_ms({int(moment_ms) + 1 - interval.ms})"
    was_there += f" AND coalesce(bar.created_at < {end}, true)"
    if audit is None:
        columns = ", ".join(f"bar.{name}" for name in ("symbol", *COLUMNS))
        return f"SELECT {columns}, bar.created_at IS NOT NULL AS is_known FROM {bars} AS bar {was_there}"  # noqa: S608 - see above
    return _AS_OF.format(bars=bars, audit=audit, interval=interval, end=end) + was_there


def _lists(changes: Sequence[Change]) -> list[list[Any]]:
    olds = zip(*(change.old for change in changes), strict=True)
    news = zip(*(change.new.values for change in changes), strict=True)
    return [list(column) for column in (*olds, *news)]


def _revision(row: Sequence[Any]) -> Revision:
    open_time_ms, values = row[0], row[1:11]
    change = Change(Bar(open_time_ms, *values[:5]), Bar(open_time_ms, *values[5:]))
    return Revision(change, *row[11:])
