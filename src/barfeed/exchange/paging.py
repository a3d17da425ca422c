"""History by REST: pages of the best rows per weight, several in flight, within a weight budget."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from barfeed.domain import sources
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import ContractBroken, ExchangeBlocked, ExchangeRefused
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life, life
from barfeed.domain.rules import Asked
from barfeed.domain.sources import Part, Rows
from barfeed.domain.verdict import trust_clock
from barfeed.exchange import wire
from barfeed.exchange.parallel import in_order
from barfeed.exchange.refusals import Answer
from barfeed.exchange.rest import Conversation, Query, Rest
from barfeed.exchange.weight import Budget
from barfeed.machine.clock import Patience

# Weight 2 by the documents and by measure: more rows for each weight than with any other limit.
PAGE_ROWS = 499
_PAGE_WEIGHT = 2
_LIGHT = 1
# Two clocks that differ by less at the turn of an hour are both right enough for history.
_SETTLE_SEC = 60.0
# As the feed does: just after a close a bar may still change, and the exchange's time is known only so well.
SETTLED_AFTER_SEC = 10.0
# Below this no page would ever pass.
WEIGHT_BUDGET_MIN = 10

_Value = TypeVar("_Value")
_ROWS = msgspec.json.Decoder(list[wire.Kline])
_TEXT_COLUMNS = (1, 2, 3, 4, 5, 7, 9, 10)
# Of these only the shape counts here: whatever does not fit is told by the careful reader.
_DECIMALS = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?,)*", re.ASCII)


class _RateLimit(msgspec.Struct):
    rateLimitType: str = ""  # noqa: N815 - the wire's own names
    interval: str = ""
    intervalNum: int = 0  # noqa: N815
    limit: int = 0


class _Info(msgspec.Struct):
    rateLimits: list[_RateLimit] = []  # noqa: N815 - msgspec copies it


class _Question(Conversation):
    """One request, asked again within a patience of its own and weighed each time."""

    def __init__(self, rest: Rest, max_wait_sec: float, budget: Budget | None, weight: int) -> None:
        super().__init__(rest, Patience(rest.clock, max_wait_sec))
        self._budget = budget
        self._weight = weight

    def ask(self, path: str, query: Query, read: Callable[[Answer, float], _Value]) -> _Value:
        return self._ask(path, query, read)

    def _ask_once(self, path: str, query: Query, read: Callable[[Answer, float], _Value]) -> _Value:
        if self._budget is None:
            return super()._ask_once(path, query, read)
        while wait_sec := self._budget.admit(self._weight):
            self.patience.wait_aside(wait_sec)
        self.used_weight = None
        try:
            return super()._ask_once(path, query, read)
        except (ExchangeBlocked, ExchangeRefused) as refusal:
            self._budget.stop(refusal)
            raise
        finally:
            self._budget.settle(self._weight, self.used_weight)


class RestHistory:
    """The exchange's own word on history. `open_rest` makes one connection; each thread has one of its own."""

    def __init__(
        self, series: Series, open_rest: Callable[[], Rest], max_wait_sec: float, connections: int = 4
    ) -> None:
        self.series = series
        self.requests = 0
        self._open_rest = open_rest
        self._rest = open_rest()
        self._max_wait_sec = max_wait_sec
        self._connections = connections
        self._talk = self._rest.conversation(max_wait_sec)
        self._budget: Budget | None = None

    @property
    def used_weight(self) -> int:
        """What the exchange has counted in its current minute."""
        return self._budget.used if self._budget else 0

    @property
    def now_ms(self) -> int:
        """The exchange's time in ms since 1970-01-01 UTC."""
        return self._talk.now_ms

    @property
    def settled_ms(self) -> int:
        """By when what has closed is final and has surely closed: what is newer is the feed's, which waits for it."""
        return self.now_ms - round(max(SETTLED_AFTER_SEC, self._talk.uncertain_sec) * 1000)

    def start(self, weight_budget: int | None) -> None:
        """Ask the exchange what time it is, and what it allows where no budget is given: half of that.

        Raises `ExchangeUnavailable`, `ExchangeRefused`, and `ContractBroken` where its clocks disagree.
        """
        self._talk.ask_time()
        # One that runs ahead would let a forming bar into the store.
        trust_clock(Asked(self.series, 1, self.now_ms), self.now_ms, self._talk.dated_ms, _SETTLE_SEC)
        allowed = weight_budget or self._light("/fapi/v1/exchangeInfo", {}, _read_weight_limit) // 2
        self._budget = Budget(max(WEIGHT_BUDGET_MIN, allowed), lambda: self._talk.now_ms)

    def first_bar(self) -> Bar | None:
        """The oldest bar that the exchange has, None where it has none."""
        query: Query = self._query() | {"startTime": 0, "limit": 1}
        pull = self._light("/fapi/v1/klines", query, lambda answer, _sent_sec: wire.read_klines(answer.body))
        return pull.bars[0] if pull.bars else None

    def life(self) -> Life:
        """What the symbol is by the exchange's list, a megabyte: for an end that looks like the symbol's own.

        Raises like `fetch`.
        """
        listings = self._light("/fapi/v1/exchangeInfo", {}, lambda answer, _sent_sec: wire.read_listings(answer.body))
        return life(listings.get(self.series.symbol), self.now_ms, self.series.interval.ms)

    def fetch(self, spans: Sequence[Gap]) -> Iterator[Part]:
        """The exchange's bars of ascending `spans`, a part for each page, in order.

        Raises `ExchangeUnavailable`, `ExchangeRefused`, `ContractBroken`.
        """
        pages = sources.pages(spans, PAGE_ROWS, self.series.interval.ms)
        for part in in_order(pages, self._start_worker, max(1, min(self._connections, len(pages)))):
            self.requests += 1
            yield part

    def _start_worker(self) -> Callable[[Gap], Part]:
        rest = self._open_rest()

        def page(span: Gap) -> Part:
            question = _Question(rest, self._max_wait_sec, self._budget, _PAGE_WEIGHT)
            question.time = self._talk.time
            query: Query = self._query() | {"startTime": span.first_ms, "endTime": span.last_ms, "limit": PAGE_ROWS}
            pull = question.ask("/fapi/v1/klines", query, lambda answer, _sent_sec: read_page(answer.body))
            _refuse_outside(self.series, span, pull)
            return Part(self._rest.base_url, span, Rows(*pull))

        return page

    def _light(self, path: str, query: Query, read: Callable[[Answer, float], _Value]) -> _Value:
        question = _Question(self._rest, self._max_wait_sec, self._budget, _LIGHT)
        question.time = self._talk.time
        self.requests += 1
        return question.ask(path, query, read)

    def _query(self) -> Query:
        return {"symbol": self.series.symbol, "interval": str(self.series.interval)}


