"""When to run a market's passes: as soon as a bar is due by the exchange's clock, interval by interval, for ever.

A pass after one that failed, over the same bar, asks only for the series that failed, and publishes what comes of it. A
closing frame of a stream makes it earlier for its series, together with all that are heard meanwhile; the rest comes by
the clock.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import NamedTuple, NoReturn

from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.steps import AskAll
from barfeed.exchange.wire import ExchangeInfo
from barfeed.feed.market.heard import Heard
from barfeed.feed.market.listings import relist
from barfeed.feed.market.one_pass import record_of, run_pass
from barfeed.feed.market.order import Early, Market
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.watch import LeftAlone, Pace, Timing, Watcher
from barfeed.machine.clock import Clock

# So many troubles of a pass are logged, the worst; its manifest has all.
_LOGGED_MAX = 20
# Who is heard within so long is fed in one transaction.
_GATHER_SEC = 0.03
# Who was heard, and is not shown yet, is asked again so soon.
_LATE_SEC = 1.0
# How often the list is asked for because something is said to have become of a symbol, and how long that may take.
_RELIST_EVERY_SEC = 10.0
_RELIST_WAIT_SEC = 10.0

Tell = Callable[[Market, MarketRecord, Conversation], None]

_log = logging.getLogger(__name__)


class Streams(NamedTuple):
    """A market's streams: what they say, which series they follow, and a sleep that ends when they say something."""

    heard: Heard
    follow: Callable[[Iterable[Series]], None]
    listen: Callable[[float], object]


def watch_market(
    markets: Sequence[Market], rest: Rest, ask: AskAll, pace: Pace, tell: Tell, *, streams: Streams | None = None
) -> NoReturn:
    """Run passes for ever; `tell` gets the record of each. Ends only by what a signal handler raises."""
    # What is said to this address is said to all of them, and so is what it lists.
    alone, listings = LeftAlone(), _Listings(markets, rest, streams)
    looks = []
    for each in markets:
        passes = _Passes(each, ask, listings, streams.heard if streams else None)
        looks.append(_Looks(Watcher(passes, rest, pace, partial(tell, each), alone), passes, rest.clock))
    while True:
        for look in looks:
            look.if_it_is_time()
        listings.ask_if_there_is_news(alone)
        for look in looks:
            look.listen_for_more()
        # While who is heard is gathered, nobody needs to be woken by the next.
        is_gathering = any(look.frame_ms is not None for look in looks)
        sleep = rest.clock.sleep if is_gathering or not streams else streams.listen
        sleep(min(look.next_sec for look in looks) - rest.clock.steady_sec())


class _Listings:
    """What the exchange lists, as it was last seen, for all intervals; the streams follow it."""

    def __init__(self, markets: Sequence[Market], rest: Rest, streams: Streams | None) -> None:
        self.info: ExchangeInfo | None = None
        self._markets = markets
        self._rest = rest
        self._streams = streams
        self._asked_sec = float("-inf")

    def note(self, info: ExchangeInfo) -> None:
        """What was seen now."""
        self.info = info
        if self._streams:
            self._streams.follow(
                Series(symbol, order.interval)
                for _, order in self._markets
                for symbol in order.selection.of_list(info.listings)
            )

    def ask_if_there_is_news(self, alone: LeftAlone) -> None:
        """Ask again where the streams say that a symbol is listed otherwise; else the next pass will see it."""
        now_sec = self._rest.clock.steady_sec()
        if not self._streams or not self.info or now_sec < max(alone.until_sec, self._asked_sec + _RELIST_EVERY_SEC):
            return
        if self._streams.heard.has_news(self.info.listings):
            self._asked_sec = now_sec
            try:
                self.note(relist(*self._markets[0], self._rest.conversation(_RELIST_WAIT_SEC)))
            except BarfeedError as problem:
                _log.debug("the list of symbols could not be asked for: %s", problem)


class _Looks:
    """One interval's looks: its watcher, when the next is, by the steady clock, and which bar's frames it is for."""

    def __init__(self, watcher: Watcher[MarketRecord], passes: "_Passes", clock: Clock) -> None:
        self.next_sec = clock.steady_sec()
        self.frame_ms: int | None = None
        self._watcher = watcher
        self._passes = passes
        self._clock = clock

    def if_it_is_time(self) -> None:
        """Look, if it is."""
        if self.next_sec <= self._clock.steady_sec():
            frame_ms, self.frame_ms = self.frame_ms, None
            sec = self._watcher.look(frame_ms)
            self.next_sec = self._clock.steady_sec() + sec

    def listen_for_more(self) -> None:
        """Look sooner, where somebody is heard that was not fed yet. A pause after a trouble of all is kept whole."""
        news = None if self._watcher.is_down or self.frame_ms is not None else self._passes.news()
        if news is None:
            return
        bar_ms, in_sec = news
        if not self._watcher.looks_for(bar_ms):
            self._passes.forget(bar_ms)
            return
        at_sec = self._clock.steady_sec() + in_sec
        if at_sec < self.next_sec:
            self.frame_ms, self.next_sec = bar_ms, at_sec


class _Passes:
    """One interval's passes: what the last good one did well of its bar is not asked again."""

    def __init__(self, market: Market, ask: AskAll, listings: _Listings, heard: Heard | None) -> None:
        self._market = market
        self._ask = ask
        self._listings = listings
        self._heard = heard
        self._last: MarketRecord | None = None
        # Whose closing frames of a bar were acted on.
        self._taken: tuple[int, frozenset[str]] = (0, frozenset())
        order = market.order
        self.timing = Timing(order.interval, order.settle_sec, order.max_skew_sec)

    def live(self, talk: Conversation, heard_ms: int | None) -> MarketRecord:
        early = None
        if heard_ms is not None and self._heard and self._listings.info:
            early = Early(heard_ms, partial(self._take, self._heard, heard_ms), self._listings.info)
        record = run_pass(*self._market, talk, self._ask, before=self._last, early=early)
        _complain(record, self._last)
        if record.info and not record.is_early:
            self._listings.note(record.info)
        if not record.failure:
            self._last = record
        return record

    def record_of(self, bug: Exception) -> MarketRecord:
        return record_of(bug, *self._market)

    def news(self) -> tuple[int, float] | None:
        """The newest bar that somebody was heard of who is not fed yet, and in how many seconds to act on it."""
        bar_ms = self._heard.newest_ms(self.timing.interval) if self._heard else None
        if bar_ms is None or self._heard is None:
            return None
        taken_ms, taken = self._taken
        if self._heard.symbols(self.timing.interval, bar_ms) - (taken if taken_ms == bar_ms else frozenset()):
            return bar_ms, _GATHER_SEC
        return (bar_ms, _LATE_SEC) if self._has_late(bar_ms) else None

    def forget(self, bar_ms: int) -> None:
        """What was heard of this bar is of no use."""
        if self._heard:
            self._heard.forget(self.timing.interval, bar_ms)

    def _has_late(self, bar_ms: int) -> bool:
        last = self._last
        if last is None or not last.is_early or last.target_ms != bar_ms:
            return False
        return any(each.is_late for each in last.outcomes.values())

    def _take(self, heard: Heard, bar_ms: int) -> frozenset[str]:
        self._taken = bar_ms, heard.symbols(self.timing.interval, bar_ms)
        return self._taken[1]


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
