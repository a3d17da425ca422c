"""The bars of every symbol in a database, and what the exchange listed when. Times are ms since 1970-01-01 UTC."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import Any

from barfeed.domain import grid
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import COLUMNS, PRICE_COLUMNS, VALUE_COLUMNS, Bar, Interval, Series
from barfeed.domain.grid import Gap
from barfeed.domain.life import Listing
from barfeed.domain.market import membership
from barfeed.domain.market.membership import Seen
from barfeed.store.duckdb import Coverage, Session
from barfeed.store.market import BEGINNING_MS, Window, end_of_windows
from barfeed.store.place import Span, market_table
from barfeed.store.postgres.link.connection import Connection
from barfeed.store.postgres.tables import revisions, windows
from barfeed.store.postgres.tables.schema import SCHEMA
from barfeed.store.postgres.tables.words import MS, NO_END_MS, SYMBOLS, VALUES, ms_of
from barfeed.store.revisions import Why

_ASKED = "unnest(%s::text[], %s::bigint[]) AS asked(symbol, begins_ms)"
# A loop over the symbols, each by the key: the bars of an hour are found without a look at all the others.
_HELD = f"""
SELECT asked.symbol, {ms_of("bar.timestamp")}, {VALUES}
FROM {_ASKED}
CROSS JOIN LATERAL (
  SELECT * FROM {{table}} AS held WHERE held.symbol = asked.symbol AND held.timestamp >= {MS.format("asked.begins_ms")}
  ORDER BY held.timestamp
) AS bar
ORDER BY asked.symbol COLLATE "C", bar.timestamp
"""
_NEWEST = f"""
SELECT symbol, {ms_of("max(timestamp)")} FROM {{table}} WHERE timestamp >= {MS.format("%s")} GROUP BY symbol
"""
_NEWEST_OF = f"""
SELECT asked.symbol, {ms_of("bar.newest")} FROM unnest(%s::text[]) AS asked(symbol)
CROSS JOIN LATERAL (SELECT max(timestamp) AS newest FROM {{table}} AS held WHERE held.symbol = asked.symbol) AS bar
WHERE bar.newest IS NOT NULL
"""
# By the key's own order: two feeders that insert in two orders would wait for each other.
_INSERT = f"""
INSERT INTO {{table}} (symbol, {", ".join(COLUMNS)})
SELECT symbol, {MS.format("open_time_ms")}, {", ".join(VALUE_COLUMNS)}
FROM unnest(%b::text[], %b::bigint[], {", ".join(["%b::float8[]"] * len(VALUE_COLUMNS))})
  AS new(symbol, open_time_ms, {", ".join(VALUE_COLUMNS)})
ORDER BY symbol COLLATE "C", open_time_ms
ON CONFLICT (symbol, timestamp) DO NOTHING RETURNING symbol
"""
# Larger than all is NaN here.
_SOUND = " AND ".join(f"coalesce(abs({name}) < 'Infinity', false)" for name in VALUE_COLUMNS)
_WINDOWS = f"""
SELECT symbol, count(*) FILTER (WHERE {ms_of("timestamp")} %% %s = 0),
       bool_and({_SOUND} AND least({", ".join(PRICE_COLUMNS)}) > 0)
FROM {{table}} WHERE timestamp BETWEEN {MS.format("%s")} AND {MS.format("%s")} GROUP BY symbol
"""
_COVERAGE = f"SELECT count(*), {ms_of('min(timestamp)')}, {ms_of('max(timestamp)')} FROM {{table}}"
_COVERAGE_OF = f"{_COVERAGE} WHERE symbol = %s"
_COVERAGE_OF_EACH = f"{_COVERAGE.replace('SELECT ', 'SELECT symbol, ', 1)} WHERE {{where}} GROUP BY symbol"
_SINCE = f"timestamp >= {MS.format('%s::bigint')}"
# All the bars of so many are counted within what the server allows, minutes of years too.
_SOME, _SYMBOLS_AT_ONCE = "symbol = ANY(%s::text[])", 30
# A value that is none has no say, as in DuckDB.
_CANDLES = f"""
SELECT {{origin_ms}} + step * {{step_ms}}, (array_agg(open ORDER BY timestamp) FILTER (WHERE open IS NOT NULL))[1],
       max(high), min(low), (array_agg(close ORDER BY timestamp DESC) FILTER (WHERE close IS NOT NULL))[1],
       sum(volume ORDER BY timestamp), count(*)
