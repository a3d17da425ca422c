"""What stands in a user's own file under the name of the audit table, and whether it takes every revision."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import duckdb

from barfeed.store.own import catalog, constraints


class Seen(NamedTuple):
    """What stands under the name: columns of another type, or missing; what else is wrong; whether it is a view."""

    table: str
    mistyped: tuple[str, ...]
    others: tuple[str, ...]
    is_view: bool

    @property
    def wrong(self) -> str:
        """What keeps it from being used, in words; empty where nothing does."""
        return "it is a view" if self.is_view else "; ".join([*self.mistyped, *self.others])

    @property
    def remedy(self) -> str:
        """What mends it: where it holds revisions, they are kept."""
        if self.is_view or self.mistyped:
            kind = "VIEW" if self.is_view else "TABLE"
            return f"give it another name while no feed runs: ALTER {kind} {self.table} RENAME TO {self.table}_before"
        return f"make it anew of its rows while no feed runs: CREATE OR REPLACE TABLE {self.table} AS FROM {self.table}"


def look(
    connection: duckdb.DuckDBPyConnection, table: str, types: Mapping[str, str], brought: Collection[str]
) -> Seen | None:
    """What stands under a name, in lower case, beside the columns that should; None where nothing does.

    Each row brings a value for the columns `brought`.
    """
    is_view = catalog.is_view(connection, table)
    # Not to be described where it is not there: that would break a transaction.
    if not (is_view or catalog.is_table(connection, table)):
        return None
    columns = catalog.columns(connection, table)
    there = {column.name.lower(): column.type for column in columns}
    mistyped = [f"{name} is {there.get(name, 'missing')}" for name, kind in types.items() if there.get(name) != kind]
    needed = (each.name for each in columns if each.is_needed and each.name.lower() not in brought)
    others = [f"{name} is NOT NULL without a default" for name in needed]
    # Of a bar that is changed twice there are two rows.
    others += [f"it has a constraint of its own: {each}" for each in constraints.further(connection, table, unique="")]
    row = f"INSERT INTO {catalog.relation(table)} ({', '.join(types)}) SELECT {', '.join(['NULL'] * len(types))}"
    if not (mistyped or is_view or catalog.takes(connection, row)):
        others.append("a column is computed (GENERATED)")
    return Seen(table, tuple(mistyped), tuple(others), is_view)
