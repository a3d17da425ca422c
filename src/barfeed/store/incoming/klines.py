"""Klines of many series on their way into a market's table: staged, checked and compared all at once.

It is what `Staging` is for one series: there each part is a statement or ten, here a block of hundreds of parts is.
Each part has a number, by which is told what is wrong with it.
"""

# ruff: noqa: S608 - tables and columns are named here, numbers are ours; the one foreign thing, a path, is quoted

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.bars import COLUMNS, VALUE_COLUMNS, Bar, Interval
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Finding
from barfeed.domain.sources import Csv, Lines, Rows, span
from barfeed.store.incoming.csv_text import as_file
from barfeed.store.incoming.foreign import unreadable
from barfeed.store.incoming.sql_rules import FLAT, INCOMING_RULES, MESSAGES, broken
from barfeed.store.incoming.staging import Difference, Staging
from barfeed.store.place import market_table

_STAGED = "temp.klines"
_VALUES = ", ".join(VALUE_COLUMNS)
_NAMES = ", ".join(COLUMNS)
_FURTHER = ("close_time", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume")
_TYPES = {
    "part": "INTEGER", "open_time": "BIGINT", **dict.fromkeys(VALUE_COLUMNS, "DOUBLE"), "close_time": "BIGINT",
    "quote_volume": "DOUBLE", "trades": "BIGINT", "taker_buy_volume": "DOUBLE", "taker_buy_quote_volume": "DOUBLE",
    "ignored": "VARCHAR",
}  # fmt: skip
_CREATE = f"""
CREATE OR REPLACE TEMP TABLE klines (
  part INTEGER, symbol VARCHAR, timestamp TIMESTAMP, {", ".join(f"{name} DOUBLE" for name in VALUE_COLUMNS)},
  {", ".join(f"{name} {_TYPES[name]}" for name in _FURTHER)}
)
"""
# What is kept of each part; what else a file holds was not asked for.
_KEEP = """
CREATE OR REPLACE TEMP TABLE kept AS
SELECT unnest(?::INTEGER[]) AS part, unnest(?::VARCHAR[]) AS symbol,
       make_timestamp_ms(unnest(?::BIGINT[])) AS first, make_timestamp_ms(unnest(?::BIGINT[])) AS last
"""
_TAKE = f"""
INSERT INTO {_STAGED} (part, symbol, {_NAMES}, {", ".join(_FURTHER)})
SELECT kept.part, kept.symbol, line.timestamp, {_VALUES}, {", ".join(_FURTHER)}
FROM ({{lines}}) AS line JOIN temp.kept AS kept
  ON kept.part = line.part AND line.timestamp BETWEEN kept.first AND kept.last
"""
_READ = f"""
SELECT *, make_timestamp_ms(open_time) AS timestamp FROM read_csv(
  '{{path}}', auto_detect = false, delim = ',', quote = '"', header = false,
  columns = {{{{{", ".join(f"'{name}': '{type_}'" for name, type_ in _TYPES.items())}}}}}
)
"""
_FINDINGS_MAX = 100
_FINDINGS = f"""
SELECT part, epoch_ms(timestamp), rule, count(*) OVER (PARTITION BY part) FROM (
  SELECT part, timestamp, unnest({{rules}}) AS rule FROM {_STAGED}
  UNION ALL
  SELECT part, timestamp, 'unique' FROM {_STAGED} GROUP BY part, timestamp HAVING count(*) > 1
) QUALIFY row_number() OVER (PARTITION BY part ORDER BY timestamp, rule) <= {_FINDINGS_MAX} ORDER BY ALL
"""
# Only where bars of theirs may stand: the table is written hour by hour.
_BOTH = f"""
FROM {{table}} AS ours JOIN {_STAGED} AS theirs USING (symbol, timestamp)
WHERE ours.timestamp BETWEEN (SELECT min(timestamp) FROM {_STAGED}) AND (SELECT max(timestamp) FROM {_STAGED})
"""
_DIFFERENT = " OR ".join(f"ours.{name} IS DISTINCT FROM theirs.{name}" for name in VALUE_COLUMNS)
_INSERT = f"""
INSERT INTO {{table}} (symbol, {_NAMES}) SELECT symbol, {_NAMES} FROM {_STAGED} ORDER BY timestamp, symbol
ON CONFLICT (symbol, timestamp) DO NOTHING
"""


class Piece(NamedTuple):
    """A part of one series: its number, the klines, and the spans of them that are kept."""

    number: int
    symbol: str
    data: Lines | Rows | Csv
    spans: Sequence[Gap]


class Broken(NamedTuple):
    """What is wrong with a part: the first findings, and how many there are in all."""

    findings: list[Finding]
    rules: int


class Compared(NamedTuple):
    """How many bars of each symbol both sides have; and which of them differ, by the part that says so."""

    shared: Mapping[str, int]
    differences: Mapping[int, list[Difference]]


class Klines:
    """The table `klines` of a DuckDB connection; with a store attached it can be compared and appended."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, interval: Interval) -> None:
        self._connection = connection
        self._step_ms = interval.ms
        self._table = f"store.main.{market_table(interval)}"
        self._one = Staging(connection)
        self.clear()

    def clear(self) -> None:
        """Forget every kline."""
        self._connection.execute(_CREATE)

    def take(self, pieces: Sequence[Piece]) -> None:
        """Take these. Raises `SourceUnreadable`; then nothing of them was taken."""
        self._keep(pieces)
        lines = [each for each in pieces if isinstance(each.data, Lines) and each.data.text]
        if lines:
            with as_file(b"\n".join(map(_numbered, lines))) as path, unreadable():
                quoted = str(path).replace("'", "''")
                self._connection.execute(_TAKE.format(lines=_READ.format(path=quoted)))
        for each in pieces:
            if not isinstance(each.data, Lines):
                self._take_odd(each.number, each.data)

    def _take_odd(self, number: int, data: Rows | Csv) -> None:
        """What is not plain text is read as one series' is, with its words for what cannot be."""
        self._one.clear()
        self._one.put(data)
        self._connection.execute(_TAKE.format(lines=f"SELECT {number} AS part, * FROM temp.incoming"))

    def opens_ms(self, data: Csv) -> list[int]:
        """When the bars of a file that is not plain text open. Raises `SourceUnreadable`."""
        self._one.clear()
        self._one.put(data)
        return [at_ms for (at_ms,) in self._ask("SELECT epoch_ms(timestamp) FROM temp.incoming")]

    def _keep(self, pieces: Sequence[Piece]) -> None:
        rows = [(each.number, each.symbol, span.first_ms, span.last_ms) for each in pieces for span in each.spans]
        self._connection.execute(_KEEP, [list(column) for column in zip(*rows, strict=True)] or [[]] * 4)

    def symbols(self) -> dict[str, int]:
        """How many klines there are of each symbol."""
        return dict(self._ask(f"SELECT symbol, count(*) FROM {_STAGED} GROUP BY symbol"))

    def spans(self) -> dict[str, Gap]:
        """From the first kline of each symbol to the last."""
        ends = "epoch_ms(min(timestamp)), epoch_ms(max(timestamp))"
        rows = self._ask(f"SELECT symbol, {ends} FROM {_STAGED} GROUP BY symbol")
        return {symbol: span(first_ms, last_ms, self._step_ms) for symbol, first_ms, last_ms in rows}

    def broken(self, now_ms: int) -> dict[int, Broken]:
        """The parts that break a rule of a bar, by their number."""
        rows = self._ask(_FINDINGS.format(rules=broken(INCOMING_RULES, self._step_ms, now_ms)))
        return {
            part: Broken([Finding(rule, at_ms, MESSAGES[rule]) for at_ms, rule, _ in facts], facts[0][2])
            for part, facts in ((part, [row[1:] for row in each]) for part, each in groupby(rows, itemgetter(0)))
        }

    def bars_of(self, part: int, opens_ms: Iterable[int]) -> list[Bar]:
        """These bars of a part."""
        found = f"SELECT epoch_ms(timestamp), {_VALUES} FROM {_STAGED} WHERE part = ? AND epoch_ms(timestamp) IN"
        return [Bar(*row) for row in self._ask(f"{found} (SELECT unnest(?::BIGINT[]))", [part, list(opens_ms)])]

    def drop(self, parts: Iterable[int]) -> None:
        """Forget these parts."""
        self._ask(f"DELETE FROM {_STAGED} WHERE part IN (SELECT unnest(?::INTEGER[]))", [list(parts)])

    def take_out_flat(self, parts: Iterable[int]) -> dict[int, list[Bar]]:
        """Forget the bars of these parts in which nothing was traded; which they were, by part, ascending."""
        flat = f"FROM {_STAGED} WHERE part IN (SELECT unnest(?::INTEGER[])) AND {FLAT}"
        rows = self._ask(f"SELECT part, epoch_ms(timestamp), {_VALUES} {flat} ORDER BY part, timestamp", [list(parts)])
        if rows:
            self._ask(f"DELETE {flat}", [list(parts)])
        return {part: [Bar(*row[1:]) for row in each] for part, each in groupby(rows, itemgetter(0))}

    def flat_news(self) -> dict[str, list[int]]:
        """When those bars of each symbol open that the store lacks and in which nothing was traded."""
        new = f"FROM {_STAGED} ANTI JOIN {self._table} USING (symbol, timestamp) WHERE {FLAT}"
        rows = self._ask(f"SELECT symbol, epoch_ms(timestamp) {new} ORDER BY ALL") if self._has_flat() else []
        return {symbol: [at_ms for _, at_ms in each] for symbol, each in groupby(rows, itemgetter(0))}

    def _has_flat(self) -> bool:
        return bool(self._ask(f"SELECT 1 FROM {_STAGED} WHERE {FLAT} LIMIT 1"))

    def compared(self) -> Compared:
        """These beside the attached store's."""
        both = _BOTH.format(table=self._table)
        counted = self._ask(f"SELECT symbol, count(*), count(*) FILTER ({_DIFFERENT}) {both} GROUP BY symbol")
        columns = ", ".join(f"{side}.{name}" for side in ("ours", "theirs") for name in VALUE_COLUMNS)
        differing = f"SELECT part, epoch_ms(timestamp), {columns} {both} AND ({_DIFFERENT}) ORDER BY part, timestamp"
        rows = self._ask(differing) if any(different for _, _, different in counted) else []
        return Compared(
            {symbol: shared for symbol, shared, _ in counted},
            {
                part: [Difference(_bar(at_ms, values[:5]), _bar(at_ms, values[5:])) for _, at_ms, *values in each]
                for part, each in groupby(rows, itemgetter(0))
            },
        )

    def append_new(self) -> int:
        """Insert those that the attached store does not have, hour by hour; how many were."""
        return int(self._ask(_INSERT.format(table=self._table))[0][0])

    def _ask(self, statement: str, values: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement, list(values)).fetchall()


def _numbered(piece: Piece) -> bytes:
    assert isinstance(piece.data, Lines)
    number = b"%d," % piece.number
    return number + piece.data.text.replace(b"\n", b"\n" + number)


def _bar(open_time_ms: int, values: Sequence[float | None]) -> Bar:
    # A stored NULL is no number; the store's own reader says NaN for it too.
    return Bar(open_time_ms, *(float("nan") if value is None else value for value in values))
