"""What a user may do with the tables, as deploy/postgres gives it to a reader, and to a feeder."""

# ruff: noqa: S608 - tables are named by us

from barfeed.domain.bars import Interval
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA

_WRITTEN = (*(f"ohlcv_{each}" for each in Interval), "ohlcv_revisions", "symbols", "exchange_gaps", "feeders")
# What a change of a stored bar needs, too, a feeder may be without.
_WANTED = {"SELECT": ("schema_version", *_WRITTEN), "INSERT": _WRITTEN, "UPDATE": ("feeders",)}
_LACKING = f"""
SELECT name FROM unnest(%s::text[]) AS wanted(name)
WHERE to_regclass('{SCHEMA}.' || name) IS NOT NULL AND NOT has_any_column_privilege('{SCHEMA}.' || name, %s)
ORDER BY name
"""
_MAY_ENTER = f"""
SELECT to_regnamespace('{SCHEMA}') IS NULL OR has_schema_privilege(to_regnamespace('{SCHEMA}')::oid, 'USAGE')
"""


def may_enter(connection: Connection) -> bool:
    """Whether this user may look for a table at all; where there is no schema, nobody keeps it from that."""
    return bool(connection.execute(_MAY_ENTER).fetchall()[0][0])


def lacking(connection: Connection) -> dict[str, list[str]]:
    """The tables of which this user lacks a right that a feeder needs, by the right; a reader needs `SELECT` alone.

    Those that are not there are for the version to tell.
    """
    found = {
        right: [name for (name,) in connection.execute(_LACKING, [list(tables), right]).fetchall()]
        for right, tables in _WANTED.items()
    }
    return {right: tables for right, tables in found.items() if tables}
