"""The kinds of a market's series, behind their bars, and their wide table."""

from collections.abc import Iterable

from barfeed.artifacts.writing import Run
from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.kinds.plan import Subject
from barfeed.domain.market.members import Member
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll
from barfeed.feed.kinds.features import Windows, publish
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.left import KindsLeft
from barfeed.feed.kinds.order import Moment, PullsOf
from barfeed.feed.market.order import MarketOrder
from barfeed.feed.market.record import MarketRecord

# By then the pass is over, and the next bar finds nobody busy.
_BEFORE_CLOSE_MS = 1000


def gathered(
    kinds: Kinds,
    due: Iterable[Member],
    record: MarketRecord,
    run: Run,
    *,
    talk: Conversation,
    ask: AskAll,
    pulls: PullsOf,
    within: Interval | None,
) -> KindsLeft:
    """How every kind of these series was left; what is quiet is nobody's trouble in any kind.

    `within`: limits are waited for until the next bar of this interval closes, and not at all while a series of this
    one lacks its bar; None where they are waited out.
    """
    told = [(each, record.outcomes[each.symbol]) for each in due]
    subjects = [
        Subject(each.asked.series, each.asked.target_ms, is_well=not outcome.failure)
        for each, outcome in told
        if not outcome.quiet
    ]
    until_ms = None
    if within is not None:
        now_ms = talk.now_ms
        until_ms = now_ms if record.troubles else grid.floor(now_ms, within.ms) + within.ms - _BEFORE_CLOSE_MS
    moment = Moment(record.interval, talk, ask, pulls, run.save_kinds, until_ms, record.run_time or "")
    return kinds.gather(moment, subjects)


def publish_windows(kinds: Kinds, run: Run, order: MarketOrder, talk: Conversation, record: MarketRecord) -> None:
    """Write the wide table of the windows that this pass gives to its models, where the store has all of them."""
    if record.kinds is None or record.target_ms is None or record.pending or record.away:
        return
    newest_ms = grid.last_closed(talk.now_ms, order.interval.ms)
    windows = Windows(
        order.interval, record.begins_ms, record.target_ms, newest_ms, order.csv_for, record.features_before
    )
    publish(kinds, run, windows, record, record.kinds)
