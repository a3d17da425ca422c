"""Which symbols of a store are meant: those that it holds, or those that were listed at a moment."""

from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.market import membership
from barfeed.domain.market.selection import Selection
from barfeed.store.port.history import History


def universe(store: History, interval: Interval, selection: Selection, as_of_ms: int | None = None) -> list[str]:
    """The symbols that are meant, sorted, each name whether anything is known of it or not.

    A pattern means all that the store holds, or as of a moment (ms) the perpetuals that traded by what was listed then:
    those that are gone since are among them. Raises `StoreEmpty` where nothing is known of that moment.
    """
    with store.reading_market(interval) as table:
        if as_of_ms is None:
            return sorted({*selection.of_list({}), *filter(selection.includes, table.symbols())})
        seen = table.membership()
    listed = membership.latest(seen, as_of_ms)
    if selection.patterns and not listed:
        begin = f"before {grid.timestamp(seen[0].seen_at_ms // 1000 * 1000)}" if seen else "yet"
        raise StoreEmpty(
            f"market {interval}: what was listed at {grid.text(as_of_ms)} is not known: no list was noted {begin}",
            hint="name the symbols, or take a later moment",
        )
    return selection.of_list(listed)
