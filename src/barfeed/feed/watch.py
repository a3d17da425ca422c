"""When to run a cycle: as soon as a bar is due by the exchange's clock, for ever, one at a time.

A closing frame of the stream only makes it earlier: that the bar has closed, the exchange's clock says all the same.
"""

import logging
import math
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, NamedTuple, NoReturn, Protocol, TypeVar

from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.errors import BarfeedError, ExchangeBlocked
from barfeed.exchange.rest import Conversation, Rest
from barfeed.feed.cycle import record_of, run_cycle
from barfeed.feed.cycle_log import level_of
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import Lived, Record
from barfeed.machine.clock import ExchangeTime

if TYPE_CHECKING:
    from barfeed.domain.life import Listed

FIRST_FAILURE_PAUSE_SEC = 5.0
# A look that comes a moment early costs a request and no harm; a bar that waits costs the model time.
_WAKE_AFTER_DUE_SEC = 0.002
# Two of the exchange's machines may tell the time that differently: a closing frame so early is waited with.
_EARLY_FRAME_MS = 1000

# Sleeps so many seconds; cut short, it tells the open_time (ms) of the bar whose closing frame came.
Listen = Callable[[float], int | None]

_Record = TypeVar("_Record", bound=Lived)
_Told_co = TypeVar("_Told_co", bound=Lived, covariant=True)
_log = logging.getLogger(__name__)


class Pace(NamedTuple):
    """How a watch goes: longest sleep between looks, and how long a cycle may wait for the exchange."""

    sleep_sec: float
    max_wait_sec: float


class Timing(NamedTuple):
    """Whose bars are awaited, how long after its close each is left alone, and what skew of the clock is told."""

    interval: Interval
    settle_sec: float
    max_skew_sec: float


class Work(Protocol[_Told_co]):
    """What is done whenever a bar is due: a cycle, or a pass over a market."""

    @property
    def timing(self) -> Timing:
        """When one is due."""
        ...

    def live(self, talk: Conversation, heard_ms: int | None) -> _Told_co:
        """Do it; `heard_ms` is the bar whose closing frame came. Nothing but a bug, or a signal to stop, raises."""
        ...

    def record_of(self, bug: Exception) -> _Told_co:
        """What there is to tell of one that a bug of ours ended."""
        ...


class _Cycles:
    """One series' cycles: where a bar is fed, and other kinds are not, those alone are asked for again."""

    def __init__(self, feed: Feed, order: Order) -> None:
        self._feed = feed
        self._order = order
        self._fed_ms: int | None = None
        self.timing = Timing(order.series.interval, order.settle_sec, order.max_skew_sec)

    def live(self, talk: Conversation, heard_ms: int | None) -> Record:
        record = run_cycle(self._feed, self._order._replace(heard_ms=heard_ms, fed_ms=self._fed_ms), talk)
        if record.kinds and not record.failure:
            self._fed_ms = record.target_ms
        return record

    def record_of(self, bug: Exception) -> Record:
        return record_of(bug, self._feed, self._order)


class LeftAlone:
    """What the exchange asked to be left alone with, and until when by the steady clock: it is said to the address."""

    refusal: BarfeedError | None = None
    until_sec = 0.0


def due_in_sec(now_ms: int, done_ms: int | None, step_ms: int, settle_sec: float) -> float:
    """Seconds until the first bar after `done_ms` is closed and settled; zero or less: it is due now."""
    return (awaited_ms(now_ms, done_ms, step_ms) + step_ms - now_ms) / 1000 + settle_sec


def awaited_ms(now_ms: int, done_ms: int | None, step_ms: int) -> int:
    """The open_time of the bar that the next cycle is for."""
    newest_ms = grid.last_closed(now_ms, step_ms)
    return newest_ms if done_ms is None else max(newest_ms, done_ms + step_ms)


def next_due_in_sec(now_ms: int, done_ms: int | None, step_ms: int, settle_sec: float) -> float:
    """Seconds until a bar becomes due: the awaited one or, where that is due already, the one after it."""
    sec = due_in_sec(now_ms, done_ms, step_ms, settle_sec)
    return sec if sec > 0 else due_in_sec(now_ms, awaited_ms(now_ms, done_ms, step_ms), step_ms, settle_sec)


def is_news(frame_ms: int, now_ms: int, done_ms: int | None, step_ms: int) -> bool:
    """Whether a closing frame is about the bar that is awaited: newest closed, or about to be, and not done yet."""
    return frame_ms == grid.last_closed(now_ms + _EARLY_FRAME_MS, step_ms) and (done_ms is None or frame_ms > done_ms)


