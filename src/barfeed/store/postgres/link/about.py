"""What a server is, as it tells who looks at it: nothing is changed."""

from typing import NamedTuple

from psycopg import errors

from barfeed.store.postgres.link.connection import Connection

_ABOUT = """
SELECT current_setting('server_version'), pg_is_in_recovery(),
       current_setting('default_transaction_read_only')::boolean, date_part('epoch', clock_timestamp())::float8
"""
# Who may not see more of it sees a row a connection.
_STANDBYS = """
SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'), count(*),
       count(*) FILTER (WHERE sync_state IN ('sync', 'quorum')), coalesce(bool_and(sync_state IS NOT NULL), true)
FROM pg_stat_replication
"""


class About(NamedTuple):
    """Its version, whether it can be written to, and its clock, in seconds since 1970-01-01 UTC."""

    version: str
    is_standby: bool
    is_read_only: bool
    now_sec: float


class Standbys(NamedTuple):
    """Which standbys a commit waits for, how many there are, and how many confirm, where this user sees that."""

    named: str
    commit: str
    connected: int
    confirming: int
    is_seen: bool


def about(connection: Connection) -> About:
    """What it says of itself."""
    return About(*connection.execute(_ABOUT).fetchall()[0])


def standbys(connection: Connection) -> Standbys | None:
    """Of a primary; None where the server has no such thing to tell, as those that only speak the protocol."""
    try:
        return Standbys(*connection.execute(_STANDBYS).fetchall()[0])
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedObject, errors.InsufficientPrivilege):
        return None
