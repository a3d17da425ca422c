"""What is noted beside bars and kinds, put into a store: changes, listings, gaps of the exchange's, late rows."""

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.kind import Kind
from barfeed.domain.kinds.table import KINDS
from barfeed.domain.life import Listing
from barfeed.store import market, revisions
from barfeed.store.kinds import revisions as kind_revisions
from barfeed.store.kinds.tables import Late, writing
from store.lake.lakes import END_MS, StoreAndLake
from world import hours

ONE_HOUR = Interval.ONE_HOUR
FUNDING, INTEREST = KINDS["funding"], KINDS["open_interest"]
TABLES = ("ohlcv_revisions", "kinds_revisions", "kinds_late", "symbols", "exchange_gaps")


def revise(both: StoreAndLake, symbol: str, hours_ago: int, by: float = 1.0) -> None:
    """Put another volume in place of a bar's of a market."""
    at_ms = END_MS - hours(hours_ago)
    with market.writing(both.store, ONE_HOUR) as table:
        bar = table.bars({symbol: at_ms})[symbol][0]
        change = Change(bar, bar._replace(volume=bar.volume + by))
        why = revisions.Why(at_ms, "the exchange says otherwise", "repair 1")
        assert table.revise(symbol, [change], why) == 1


def revise_kind(both: StoreAndLake, kind: Kind, symbol: str, hours_ago: int) -> None:
    """Put another first value in place of a row's."""
    at_ms = END_MS - hours(hours_ago)
    with writing(both.store, kind, ONE_HOUR) as table:
        [old] = table.between(symbol, at_ms, at_ms)
        new = old._replace(values=((old.values[0] or 0.0) + 1.0, *old.values[1:]))
        change = kind_revisions.Change(symbol, old, new)
        why = kind_revisions.Why(at_ms, "the exchange says otherwise", "repair 1")
        assert kind_revisions.revise(table.connection, kind, ONE_HOUR, [change], why) == [change]


def let_pass(both: StoreAndLake, bar: Bar) -> None:
    """Let a bar of a series alone pass as it is."""
    with both.store.session(write=True) as connection:
        why = revisions.Why(bar.open_time_ms, "as the exchange has it", f"{revisions.WAIVER} 1")
        revisions.note_let_pass(connection, Series.of("ADAUSDT", "1h"), bar, why)


def note_others(both: StoreAndLake, seen_at_ms: int = END_MS) -> None:
    """A listing, a gap of the exchange's own, and a row that is late."""
    with market.writing(both.store, ONE_HOUR) as table:
        for status in ("TRADING", "SETTLING"):
            listing = Listing("BTCUSDT", status, "PERPETUAL", END_MS - hours(9000), None, "USDT", 0.1)
            table.note_membership([listing], seen_at_ms)
            seen_at_ms += hours(24 * 30)
        gap = Gap(END_MS - hours(90), END_MS - hours(89), 2)
        table.note_exchange_gaps([("ETHUSDT", gap)], seen_at_ms)
    with writing(both.store, INTEREST, ONE_HOUR) as rows:
        rows.note_late([Late("BTCUSDT", END_MS - hours(1), END_MS)], seen_at_ms)
