"""The two questions an hour asks, with the patience to ask them again.

Sources: `/fapi/v1/time` and `/fapi/v1/klines` in the exchange's documentation; weights and edges as
measured, see the project's design.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

from barfeed.domain import grid, rules
from barfeed.domain.bars import Pull, Series
from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.rules import Asked
from barfeed.exchange import refusals, weight, wire
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.steps import Get, Pause, Steps, drive
from barfeed.exchange.transport.single import Transport
from barfeed.exchange.weight import Budget
from barfeed.exchange.wire import KLINES_LIMIT_MAX, ExchangeInfo
from barfeed.machine.clock import Clock, ExchangeTime, Patience

if TYPE_CHECKING:
    from barfeed.domain.grid import Gap
    from barfeed.domain.life import Listed, Listing
    from barfeed.domain.sources import Lines

# An answer that took so long may be off by half an interval of a minute, and no bar of that would ever be settled.
_USELESS_TIME_AFTER_SEC = 60.0
# Who waits for the next minute hears so soon of a block.
_LOOK_EVERY_SEC = 5.0

_INFO = "/fapi/v1/exchangeInfo"

Query = dict[str, str | int]

_Value = TypeVar("_Value")
_log = logging.getLogger(__name__)


class Rest:
    """The exchange's REST interface at one address, for as long as the process lives."""

    def __init__(
        self, base_url: str, transport: Transport, clock: Clock, jitter: Callable[[], float] = random.random
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self.transport = transport
        self.clock = clock
        self.jitter = jitter

    def conversation(self, max_wait_sec: float) -> "Conversation":
        """Everything one cycle asks, or one pass over a market, within one patience."""
        return Conversation(self, Patience(self.clock, max_wait_sec))


class Conversation:
    """One cycle's requests: they share a patience, and are counted for the manifest.

    Each question stands here twice: asked and waited for, and as the steps of asking it, `steps_of_...`, for whoever
    asks many at once. With a `budget` no request is sent before it fits; that wait is none of the patience's.
    """

    def __init__(self, rest: Rest, patience: Patience, budget: Budget | None = None) -> None:
        self.rest = rest
        self.patience = patience
        self.budget = budget
        self.requests = 0
        self.retries: Counter[str] = Counter()
        self.used_weight: int | None = None
        self.time: ExchangeTime | None = None
        # When the last answer was sent, by the clock of whoever sent it: coarse, but not /time's.
        self.dated_ms: int | None = None
        # Why nothing more is asked: calling on cannot help, and would make a block longer.
        self.refusal: BarfeedError | None = None
        # What an answer's status means; where a file may be missing, that is no refusal.
        self.check_status: Callable[[Answer, int], None] = refusals.check_status
        # What the list of symbols said, where that was worth asking for.
        self.listed: Listed | None = None
        # When the clock alone would begin to ask, by the steady clock: no pause of ours goes across it.
        self.settled_sec = 0.0
        # Until when the exchange wants to hear of nobody, by the steady clock.
        self.alone_until_sec = 0.0

    @property
    def base_url(self) -> str:
        """The exchange's address."""
        return self.rest.base_url

    @property
    def now_ms(self) -> int:
        """The exchange's time in ms since 1970-01-01 UTC; the machine's until the exchange has told its own."""
        clock = self.rest.clock
        return self.time.now_ms(clock) if self.time else clock.utc_ms()

    @property
    def uncertain_sec(self) -> float:
        """How far the true time may be behind `now_ms`; 0 until the exchange has told its own."""
        return self.time.uncertain_sec if self.time else 0.0

    def ask_time(self) -> ExchangeTime:
        """The exchange's clock, compared with the machine's. Weight 1.

        Raises `ExchangeUnavailable`, `ExchangeRefused`.
        """
        return self._asked(self.steps_of_time())

    def steps_of_time(self) -> Steps[ExchangeTime]:
        """As `ask_time`."""
        clock = self.rest.clock

        def stamped(answer: Answer, sent_sec: float) -> ExchangeTime:
            received_sec, machine_ms = clock.steady_sec(), clock.utc_ms()
            if received_sec - sent_sec > _USELESS_TIME_AFTER_SEC:
                raise TryAgain("timeout", f"the answer took {received_sec - sent_sec:.0f} s, and is of no use by now")
            return ExchangeTime.answered(wire.read_server_time(answer.body), sent_sec, received_sec, machine_ms)

        self.time = yield from self._steps("/fapi/v1/time", {}, stamped)
        return self.time

    def closed_bars(self, asked: Asked) -> Pull:
        """The pull that `asked` describes; while it does not reach the target, asked again with growing pauses.

        When the patience ends first, the late pull itself comes back: it is evidence too.
        Raises like `newest_bars`.
        """
        return self._asked(self.steps_of_closed_bars(asked))

    def steps_of_closed_bars(self, asked: Asked) -> Steps[Pull]:
        """As `closed_bars`."""
        end_ms = grid.floor(asked.now_ms, asked.step_ms) - 1
        attempt = 0
        while True:
            pull = yield from self.steps_of_newest_bars(asked.series, end_ms, asked.bars)
            pause_sec, attempt = self._next_pause(attempt, None)
            if not rules.is_late(pull, asked) or pause_sec >= self.patience.left_sec:
                return pull
            _log.info("%s: the target is not shown yet; asking again in %.1f s", asked.series, pause_sec)
            self.count_retry("late")
            yield self.pause(pause_sec)

    def newest_bars(self, series: Series, end_ms: int, bars: int) -> Pull:
        """The `bars` newest rows that open at or before `end_ms` (ms), oldest first, paged where they must be.

        Weight 1 up to 100 bars. Fewer come where the exchange has fewer.
        Raises `ExchangeUnavailable`, `ExchangeRefused`, and `ContractBroken` for rows that are no bars.
        """
        return self._asked(self.steps_of_newest_bars(series, end_ms, bars))

    def steps_of_newest_bars(self, series: Series, end_ms: int, bars: int) -> Steps[Pull]:
        """As `newest_bars`."""
        pull = yield from self._page(series, end_ms, min(bars, KLINES_LIMIT_MAX))
        page = pull
        while len(page.bars) == KLINES_LIMIT_MAX and len(pull.bars) < bars:
            end_ms = page.bars[0].open_time_ms - 1
            page = yield from self._page(series, end_ms, min(bars - len(pull.bars), KLINES_LIMIT_MAX))
            pull = page + pull
        return pull

    def first_bar(self, series: Series, begin_ms: int, end_ms: int) -> Pull:
        """The oldest row that opens from `begin_ms` to `end_ms` (ms, included); none where the exchange has none.

        Raises like `newest_bars`.
        """
        return self._asked(self.steps_of_first_bar(series, begin_ms, end_ms))

    def steps_of_first_bar(self, series: Series, begin_ms: int, end_ms: int) -> Steps[Pull]:
        """As `first_bar`."""
        return self._klines(series, {"startTime": begin_ms, "endTime": end_ms}, 1)

    def steps_of_page(self, series: Series, span: "Gap", limit: int) -> "Steps[Lines | Pull]":
        """The first `limit` rows that open in `span`, as text where they are plain. Raises like `newest_bars`."""
        return self._rows(series, {"startTime": span.first_ms, "endTime": span.last_ms}, limit, wire.read_lines)

    def steps_of_body(self, path: str) -> Steps[bytes]:
        """What there is at a path, as it comes. Raises `ExchangeUnavailable`, `ExchangeRefused`."""
        return self._steps(path, {}, lambda answer, _sent_sec: answer.body)

    def exchange_info(self) -> ExchangeInfo:
        """What the exchange lists, and what it allows: a megabyte, weight 1.

        Raises `ExchangeUnavailable`, `ExchangeRefused`, `ContractBroken`.
        """
        return self._asked(self.steps_of_exchange_info())

    def steps_of_exchange_info(self) -> Steps[ExchangeInfo]:
        """As `exchange_info`."""
        return self._steps(_INFO, {}, lambda answer, _sent_sec: wire.read_exchange_info(answer.body))

    def listings(self, wait_sec: float) -> "dict[str, Listing]":
        """Every symbol that the exchange lists, by its name. For a cycle that has failed.

        It is asked though the exchange has refused the symbol, and for so long though the patience has ended.
        Raises `ExchangeUnavailable`, `ExchangeRefused`.
        """
        refusal, self.refusal = self.refusal, None
        self.patience = Patience(self.rest.clock, wait_sec)
        try:
            return self._asked(self._steps(_INFO, {}, lambda answer, _sent_sec: wire.read_listings(answer.body)))
        finally:
            # What was refused stays so; a block that came meanwhile weighs more.
            self.refusal = self.refusal or refusal

    def keep_within(self, weight_max: int) -> None:
        """Let all that is asked from now on weigh no more in a minute, what this minute has seen included."""
        self.budget = Budget(weight_max, lambda: self.now_ms)
        self.budget.settle(0, self.used_weight, self.now_ms)

    def pause(self, sec: float) -> Pause:
        """A step: wait as long, out of what is left of the patience."""
        return Pause(min(sec, self.patience.left_sec))

    def steps_aside(self, sec: float) -> Steps[None]:
        """Wait without using any of the patience up."""
        begin_sec = self.rest.clock.steady_sec()
        yield Pause(sec)
        self.patience.excuse(begin_sec, self.rest.clock.steady_sec())

    def count_retry(self, reason: str) -> None:
        """Count that something is asked again, for the manifest."""
        self.retries[reason] += 1

    def _asked(self, steps: Steps[_Value]) -> _Value:
        return drive(steps, self.rest.transport, self.rest.clock)

    def _page(self, series: Series, end_ms: int, limit: int) -> Steps[Pull]:
        return self._klines(series, {"endTime": end_ms}, limit)

    def _klines(self, series: Series, span: Query, limit: int) -> Steps[Pull]:
        return self._rows(series, span, limit, wire.read_klines)

    def _rows(self, series: Series, span: Query, limit: int, read: Callable[[bytes], _Value]) -> Steps[_Value]:
        query: Query = {"symbol": series.symbol, "interval": str(series.interval)} | span | {"limit": limit}
        return self._steps(
            "/fapi/v1/klines", query, lambda answer, _sent_sec: read(answer.body), weight.of_klines(limit)
        )

    def _steps(
        self, path: str, query: Query, read: Callable[[Answer, float], _Value], weighs: int = weight.LEAST
    ) -> Steps[_Value]:
        attempts = attempt = 0
        while True:
            try:
                return (yield from self._steps_once(path, query, read, weighs))
            except TryAgain as fault:
                attempts += 1
                pause_sec, attempt = self._next_pause(attempt, fault.after_sec)
                yield self._pause_after(fault, attempts, pause_sec, path)

    def _steps_once(
        self, path: str, query: Query, read: Callable[[Answer, float], _Value], weighs: int
    ) -> Steps[_Value]:
        yield from self._until_it_may(path, weighs)
        # A symbol may be in Chinese, and with it the name of a file.
        url = f"{self.rest.base_url}{quote(path)}" + (f"?{urlencode(query)}" if query else "")
        sent_sec = self.rest.clock.steady_sec()
        answer = yield from self._counted(url, weighs)
        _log.debug("GET %s -> %s, %d bytes", url, answer.status, len(answer.body))
        try:
            self.check_status(answer, self.now_ms)
            return read(answer, sent_sec)
        except (ExchangeBlocked, ExchangeRefused) as refusal:
            self.remember(refusal)
            raise
        except wire.NotJson as problem:
            raise TryAgain("not_json", f"HTTP 200, {problem}") from None

    def _until_it_may(self, path: str, weighs: int) -> Steps[None]:
        """Wait until the exchange is to be asked again, and for the budget: the latter uses no patience up."""
        while True:
            self.refuse(path)
            if (alone_sec := self.alone_sec()) > 0:
                yield self.pause(min(alone_sec, _LOOK_EVERY_SEC))
                continue
            wait_sec = self.budget.admit(weighs) if self.budget else 0.0
            if not wait_sec:
                return
            yield from self.steps_aside(min(wait_sec, _LOOK_EVERY_SEC))

    def _counted(self, url: str, weighs: int) -> Steps[Answer]:
        """The answer of one request, which costs its weight whatever comes of it."""
        sent_ms, used = self.now_ms, None
        self.count_request()
        try:
            answer: Answer = yield Get(url, self.patience.left_sec)
            used = refusals.used_weight(answer)
            self.note(used, refusals.dated_ms(answer))
        finally:
            if self.budget:
                self.budget.settle(weighs, used, sent_ms)
        return answer

    def count_request(self) -> None:
        """Count one that is sent, for the manifest."""
        self.requests += 1

    def note(self, used_weight: int | None, dated_ms: int | None) -> None:
        """What an answer tells beside its body; a weight that it does not tell is the last one told."""
        self.used_weight = self.used_weight if used_weight is None else used_weight
        self.dated_ms = dated_ms

    def refuse(self, _path: str) -> None:
        """Raise why nothing more is asked, if so."""
        if self.refusal:
            raise self.refusal.with_traceback(None)

    def remember(self, refusal: BarfeedError) -> None:
        """Ask nothing more."""
        self.refusal = refusal

    def alone_sec(self) -> float:
        """How long the exchange is still to be left alone."""
        return self.alone_until_sec - self.rest.clock.steady_sec()

    def _next_pause(self, attempt: int, asked_sec: float | None) -> tuple[float, int]:
        """How long to wait after `attempt`, and which attempt it is then: the first anew, once the bar has settled."""
        pause_sec = refusals.pause_sec(attempt, asked_sec, self.rest.jitter())
        unsettled_sec = self.settled_sec - self.rest.clock.steady_sec()
        if asked_sec is None and 0 < unsettled_sec < pause_sec:
            return unsettled_sec, 0
        return pause_sec, attempt + 1

    def _pause_after(self, fault: TryAgain, attempts: int, pause_sec: float, path: str) -> Pause:
        self.count_retry(fault.reason)
        if pause_sec >= self.patience.left_sec:
            unavailable = ExchangeUnavailable(
                f"{self.rest.base_url} did not answer {path} in {self.patience.total_sec:g} s"
                f" ({attempts} attempts); last: {fault}",
                retry_after_sec=fault.after_sec,
            )
            if fault.after_sec:
                self.remember(unavailable)
            raise unavailable from None
        # Once is a warning; how often it was is in the error, if it comes to one.
        _log.log(
            logging.WARNING if self._is_news(fault, attempts) else logging.DEBUG, "%s: %s; asking again", path, fault
        )
        return self.pause(pause_sec)

    def _is_news(self, _fault: TryAgain, attempts: int) -> bool:
        return attempts == 1
