"""What a table lacks: of one span, or of the span that is wanted of each symbol; and where something was traded."""

# ruff: noqa: S608 - tables and columns are named here

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

import duckdb

from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.grid import Gap
from barfeed.store.place import market_table, rows_of

_WANTED = """
(SELECT unnest(?::VARCHAR[]) AS symbol, make_timestamp_ms(unnest(?::BIGINT[])) AS first,
        make_timestamp_ms(unnest(?::BIGINT[])) AS last)
"""
_HELD = f"""
SELECT bar.symbol, bar.timestamp FROM {{table}} AS bar
JOIN {_WANTED} AS wanted ON wanted.symbol = bar.symbol AND bar.timestamp BETWEEN wanted.first AND wanted.last
WHERE bar.timestamp BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?)
  AND epoch_us(bar.timestamp) % ({{step_ms}}::BIGINT * 1000) = 0
"""
_COUNTS = f"SELECT symbol, count(*) FROM ({_HELD}) GROUP BY symbol"
_GAPS = f"""
SELECT symbol, at_ms, next_ms FROM (
  SELECT symbol, at_ms, lead(at_ms) OVER (PARTITION BY symbol ORDER BY at_ms) AS next_ms FROM (
    SELECT symbol, epoch_ms(timestamp) AS at_ms FROM ({_HELD})
    UNION ALL SELECT symbol, unnest([epoch_ms(first) - {{step_ms}}, epoch_ms(last) + {{step_ms}}]) FROM {_WANTED}
  )
) WHERE next_ms > at_ms + {{step_ms}} ORDER BY symbol, at_ms
"""
_TRADED = """
SELECT epoch_ms(timestamp) FROM {table} AS bar
JOIN (SELECT unnest(?::BIGINT[]) AS first, unnest(?::BIGINT[]) AS last) AS span
  ON epoch_ms(bar.timestamp) BETWEEN span.first AND span.last
WHERE symbol = ? AND volume > 0 ORDER BY timestamp
"""
_LAST_TRADED = "SELECT epoch_ms(max(timestamp)) FROM {table} WHERE symbol = ? AND volume > 0"


def gaps_in(connection: duckdb.DuckDBPyConnection, relation: str, span: Gap, step_ms: int) -> list[Gap]:
    """The open_times of `span` that a table lacks, as maximal runs; never more work than one pass over the span."""
    held = connection.execute(
        f"""
        SELECT at_ms, next_ms FROM (
          SELECT at_ms, lead(at_ms, 1, {span.last_ms + step_ms}) OVER (ORDER BY at_ms) AS next_ms
          FROM (SELECT {span.first_ms - step_ms} AS at_ms UNION ALL
                SELECT DISTINCT epoch_ms(timestamp) FROM {relation}
                WHERE {opens_within(span)} AND epoch_us(timestamp) % {step_ms * 1000} = 0)
        ) WHERE next_ms > at_ms + {step_ms} ORDER BY at_ms
        """
    ).fetchall()
    return [grid.gap_between(at, until, step_ms) for at, until in held]


def neighbours(connection: duckdb.DuckDBPyConnection, series: Series, span: Gap) -> tuple[int | None, int | None]:
    """The open_times (ms) of the attached store's last bar before a span, and of its first after it."""
    first, last = (f"make_timestamp_ms({at})" for at in (span.first_ms, span.last_ms))
    ours = rows_of(connection, series)
    found = connection.execute(
        f"SELECT epoch_ms(max(timestamp) FILTER (timestamp < {first})),"
        f" epoch_ms(min(timestamp) FILTER (timestamp > {last})) FROM {ours} WHERE isfinite(timestamp)"
    ).fetchall()
    return found[0][0], found[0][1]


def opens_within(span: Gap) -> str:
    """Which rows of a table open in a span, as a condition."""
    return f"timestamp BETWEEN make_timestamp_ms({span.first_ms}) AND make_timestamp_ms({span.last_ms})"


class Lacking:
    """What the table of an interval has in the attached store."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, interval: Interval) -> None:
        self._connection = connection
        self._step_ms = interval.ms
        self._table = f"store.main.{market_table(interval)}"

    def gaps(self, wanted: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        """The open_times that each symbol's span lacks, as maximal runs; what is whole is left out."""
        counts = dict(self._ask(_COUNTS, _bounded(wanted))) if wanted else {}
        torn = {symbol: span for symbol, span in wanted.items() if 0 < counts.get(symbol, 0) < span.bars}
        nothing = {symbol: [span] for symbol, span in wanted.items() if not counts.get(symbol)}
        return nothing | self._torn(torn)

    def traded(self, symbol: str, spans: Sequence[Gap]) -> list[int]:
        """When the symbol's bars of these spans open in which something was traded, ascending."""
        bounds = [[span.first_ms for span in spans], [span.last_ms for span in spans]]
        return [at_ms for (at_ms,) in self._ask(_TRADED, [*bounds, symbol])]

    def last_traded(self, symbol: str) -> int | None:
        """When the symbol's last bar opens in which something was traded."""
        at_ms: int | None = self._ask(_LAST_TRADED, [symbol])[0][0]
        return at_ms

    def _torn(self, wanted: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        # Looked at one by one: most of them are whole, or empty.
        rows = self._ask(_GAPS, [*_bounded(wanted), *columns_of(wanted)]) if wanted else []
        return between_pairs(rows, self._step_ms)

    def _ask(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        filled = statement.format(table=self._table, step_ms=self._step_ms)
        return self._connection.execute(filled, list(values)).fetchall()


def between_pairs(rows: Iterable[tuple[str, int, int]], step_ms: int) -> dict[str, list[Gap]]:
    """What lies between two that are held and are no neighbours, by symbol: rows of symbol, open_time and next (ms)."""
    return {
        symbol: [grid.gap_between(at, until, step_ms) for _, at, until in each]
        for symbol, each in groupby(rows, itemgetter(0))
    }


def columns_of(wanted: Mapping[str, Gap]) -> list[object]:
    """The symbols, and when their spans begin and end, as the values of a statement."""
    spans = wanted.values()
    return [list(wanted), [span.first_ms for span in spans], [span.last_ms for span in spans]]


def _bounded(wanted: Mapping[str, Gap]) -> list[object]:
    """With the bounds of all, by which most of a long table is passed over."""
    spans = wanted.values()
    return [*columns_of(wanted), min(span.first_ms for span in spans), max(span.last_ms for span in spans)]
