"""A market out of DuckDB: each symbol's klines as columns, how fine its numbers are, and when its tick changed."""

# ruff: noqa: S608 - tables and columns are named here

from array import array
from collections.abc import Iterator

import duckdb

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.tapes.klines import UNKNOWN, Columns, Contract, Decimals, Kline

# More than the exchange has of any symbol.
DECIMALS_MAX = 12
DAY_MS = 24 * HOUR_MS
# Prices that do not need their last decimal for so long have a coarser tick.
WEEK_MS = 7 * DAY_MS

Fetched = tuple[str, Columns, Contract]


def fetched(database: duckdb.DuckDBPyConnection, values: str) -> Iterator[Fetched]:
    """Every symbol of the table `held`, its bars ascending, each once.

    `values` makes one of the versions of a bar that is there, by the table `twice`, more than once.
    """
    _sort(database, values)
    contracts = _contracts(database)
    counts = database.execute("SELECT symbol, count(*) FROM market GROUP BY symbol ORDER BY symbol").fetchall()
    told = _told(database)
    database.execute(f"SELECT {', '.join(('open_time', *told))} FROM market ORDER BY symbol, open_time")
    for symbol, count in counts:
        # Every value becomes an object on its way: what nobody tells is not asked for.
        open_times, *values_told = zip(*database.fetchmany(count), strict=True)
        columns = dict(zip(told, values_told, strict=True))
        unknown = array("d", [UNKNOWN]) * count
        arrays = tuple(array("d", columns[name]) if name in columns else unknown for name in Kline._fields[1:])
        yield symbol, Columns(array("q", open_times), arrays), contracts[symbol]


def _told(database: duckdb.DuckDBPyConnection) -> list[str]:
    """The columns, beside the time, that some source has a value of."""
    names = Kline._fields[1:]
    found = database.execute(f"SELECT {', '.join(f'bool_or(NOT isnan({name}))' for name in names)} FROM market")
    return [name for name, is_told in zip(names, found.fetchone() or (), strict=True) if is_told]


def _sort(database: duckdb.DuckDBPyConnection, values: str) -> None:
    exact = " ".join(f"WHEN round(x * 1e{n}) / 1e{n} = x THEN {n}" for n in range(DECIMALS_MAX))
    database.execute(
        f"CREATE OR REPLACE TEMP MACRO decimals(x) AS CASE WHEN isnan(x) THEN 0 {exact} ELSE {DECIMALS_MAX} END"
    )
    database.execute(
        "CREATE OR REPLACE TEMP TABLE market AS SELECT *, "
        "greatest(decimals(open), decimals(high), decimals(low), decimals(close)) AS price_decimals "
        "FROM (SELECT * EXCLUDE (source, contract_type) FROM held ANTI JOIN twice USING (symbol, open_time) UNION ALL "
        f"SELECT symbol, open_time, {values} FROM held SEMI JOIN twice USING (symbol, open_time) GROUP BY ALL) "
        "ORDER BY symbol, open_time"
    )


def _contracts(database: duckdb.DuckDBPyConnection) -> dict[str, Contract]:
    """What each symbol is listed as."""
    types = dict(database.execute("SELECT symbol, max(contract_type) FROM held GROUP BY symbol").fetchall())
    ticks = _ticks(database)
    finest = database.execute(
        "SELECT symbol, max(price_decimals), max(greatest(decimals(volume), decimals(taker_volume))), "
        "max(greatest(decimals(quote_volume), decimals(taker_quote_volume))) FROM market GROUP BY symbol"
    ).fetchall()
    return {
        symbol: Contract(Decimals(price, volume, max(price + volume, quote)), ticks.get(symbol, ()), types[symbol])
        for symbol, price, volume, quote in finest
    }


def _ticks(database: duckdb.DuckDBPyConnection) -> dict[str, list[tuple[int, int]]]:
    """The moments from which prices have so many decimals, of every symbol that changed its tick.

    A finer tick is seen at its first price, a coarser one after the last that it cannot give; the bars of the first day
    and those of the last are judged as one, for the prices of a single bar may all end in a zero.
    """
    changes = database.execute(f"""
        WITH changing AS (
            SELECT symbol FROM (SELECT symbol, max(price_decimals) AS finest FROM market
                                GROUP BY symbol, open_time // {DAY_MS})
            GROUP BY symbol HAVING min(finest) != max(finest)
        ), bars AS (
            SELECT symbol, open_time, price_decimals,
                min(open_time) OVER symbols AS first, max(open_time) OVER symbols AS last
            FROM market SEMI JOIN changing USING (symbol) WINDOW symbols AS (PARTITION BY symbol)
        ), judged AS (
            SELECT *, max(price_decimals) FILTER (open_time < first + {DAY_MS}) OVER symbols AS first_day,
                max(price_decimals) FILTER (open_time > last - {DAY_MS}) OVER symbols AS last_day
            FROM bars WINDOW symbols AS (PARTITION BY symbol)
        ), ticks AS (
            SELECT symbol, open_time, least(
                greatest(max(price_decimals) OVER before, CASE WHEN open_time < first + {DAY_MS} THEN first_day END),
                greatest(max(price_decimals) OVER after, CASE WHEN open_time > last - {DAY_MS} THEN last_day END)
            ) AS tick FROM judged
            WINDOW before AS (PARTITION BY symbol ORDER BY open_time RANGE BETWEEN {WEEK_MS} PRECEDING AND CURRENT ROW),
                after AS (PARTITION BY symbol ORDER BY open_time RANGE BETWEEN CURRENT ROW AND {WEEK_MS} FOLLOWING)
        ), compared AS (
            SELECT *, lag(tick) OVER (PARTITION BY symbol ORDER BY open_time) AS past FROM ticks
        )
        SELECT symbol, open_time, tick FROM compared WHERE tick IS DISTINCT FROM past ORDER BY symbol, open_time
    """).fetchall()
    ticks: dict[str, list[tuple[int, int]]] = {}
    for symbol, open_time_ms, decimals in changes:
        ticks.setdefault(symbol, []).append((open_time_ms, decimals))
    return ticks
