"""What is asked of all that is held, as queries: how much, where bars are missing, what was changed or listed."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

import typing
from collections.abc import Sequence
from datetime import datetime

from barfeed.domain import grid
from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.history.reading.rows import CoverageRow, GapRow
from barfeed.store.duckdb import Session

_COVERAGE = """
SELECT symbol, '{interval}' AS interval, count(*) AS bars, min(timestamp) AS first, max(timestamp) AS last
FROM {relation} WHERE isfinite(timestamp) GROUP BY symbol
"""
_CANDLES = """
SELECT make_timestamp_ms({origin_ms} + step * {step_ms}) AS timestamp, * EXCLUDE (step) FROM (
  SELECT (epoch_ms(timestamp) - {origin_ms}) // {step_ms} AS step, arg_min(open, timestamp) AS open,
         max(high) AS high, min(low) AS low, arg_max(close, timestamp) AS close, sum(volume) AS volume,
         count(*) AS bars
  FROM {bars} GROUP BY step
) ORDER BY timestamp
"""
_NEWEST = """
(FROM {rows} QUALIFY row_number() OVER (
  PARTITION BY symbol, (epoch_ms(timestamp) - {origin_ms}) // {step_ms} ORDER BY timestamp DESC
) = 1)
"""
# Only of symbols that have fewer bars than lie between their first and their last: sorting is what costs.
_GAPS = """
SELECT symbol, '{interval}' AS interval, timestamp + INTERVAL {step_ms} MILLISECOND AS first,
       next - INTERVAL {step_ms} MILLISECOND AS last, (epoch_ms(next) - epoch_ms(timestamp)) // {step_ms} - 1 AS bars
FROM (
  SELECT symbol, timestamp, lead(timestamp) OVER (PARTITION BY symbol ORDER BY timestamp) AS next
  FROM {relation} WHERE {on_grid} AND symbol IN (
    SELECT symbol FROM {relation} WHERE {on_grid} GROUP BY symbol
    HAVING count(*) <= (epoch_ms(max(timestamp)) - epoch_ms(min(timestamp))) // {step_ms}
  )
) WHERE epoch_ms(next) - epoch_ms(timestamp) > {step_ms}
"""
_VERSIONS = ", ".join(f"{side}_{name}" for side in ("old", "new") for name in VALUE_COLUMNS)
_REVISIONS = f"""
SELECT split_part(series, ' ', 1) AS symbol, split_part(series, ' ', 2) AS interval, timestamp, {_VERSIONS},
       seen_at, coalesce(accepted_at, seen_at) AS accepted_at, reason, run
FROM {{table}} ORDER BY coalesce(accepted_at, seen_at), timestamp, series
"""
_LISTED = """
SELECT DISTINCT ON (symbol) symbol, status, contract_type, quote, onboard, delivery, tick, seen_at
FROM {table} WHERE {until} ORDER BY symbol, seen_at DESC
"""
_UNNESTED = ("unnest(?::{kind}[]) AS {name}", "make_timestamp_ms(unnest(?::BIGINT[])) AS {name}")
_TYPES = {str: "VARCHAR", int: "BIGINT", float: "DOUBLE", datetime: "TIMESTAMP"}


class Stock(typing.NamedTuple):
    """All the bars of one interval, or those of one symbol: a relation with a symbol and the columns of a CSV."""

    interval: Interval
    relation: str


def candles(bars: str, step_ms: int) -> str:
    """Bars, a relation, summed up in steps."""
    return _CANDLES.format(bars=bars, step_ms=step_ms, origin_ms=grid.step_origin(step_ms))


def newest_of_steps(rows: str, step_ms: int) -> str:
    """Of rows of symbols, a relation, the newest that opens in each step."""
    return _NEWEST.format(rows=rows, step_ms=step_ms, origin_ms=grid.step_origin(step_ms))


def coverage(stocks: Sequence[Stock]) -> str:
    """How many bars of each series there are, from when to when."""
    each = [_COVERAGE.format(interval=stock.interval, relation=stock.relation) for stock in stocks]
    return f"{' UNION ALL '.join(each)} ORDER BY symbol, interval" if each else nothing(CoverageRow)


def gaps(stocks: Sequence[Stock]) -> str:
    """Where bars are missing between two of a series."""
    return f"{' UNION ALL '.join(map(_gaps, stocks))} ORDER BY symbol, interval, first" if stocks else nothing(GapRow)


def revisions(table: str) -> str:
    """Every bar that was changed, in the order of the changes."""
    return _REVISIONS.format(table=table)


def listed(table: str, as_of_ms: int | None) -> str:
    """How each symbol was last seen listed, up to a moment in ms."""
    until = "true" if as_of_ms is None else f"epoch_ms(seen_at) <= {as_of_ms}"
    return _LISTED.format(table=table, until=until)


def nothing(row: type[tuple[object, ...]]) -> str:
    """No row of that type."""
    return f"SELECT {', '.join(f'NULL::{_TYPES[kind]} AS {name}' for name, kind in _kinds(row).items())} WHERE false"


def told(connection: Session, row: type[tuple[object, ...]], rows: Sequence[Sequence[object]]) -> str:
    """Rows of that type that somebody else answered, moments in ms, put into the attached store."""
    table, kinds = f"store.main.{row.__name__}", _kinds(row)
    columns = [list(column) for column in zip(*rows, strict=True)] or [[] for _ in kinds]
    cells = [_UNNESTED[kind is datetime].format(kind=_TYPES[kind], name=name) for name, kind in kinds.items()]
    connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT {', '.join(cells)}", columns)
    return f"SELECT * FROM {table} ORDER BY ALL"


def _kinds(row: type[tuple[object, ...]]) -> dict[str, type]:
    """Each column, and of what it is where it is anything."""
    return {name: (typing.get_args(kind) or (kind,))[0] for name, kind in typing.get_type_hints(row).items()}


def only(query: str, symbol: str | None, interval: str | None) -> str:
    """What of a query's rows is about this symbol and this interval."""
    named = {"symbol": symbol, "interval": interval}
    kept = [f"{column} = '{value}'" for column, value in named.items() if value is not None]
    return f"SELECT * FROM ({query}) WHERE {' AND '.join(kept)}" if kept else query


def _gaps(stock: Stock) -> str:
    step_ms = stock.interval.ms
    on_grid = f"isfinite(timestamp) AND epoch_us(timestamp) % {step_ms * 1000} = 0"
    return _GAPS.format(interval=stock.interval, relation=stock.relation, step_ms=step_ms, on_grid=on_grid)
