"""The wide table of a span: which kinds stand beside the bars."""

from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.kinds.kind import Kind
from barfeed.history.reading.span import relation
from barfeed.store.duckdb import Session
from barfeed.store.kinds.wide import WideTable, stored, wide_table
from barfeed.store.place import Span

# Which kinds are meant: none of them, for the bars alone; or these; or, of no name, all that are stored.
Beside = tuple[Kind, ...] | None


def table_of(connection: Session, span: Span, kinds: Beside, store: object) -> WideTable:
    """The bars of a span, and what stands beside them. Raises `StoreEmpty` where no kind is stored, or `StoreUnusable`.

    `store` is what messages call it.
    """
    bars = relation(connection, span)
    if kinds is None:
        return WideTable(bars, VALUE_COLUMNS, ())
    return wide_table(connection, bars, kinds or every_kind(connection, span.interval, store), span)


def every_kind(connection: Session, interval: Interval, store: object) -> tuple[Kind, ...]:
    """The kinds that are stored; `StoreEmpty` where there is none."""
    return any_of(stored(connection, interval), interval, store)


def any_of(found: tuple[Kind, ...], interval: Interval, store: object) -> tuple[Kind, ...]:
    """The same; `StoreEmpty` where there is none."""
    if not found:
        raise StoreEmpty(
            f"{store} holds no kind of series beside the bars of {interval}",
            hint="feed them with barfeed run --kinds; which there are: docs/kinds.md",
        )
    return found
