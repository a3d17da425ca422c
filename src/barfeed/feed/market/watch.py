"""When to run a market's passes: as soon as a bar is due by the exchange's clock, interval by interval, for ever.

A pass after one that failed, over the same bar, asks only for the series that failed, and publishes what comes of it.
"""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn

from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.steps import AskAll
from barfeed.feed.market.one_pass import record_of, run_pass
from barfeed.feed.market.order import Market
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.watch import LeftAlone, Pace, Timing, Watcher

# So many troubles of a pass are logged, the worst; its manifest has all.
_LOGGED_MAX = 20

Tell = Callable[[Market, MarketRecord, Conversation], None]

_log = logging.getLogger(__name__)


def watch_market(markets: Sequence[Market], rest: Rest, ask: AskAll, pace: Pace, tell: Tell) -> NoReturn:
    """Run passes for ever; `tell` gets the record of each. Ends only by what a signal handler raises."""
    # What is said to this address is said to all of them.
    alone = LeftAlone()
    looks = [
        _Looks(Watcher(_Passes(each, ask), rest, pace, partial(tell, each), alone), rest.clock.steady_sec())
        for each in markets
    ]
    while True:
        for each in looks:
            each.look_if_it_is_time(rest.clock.steady_sec)
        rest.clock.sleep(min(each.next_sec for each in looks) - rest.clock.steady_sec())


class _Looks:
    """One interval's looks: its watcher, and when the next is, by the steady clock."""

    def __init__(self, watcher: Watcher[MarketRecord], next_sec: float) -> None:
        self._watcher = watcher
        self.next_sec = next_sec

    def look_if_it_is_time(self, now_sec: Callable[[], float]) -> None:
        if self.next_sec <= now_sec():
            sec = self._watcher.look(None)
            self.next_sec = now_sec() + sec


class _Passes:
    """One interval's passes: what the last good one did well of its bar is not asked again."""

    def __init__(self, market: Market, ask: AskAll) -> None:
        self._market = market
        self._ask = ask
        self._last: MarketRecord | None = None
        order = market.order
        self.timing = Timing(order.interval, order.settle_sec, order.max_skew_sec)

    def live(self, talk: Conversation, _heard_ms: int | None) -> MarketRecord:
        record = run_pass(*self._market, talk, self._ask, self._last)
        _complain(record, self._last)
        if not record.failure:
            self._last = record
        return record

    def record_of(self, bug: Exception) -> MarketRecord:
        return record_of(bug, *self._market)


def _complain(record: MarketRecord, last: MarketRecord | None) -> None:
    """Log each trouble that the pass before, over the same bar, did not have."""
    told = last.complaints if last and last.target_ms == record.target_ms else []
    # What ended the whole of it is told with when the next look is.
    own = [(record.failure.message, record.failure.hint)] if record.failure else []
    said = [f"{message} ({hint})" for message, hint in record.complaints if (message, hint) not in told + own]
    for each in said[:_LOGGED_MAX]:
        _log.warning("%s", each)
    if len(said) > _LOGGED_MAX:
        _log.warning("%d more troubles are in the manifest, %s", len(said) - _LOGGED_MAX, record.manifest_path)
