"""Bars on their way into a store, or beside it: a table in memory that DuckDB fills, checks and compares.

Everything is one statement over all of it, never a loop over rows. It knows nothing of where bars come from.
"""

# ruff: noqa: S608 - tables and columns are named here; the one foreign thing, a path, is quoted

import glob
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from barfeed.domain.bars import VALUE_COLUMNS, Bar, Series, Turnover
from barfeed.domain.grid import Gap
from barfeed.domain.rules import TURNOVER_RULES, Finding
from barfeed.domain.sources import Csv, Lines, Rows
from barfeed.store.incoming import cells
from barfeed.store.incoming.columns import Column, Label, Layout, layout, quoted
from barfeed.store.incoming.csv_text import as_file, csv_layout
from barfeed.store.incoming.foreign import SourceUnreadable, known, one_table, other_database, unreadable
from barfeed.store.incoming.lacking import gaps_in, opens_within
from barfeed.store.incoming.sql_rules import FLAT, INCOMING_RULES, MESSAGES, broken
from barfeed.store.own import catalog, shape
from barfeed.store.place import Place

_VALUES = ", ".join(VALUE_COLUMNS)
_INCOMING = "temp.incoming"
# NULL where a source does not tell them.
_FURTHER_COLUMNS = {
    "close_time": "BIGINT",
    "quote_volume": "DOUBLE",
    "trades": "BIGINT",
    "taker_buy_volume": "DOUBLE",
    "taker_buy_quote_volume": "DOUBLE",
}
_TAKEN = dict.fromkeys(VALUE_COLUMNS, "DOUBLE") | _FURTHER_COLUMNS
# Two bars or three may be single holes to fill.
_SPACINGS_MIN = 3
_CREATE = f"""
CREATE OR REPLACE TEMP TABLE incoming (
  timestamp TIMESTAMP, {", ".join(f"{name} {kind}" for name, kind in _TAKEN.items())}
)
"""
# Lists in a relation: bound beside one another and unnested there, they take more than twice as long.
_PUT = f"""
INSERT INTO {_INCOMING}
SELECT make_timestamp_ms(unnest(timestamp)), {", ".join(f"unnest({name})" for name in _TAKEN)}
FROM (VALUES (?::BIGINT[], {", ".join(f"?::{kind}[]" for kind in _TAKEN.values())}))
  AS came(timestamp, {", ".join(_TAKEN)})
"""
_PUT_LINES = f"""
INSERT INTO {_INCOMING}
SELECT make_timestamp_ms(cells[1]::BIGINT),
       {", ".join(f"cells[{at}]::{kind}" for at, kind in enumerate(_TAKEN.values(), 2))}
FROM (SELECT string_split(unnest(string_split(?, chr(10))), ',') AS cells)
"""


class Taken(NamedTuple):
    """What was seen of a file besides its bars: columns that nobody needs, a foreword, what labels say by column."""

    ignored: tuple[str, ...] = ()
    labels: Mapping[Label, tuple[str, ...]] = {}
    foreword: tuple[str, ...] = ()


class Difference(NamedTuple):
    """One bar that two sides have with other values."""

    stored: Bar
    incoming: Bar


class Break(NamedTuple):
    """Where the price jumps between a bar's close and the open of the next, which opens at `open_time_ms`."""

    open_time_ms: int
    before: float
    after: float


