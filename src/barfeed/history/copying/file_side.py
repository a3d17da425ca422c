"""A DuckDB file as one side of a copy."""

# ruff: noqa: S608 - tables and columns are of our own names only

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import NamedTuple

from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.history.copying.chunk import Chunk
from barfeed.history.copying.content import ALL, Content
from barfeed.history.copying.sides import TABLES, Extent, Rows
from barfeed.store import market, revisions
from barfeed.store.duckdb import Session, Store, transaction
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds import tables as kinds
from barfeed.store.place import alone, held_symbols, rows_of_all
from barfeed.store.postgres.tables import columns, mirror

_OURS = """
SELECT asked.place::INTEGER AS place, epoch_us(timestamp) - {epoch_us} AS timestamp,
       coalesce(epoch_us(created_at) - {epoch_us}, {never_us}) AS created_at, {further}({nulls}) AS nulls, {values}
FROM {rows} AS bar JOIN (SELECT unnest(?::VARCHAR[]) AS symbol, unnest(?::INTEGER[]) AS place) AS asked
  ON asked.symbol = bar.symbol
WHERE timestamp >= make_timestamp_ms(?) AND timestamp < make_timestamp_ms(?)
"""
_SPAN = "SELECT epoch_ms(min(timestamp)), epoch_ms(max(timestamp)) FROM {rows} WHERE isfinite(timestamp)"
# What stands for NULL, which has its bit.
_NULLS = {">f8": "'NaN'::DOUBLE", ">i8": "0"}
_ONCE = "ON CONFLICT (symbol, timestamp) DO NOTHING"


class FileSide:
    """A DuckDB file; what it has of one series alone counts, too."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.name = str(store.path)

    def extents(self) -> list[Extent]:
        """See `Side`."""
        with self._looking() as connection:
            found = [(each, _extent(connection, each)) for each in ALL] if connection else []
        return [Extent(content, *span) for content, span in found if span]

    def chunk(self, content: Content, from_ms: int, to_ms: int) -> Chunk:
        """See `Side`."""
        sent = content.sent
        with self._looking() as connection:
            if connection is None or not (held := _held(connection, content)):
                return Chunk(sent, [], columns.none(sent))
            values = [held.symbols, list(range(len(held.symbols))), from_ms, to_ms]
            found = connection.execute(_ours(held.relation, sent), values).fetchnumpy()
        return Chunk(sent, held.symbols, found).sorted()

    def put_chunk(self, content: Content, rows: Chunk) -> None:
        """See `Side`. Raises `StoreUnusable` for a series that has a table of its own here."""
        with self._store.session(write=True) as connection:
            if content.kind is None:
                self._refuse_alone(connection, content.interval, rows.symbols)
            with transaction(connection):
                relation = _made(connection, content)
                connection.register("copied", rows.columns)
                values = [list(rows.symbols), list(range(len(rows.symbols)))]
                connection.execute(columns.inserting(relation, rows.sent) + _ONCE, values)
            connection.unregister("copied")

    def rows(self, table: str) -> Rows:
        """See `Side`."""
        names, order = TABLES[table]
        with self._looking() as connection:
            if connection is None or not _noted(connection, table).is_there():
                return []
            return connection.execute(f"SELECT {', '.join(names)} FROM store.main.{table} ORDER BY {order}").fetchall()

    def put_rows(self, table: str, rows: Rows) -> None:
        """See `Side`."""
        with self._store.session(write=True) as connection, transaction(connection):
            _noted(connection, table).make()
            mirror.insert(connection, table, TABLES[table][0], rows)

    @contextmanager
    def _looking(self) -> Iterator[Session | None]:
        if not self._store.exists():
            yield None
            return
        with self._store.looking() as connection:
            yield connection

    def _refuse_alone(self, connection: Session, interval: Interval, symbols: Sequence[str]) -> None:
        own = {series.symbol for series in alone(connection) if series.interval is interval}
        if both := sorted(own.intersection(symbols)):
            raise StoreUnusable(
                f"{self.name} has a table of its own for {both[0]} {interval}: no series is kept twice",
                hint="copy into a new file, or move it to the others: barfeed migrate",
            )


class _Held(NamedTuple):
    """The rows of a content in a file, and whose they are."""

    relation: str
    symbols: list[str]


def _held(connection: Session, content: Content) -> _Held | None:
    """What a file has of it; None where that is nothing."""
    if content.kind is None:
        symbols = sorted(held_symbols(connection, content.interval))
        return _Held(rows_of_all(connection, symbols, content.interval), symbols) if symbols else None
    # A table of a user's own may have a kind's name; every command that is asked for the kind says so.
    with suppress(StoreUnusable):
        table = kinds.KindTable(connection, content.kind, content.interval)
        return _Held(table.relation, symbols) if (symbols := table.symbols()) else None
    return None


def _extent(connection: Session, content: Content) -> tuple[int, int] | None:
    if not (held := _held(connection, content)):
        return None
    first_ms, last_ms = connection.execute(_SPAN.format(rows=held.relation)).fetchall()[0]
    return None if first_ms is None else (first_ms, last_ms)


def _made(connection: Session, content: Content) -> str:
    """The table of a content in a file, made where there is none."""
    if content.kind:
        kind = kinds.KindTable(connection, content.kind, content.interval)
        kind.make()
        return kind.relation
    bars = market.MarketTable(connection, content.interval)
    bars.append({})
    return bars.relation


def _ours(relation: str, sent: columns.Sent) -> str:
    """The statement that reads a chunk of it, as a database sends it."""
    names = columns.value_names(sent)
    values = [f"coalesce({each}, {_NULLS[sent[each][1]]}) AS {each}" for each in names]
    further = f"epoch_us(known_at) - {columns.EPOCH_US} AS known_at, " if "known_at" in sent else ""
    return _OURS.format(
        rows=relation, epoch_us=columns.EPOCH_US, never_us=columns.NEVER_US, further=further, values=", ".join(values),
        nulls=columns.null_bits(names),
    )  # fmt: skip


class _Noted(NamedTuple):
    """One of `TABLES` in a file: whether it is there, and what makes it where it is not."""

    is_there: Callable[[], bool]
    make: Callable[[], None]


def _noted(connection: Session, table: str) -> _Noted:
    bars = market.MarketTable(connection, Interval.ONE_HOUR)
    return {
        revisions.TABLE: _Noted(partial(revisions.is_there, connection), partial(revisions.make_table, connection)),
        kind_revisions.TABLE: _Noted(
            partial(kind_revisions.is_there, connection), partial(kind_revisions.make_table, connection)
        ),
        kinds.LATE: _Noted(partial(kinds.has_late, connection), partial(kinds.make_late, connection)),
        market.MEMBERSHIP: _Noted(bars.has_membership, bars.make_membership),
        market.EXCHANGE_GAPS: _Noted(bars.has_gaps, bars.make_gaps),
    }[table]
