"""What a database lacks of the span that is wanted of each symbol, and where something was traded."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from barfeed.domain import sources
from barfeed.domain.bars import Interval
from barfeed.domain.grid import Gap
from barfeed.store.duckdb import Coverage
from barfeed.store.incoming.lacking import between_pairs, columns_of
from barfeed.store.place import market_table
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, ms_of

# What one statement looks at: well within what the server allows.
_BARS_AT_ONCE = 5_000_000
_WANTED = "unnest(%s::text[], %s::bigint[], %s::bigint[]) AS wanted(symbol, first_ms, last_ms)"
_HELD = f"""
FROM {{table}} AS held WHERE held.symbol = wanted.symbol
AND held.timestamp BETWEEN {MS.format("wanted.first_ms")} AND {MS.format("wanted.last_ms")}
AND (date_part('epoch', held.timestamp) * 1000000)::bigint %% ({{step_ms}} * 1000::bigint) = 0
"""
_COUNTS = f"""
SELECT wanted.symbol, bar.bars FROM {_WANTED} CROSS JOIN LATERAL (SELECT count(*) AS bars {_HELD}) AS bar
"""
_GAPS = f"""
SELECT symbol, at_ms, next_ms FROM (
  SELECT symbol, at_ms, lead(at_ms) OVER (PARTITION BY symbol ORDER BY at_ms) AS next_ms FROM (
    SELECT wanted.symbol, bar.at_ms FROM {_WANTED}
    CROSS JOIN LATERAL (SELECT {ms_of("held.timestamp")} AS at_ms {_HELD}) AS bar
    UNION ALL
    SELECT symbol, unnest(ARRAY[first_ms - {{step_ms}}, last_ms + {{step_ms}}]) FROM {_WANTED}
  ) AS bars
) AS pairs WHERE next_ms > at_ms + {{step_ms}} ORDER BY symbol COLLATE "C", at_ms
"""
_NEIGHBOURS = f"""
SELECT (SELECT {ms_of("max(timestamp)")} FROM {{table}} WHERE symbol = %s AND timestamp < {MS.format("%s")}),
       (SELECT {ms_of("min(timestamp)")} FROM {{table}} WHERE symbol = %s AND timestamp > {MS.format("%s")})
"""
_TRADED = f"""
SELECT {ms_of("bar.timestamp")}
FROM unnest(%s::bigint[], %s::bigint[]) AS span(first_ms, last_ms)
JOIN {{table}} AS bar ON bar.timestamp BETWEEN {MS.format("span.first_ms")} AND {MS.format("span.last_ms")}
WHERE bar.symbol = %s AND bar.volume > 0 ORDER BY bar.timestamp
"""
_LAST_TRADED = f"""
SELECT asked.symbol, {ms_of("bar.timestamp")} FROM unnest(%s::text[]) AS asked(symbol)
CROSS JOIN LATERAL (
  SELECT timestamp FROM {{table}} AS held WHERE held.symbol = asked.symbol AND held.volume > 0
  ORDER BY timestamp DESC LIMIT 1
) AS bar
"""


class Lacking:
    """What the table of an interval has, in a session. Times are ms since 1970-01-01 UTC."""

    def __init__(self, connection: Connection, interval: Interval) -> None:
        self._connection = connection
        self._step_ms = interval.ms
        self._table = f"{SCHEMA}.{market_table(interval)}"

    def gaps(self, wanted: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        """The open_times that each symbol's span lacks, as maximal runs; what is whole is left out."""
        found: dict[str, list[Gap]] = {}
        for some in portions(wanted):
            bars = dict(self._ask(_COUNTS, columns_of(some)))
            torn = {symbol: span for symbol, span in some.items() if 0 < bars[symbol] < span.bars}
            found |= {symbol: [span] for symbol, span in some.items() if not bars[symbol]} | self._torn(torn)
        return found

    def between(self, held: Mapping[str, Coverage], from_ms: int = 0) -> dict[str, list[Gap]]:
        """Where each of these lacks bars between two that open at `from_ms` or later; what is whole is left out."""
        step_ms = self._step_ms
        ends = {
            symbol: sources.between(max(each.first_ms, from_ms), each.last_ms + 1, step_ms)
            for symbol, each in held.items()
            if each.first_ms is not None and each.last_ms is not None
        }
        torn = {symbol: span for symbol, span in ends.items() if span and _is_torn(held[symbol], step_ms)}
        found = {symbol: _inside(gaps, torn[symbol]) for symbol, gaps in self._torn(torn).items()}
        return {symbol: gaps for symbol, gaps in found.items() if gaps}

    def neighbours(self, symbol: str, span: Gap) -> tuple[int | None, int | None]:
        """When a symbol's last bar before a span opens, and its first after it."""
        [(before_ms, after_ms)] = self._ask(_NEIGHBOURS, [symbol, span.first_ms, symbol, span.last_ms])
        return before_ms, after_ms

    def traded(self, symbol: str, spans: Sequence[Gap]) -> list[int]:
        """When the symbol's bars of these spans open in which something was traded, ascending."""
        bounds = [[span.first_ms for span in spans], [span.last_ms for span in spans]]
        return [at_ms for (at_ms,) in self._ask(_TRADED, [*bounds, symbol])]

    def last_traded(self, symbols: Sequence[str]) -> dict[str, int]:
        """When the last bar opens in which something was traded, of each symbol that has one."""
        return dict(self._ask(_LAST_TRADED, [list(symbols)]))

    def _torn(self, wanted: Mapping[str, Gap]) -> dict[str, list[Gap]]:
        # Looked at one by one: most of them are whole, or empty.
        rows = self._ask(_GAPS, [*columns_of(wanted), *columns_of(wanted)]) if wanted else []
        return between_pairs(rows, self._step_ms)

    def _ask(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        filled = statement.format(table=self._table, step_ms=self._step_ms)
        return self._connection.cursor(binary=True).execute(filled, values).fetchall()


def portions(wanted: Mapping[str, Gap]) -> Iterator[Mapping[str, Gap]]:
    """As many of these spans together as one statement may look at."""
    portion: dict[str, Gap] = {}
    for symbol, span in wanted.items():
        if portion and span.bars + sum(each.bars for each in portion.values()) > _BARS_AT_ONCE:
            yield portion
            portion = {}
        portion[symbol] = span
    if portion:
        yield portion


def _is_torn(held: Coverage, step_ms: int) -> bool:
    if held.first_ms is None or held.last_ms is None:
        return False
    return held.rows <= (held.last_ms - held.first_ms) // step_ms


def _inside(gaps: Sequence[Gap], span: Gap) -> list[Gap]:
    return [gap for gap in gaps if span.first_ms < gap.first_ms and gap.last_ms < span.last_ms]