def read_page(body: bytes) -> Pull:
    """As `wire.read_klines`, four times as fast where every row is as it should be."""
    try:
        klines = _ROWS.decode(body)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return wire.read_klines(body)
    columns: Any = list(zip(*klines, strict=True))
    if not all(_DECIMALS.fullmatch(",".join(columns[index]) + ",") for index in _TEXT_COLUMNS if columns):
        return wire.read_klines(body)
    return wire.pull_of(klines)


def _refuse_outside(series: Series, span: Gap, pull: Pull) -> None:
    outside = [bar for bar in pull.bars if not span.first_ms <= bar.open_time_ms <= span.last_ms]
    if outside:
        at = Gap(outside[0].open_time_ms, outside[-1].open_time_ms, len(outside))
        raise ContractBroken(f"{series}: the exchange answered {at}, asked for {span}", hint="check --base-url")


def _read_weight_limit(answer: Answer, _sent_sec: float) -> int:
    wire.read_json(answer.body)
    try:
        info = msgspec.json.decode(answer.body, type=_Info)
    except msgspec.ValidationError:
        raise ContractBroken(f"/fapi/v1/exchangeInfo answered {wire.quote(answer.body)}") from None
    for each in info.rateLimits:
        if (each.rateLimitType, each.interval, each.intervalNum) == ("REQUEST_WEIGHT", "MINUTE", 1) and each.limit > 0:
            return each.limit
    raise ContractBroken(
        "/fapi/v1/exchangeInfo does not tell the request weight of a minute", hint="say it yourself: --weight-budget"
    )
