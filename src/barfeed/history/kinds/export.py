"""The rows of one kind as one file: as the store has them, sorted by symbol and time."""

from pathlib import Path
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.market.selection import Selection
from barfeed.history.export import Target, check_name, check_span, written
from barfeed.store.place import Span
from barfeed.store.port.whole import WholeHistory

_COUNT = "SELECT count(*), count(DISTINCT symbol), epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {rows}"


class Wanted(NamedTuple):
    """What to export: the rows of a kind and of these symbols whose `timestamp` is in `[from_ms, to_ms)`, in ms.

    None is without bound. With `plain_decimals` no number of a CSV has an exponent.
    """

    kind: Kind
    interval: Interval
    selection: Selection
    from_ms: int | None = None
    to_ms: int | None = None
    plain_decimals: bool = False


class Exported(NamedTuple):
    """What was exported: rows of so many series, their first and last `timestamp` in ms."""

    file: Path
    rows: int
    series: int
    first_ms: int
    last_ms: int


def export(store: WholeHistory, wanted: Wanted, path: Path) -> Exported:
    """Write the rows to `path`; a file that is there is replaced in one step.

    Columns: symbol, timestamp, known_at, those of the kind, created_at; all times are UTC. Raises as the export of
    bars does.
    """
    check_name(path, plain_decimals=wanted.plain_decimals)
    check_span(wanted.from_ms, wanted.to_ms)
    store.expect_there()
    return written(path, lambda target: _copied(store, wanted, target), plain_decimals=wanted.plain_decimals)


def _copied(store: WholeHistory, wanted: Wanted, target: Target) -> Exported:
    kind, interval = wanted.kind, wanted.interval
    with store.kinds.reading(kind, interval) as table:
        symbols = [each for each in table.symbols() if wanted.selection.includes(each)]
    span = Span(tuple(symbols), interval, wanted.from_ms, wanted.to_ms)
    with store.kinds.looking_at(kind, span) as connection:
        rows = _relation(wanted, symbols)
        counted = connection.execute(_COUNT.format(rows=rows)).fetchone() if symbols else None
        if not counted or not counted[0]:
            what = f"row of {kind.name} {interval} of these series{_span(wanted)}"
            raise StoreEmpty(
                f"{store.name} holds no {what}; nothing was written",
                hint="barfeed run --kinds feeds it, barfeed backfill --kinds fills in its history",
            )
        target.write(connection, rows, ("symbol", "timestamp", "known_at", *kind.names, "created_at"))
    return Exported(target.path, *counted)


def _relation(wanted: Wanted, symbols: list[str]) -> str:
    bounds = [("timestamp >=", wanted.from_ms), ("timestamp <", wanted.to_ms)]
    conditions = [f"symbol IN ({', '.join(repr(each) for each in symbols) or 'NULL'})"]
    conditions += [f"{compared} make_timestamp_ms({at_ms})" for compared, at_ms in bounds if at_ms is not None]
    return f"(FROM store.main.{wanted.kind.table(wanted.interval)} WHERE {' AND '.join(conditions)})"


def _span(wanted: Wanted) -> str:
    if wanted.from_ms is None and wanted.to_ms is None:
        return ""
    from_, to = (None if ms is None else grid.text(ms) for ms in (wanted.from_ms, wanted.to_ms))
    return f" from {from_ or 'its beginning'} to before {to or 'its end'}"
