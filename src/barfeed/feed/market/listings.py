"""What the exchange lists, noted whenever it is another than before, and told."""

import logging
from collections.abc import Mapping

from barfeed.domain.life import Listing
from barfeed.domain.market import membership
from barfeed.domain.market.membership import Event
from barfeed.exchange.rest import Conversation
from barfeed.exchange.wire import ExchangeInfo
from barfeed.feed.market.order import MarketOrder
from barfeed.feed.order import Feed
from barfeed.store.port.history import MarketBars

_log = logging.getLogger(__name__)


def relist(feed: Feed, order: MarketOrder, talk: Conversation) -> ExchangeInfo:
    """What the exchange lists now; what is another than before is noted, and told.

    Raises `ExchangeUnavailable`, `ExchangeRefused`, `ContractBroken`, `StoreUnusable`.
    """
    talk.ask_time()
    info = talk.exchange_info()
    if not order.dry_run:
        with feed.store.writing_market(order.interval) as table:
            events = noted(table, order, info.listings, talk.now_ms)
        for each in events:
            _log.warning("%s", each)
    return info


def noted(table: MarketBars, order: MarketOrder, listed: Mapping[str, Listing], now_ms: int) -> list[Event]:
    """Note what is listed otherwise than before; what that means to who feeds it."""
    before = membership.latest(table.membership())
    changed = membership.changes(before, listed)
    if not order.dry_run:
        table.note_membership(changed, now_ms)
    return membership.events(before, [each for each in changed if order.selection.includes(each.symbol)])
