"""A span of many series as one file, sorted by symbol and time: as it is, or as the market and the store once were."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.market.selection import Selection
from barfeed.history.export import Target, check_name, check_span, no_bar, written
from barfeed.history.market.universe import universe
from barfeed.history.reading.span import relation
from barfeed.history.reading.wide import Beside, table_of
from barfeed.store.duckdb import Session
from barfeed.store.place import Span, alone
from barfeed.store.port.whole import WholeHistory
from barfeed.store.troubles.disk import bounded

_COUNT = """
SELECT symbol, count(*), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)), count(*) FILTER (NOT is_known)
FROM {span} GROUP BY symbol ORDER BY symbol
"""
_GAPS = """
SELECT count(*) FROM (
  SELECT epoch_ms(timestamp) - epoch_ms(lag(timestamp) OVER (PARTITION BY symbol ORDER BY timestamp)) AS apart
  FROM {span}
) WHERE apart > {step_ms}
"""


class Wanted(NamedTuple):
    """What to export: bars of these symbols that open in `[from_ms, to_ms)`, as market and store stood at `as_of_ms`.

    In ms since 1970-01-01 UTC; None is without bound, or now. With `plain_decimals` no number of a CSV has an exponent.
    `kinds` stand beside the bars, as the wide table has them; None where the bars are meant alone.
    """

    selection: Selection
    interval: Interval
    from_ms: int | None = None
    to_ms: int | None = None
    as_of_ms: int | None = None
    plain_decimals: bool = False
    kinds: Beside = None


class Exported(NamedTuple):
    """What was exported: bars of so many series, their first and last open_time in ms, in how many places bars lack.

    `unknown` is of how many bars it is not stored when they were appended, told only as of a moment; `without` the
    symbols that were meant and have no such bar; `absent` the kinds that were asked for, and nothing is stored of.
    """

    file: Path
    series: int
    bars: int
    first_ms: int
    last_ms: int
    gaps: int
    without: tuple[str, ...]
    unknown: int | None = None
    absent: tuple[str, ...] = ()


class _Counted(NamedTuple):
    symbol: str
    bars: int
    first_ms: int
    last_ms: int
    unknown: int


def export(store: WholeHistory, wanted: Wanted, path: Path) -> Exported:
    """Write the bars to `path`, sorted by symbol, then time; a file that is there is replaced in one step.

    Columns are `symbol` and those of one series. Raises as the export of one series, and `StoreEmpty` also where
    nobody knows what was listed then.
    """
    check_name(path, plain_decimals=wanted.plain_decimals)
    check_span(wanted.from_ms, wanted.to_ms)
    store.expect_there()
    return written(path, lambda target: _copied(store, wanted, target), plain_decimals=wanted.plain_decimals)


def _copied(store: WholeHistory, wanted: Wanted, target: Target) -> Exported:
    symbols = universe(store, wanted.interval, wanted.selection, wanted.as_of_ms)
    if not symbols:
        raise no_bar(store, f"market {wanted.interval}", wanted.from_ms, wanted.to_ms, wanted.as_of_ms)
    # Bounded before it is looked at: what is copied of a database goes by way of the disk, too.
    span = _span(wanted, symbols)
    with bounded(store.beside(), target.unfinished), store.looking_at(span, wanted.kinds) as connection:
        _refuse_misshapen(store, connection, symbols, wanted.interval)
        counted = _counted(connection, wanted, symbols)
        if not counted:
            raise no_bar(store, f"market {wanted.interval}", wanted.from_ms, wanted.to_ms, wanted.as_of_ms)
        held = [each.symbol for each in counted]
        table = table_of(connection, _span(wanted, held), wanted.kinds, store.name)
        target.write(connection, table.relation, ("symbol", "timestamp", *table.values))
        exported = Exported(
            target.path,
            series=len(held),
            bars=sum(each.bars for each in counted),
            first_ms=min(each.first_ms for each in counted),
            last_ms=max(each.last_ms for each in counted),
            gaps=_gaps(connection, wanted, counted),
            without=tuple(each for each in symbols if each not in held),
            absent=table.absent,
        )
        is_told = wanted.as_of_ms is not None
        return exported._replace(unknown=sum(each.unknown for each in counted)) if is_told else exported


def _refuse_misshapen(store: WholeHistory, connection: Session, symbols: Sequence[str], interval: Interval) -> None:
    """Raises `StoreUnusable` where one of them has a table of its own that cannot be read as bars."""
    for series in alone(connection):
        if series.interval is interval and series.symbol in symbols:
            store.table(connection, series)


def _span(wanted: Wanted, symbols: Sequence[str]) -> Span:
    return Span(tuple(symbols), wanted.interval, wanted.from_ms, wanted.to_ms, wanted.as_of_ms)


def _counted(connection: Session, wanted: Wanted, symbols: Sequence[str]) -> list[_Counted]:
    span = relation(connection, _span(wanted, symbols))
    return [_Counted(*row) for row in connection.execute(_COUNT.format(span=span)).fetchall()]


def _gaps(connection: Session, wanted: Wanted, counted: Sequence[_Counted]) -> int:
    """In how many places bars are missing; only those are looked at that have fewer than their span."""
    step_ms = wanted.interval.ms
    torn = [each.symbol for each in counted if each.bars <= (each.last_ms - each.first_ms) // step_ms]
    if not torn:
        return 0
    span = relation(connection, _span(wanted, torn))
    return int(connection.execute(_GAPS.format(span=span, step_ms=step_ms)).fetchall()[0][0])