class Staging:
    """The table `incoming` of a DuckDB connection; with a store attached it can be compared and appended.

    Where the series' bars stand there is a `place`. Use it also while no store is open: it lives in the connection's
    memory.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, let_pass: Sequence[Bar] = ()) -> None:
        self._connection = connection
        connection.execute(_CREATE)
        self.put_rows(Rows(let_pass))
        connection.execute(f"CREATE OR REPLACE TEMP TABLE let_pass AS SELECT timestamp, {_VALUES} FROM {_INCOMING}")
        self.clear()

    def clear(self) -> None:
        """Forget every bar."""
        self._connection.execute(_CREATE)

    def put_rows(self, rows: Rows) -> None:
        """Take bars at hand, and what is known beside them."""
        if rows.bars:
            unknown = [None] * len(rows.bars)
            turnovers = zip(*rows.turnovers, strict=True) if rows.turnovers else [unknown] * len(Turnover._fields)
            columns = (*zip(*rows.bars, strict=True), rows.close_times_ms or unknown, *turnovers)
            self._connection.execute(_PUT, [list(column) for column in columns])

    def put_lines(self, lines: Lines) -> None:
        """Take klines as text: no cell of theirs is odd."""
        if lines.text:
            self._connection.execute(_PUT_LINES, [lines.text.replace(b'"', b"").decode("ascii")])

    def put_csv(self, path: Path, series: Series | None = None) -> Taken:
        """Take a CSV, plain or packed by gzip: columns by their names, or the archive's twelve or a bar's six.

        Times are s, ms, us, ns, or text in UTC. `series` tells what close_times alone, or a `Volume BTC`, mean.
        Raises `SourceUnreadable`.
        """
        with known():
            found, foreword = csv_layout(path, series.symbol if series else "")
        return self._put(found, series)._replace(foreword=foreword)

    def put_parquet(self, path: Path, series: Series) -> Taken:
        """Take a Parquet file, as `put_csv` does."""
        escaped = glob.escape(str(path)).replace("'", "''")
        return self._put_relation(f"read_parquet('{escaped}', hive_partitioning = false)", series)

    def put_table(self, path: Path, name: str, series: Series) -> Taken:
        """Take a table or view of another DuckDB file, `trades` or `old.trades`, as `put_csv` does."""
        with other_database(self._connection, path) as tables:
            return self._put_relation(one_table(tables, name), series)

    def _put_relation(self, relation: str, series: Series) -> Taken:
        with unreadable():
            described = self._ask(f"DESCRIBE SELECT * FROM {relation}")
        with known():
            found = layout(relation, [Column(name, kind, quoted(name)) for name, kind, *_ in described], series.symbol)
        return self._put(found, series)

    def _put(self, found: Layout, series: Series | None) -> Taken:
        """Stage a relation's bars; a cell that is no number must not become a NULL in silence."""
        columns = found.numbers | self._times(found, series)
        names, values = ", ".join(columns), ", ".join(columns.values())
        none = " OR ".join(f"{name} IS NULL" for name in columns)
        with unreadable():
            self._connection.execute(f"INSERT INTO {_INCOMING} ({names}) SELECT {values} FROM {found.relation}")
            if self._number(f"SELECT count(*) FROM {_INCOMING} WHERE {none}"):
                self._refuse_bad_cells(found)
            return Taken(found.ignored, {label: self._said(label, found.relation) for label in found.labels})

    def _refuse_bad_cells(self, found: Layout) -> None:
        """What is none may be a further cell that is empty: read the source again, and tell the first that is not."""
        texts = ", ".join(f"{sql}::VARCHAR" for sql in found.raw.values())
        bad = ", ".join(found.bad.values())
        rows = self._ask(f"SELECT [{texts}], [{bad}] FROM {found.relation} WHERE {found.no_bar} LIMIT 1")
        if rows:
            raise _no_bar(*(dict(zip(found.raw, each, strict=True)) for each in rows[0]))

    def _times(self, found: Layout, series: Series | None) -> dict[str, str]:
        """A bar's first instant, and its last in ms where it is told beside."""
        if "open_time" not in found.typed:
            return {"timestamp": self._open_time(found, series)}
        told = {"close_time": f"epoch_us({found.typed['close_time']}) // 1000"} if "close_time" in found.typed else {}
        return {"timestamp": found.typed["open_time"], **told}

    def _open_time(self, found: Layout, series: Series | None) -> str:
        """A bar's first instant from its last; `SourceUnreadable` where that could as well be a first one."""
        if series is None:
            raise SourceUnreadable("its only time is close_time")
        step_us = series.interval.ms * 1000
        at_us = f"epoch_us({found.typed['close_time']})"
        with unreadable():
            # A last instant is in its bar's last second: 13:59:59, 13:59:59.999.
            either = (
                f"SELECT {found.raw['close_time']} FROM {found.relation} WHERE {at_us} % {step_us} < {step_us - 10**6}"
            )
            row = self._ask(f"{either} LIMIT 1")
        if row:
            raise SourceUnreadable(
                f"its only time is close_time, and {str(row[0][0])[:40]!a} could be a bar's beginning or its end;"
                " call the column open_time if it is the beginning, or end bars with their last second"
            )
        return f"make_timestamp({at_us} // {step_us} * {step_us})"

    def _said(self, label: Label, relation: str) -> tuple[str, ...]:
        """What a column that tells a series says, the first few of it."""
        distinct = f"SELECT DISTINCT {label.sql} FROM {relation} WHERE {label.sql} IS NOT NULL ORDER BY 1 LIMIT 3"
        return tuple(str(said) for (said,) in self._ask(distinct))

    def put(self, data: Lines | Rows | Csv) -> None:
        """Take what a source gave. Raises `SourceUnreadable`."""
        if isinstance(data, Lines):
            self.put_lines(data)
        elif isinstance(data, Rows):
            self.put_rows(data)
        elif data.path:
            self.put_csv(Path(data.path))
        else:
            with as_file(data.content) as path:
                self.put_csv(path)

    def rows(self) -> int:
        """How many bars there are."""
        return self._number(f"SELECT count(*) FROM {_INCOMING}")

    def span(self, step_ms: int) -> Gap | None:
        """From the first open_time to the last, None where there is no bar."""
        first, last = self._ask(f"SELECT epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {_INCOMING}")[0]
        return None if first is None else Gap(first, last, (last - first) // step_ms + 1)

    def drop_doubles(self) -> int:
        """Forget each row that is there already, in every column the same; how many were."""
        before = self.rows()
        self._connection.execute(f"CREATE OR REPLACE TEMP TABLE incoming AS SELECT DISTINCT * FROM {_INCOMING}")
        return before - self.rows()

    def two_versions(self) -> tuple[Bar, Bar] | None:
        """The first bar that is there with two values, as both; None where there is none."""
        twice = f"SELECT timestamp FROM {_INCOMING} GROUP BY timestamp HAVING count(DISTINCT ({_VALUES})) > 1"
        found = self._bars(f"WHERE timestamp = (SELECT min(timestamp) FROM ({twice}))")
        return (found[0], next(bar for bar in found if bar != found[0])) if found else None

    def spacing_ms(self) -> int | None:
        """How far apart most bars open, None where no distance is that of most, or bars are too few to tell."""
        found = self._ask(
            f"""
            SELECT apart, count(*) >= {_SPACINGS_MIN} AND count(*) * 2 > sum(count(*)) OVER ()
            FROM (SELECT epoch_ms(timestamp) - epoch_ms(lag(timestamp) OVER (ORDER BY timestamp)) AS apart
                  FROM {_INCOMING})
            WHERE apart > 0 GROUP BY apart ORDER BY count(*) DESC, apart LIMIT 1
            """
        )
        return found[0][0] if found and found[0][1] else None

    def are_ends(self, step_ms: int) -> bool:
        """Whether every time is in the last second of a bar."""
        last_sec = f"epoch_us(timestamp) % {step_ms * 1000} >= {(step_ms - 1000) * 1000}"
        return bool(self._ask(f"SELECT count(*) > 0 AND bool_and({last_sec}) FROM {_INCOMING}")[0][0])

    def shared(self, place: Place) -> int:
        """How many bars the attached store has too, whatever their values."""
        return self._number(f"SELECT count(*) FROM {_INCOMING} JOIN {place.rows} USING (timestamp)")

    def moved_ms(self, place: Place) -> int | None:
        """By how much later most bars that both sides have would agree; None where by no whole hour of a time zone."""
        same = " AND ".join(f"ours.{name} = theirs.{name}" for name in VALUE_COLUMNS)
        found = self._ask(
            f"""
            SELECT hours * 3600000, count(*) FILTER ({same}) * 2 > count(*)
            FROM range(-14, 15) AS zones(hours), {_INCOMING} theirs
            JOIN {place.rows} ours ON ours.timestamp = theirs.timestamp + to_hours(hours)
            GROUP BY hours ORDER BY count(*) FILTER ({same}) DESC LIMIT 1
            """
        )
        return found[0][0] if found and found[0][1] else None

    def breaks(self, place: Place, step_ms: int, share: float) -> list[Break]:
        """Where a bar that the attached store lacks meets a stored one, and the price moves by more than a share."""
        step = f"to_milliseconds({step_ms})"
        lacked = f"NOT EXISTS (SELECT 1 FROM {place.rows} own WHERE own.timestamp = theirs.timestamp)"
        found = self._ask(
            f"""
            SELECT epoch_ms(later), before, after FROM (
              SELECT theirs.timestamp AS later, ours.close AS before, theirs.open AS after
              FROM {_INCOMING} theirs JOIN {place.rows} ours ON ours.timestamp = theirs.timestamp - {step}
              WHERE {lacked}
              UNION ALL
              SELECT ours.timestamp, theirs.close, ours.open
              FROM {_INCOMING} theirs JOIN {place.rows} ours ON ours.timestamp = theirs.timestamp + {step}
              WHERE {lacked}
            ) WHERE abs(after - before) > {share} * before ORDER BY later
            """
        )
        return [Break(*row) for row in found]

    def findings(self, step_ms: int, now_ms: int, limit: int | None = 100) -> list[Finding]:
        """The first `limit` broken rules, None for all: each bar by itself, and each open_time once."""
        rows = f"{self._broken(step_ms, now_ms)} ORDER BY ALL" + (f" LIMIT {limit}" if limit else "")
        return [Finding(rule, open_time_ms, MESSAGES[rule]) for open_time_ms, rule in self._ask(rows)]

    def broken_rules(self, step_ms: int, now_ms: int) -> int:
        """How many findings there are in all."""
        return self._number(f"SELECT count(*) FROM ({self._broken(step_ms, now_ms)})")

    def _broken(self, step_ms: int, now_ms: int) -> str:
        """Open_time and name of each rule that is broken, but for contradictions of what was let pass."""
        same = " AND ".join(f"own.{name} = theirs.{name}" for name in ("timestamp", *VALUE_COLUMNS))
        return f"""
            SELECT epoch_ms(timestamp), rule
            FROM (SELECT *, unnest({broken(INCOMING_RULES, step_ms, now_ms)}) AS rule FROM {_INCOMING}) theirs
            WHERE rule NOT IN {tuple(TURNOVER_RULES)} OR NOT EXISTS (SELECT 1 FROM temp.let_pass own WHERE {same})
            UNION ALL
            SELECT epoch_ms(timestamp), 'unique' FROM {_INCOMING} GROUP BY timestamp HAVING count(*) > 1
            """

    def lacking(self, spans: Sequence[Gap], step_ms: int) -> list[Gap]:
        """The gaps in `spans`: what should be here and is not."""
        return [gap for each in spans for gap in gaps_in(self._connection, _INCOMING, each, step_ms)]

    def flat_bars(self) -> list[Bar]:
        """The bars in which nothing was traded, ascending."""
        return self._bars(f"WHERE {FLAT}")

    def take_out_flat_tail(self) -> list[Bar]:
        """Forget the bars without a trade that come after every other; which they were, ascending."""
        traded = f"SELECT max(timestamp) FROM {_INCOMING} WHERE NOT ({FLAT})"
        after = f"WHERE timestamp > coalesce(({traded}), '-infinity'::TIMESTAMP)"
        tail = self._bars(after)
        if tail:
            self._connection.execute(f"DELETE FROM {_INCOMING} {after}")
        return tail

    def flat_news(self, place: Place) -> list[int]:
        """When the bars open (ms) in which nothing was traded and that the attached store lacks, ascending."""
        new = f"FROM {_INCOMING} ANTI JOIN {place.rows} USING (timestamp) WHERE {FLAT}"
        return [at_ms for (at_ms,) in self._ask(f"SELECT epoch_ms(timestamp) AS at_ms {new} ORDER BY at_ms")]

    def take_out_flat(self) -> int:
        """Forget the bars in which nothing was traded; how many they were."""
        return self._number(f"DELETE FROM {_INCOMING} WHERE {FLAT}")

    def bars(self, spans: Sequence[Gap]) -> list[Bar]:
        """The bars of `spans`, ascending."""
        return [bar for each in spans for bar in self._bars(f"WHERE {opens_within(each)}")]

    def keep_only(self, span: Gap) -> int:
        """Forget what lies outside of a span; how many bars did."""
        return self._number(f"DELETE FROM {_INCOMING} WHERE NOT ({opens_within(span)})")

    def mismatches(self, place: Place) -> list[Difference]:
        """The bars that the attached store has too, with other values; compared exactly, ascending."""
        columns = ", ".join(f"{side}.{name}" for side in ("ours", "theirs") for name in VALUE_COLUMNS)
        found = self._ask(
            f"""
            SELECT epoch_ms(ours.timestamp), {columns}
            FROM {place.rows} ours JOIN {_INCOMING} theirs USING (timestamp)
            WHERE {" OR ".join(f"ours.{name} IS DISTINCT FROM theirs.{name}" for name in VALUE_COLUMNS)}
            ORDER BY ours.timestamp
            """
        )
        return [Difference(_bar(row[0], row[1:6]), _bar(row[0], row[6:])) for row in found]

    def append_new(self, place: Place) -> int:
        """Insert the bars whose open_time the attached store does not have; how many were."""
        new = f"SELECT timestamp, {_VALUES} FROM {_INCOMING} ANTI JOIN {place.rows} USING (timestamp)"
        if not place.symbol and catalog.may_refuse(self._connection, place.name):
            shape.refuse(self._connection, place.name, new)
        return self._number(place.inserting(f"{new} ORDER BY timestamp"))

    def _bars(self, where: str) -> list[Bar]:
        return [
            Bar(*row)
            for row in self._ask(f"SELECT epoch_ms(timestamp), {_VALUES} FROM {_INCOMING} {where} ORDER BY timestamp")
        ]

    def _number(self, statement: str) -> int:
        return int(self._ask(statement)[0][0])

    def _ask(self, statement: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(statement).fetchall()


def _bar(open_time_ms: int, values: Sequence[float | None]) -> Bar:
    # A stored NULL is no number; the store's own reader says NaN for it too.
    return Bar(open_time_ms, *(math.nan if value is None else value for value in values))


def _no_bar(row: dict[str, str | None], is_bad: dict[str, bool]) -> SourceUnreadable:
    # As it was written where no cell has a comma of its own.
    between = ";" if any("," in (cell or "") for cell in row.values()) else ","
    told = between.join(cell or "" for cell in row.values())[:120]
    why = cells.why({role: cell for role, cell in row.items() if is_bad[role]})
    return SourceUnreadable(f"a row is no bar: {told!a}" + (f"; {why}" if why else ""))
