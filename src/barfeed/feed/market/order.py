"""What a pass is asked to do, and what it asks of each series."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Interval, Pull
from barfeed.domain.errors import BarfeedError
from barfeed.domain.grid import Gap
from barfeed.domain.market.members import Member, Reach
from barfeed.domain.market.selection import Selection
from barfeed.domain.rules import Asked
from barfeed.domain.verdict import Remedies
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import Steps
from barfeed.exchange.wire import ExchangeInfo
from barfeed.feed.order import Feed
from barfeed.machine.clock import Patience
from barfeed.store.market import BEGINNING_MS

# What one series may wait for: somebody of so many is late in most hours, and all the others wait for it.
SERIES_WAIT_SEC = 15.0
# A watch asks it again soon, and lets nobody wait for it.
WATCHED_WAIT_SEC = 3.0
# Who was heard to close is mostly shown at once; more are heard meanwhile.
EARLY_WAIT_SEC = 1.0


class MarketOrder(NamedTuple):
    """What a pass is asked to do; it holds no time and no connection. `remedies` names what helps a symbol."""

    selection: Selection
    reach: Reach
    window_bars_min: int
    dataset: str
    dry_run: bool
    settle_sec: float
    max_skew_sec: float
    csv_for: tuple[str, ...]
    # Request weight a UTC minute; 0 for half of what the exchange allows.
    weight_budget: int
    plain_decimals: bool
    then: str
    then_timeout_sec: float
    remedies: Callable[[str], Remedies]
    # How long the pass waits for one series.
    series_wait_sec: float = SERIES_WAIT_SEC
    # The pause before the exchange is asked a second time, None where once is enough.
    confirm_sec: float | None = None
    # On which terms its word is taken over the store's, None where never.
    accept: Terms | None = None
    # A watch waits for the limits of other kinds until the next bar of this interval, a single pass waits them out.
    kinds_within: Interval | None = None

    @property
    def interval(self) -> Interval:
        """The interval of every series."""
        return self.reach.interval


class Early(NamedTuple):
    """A pass before its bar has settled, for those of the market whose closing frames came.

    `symbols` tells whose did, and is asked as late as can be; `info` is what the exchange listed last.
    """

    open_time_ms: int
    symbols: Callable[[], frozenset[str]]
    info: ExchangeInfo

    def among(self, due: Sequence[Member], done: Collection[str]) -> list[Member]:
        """Those whose closing frames came, and what is done; the others are left to the clock."""
        heard, bar_ms = self.symbols(), self.open_time_ms
        return [
            each for each in due if each.symbol in done or (each.symbol in heard and each.asked.target_ms == bar_ms)
        ]

    def is_now(self, order: MarketOrder, now_ms: int) -> bool:
        """Whether it is of the bar that closed last, and that has not settled yet."""
        closed_ms = self.open_time_ms + order.interval.ms
        return closed_ms <= now_ms < closed_ms + min(order.interval.ms, round(order.settle_sec * 1000))


class Answered(NamedTuple):
    """How many bars the exchange answered for a series, when first and last open, and whether it has nothing older."""

    bars: int
    first_ms: int
    last_ms: int
    is_all: bool


# What the exchange answered for each series, or why it did not.
Answers = Mapping[Member, Answered | BarfeedError]


class Pulled(NamedTuple):
    """What the exchange answered for a series, and whether it has nothing older."""

    pull: Pull
    is_all: bool

    @property
    def answered(self) -> Answered:
        """What is kept of it in mind."""
        bars = self.pull.bars
        first_ms, last_ms = (bars[0].open_time_ms, bars[-1].open_time_ms) if bars else (0, 0)
        return Answered(len(bars), first_ms, last_ms, self.is_all)


class Market(NamedTuple):
    """One interval of a market: what its passes work with, and what they are asked to do."""

    feed: Feed
    order: MarketOrder


def pulling(talk: Conversation, asked: Asked, first_ms: int | None, wait_sec: float) -> Steps[Pulled]:
    """Ask for the pull and, where it is short, whether there is anything older.

    `first_ms`, where it is known, is the first bar of all: then that is not asked again.
    """
    # From its first step on, not from when it was put in line.
    talk.patience = Patience(talk.rest.clock, min(wait_sec, talk.patience.left_sec))
    pull = yield from talk.steps_of_closed_bars(asked)
    if not pull.bars or len(pull.bars) >= asked.bars:
        return Pulled(pull, is_all=False)
    if pull.bars[0].open_time_ms == first_ms:
        return Pulled(pull, is_all=True)
    older = yield from talk.steps_of_newest_bars(asked.series, pull.bars[0].open_time_ms - 1, 1)
    return Pulled(pull, is_all=not older.bars)


def nothing_before(answers: Answers) -> list[tuple[str, Gap]]:
    """What the exchange showed now to have none of: everything before the first bar of a young symbol."""
    return [
        (member.symbol, Gap(BEGINNING_MS, first_ms - step_ms, (first_ms - step_ms) // step_ms + 1))
        for member, each in answers.items()
        if isinstance(each, Answered) and each.is_all and each.first_ms != member.first_ms
        for first_ms, step_ms in [(each.first_ms, member.asked.step_ms)]
    ]
