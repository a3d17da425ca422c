"""The kinds of one series, behind its bars."""

from barfeed.domain.bars import Pull
from barfeed.domain.kinds.plan import Subject
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import OneByOne
from barfeed.feed.kinds.gathering import Moment
from barfeed.feed.kinds.left import KindsLeft
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import Record


def gathered(
    feed: Feed, order: Order, talk: Conversation, record: Record, pulled: Pull | None, *, is_well: bool
) -> KindsLeft | None:
    """How every kind of the series was left, behind a cycle that pulled these bars; None where there is none to ask."""
    if feed.kinds is None or record.target_ms is None:
        return None
    symbol, interval = order.series

    def pulls(_symbols: object) -> dict[str, Pull]:
        return {symbol: pulled} if pulled else {}

    moment = Moment(interval, talk, OneByOne(talk.rest.transport, feed.clock), pulls)
    return feed.kinds.gather(moment, [Subject(order.series, record.target_ms, is_well)])
