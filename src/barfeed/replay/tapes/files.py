"""Where tapes come from: Parquet and CSV files and DuckDB stores, all of them read by DuckDB.

One series or a whole market: a file that has a column `symbol` with several symbols.
"""

# ruff: noqa: S608 - tables and columns are named here, and the one foreign thing, a path, is quoted

import glob
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import duckdb

from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.file_names import named, named_table
from barfeed.replay.tapes import markets
from barfeed.replay.tapes.klines import Columns, Contract

HINT = "name files like BTCUSDT-1h.parquet or BTCUSDT-1m-2023-07.csv, or say which series: SYMBOL-INTERVAL=PATH"

# Rows fetched at once: a million bars never stand in memory as Python objects.
CHUNK = 50_000

# A kline's columns, and the names that sources give them.
NAMES = {
    "open_time": ("open_time", "timestamp"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "close": ("close",),
    "volume": ("volume",),
    "quote_volume": ("quote_volume",),
    "trades": ("count", "trades"),
    "taker_volume": ("taker_buy_volume",),
    "taker_quote_volume": ("taker_buy_quote_volume",),
}
NEEDED = tuple(NAMES)[:6]
UNUSED = "unused"
# What stands for a symbol where a file or what is made up is a whole market.
ALL = "ALL"

INTERVALS = tuple(map(str, Interval))

# What a CSV without a header has, by its number of columns: the archive's twelve or a bar's six.
HEADERLESS = {
    12: (*NEEDED, "close_time", "quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume", UNUSED),
    6: NEEDED,
}

_SPEC = re.compile(r"(?P<symbol>[^-=/\\]+)-(?P<interval>[^-=/\\]+)=(?P<path>.+)", re.DOTALL)


class Source(NamedTuple):
    """One series in one place: the FROM clause that reads it, and what messages call it.

    A market's symbols are those of its column, and its series' symbol is only a name.
    """

    series: Series
    relation: str
    name: str
    is_market: bool = False


class Recorded(NamedTuple):
    """What is known of one series."""

    series: Series
    columns: Columns
    contract: Contract | None = None


def load(specs: Sequence[str]) -> list[Recorded]:
    """Every series in these files and stores; several sources of one series, or of one market, are joined."""
    by_series: dict[Series, list[Source]] = {}
    with duckdb.connect() as database:
        # A time without an offset is UTC, wherever this machine stands.
        database.execute("SET TimeZone = 'UTC'")
        for spec in specs:
            for source in _sources(database, spec):
                by_series.setdefault(source.series, []).append(source)
        return [each for series, sources in by_series.items() for each in _joined(database, series, sources)]


def _sources(database: duckdb.DuckDBPyConnection, spec: str) -> list[Source]:
    said = _SPEC.fullmatch(spec)
    path = Path(said["path"] if said else spec)
    series = _said(spec, said["symbol"], said["interval"]) if said else None
    head = _head(path)
    if head[8:12] == b"DUCK":
        return _store(database, path, series)
    reader = "read_parquet({})" if head[:4] == b"PAR1" else _csv_reader(path, head)
    relation = reader.format(_quoted(Path(glob.escape(str(path)))))
    return [_one_or_all(database, Source(series or _by_name(path), relation, str(path)))]


def _one_or_all(database: duckdb.DuckDBPyConnection, source: Source) -> Source:
    """Of a file of several symbols the one that is named, where it is among them, else all."""
    if "symbol" not in _types(database, source):
        return source
    with _telling(source.name):
        found = database.execute(
            f"SELECT count(DISTINCT symbol), bool_or(upper(symbol) = ?) FROM {source.relation}", [source.series.symbol]
        ).fetchone()
    symbols, is_among = found or (0, None)
    if is_among and symbols > 1:
        return source._replace(
            relation=f"(SELECT * FROM {source.relation} WHERE upper(symbol) = '{source.series.symbol}')"
        )
    if symbols > 1 or source.series.symbol == ALL:
        return source._replace(series=source.series._replace(symbol=ALL), is_market=True)
    return source


def _said(spec: str, symbol: str, interval: str) -> Series:
    """The series that stands before the path."""
    if interval not in INTERVALS:
        raise UsageError(f"{spec}: {interval!r} is no interval; expected one of {' '.join(INTERVALS)}", hint=HINT)
    return Series.of(symbol, interval)


def _head(path: Path) -> bytes:
    """The file's first kilobytes, enough to know what it is."""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError as error:
        reason = error.strerror or error
        raise UsageError(f"{path}: {reason}; expected a Parquet, CSV or DuckDB file", hint=HINT) from error


def _by_name(path: Path) -> Series:
    """`BTCUSDT-1m-2023-07.parquet` holds BTCUSDT 1m."""
    if series := named(path.name).series:
        return series
    raise UsageError(f"{path}: the file name does not tell the series; expected one like BTCUSDT-1h.parquet", hint=HINT)


def _csv_reader(path: Path, head: bytes) -> str:
    """The archive's older files have no header: a first line that begins with a digit is a bar."""
    first = head.split(b"\n", 1)[0].strip()
    if not first[:1].isdigit():
        return "read_csv({}, header = true, all_varchar = true, delim = ',')"
    columns = first.count(b",") + 1
    if columns not in HEADERLESS:
        raise UsageError(f"{path}: a CSV of {columns} columns without a header; expected 12 or 6 columns", hint=HINT)
    return f"read_csv({{}}, header = false, all_varchar = true, delim = ',', names = {list(HEADERLESS[columns])})"


def _store(database: duckdb.DuckDBPyConnection, path: Path, series: Series | None) -> list[Source]:
    """The store's tables; only the one of `series` where it is given."""
    alias = '"' + str(path.resolve()).replace('"', '""') + '"'
    with _telling(str(path)):
        database.execute(f"ATTACH IF NOT EXISTS {_quoted(path)} AS {alias} (READ_ONLY)")
        rows = database.execute(f"SELECT name FROM (SHOW TABLES FROM {alias}) ORDER BY name").fetchall()
    tables = [str(name) for (name,) in rows]
    found = [
        Source(each, f"{alias}.{each.table}", f"{path} ({each.table})") for each in map(named_table, tables) if each
    ]
    wanted = [source for source in found if series in (None, source.series)]
    if not wanted:
        expected = series.table if series else "ohlcv_{symbol}_{interval}"
        raise UsageError(f"{path}: no table {expected}; it has {_cut(tables)}", hint=HINT)
    return wanted


def _joined(database: duckdb.DuckDBPyConnection, series: Series, sources: list[Source]) -> Iterable[Recorded]:
    """All bars of the sources, ascending, each open_time once; of one series, or of a market's every symbol."""
    columns = ", ".join(f"{name} DOUBLE" for name in tuple(NAMES)[1:])
    database.execute(
        "CREATE OR REPLACE TEMP TABLE held "
        f"(source INTEGER, symbol VARCHAR, contract_type VARCHAR, open_time BIGINT, {columns})"
    )
    for number, source in enumerate(sources):
        with _telling(source.name):
            _take(database, number, source)
    _refuse_two_versions(database, series, sources)
    if not sources[0].is_market:
        return [Recorded(series, _fetched(database))]
    return [
        Recorded(series._replace(symbol=symbol), columns, contract)
        for symbol, columns, contract in markets.fetched(database, _believed())
    ]


def _take(database: duckdb.DuckDBPyConnection, number: int, source: Source) -> None:
    """Copy one source's bars, once it is known that every one can be read."""
    values = _expressions(database, source)
    whose = _whose(database, source)
    database.execute(f"INSERT INTO held SELECT {number}, {whose}, {', '.join(values.values())} FROM {source.relation}")
    step_ms = source.series.interval.ms
    good = " AND ".join(f"coalesce(isfinite({name}), false)" for name in NEEDED[1:])
    bad = database.execute(
        f"SELECT count(*), count(*) FILTER (open_time % {step_ms} = 0 AND {good}) FROM held WHERE source = {number}"
    ).fetchone()
    if not bad or not bad[0]:
        raise UsageError(f"{source.name}: no bars; expected at least one", hint=HINT)
    if bad[0] != bad[1]:
        raise UsageError(f"{source.name}: {_first_bad(database, source, values)}", hint=HINT)
    if source.is_market:
        _refuse_bad_symbols(database, number, source)


def _whose(database: duckdb.DuckDBPyConnection, source: Source) -> str:
    """How to read whose a bar is, and what that is: a market's own columns."""
    if not source.is_market:
        return "'', NULL"
    return "upper(symbol), " + ("nullif(contract_type, '')" if "contract_type" in _types(database, source) else "NULL")


def _refuse_bad_symbols(database: duckdb.DuckDBPyConnection, number: int, source: Source) -> None:
    for (symbol,) in database.execute(f"SELECT DISTINCT symbol FROM held WHERE source = {number}").fetchall():
        try:
            Series.of(symbol or "", str(source.series.interval))
        except UsageError as error:
            raise UsageError(f"{source.name}: {error}", hint=HINT) from None


def _expressions(database: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """How to read each of a kline's columns from a source; NaN for one that the source lacks."""
    types = _types(database, source)
    there = {name: next((alias for alias in aliases if alias in types), None) for name, aliases in NAMES.items()}
    lacking = [name for name in NEEDED if there[name] is None]
    if lacking:
        raise UsageError(
            f"{source.name}: no column {', '.join(lacking)}; seen {_cut(types)}, expected {', '.join(NEEDED)}",
            hint=HINT,
        )
    first, *others = ((name, alias) for name, alias in there.items())
    values = {first[0]: _open_time(str(first[1]), types[str(first[1])])}
    return values | {name: _number(alias) for name, alias in others}


def _types(database: duckdb.DuckDBPyConnection, source: Source) -> dict[str, str]:
    """The source's columns, in lower case, and their types."""
    with _telling(source.name):
        described = database.execute(f"DESCRIBE SELECT * FROM {source.relation}").fetchall()
    return {str(name).lower(): str(kind) for name, kind, *_ in described}


def _cut(names: Iterable[str]) -> str:
    """Foreign names, quoted and not endless."""
    return repr(", ".join(names)[:100])


def _open_time(column: str, kind: str) -> str:
    """Milliseconds, from a timestamp, from its text, or from a number of milli- or microseconds."""
    if kind.startswith("TIMESTAMP"):
        return f"epoch_ms({column})"
    number = f"TRY_CAST({column} AS BIGINT)"
    in_ms = f"CASE WHEN {number} > 100000000000000 THEN {number} // 1000 ELSE {number} END"
    return f"coalesce({in_ms}, epoch_ms(TRY_CAST({column} AS TIMESTAMPTZ)))"


def _number(column: str | None) -> str:
    return f"coalesce(TRY_CAST({column} AS DOUBLE), 'nan')" if column else "'nan'::DOUBLE"


def _first_bad(database: duckdb.DuckDBPyConnection, source: Source, values: dict[str, str]) -> str:
    """The first row that is no bar, as text."""
    needed = ", ".join(f"{values[name]} AS {name}" for name in NEEDED)
    broken = " OR ".join(f"NOT isfinite({name})" for name in NEEDED[1:])
    row = database.execute(
        f"SELECT * FROM (SELECT {needed} FROM {source.relation}) "
        f"WHERE open_time IS NULL OR open_time % {source.series.interval.ms} != 0 OR {broken} LIMIT 1"
    ).fetchone()
    open_time_ms, *numbers = row or (None,)
    if open_time_ms is None:
        return "a row without a readable open_time; expected a timestamp or milliseconds"
    if open_time_ms % source.series.interval.ms:
        return f"a bar opens at {grid.text(open_time_ms)}; expected the grid of {source.series.interval}"
    return f"the bar of {grid.text(open_time_ms)} has the values {numbers}; expected finite numbers"


def _refuse_two_versions(database: duckdb.DuckDBPyConnection, series: Series, sources: list[Source]) -> None:
    values = ", ".join(NEEDED[1:])
    database.execute(
        "CREATE OR REPLACE TEMP TABLE twice AS "
        "SELECT symbol, open_time FROM held GROUP BY symbol, open_time HAVING count(*) > 1"
    )
    row = database.execute(
        f"SELECT symbol, open_time, arg_min(source, ({values})), arg_max(source, ({values})), "
        f"min(({values}))::VARCHAR, max(({values}))::VARCHAR FROM held SEMI JOIN twice USING (symbol, open_time) "
        f"GROUP BY symbol, open_time HAVING min(({values})) != max(({values})) ORDER BY open_time, symbol LIMIT 1"
    ).fetchone()
    if row:
        symbol, open_time_ms, first, second, one, other = row
        raise UsageError(
            f"{series._replace(symbol=symbol or series.symbol)}: two versions of the bar "
            f"{grid.text(open_time_ms)}, {one} and {other}, "
            f"in {sources[first].name} and {sources[second].name}; expected the same bar in both",
            hint="leave one of the two out",
        )


def _fetched(database: duckdb.DuckDBPyConnection) -> Columns:
    """The joined bars; where only one source knows the further columns, that one is believed."""
    database.execute(f"SELECT open_time, {_believed()} FROM held GROUP BY open_time ORDER BY open_time")
    columns = Columns.empty()
    while rows := database.fetchmany(CHUNK):
        columns.extend(rows)
    return columns


def _believed() -> str:
    return ", ".join(f"min({name}) AS {name}" for name in tuple(NAMES)[1:])


@contextmanager
def _telling(name: str) -> Iterator[None]:
    """DuckDB's refusal of a source, in our words."""
    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"{name}: {reason!r}; expected a Parquet, CSV or DuckDB file", hint=HINT) from error


def _quoted(path: Path) -> str:
    """A path as an SQL string."""
    return "'" + str(path).replace("'", "''") + "'"