def failure_pause_sec(failures: int, asked_sec: float | None, longest_sec: float) -> float:
    """How long to leave it after `failures` failed cycles in a row, or as long as the exchange asked for."""
    growing = min(longest_sec, FIRST_FAILURE_PAUSE_SEC * 2.0 ** min(failures - 1, 16))
    return max(growing, asked_sec or 0.0)


def watch(
    feed: Feed,
    order: Order,
    rest: Rest,
    pace: Pace,
    tell: Callable[[Record, Conversation], None],
    *,
    listen: Listen | None = None,
) -> NoReturn:
    """Run cycles for ever; `tell` gets the record of each. Ends only by what a signal handler raises.

    With `listen`, what is slept between two looks ends early where it hears of the awaited bar.
    """
    watcher = Watcher(_Cycles(feed, order), rest, pace, tell)
    frame_ms = None
    while True:
        sec = watcher.look(frame_ms)
        # A pause after a failure is kept whole: it may be one that the exchange asked for.
        frame_ms = watcher.listen(feed.clock.sleep if watcher.failures or not listen else listen, sec)


class Watcher(Generic[_Record]):
    """What a watch remembers between looks: the last target done, the failures since, the exchange's time."""

    def __init__(
        self,
        work: Work[_Record],
        rest: Rest,
        pace: Pace,
        tell: Callable[[_Record, Conversation], None],
        alone: LeftAlone | None = None,
    ) -> None:
        self.failures = 0
        # Whether the last look came to nothing at all: what it leaves is a pause, which may be asked for.
        self.is_down = False
        # The bar of which some series failed last.
        self._partly_ms: int | None = None
        self._work = work
        self._timing = work.timing
        self._step_ms = work.timing.interval.ms
        self._rest = rest
        self._clock = rest.clock
        self._pace = pace
        self._tell = tell
        self._time: ExchangeTime | None = None
        self._is_skewed = False
        self._done_ms: int | None = None
        # When there is more to be had of the bar that is done, by the exchange's clock.
        self._again_ms: int | None = None
        # The last bar whose closing frame was worth a look, and the last whose frame the exchange's clock agreed with.
        self._looked_ms: int | None = None
        self._heard_ms: int | None = None
        self._alone = alone or LeftAlone()
        # What the list of symbols said of the trouble that lasts.
        self._listed: Listed | None = None

    def look(self, frame_ms: int | None) -> float:
        """Run a cycle if a bar is due, `frame_ms` one whose closing frame came; how many seconds to sleep then."""
        talk = self._conversation(frame_ms)
        try:
            self._time = talk.ask_time()
        except BarfeedError as error:
            # Where a bar is due, the cycle tells it and leaves a manifest; a block, too, which may outlast many bars.
            if not self._is_due() and not isinstance(error, ExchangeBlocked):
                return self._after_failure(talk, error)
            return self._cycle(talk)
        if frame_ms is not None and self._is_news(frame_ms):
            self._heard_ms = frame_ms
        if self._is_due():
            return self._cycle(talk)
        self._warn_of_skew(self._time)
        return self._until_due_sec()

    def _warn_of_skew(self, time: ExchangeTime) -> None:
        # A cycle tells it too; but where the exchange's clock has fallen back there may be none for hours.
        is_skewed = abs(time.skew_sec) > self._timing.max_skew_sec
        if is_skewed and not self._is_skewed:
            _log.warning("%s; by the exchange's no bar is due", time.skew_text)
        self._is_skewed = is_skewed

    def _conversation(self, frame_ms: int | None) -> Conversation:
        now_sec, unsettled_sec = self._clock.steady_sec(), max(0.0, self._due_in_sec(None))
        # A frame must not make a bar later, nor its patience end sooner, than the clock alone would.
        heard_sec = unsettled_sec if frame_ms is not None and self._is_news(frame_ms) else 0.0
        talk = self._rest.conversation(self._pace.max_wait_sec + heard_sec)
        talk.listed = self._listed
        talk.settled_sec = now_sec + unsettled_sec + _WAKE_AFTER_DUE_SEC
        if (refusal := self._alone.refusal) and now_sec < self._alone.until_sec:
            # A bar that is missed meanwhile is told, but the exchange is left alone.
            refusal.retry_after_sec = self._alone.until_sec - now_sec
            talk.refusal = refusal
        return talk

    def listen(self, listen: Listen, sec: float) -> int | None:
        """Sleep, until a closing frame comes that is worth a look; the bar that it is about."""
        clock = self._clock
        end_sec = clock.steady_sec() + sec
        while (left_sec := end_sec - clock.steady_sec()) > 0:
            frame_ms = listen(left_sec)
            if frame_ms is not None and self.looks_for(frame_ms):
                return frame_ms
        return None

    def looks_for(self, frame_ms: int) -> bool:
        """Whether a closing frame of this bar is worth a look; then it is looked for."""
        is_worth = self._is_worth_a_look(frame_ms)
        self._looked_ms = frame_ms if is_worth else self._looked_ms
        return is_worth

    def _is_worth_a_look(self, frame_ms: int) -> bool:
        # Where the exchange's clock runs away from ours, as a replay's may, it is asked: once for each bar.
        is_next = self._done_ms is not None and frame_ms == self._done_ms + self._step_ms
        return self._is_news(frame_ms) or (is_next and frame_ms != self._looked_ms)

    def _is_news(self, frame_ms: int) -> bool:
        if self._time is None:
            return False
        return is_news(frame_ms, self._time.now_ms(self._clock), self._done_ms, self._step_ms)

    def _cycle(self, talk: Conversation) -> float:
        record = None
        try:
            record = self._work.live(talk, self._heard_ms)
            self._tell(record, talk)
        except Exception as bug:
            # A watch outlives a bug of ours too: the next hour may be without it.
            _log.exception("this is a bug in barfeed; report it")
            if record is None:
                self._tell_bug(bug, talk)
            return self._after_failure(talk, bug, logging.ERROR)
        if record.failure is None and record.is_early:
            # The rest is left to the clock.
            self._heard_ms, self.is_down = None, False
            return self._until_due_sec()
        if record.trouble:
            return self._after_trouble(talk, record)
        self.failures, self._listed, self.is_down = 0, None, False
        self._done_ms, self._again_ms = record.target_ms, record.again_ms
        return self._until_due_sec()

    def _after_trouble(self, talk: Conversation, record: Lived) -> float:
        if record.failure is None and record.target_ms != self._partly_ms:
            # What some series leave behind is of this bar: the next one's are asked again as soon as ever.
            self.failures, self._partly_ms = 0, record.target_ms
        sec = self._after_failure(talk, record.trouble, level_of(record.exit_code))
        self.is_down = record.failure is not None
        return sec

    def _tell_bug(self, bug: Exception, talk: Conversation) -> None:
        # It is in the log already: if this, too, is broken, nothing is lost.
        with suppress(Exception):
            self._tell(self._work.record_of(bug), talk)

    def _after_failure(self, talk: Conversation, what: object, level: int = logging.WARNING) -> float:
        self.failures += 1
        self.is_down = True
        self._listed = talk.listed
        asked_sec = talk.refusal.retry_after_sec if talk.refusal else None
        self._alone.refusal = talk.refusal
        self._alone.until_sec = self._clock.steady_sec() + (asked_sec or 0.0)
        pause_sec = failure_pause_sec(self.failures, asked_sec, self._pace.sleep_sec)
        # However long it is: no bar may become due in it and nobody say so.
        pause_sec = min(pause_sec, self._next_due_in_sec() + _WAKE_AFTER_DUE_SEC)
        _log.log(level, "%s; looking again in %.0f s", what, pause_sec)
        return pause_sec

    def _is_due(self) -> bool:
        return min(self._due_in_sec(self._heard_ms), self._again_in_sec()) <= 0

    def _until_due_sec(self) -> float:
        due_sec = min(self._due_in_sec(self._heard_ms), self._again_in_sec())
        return min(due_sec + _WAKE_AFTER_DUE_SEC, self._pace.sleep_sec)

    def _again_in_sec(self) -> float:
        """Until there is more to be had of the bar that is done."""
        if self._again_ms is None or self._time is None:
            return math.inf
        return (self._again_ms - self._time.now_ms(self._clock)) / 1000

    def _due_in_sec(self, heard_ms: int | None) -> float:
        """Until a bar is due: settled, unless it is the one that was heard to have closed."""
        if self._time is None:
            return 0.0
        now_ms, step_ms = self._time.now_ms(self._clock), self._step_ms
        is_heard = heard_ms == awaited_ms(now_ms, self._done_ms, step_ms)
        return due_in_sec(now_ms, self._done_ms, step_ms, 0.0 if is_heard else self._timing.settle_sec)

    def _next_due_in_sec(self) -> float:
        if self._time is None:
            return self._step_ms / 1000
        return next_due_in_sec(self._time.now_ms(self._clock), self._done_ms, self._step_ms, self._timing.settle_sec)
