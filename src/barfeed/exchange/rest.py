"""The two questions an hour asks, with the patience to ask them again.

Sources: `/fapi/v1/time` and `/fapi/v1/klines` in the exchange's documentation; weights and edges as
measured, see the project's design.
"""

import logging
import random
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlencode

from barfeed.domain import grid, rules
from barfeed.domain.bars import Pull, Series
from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.rules import Asked
from barfeed.exchange import refusals, wire
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.transport.single import Transport
from barfeed.exchange.wire import KLINES_LIMIT_MAX
from barfeed.machine.clock import Clock, ExchangeTime, Patience

if TYPE_CHECKING:
    from barfeed.domain.life import Listed, Listing

_ABSURD_DIGITS = 10
# An answer that took so long may be off by half an interval of a minute, and no bar of that would ever be settled.
_USELESS_TIME_AFTER_SEC = 60.0

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
        """Everything one cycle asks, within one patience."""
        return Conversation(self, Patience(self.clock, max_wait_sec))


class Conversation:
    """One cycle's requests: they share a patience, and are counted for the manifest."""

    def __init__(self, rest: Rest, patience: Patience) -> None:
        self._rest = rest
        self.patience = patience
        self.requests = 0
        self.retries: Counter[str] = Counter()
        self.used_weight: int | None = None
        self.time: ExchangeTime | None = None
        # When the last answer was sent, by the clock of whoever sent it: coarse, but not /time's.
        self.dated_ms: int | None = None
        # Why nothing more is asked: calling on cannot help, and would make a block longer.
        self.refusal: BarfeedError | None = None
        # What the list of symbols said, where that was worth asking for.
        self.listed: Listed | None = None
        # When the clock alone would begin to ask, by the steady clock: no pause of ours goes across it.
        self.settled_sec = 0.0

    @property
    def base_url(self) -> str:
        """The exchange's address."""
        return self._rest.base_url

    @property
    def now_ms(self) -> int:
        """The exchange's time in ms since 1970-01-01 UTC; the machine's until the exchange has told its own."""
        clock = self._rest.clock
        return self.time.now_ms(clock) if self.time else clock.utc_ms()

    @property
    def uncertain_sec(self) -> float:
        """How far the true time may be behind `now_ms`; 0 until the exchange has told its own."""
        return self.time.uncertain_sec if self.time else 0.0

    def ask_time(self) -> ExchangeTime:
        """The exchange's clock, compared with the machine's. Weight 1.

        Raises `ExchangeUnavailable`, `ExchangeRefused`.
        """
        clock = self._rest.clock

        def stamped(answer: Answer, sent_sec: float) -> ExchangeTime:
            received_sec, machine_ms = clock.steady_sec(), clock.utc_ms()
            if received_sec - sent_sec > _USELESS_TIME_AFTER_SEC:
                raise TryAgain("timeout", f"the answer took {received_sec - sent_sec:.0f} s, and is of no use by now")
            return ExchangeTime.answered(wire.read_server_time(answer.body), sent_sec, received_sec, machine_ms)

        self.time = self._ask("/fapi/v1/time", {}, stamped)
        return self.time

    def closed_bars(self, asked: Asked) -> Pull:
        """The pull that `asked` describes; while it does not reach the target, asked again with growing pauses.

        When the patience ends first, the late pull itself comes back: it is evidence too.
        Raises like `newest_bars`.
        """
        end_ms = grid.floor(asked.now_ms, asked.step_ms) - 1
        attempt = 0
        while True:
            pull = self.newest_bars(asked.series, end_ms, asked.bars)
            pause_sec, attempt = self._next_pause(attempt, None)
            if not rules.is_late(pull, asked) or pause_sec >= self.patience.left_sec:
                return pull
            _log.info("%s: the target is not shown yet; asking again in %.1f s", asked.series, pause_sec)
            self.retries["late"] += 1
            self.patience.pause(pause_sec)

    def newest_bars(self, series: Series, end_ms: int, bars: int) -> Pull:
        """The `bars` newest rows that open at or before `end_ms` (ms), oldest first, paged where they must be.

        Weight 1 up to 100 bars. Fewer come where the exchange has fewer.
        Raises `ExchangeUnavailable`, `ExchangeRefused`, and `ContractBroken` for rows that are no bars.
        """
        pull = self._page(series, end_ms, min(bars, KLINES_LIMIT_MAX))
        page = pull
        while len(page.bars) == KLINES_LIMIT_MAX and len(pull.bars) < bars:
            end_ms = page.bars[0].open_time_ms - 1
            page = self._page(series, end_ms, min(bars - len(pull.bars), KLINES_LIMIT_MAX))
            pull = page + pull
        return pull

    def first_bar(self, series: Series, begin_ms: int, end_ms: int) -> Pull:
        """The oldest row that opens from `begin_ms` to `end_ms` (ms, included); none where the exchange has none.

        Raises like `newest_bars`.
        """
        query = self._query(series) | {"startTime": begin_ms, "endTime": end_ms, "limit": 1}
        return self._ask("/fapi/v1/klines", query, lambda answer, _sent_sec: wire.read_klines(answer.body))

    def listings(self, wait_sec: float) -> "dict[str, Listing]":
        """Every symbol that the exchange lists, by its name: a megabyte, weight 1. For a cycle that has failed.

        It is asked though the exchange has refused the symbol, and for so long though the patience has ended.
        Raises `ExchangeUnavailable`, `ExchangeRefused`.
        """
        refusal, self.refusal = self.refusal, None
        self.patience = Patience(self._rest.clock, wait_sec)
        try:
            return self._ask("/fapi/v1/exchangeInfo", {}, lambda answer, _sent_sec: wire.read_listings(answer.body))
        finally:
            # What was refused stays so; a block that came meanwhile weighs more.
            self.refusal = self.refusal or refusal

    def _page(self, series: Series, end_ms: int, limit: int) -> Pull:
        query = self._query(series) | {"endTime": end_ms, "limit": limit}
        return self._ask("/fapi/v1/klines", query, lambda answer, _sent_sec: wire.read_klines(answer.body))

    def _query(self, series: Series) -> Query:
        return {"symbol": series.symbol, "interval": str(series.interval)}

    def _ask(self, path: str, query: Query, read: Callable[[Answer, float], _Value]) -> _Value:
        attempts = attempt = 0
        while True:
            try:
                return self._ask_once(path, query, read)
            except TryAgain as fault:
                attempts += 1
                pause_sec, attempt = self._next_pause(attempt, fault.after_sec)
                self._wait_after(fault, attempts, pause_sec, path)

    def _ask_once(self, path: str, query: Query, read: Callable[[Answer, float], _Value]) -> _Value:
        if self.refusal:
            raise self.refusal.with_traceback(None)
        url = f"{self._rest.base_url}{path}?{urlencode(query)}" if query else f"{self._rest.base_url}{path}"
        self.requests += 1
        sent_sec = self._rest.clock.steady_sec()
        answer = self._rest.transport(url, self.patience.left_sec)
        _log.debug("GET %s -> %s, %d bytes", url, answer.status, len(answer.body))
        self._note_weight(answer)
        self.dated_ms = refusals.dated_ms(answer)
        try:
            refusals.check_status(answer, self.now_ms)
            return read(answer, sent_sec)
        except (ExchangeBlocked, ExchangeRefused) as refusal:
            self.refusal = refusal
            raise
        except wire.NotJson as problem:
            raise TryAgain("not_json", f"HTTP 200, {problem}") from None

    def _note_weight(self, answer: Answer) -> None:
        weight = answer.headers.get("x-mbx-used-weight-1m", "")
        if weight.isascii() and weight.isdigit() and len(weight) < _ABSURD_DIGITS:
            self.used_weight = int(weight)

    def _next_pause(self, attempt: int, asked_sec: float | None) -> tuple[float, int]:
        """How long to wait after `attempt`, and which attempt it is then: the first anew, once the bar has settled."""
        pause_sec = refusals.pause_sec(attempt, asked_sec, self._rest.jitter())
        unsettled_sec = self.settled_sec - self._rest.clock.steady_sec()
        if asked_sec is None and 0 < unsettled_sec < pause_sec:
            return unsettled_sec, 0
        return pause_sec, attempt + 1

    def _wait_after(self, fault: TryAgain, attempts: int, pause_sec: float, path: str) -> None:
        self.retries[fault.reason] += 1
        if pause_sec >= self.patience.left_sec:
            unavailable = ExchangeUnavailable(
                f"{self._rest.base_url} did not answer {path} in {self.patience.total_sec:g} s"
                f" ({attempts} attempts); last: {fault}",
                retry_after_sec=fault.after_sec,
            )
            self.refusal = unavailable if fault.after_sec else None
            raise unavailable from None
        # Once is a warning; how often it was is in the error, if it comes to one.
        _log.log(logging.DEBUG if attempts > 1 else logging.WARNING, "%s: %s; asking again", path, fault)
        self.patience.pause(pause_sec)
