"""Who feeds a database: a row for each host's feed, replaced by each of its passes."""

# ruff: noqa: S608 - the table is named by us

from typing import NamedTuple

from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

_NOTE = f"""
INSERT INTO {SCHEMA}.feeders (host, feed, version, last_pass, status, target, lag_sec)
VALUES (%s, %s, %s, {MS.format("%s::bigint")}, %s, {MS.format("%s::bigint")}, %s)
ON CONFLICT (host, feed) DO UPDATE SET version = excluded.version, last_pass = excluded.last_pass,
  status = excluded.status, target = excluded.target, lag_sec = excluded.lag_sec
"""
_SEEN = f"""
SELECT host, feed, version, {ms_of("last_pass")}, status, {ms_of("target")}, lag_sec
FROM {SCHEMA}.feeders ORDER BY last_pass DESC, host, feed
"""
# On a standby what was written is not counted: there the rows of those who feed tell, which each pass writes last.
_WRITTEN = f"""
SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0)::bigint,
       coalesce(sum(pg_total_relation_size(relid)), 0)::bigint
FROM pg_stat_user_tables WHERE schemaname = '{SCHEMA}'
"""


class Feeder(NamedTuple):
    """A feed of a host as its last pass left it: ms since 1970-01-01 UTC, by the exchange's clock."""

    host: str
    feed: str
    version: str
    last_pass_ms: int
    status: str
    # The newest bar that it saw stored, and how long ago that had closed.
    newest_ms: int | None
    lag_sec: float | None


class News(NamedTuple):
    """Who feeds, how many rows were ever written to the tables, and how large they are."""

    feeders: tuple[Feeder, ...]
    written: int
    size_bytes: int


def news(connection: Connection) -> News:
    """What tells whether anything changed, and takes no time to ask."""
    return News(tuple(seen(connection)), *connection.execute(_WRITTEN).fetchall()[0])


def note(connection: Connection, feeder: Feeder) -> None:
    """Put it in place of what was known of the same feed."""
    connection.execute(_NOTE, feeder)


def seen(connection: Connection) -> list[Feeder]:
    """Every feed that ever had a pass, the last one first."""
    return [Feeder(*row) for row in connection.execute(_SEEN).fetchall()]
