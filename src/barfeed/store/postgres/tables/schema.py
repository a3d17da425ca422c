"""The tables, and the version of them: made by `barfeed migrate`, and by nobody else."""

# ruff: noqa: S608 - tables are named by us

import shlex
from collections.abc import Callable

from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.store.postgres.link.connection import Connection

SCHEMA = "barfeed"
_NOW = "(now() AT TIME ZONE 'UTC')"
_VALUES = ", ".join(f"{name} double precision" for name in VALUE_COLUMNS)
# Sorted as Python sorts, whatever language the database is in; and no upgrade of the system changes the order.
_SYMBOL = 'symbol text COLLATE "C" NOT NULL'
_BARS = f"""
CREATE TABLE {SCHEMA}.{{table}} (
  {_SYMBOL}, timestamp timestamp NOT NULL, {_VALUES}, created_at timestamp DEFAULT {_NOW},
  PRIMARY KEY (symbol, timestamp)
);
CREATE INDEX {{table}}_timestamp ON {SCHEMA}.{{table}} (timestamp)
"""
_VERSIONS = f"""
CREATE SCHEMA IF NOT EXISTS {SCHEMA};
CREATE TABLE IF NOT EXISTS {SCHEMA}.schema_version (
  version integer PRIMARY KEY, migrated_at timestamp NOT NULL DEFAULT {_NOW}
)
"""
_FIRST = f"""
{";".join(_BARS.format(table=f"ohlcv_{each}") for each in Interval)};
CREATE TABLE {SCHEMA}.ohlcv_revisions (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, series text COLLATE "C" NOT NULL, timestamp timestamp NOT NULL,
  {", ".join(f"{side}_{name} double precision" for side in ("old", "new") for name in VALUE_COLUMNS)},
  seen_at timestamp, accepted_at timestamp DEFAULT {_NOW}, reason text, run text
);
CREATE INDEX ohlcv_revisions_series ON {SCHEMA}.ohlcv_revisions (series);
CREATE TABLE {SCHEMA}.symbols (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, {_SYMBOL}, status text, contract_type text, quote text,
  onboard timestamp, delivery timestamp, tick double precision, seen_at timestamp NOT NULL
);
CREATE INDEX symbols_symbol ON {SCHEMA}.symbols (symbol, id);
CREATE TABLE {SCHEMA}.exchange_gaps (
  {_SYMBOL}, interval text NOT NULL, first timestamp NOT NULL, last timestamp NOT NULL, seen_at timestamp NOT NULL,
  PRIMARY KEY (symbol, interval, first, last)
);
CREATE TABLE {SCHEMA}.feeders (
  host text NOT NULL, feed text NOT NULL, version text NOT NULL, last_pass timestamp NOT NULL, status text NOT NULL,
  target timestamp, lag_sec double precision, PRIMARY KEY (host, feed)
)
"""


def _kinds() -> str:
    # Imported here: each connection looks at the version, and few feeds have kinds.
    from barfeed.store.postgres.kinds import making  # noqa: PLC0415

    return making.statements(SCHEMA, _SYMBOL, _NOW)


# Each makes the next version of the one before.
_STEPS: "tuple[str | Callable[[], str], ...]" = (_FIRST, _kinds)
VERSION = len(_STEPS)
# Only one migrates at a time; the number is nobody else's.
_ALONE = "SELECT pg_advisory_xact_lock(7236227131904)"
_ASKED = f"SELECT max(version) FROM {SCHEMA}.schema_version"
_IS_THERE = f"SELECT to_regclass('{SCHEMA}.schema_version') IS NOT NULL"


def version(connection: Connection) -> int:
    """The version of the tables that are there; 0 where there are none."""
    if connection.execute(_IS_THERE).fetchall() == [(False,)]:
        return 0
    return connection.execute(_ASKED).fetchall()[0][0] or 0


def migrate(connection: Connection) -> int:
    """Make the tables what this barfeed expects, in a transaction of the caller's; the version that was there."""
    connection.execute(_ALONE)
    before = version(connection)
    if before > VERSION:
        raise _newer("the database", before)
    if before == 0:
        connection.execute(_VERSIONS)
    for number, step in enumerate(_STEPS[before:], before + 1):
        connection.execute(step if isinstance(step, str) else step())
        connection.execute(f"INSERT INTO {SCHEMA}.schema_version (version) VALUES ({number})")
    return before


def expect(connection: Connection, name: str) -> None:
    """Return where the tables are those that this barfeed expects; `StoreUnusable` tells what helps."""
    found = version(connection)
    if found > VERSION:
        raise _newer(name, found)
    if found < VERSION:
        what = f"is of an older barfeed: version {found}, expected {VERSION}" if found else "has no tables of barfeed's"
        raise StoreUnusable(f"{name} {what}", hint=f"make them: barfeed migrate --store {shlex.quote(name)}")


def _newer(name: str, found: int) -> StoreUnusable:
    return StoreUnusable(
        f"{name} is of a newer barfeed: version {found} of its tables, expected {VERSION}",
        hint="upgrade this barfeed: all that feed one database are of one version of its tables",
    )