FROM (
  SELECT *, ({ms_of("timestamp")} - {{origin_ms}}) / {{step_ms}} AS step FROM {{table}}
  WHERE symbol = %s AND timestamp >= {MS.format("%s::bigint")} AND timestamp < {MS.format("%s::bigint")}
) AS bar GROUP BY step
"""
_SEEN = f"""
SELECT symbol, status, contract_type, {ms_of("onboard")}, {ms_of("delivery")}, quote, tick, {ms_of("seen_at")}
FROM {SCHEMA}.symbols ORDER BY seen_at, id
"""
_LISTING_FIELDS = ("symbol", "status", "contract_type", "quote", "onboard_ms", "delivery_ms", "tick")
# Two feeders that see the same news note it once: the number is nobody else's.
_NOTING = "SELECT pg_advisory_xact_lock(7236227131905)"
_NOTE = f"""
INSERT INTO {SCHEMA}.symbols (symbol, status, contract_type, quote, onboard, delivery, tick, seen_at)
SELECT symbol, status, contract_type, quote, {MS.format("onboard_ms")}, {MS.format("delivery_ms")}, tick,
       {MS.format("%s")}
FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[], %s::float8[])
  AS new(symbol, status, contract_type, quote, onboard_ms, delivery_ms, tick)
"""
_GAPS = f"""
SELECT symbol, {ms_of("first")}, {ms_of("last")} FROM {SCHEMA}.exchange_gaps
WHERE interval = %s AND symbol = ANY(%s::text[]) ORDER BY symbol, first
"""
_BEGINNINGS = f"""
SELECT symbol, {ms_of("max(last)")} FROM {SCHEMA}.exchange_gaps
WHERE interval = %s AND first = {MS.format("%s")} GROUP BY symbol
"""
_NOTE_GAPS = f"""
INSERT INTO {SCHEMA}.exchange_gaps (symbol, interval, first, last, seen_at)
SELECT symbol, %s, {MS.format("first_ms")}, {MS.format("last_ms")}, {MS.format("%s")}
FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS new(symbol, first_ms, last_ms)
ORDER BY symbol COLLATE "C", first_ms, last_ms
ON CONFLICT DO NOTHING
"""


class MarketTable:
    """The bars of every symbol at one interval, in a transaction."""

    def __init__(self, connection: Connection, interval: Interval, beside: Session) -> None:
        """`beside` is a DuckDB in memory, which writes the models' Parquet."""
        self.relation = f"{SCHEMA}.{market_table(interval)}"
        # What was appended in this transaction, in bars.
        self.appended = 0
        self.connection = connection
        self._interval = interval
        self._beside = beside

    def newest(self, from_ms: int) -> dict[str, int]:
        """The newest open_time of each symbol that has a bar at `from_ms` or later."""
        return dict(self._query(_NEWEST, [from_ms]))

    def newest_of(self, symbols: Sequence[str]) -> dict[str, int]:
        """The newest open_time of each of these that has any bar."""
        return dict(self._query(_NEWEST_OF, [list(symbols)])) if symbols else {}

    def symbols(self) -> set[str]:
        """Every symbol that has a bar."""
        return {symbol for (symbol,) in self._query(SYMBOLS, [])}

    def coverage(self, from_ms: int | None = None) -> dict[str, Coverage]:
        """How many bars each symbol has, of all or of those at `from_ms` and later, the first and the last."""
        if from_ms is not None:
            return self._coverage_where(_SINCE, from_ms)
        symbols = sorted(self.symbols())
        some = (symbols[at : at + _SYMBOLS_AT_ONCE] for at in range(0, len(symbols), _SYMBOLS_AT_ONCE))
        return {symbol: held for each in some for symbol, held in self._coverage_where(_SOME, each).items()}

    def _coverage_where(self, where: str, value: object) -> dict[str, Coverage]:
        rows = self._query(_COVERAGE_OF_EACH.format(table="{table}", where=where), [value])
        return {symbol: Coverage(*facts) for symbol, *facts in rows}

    def coverage_of(self, symbol: str) -> Coverage:
        """How many bars a symbol has, its first and its last."""
        return Coverage(*self._query(_COVERAGE_OF, [symbol])[0])

    def candles(self, span: Span, step_ms: int) -> list[tuple[Any, ...]]:
        """A symbol's bars summed up in steps: when each begins, its five values, and of how many bars."""
        statement = _CANDLES.format(table="{table}", step_ms=step_ms, origin_ms=grid.step_origin(step_ms))
        to_ms = NO_END_MS if span.to_ms is None else span.to_ms
        return self._query(statement, [span.symbols[0], span.from_ms or 0, to_ms])

    def elsewhere(self) -> set[str]:
        """None: here one series stands among all the others."""
        return set()

    def bars(self, from_ms: Mapping[str, int]) -> dict[str, list[Bar]]:
        """Each symbol's bars from the moment given with it on, ascending; a stored NULL comes as NaN."""
        if not from_ms:
            return {}
        rows = self._query(_HELD, [list(from_ms), list(from_ms.values())])
        return {symbol: [Bar(*row[1:]) for row in each] for symbol, each in groupby(rows, itemgetter(0))}

    def append(self, bars: Mapping[str, Sequence[Bar]]) -> dict[str, int]:
        """Insert those that are not there yet; how many were inserted of each symbol.

        What another feeder is inserting is waited for.
        """
        rows = [(symbol, *bar) for symbol, each in bars.items() for bar in each]
        appended = dict.fromkeys(bars, 0)
        for symbol in self.append_rows(rows):
            appended[symbol] += 1
        return appended

    def append_rows(self, rows: Sequence[Sequence[object]]) -> list[str]:
        """The same of rows of a symbol and a bar; of whom each is that was inserted."""
        if not rows:
            return []
        inserted = self._query(_INSERT, [list(column) for column in zip(*rows, strict=True)])
        self.appended += len(inserted)
        return [symbol for (symbol,) in inserted]

    def windows(self, start_ms: int, end_ms: int) -> dict[str, Window]:
        """What each symbol has of the window from `start_ms` to `end_ms`, both included."""
        rows = self._query(_WINDOWS, [self._interval.ms, start_ms, end_ms])
        return {symbol: Window(bars, is_sound) for symbol, bars, is_sound in rows}

    def write_windows(self, path: Path, from_ms: Mapping[str, int], end_ms: int) -> int:
        """Write these symbols' bars to a Parquet file, each from the moment given with it to `end_ms`; how many.

        Columns: symbol, timestamp (UTC), open, high, low, close, volume; sorted by symbol, then time. Raises `OSError`
        where the disk of that file fails.
        """
        return windows.write(self.connection, self._beside, path, table=self.relation, from_ms=from_ms, end_ms=end_ms)

    def end_of(self, path: Path) -> int | None:
        """The last open_time of a Parquet file of windows; None where it is no such file."""
        return end_of_windows(self._beside, path)

    def membership(self) -> list[Seen]:
        """Every listing that was noted, oldest first."""
        return [Seen(Listing(*row[:-1]), row[-1]) for row in self._query(_SEEN, [])]

    def note_membership(self, changed: Sequence[Listing], seen_at_ms: int) -> None:
        """Note listings that are another than they were; what another feeder has noted meanwhile, is noted."""
        if not changed:
            return
        self._query(_NOTING, [])
        known = membership.latest(self.membership())
        news = [each for each in changed if known.get(each.symbol) != each]
        if news:
            self.connection.execute(_NOTE, [seen_at_ms, *_columns(news, _LISTING_FIELDS)])

    def exchange_gaps(self, symbols: Sequence[str]) -> dict[str, list[Gap]]:
        """Where the exchange itself was seen to have none of a symbol's bars."""
        rows = self._query(_GAPS, [str(self._interval), list(symbols)]) if symbols else []
        step_ms = self._interval.ms
        return {
            symbol: [Gap(first_ms, last_ms, (last_ms - first_ms) // step_ms + 1) for _, first_ms, last_ms in each]
            for symbol, each in groupby(rows, itemgetter(0))
        }

    def first_bars(self) -> dict[str, int]:
        """The first bar of all, of each symbol of which the exchange was seen to have none before it."""
        rows = self._query(_BEGINNINGS, [str(self._interval), BEGINNING_MS])
        return {symbol: last_ms + self._interval.ms for symbol, last_ms in rows}

    def note_exchange_gaps(self, gaps: Sequence[tuple[str, Gap]], seen_at_ms: int) -> None:
        """Note what the exchange was seen to have none of, so that it is not asked for again."""
        if gaps:
            symbols, spans = zip(*gaps, strict=True)
            bounds = _columns(spans, ("first_ms", "last_ms"))
            self.connection.execute(_NOTE_GAPS, [str(self._interval), seen_at_ms, list(symbols), *bounds])

    def let_pass(self, symbol: str) -> list[Bar]:
        """The bars of a symbol that somebody let pass though their own columns contradict each other."""
        return revisions.let_pass(self.connection, Series(symbol, self._interval))

    def expect_audit(self) -> None:
        """Return: the schema has the table of both versions."""

    def revise(self, symbol: str, changes: Sequence[Change], why: Why) -> int:
        """Put new versions in place of old ones, and keep both; how many were still what `old` says, to the bit."""
        return revisions.revise(self.connection, self.relation, Series(symbol, self._interval), changes, why)

    def _query(self, statement: str, values: Sequence[object]) -> list[tuple[Any, ...]]:
        cursor = self.connection.cursor(binary=True)
        return cursor.execute(statement.format(table=self.relation), values).fetchall()


def _columns(rows: Iterable[object], names: Iterable[str]) -> list[list[object]]:
    """One list a column: a statement a row takes a thousand times as long."""
    return [list(column) for column in zip(*map(attrgetter(*names), rows), strict=True)]
