"""Where a kind that the exchange forgets has no row beside a bar."""

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.kinds.holes import Hole, Holes, remembered_from_ms
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.store.duckdb import Session, Store
from barfeed.store.kinds.tables import KindTable
from barfeed.store.place import held_symbols, rows_of_all

# A bar stands for what there should be: what is settled or halted has none. Nothing is due before a kind's first row.
_HOLES = """
SELECT bar.symbol, count(*), epoch_ms(min(bar.timestamp))
FROM {bars} AS bar
JOIN (SELECT symbol, min(timestamp) AS begins FROM {table} GROUP BY symbol) AS own ON own.symbol = bar.symbol
ANTI JOIN {table} AS held ON held.symbol = bar.symbol AND held.timestamp = bar.timestamp
WHERE bar.timestamp >= own.begins
  AND bar.timestamp BETWEEN make_timestamp_ms(?) AND make_timestamp_ms(?)
GROUP BY bar.symbol ORDER BY bar.symbol
"""


def holes(store: Store, interval: Interval, now_ms: int) -> list[Holes]:
    """What is missing at `now_ms` of each kind that the exchange forgets; nothing where nothing is.

    Raises `StoreUnusable`.
    """
    if not store.exists():
        return []
    with store.session(write=False) as connection:
        found = [
            Holes(kind, interval, _of(connection, kind, interval, now_ms))
            for kind in KINDS.values()
            if kind.remembered_ms is not None and interval in kind.intervals
        ]
    return [each for each in found if each.holes]


def _of(connection: Session, kind: Kind, interval: Interval, now_ms: int) -> tuple[Hole, ...]:
    try:
        is_there = KindTable(connection, kind, interval).exists
    except StoreUnusable:
        # Another's table, which is told where it is used: it says nothing of the other kinds.
        is_there = False
    if not is_there:
        return ()
    bars = rows_of_all(connection, sorted(held_symbols(connection, interval)), interval)
    statement = _HOLES.format(bars=bars, table=f"store.main.{kind.table(interval)}")
    bounds = [remembered_from_ms(kind, interval, now_ms), kind.newest_due_ms(now_ms, interval)]
    return tuple(Hole(*row) for row in connection.execute(statement, bounds).fetchall())
