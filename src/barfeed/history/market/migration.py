"""Series moved from tables of their own into the market's, and back: all of them in one transaction, or none."""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.domain.market.selection import Selection
from barfeed.store import market
from barfeed.store.duckdb import Session, Store, transaction
from barfeed.store.own import moving
from barfeed.store.place import alone, markets, own


class Migration(NamedTuple):
    """What is to be moved: the symbols, at these intervals, all where there are none; `is_apart`: out of the market."""

    selection: Selection
    intervals: tuple[Interval, ...]
    is_apart: bool
    dry_run: bool

    def means(self, series: Series) -> bool:
        """Whether it is one of them."""
        return self.selection.includes(series.symbol) and (not self.intervals or series.interval in self.intervals)


class Moved(NamedTuple):
    """A series that was moved, or would be, and how many bars it has."""

    series: Series
    bars: int


class Misfit(NamedTuple):
    """A series that cannot be moved as it is, and why."""

    series: Series
    why: str


def migrate(store: Store, asked: Migration) -> tuple[list[Moved], list[Misfit]]:
    """Move what is meant, or say what does not fit: then nothing is moved. Raises `StoreUnusable`."""
    store.expect_file()
    with store.session(write=not asked.dry_run) as connection:
        found = _found(connection, asked)
        misfits = [] if asked.is_apart else _misfits(connection, found)
        places = [own(each) if not asked.is_apart else moving.in_market_of(each) for each in found]
        moved = [Moved(each, moving.rows_in(connection, place)) for each, place in zip(found, places, strict=True)]
        if not (misfits or asked.dry_run):
            _move(connection, found, is_apart=asked.is_apart)
    return moved, misfits


def _found(connection: Session, asked: Migration) -> list[Series]:
    """The series that are meant, by interval, then symbol."""
    if asked.is_apart:
        stored = [series for each in markets(connection) for series in moving.held(connection, each)]
    else:
        stored = alone(connection)
    meant = [series for series in stored if asked.means(series)]
    return sorted(meant, key=lambda each: (each.interval.ms, each.symbol))


def _misfits(connection: Session, found: Sequence[Series]) -> list[Misfit]:
    misfits = [Misfit(each, moving.misfit(connection, each)) for each in found]
    return [each for each in misfits if each.why]


def _move(connection: Session, found: Sequence[Series], *, is_apart: bool) -> None:
    tables = {each: market.MarketTable(connection, each) for each in {series.interval for series in found}}
    with transaction(connection):
        for series in found:
            if is_apart:
                moving.into_own(connection, series)
                continue
            if not tables[series.interval].exists:
                tables[series.interval].append({})
            moving.into_market(connection, series)


def refused(misfits: Sequence[Misfit]) -> StoreUnusable:
    """What there is to say of what does not fit."""
    first = misfits[0]
    more = f"; and {len(misfits) - 1} more tables" if len(misfits) > 1 else ""
    without = ",".join(f"!{each.series.symbol}" for each in misfits)
    return StoreUnusable(
        f"{first.series}: {first.series.table} does not fit into the market's table: {first.why}{more}",
        hint=f"nothing was moved; leave it where it is: --symbols 'all,{without}'",
    )
