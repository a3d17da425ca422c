"""History by REST: pages of the best rows per weight, several in flight, within a weight budget."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from barfeed.domain import sources
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import ContractBroken, ExchangeBlocked, ExchangeRefused
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life, life
from barfeed.domain.rules import Asked
from barfeed.domain.sources import Lines, Part, Rows
from barfeed.domain.verdict import trust_clock
from barfeed.exchange import wire
from barfeed.exchange.refusals import Answer
from barfeed.exchange.rest import Conversation, Query, Rest
from barfeed.exchange.steps import Steps
from barfeed.exchange.transport.parallel import in_order
from barfeed.exchange.weight import Budget
from barfeed.machine.clock import Patience

# Weight 2 by the documents and by measure: more rows for each weight than with any other limit.
PAGE_ROWS = 499
# Two clocks that differ by less at the turn of an hour are both right enough for history.
_SETTLE_SEC = 60.0
# As the feed does: just after a close a bar may still change, and the exchange's time is known only so well.
SETTLED_AFTER_SEC = 10.0
# Below this no page would ever pass.
WEIGHT_BUDGET_MIN = 10

_Value = TypeVar("_Value")


class _Question(Conversation):
    """One request, asked again within a patience of its own and weighed each time."""

    def page(self, series: Series, span: Gap) -> Lines | Rows:
        """The bars of a span, which is a page at most."""
        return self._asked(steps_of_page(self, series, span))

    def oldest(self, series: Series) -> Pull:
        """The first row of all, none where the exchange has none."""
        return self._asked(self._klines(series, {"startTime": 0}, 1))

    def weight_limit(self) -> int:
        """What the exchange allows in a minute."""
        return self._asked(self._steps("/fapi/v1/exchangeInfo", {}, _read_weight_limit))

    def _steps_once(
        self, path: str, query: Query, read: Callable[[Answer, float], _Value], weighs: int
    ) -> Steps[_Value]:
        try:
            return (yield from super()._steps_once(path, query, read, weighs))
        except (ExchangeBlocked, ExchangeRefused) as refusal:
            if self.budget:
                self.budget.stop(refusal)
            raise


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
        """By when what has closed is final: see `settled_ms`."""
        return settled_ms(self._talk)

    def start(self, weight_budget: int | None) -> None:
        """Ask the exchange what time it is, and what it allows where no budget is given: half of that.

        Raises `ExchangeUnavailable`, `ExchangeRefused`, and `ContractBroken` where its clocks disagree.
        """
        self._talk.ask_time()
        refuse_astray(self._talk, self.series)
        allowed = weight_budget or self._light().weight_limit() // 2
        self._budget = Budget(max(WEIGHT_BUDGET_MIN, allowed), lambda: self._talk.now_ms)

    def first_bar(self) -> Bar | None:
        """The oldest bar that the exchange has, None where it has none."""
        pull = self._light().oldest(self.series)
        return pull.bars[0] if pull.bars else None

    def life(self) -> Life:
        """What the symbol is by the exchange's list, a megabyte: for an end that looks like the symbol's own.

        Raises like `fetch`.
        """
        listings = self._light().exchange_info().listings
        return life(listings.get(self.series.symbol), self.now_ms, self.series.interval.ms)

    def fetch(self, spans: Sequence[Gap]) -> Iterator[Part]:
        """The exchange's bars of ascending `spans`, a part for each page, in order.

        Raises `ExchangeUnavailable`, `ExchangeRefused`, `ContractBroken`.
        """
        pages = list(sources.pages(spans, PAGE_ROWS, self.series.interval.ms))
        for part in in_order(pages, self._start_worker, max(1, min(self._connections, len(pages)))):
            self.requests += 1
            yield part

    def _start_worker(self) -> Callable[[Gap], Part]:
        rest = self._open_rest()

        def page(span: Gap) -> Part:
            return Part(self._rest.base_url, span, self._question(rest).page(self.series, span))

        return page

    def _light(self) -> _Question:
        self.requests += 1
        return self._question(self._rest)

    def _question(self, rest: Rest) -> _Question:
        question = _Question(rest, Patience(rest.clock, self._max_wait_sec), self._budget)
        question.time = self._talk.time
        return question


def steps_of_page(talk: Conversation, series: Series, span: Gap) -> Steps[Lines | Rows]:
    """The exchange's bars of a span, which is a page at most, within a conversation.

    Raises `ExchangeUnavailable`, `ExchangeRefused`, `ContractBroken`.
    """
    data = yield from talk.steps_of_page(series, span, PAGE_ROWS)
    _refuse_outside(series, span, data.opens_ms)
    return data if isinstance(data, Lines) else Rows(*data)


def settled_ms(talk: Conversation) -> int:
    """By when what has closed is final and has surely closed: what is newer is the feed's, which waits for it."""
    return talk.now_ms - round(max(SETTLED_AFTER_SEC, talk.uncertain_sec) * 1000)


def refuse_astray(talk: Conversation, series: Series) -> None:
    """Return unless the exchange's clocks disagree; one that ran ahead would let a forming bar into the store."""
    trust_clock(Asked(series, 1, talk.now_ms), talk.now_ms, talk.dated_ms, _SETTLE_SEC)


def _refuse_outside(series: Series, span: Gap, opens_ms: Sequence[int]) -> None:
    outside = [at_ms for at_ms in opens_ms if not span.first_ms <= at_ms <= span.last_ms]
    if outside:
        at = Gap(outside[0], outside[-1], len(outside))
        raise ContractBroken(f"{series}: the exchange answered {at}, asked for {span}", hint="check --base-url")


def _read_weight_limit(answer: Answer, _sent_sec: float) -> int:
    return told_limit(wire.read_weight_limit(answer.body))


def told_limit(limit: int | None) -> int:
    """The weight that the exchange allows in a minute; `ContractBroken` where it tells none."""
    if limit is None:
        raise ContractBroken(
            "/fapi/v1/exchangeInfo does not tell the request weight of a minute",
            hint="say it yourself: --weight-budget",
        )
    return limit
