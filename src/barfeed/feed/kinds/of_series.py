"""The kinds of one series, behind its bars, and its wide table."""

from barfeed.artifacts.writing import Run
from barfeed.domain import grid
from barfeed.domain.bars import Pull
from barfeed.domain.kinds.plan import Subject
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import OneByOne
from barfeed.feed.kinds.features import Windows, publish
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.left import KindsLeft
from barfeed.feed.kinds.order import Moment
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import Record


def gathered(
    feed: Feed, order: Order, talk: Conversation, record: Record, run: Run, *, pulled: Pull | None, is_well: bool
) -> KindsLeft | None:
    """How every kind of the series was left, behind a cycle that pulled these bars; None where there is none to ask."""
    if feed.kinds is None or record.target_ms is None:
        return None
    symbol, interval = order.series

    def pulls(_symbols: object) -> dict[str, Pull]:
        return {symbol: pulled} if pulled else {}

    ask = OneByOne(talk.rest.transport, feed.clock)
    moment = Moment(interval, talk, ask, pulls, run.save_kinds, run_time=record.run_time or "")
    return feed.kinds.gather(moment, [Subject(order.series, record.target_ms, is_well)])


def publish_window(kinds: Kinds, run: Run, order: Order, talk: Conversation, record: Record) -> None:
    """Write the wide table of the window that this cycle has published, if it has, and the store has all of it."""
    left, window, target_ms = record.kinds, record.inference, record.target_ms
    if left is None or window is None or target_ms is None or record.pending or record.away:
        return
    symbol, interval = order.series
    begins_ms = {symbol: grid.window_start(target_ms, window.rows, interval.ms)}
    newest_ms = grid.last_closed(talk.now_ms, interval.ms)
    publish(kinds, run, Windows(interval, begins_ms, target_ms, newest_ms), record, left)
