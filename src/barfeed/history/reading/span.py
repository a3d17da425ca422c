"""Which stored bars are meant, and the relation of them: for `barfeed export` and for whoever reads in Python."""

# ruff: noqa: S608 - tables and columns are of our own names, a symbol is letters, digits and '_'

from barfeed.domain import grid
from barfeed.domain.bars import COLUMNS
from barfeed.store.duckdb import Session
from barfeed.store.place import Span, rows_of_all
from barfeed.store.revisions import as_of_query

SYMBOL_COLUMNS = ("symbol", *COLUMNS)


def relation(connection: Session, span: Span) -> str:
    """The bars in no order, as `SYMBOL_COLUMNS` and `is_known`: whether it is stored when each was appended.

    What is not known is only told as of a moment. Raises `StoreUnusable` where the revisions cannot be read.
    """
    columns = ", ".join(SYMBOL_COLUMNS)
    bars = f"SELECT {columns}, true AS is_known FROM {rows_of_all(connection, span.symbols, span.interval)}"
    if span.as_of_ms is not None:
        bars = as_of_query(connection, span.symbols, span.interval, span.as_of_ms)
    return f"(SELECT {columns}, is_known FROM ({bars}) WHERE {within(span)})"


def within(span: Span) -> str:
    """Which bars open in the span, as a condition."""
    bounds = [(">=", span.from_ms), ("<", span.to_ms)]
    kept = [f"timestamp {sign} make_timestamp_ms({ms})" for sign, ms in bounds if ms is not None]
    # A row without a moment is no bar; `barfeed verify` finds it.
    return " AND ".join(["isfinite(timestamp)", *kept])


def days_of(span: Span) -> tuple[str | None, str | None]:
    """The first and the last UTC day that can hold any of it, `2026-11-26`; None is without bound."""
    first, last = (None if ms is None else grid.timestamp(ms)[:10] for ms in (span.from_ms, span.to_ms))
    return first, last
