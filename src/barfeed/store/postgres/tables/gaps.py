"""Where bars are missing between two: found by the server, none is sent."""

# ruff: noqa: S608 - tables are named by us

from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter

from barfeed.domain.bars import Interval
from barfeed.domain.grid import Gap
from barfeed.store.duckdb import Coverage
from barfeed.store.place import market_table
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

# What stands beside the grid is for `verify` to tell: to look for it takes as long again as all the rest.
_GAPS = f"""
SELECT symbol, at_ms, next_ms FROM (
  SELECT symbol, {ms_of("timestamp")} AS at_ms,
         {ms_of("lead(timestamp) OVER (PARTITION BY symbol ORDER BY timestamp)")} AS next_ms
  FROM {{table}}
  WHERE symbol = ANY(%s::text[]) AND timestamp >= {MS.format("%s::bigint")} AND {ms_of("timestamp")} %% {{step_ms}} = 0
) AS bar WHERE next_ms - at_ms > {{step_ms}} ORDER BY symbol, at_ms
"""


def missing(
    connection: Connection, interval: Interval, held: Mapping[str, Coverage], from_ms: int = 0
) -> dict[str, list[Gap]]:
    """Where each of these lacks bars between two, ascending; those that are whole are left out."""
    step_ms = interval.ms
    torn = [symbol for symbol, each in held.items() if _is_torn(each, step_ms)]
    if not torn:
        return {}
    rows = connection.execute(_GAPS.format(table=_table(interval), step_ms=step_ms), [torn, from_ms]).fetchall()
    return {
        symbol: [Gap(at + step_ms, until - step_ms, (until - at) // step_ms - 1) for _, at, until in each]
        for symbol, each in groupby(rows, itemgetter(0))
    }


def _is_torn(held: Coverage, step_ms: int) -> bool:
    if held.first_ms is None or held.last_ms is None:
        return False
    return held.rows <= (held.last_ms - held.first_ms) // step_ms


def _table(interval: Interval) -> str:
    return f"{SCHEMA}.{market_table(interval)}"
