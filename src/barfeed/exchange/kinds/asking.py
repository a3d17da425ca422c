"""Asking for the rows of a kind, of one symbol or of all at once, page by page and within the kind's own limit."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import ContractBroken, ExchangeUnavailable
from barfeed.domain.kinds.kind import Host, Kind, Limit, Row, Stamp
from barfeed.domain.kinds.table import SPOT_WEIGHT
from barfeed.exchange.kinds.limits import Requests
from barfeed.exchange.kinds.wire import Told, read_rows
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.steps import Steps
from barfeed.exchange.weight import Budget
from barfeed.machine.clock import Clock, Patience

# Of klines: more rows for each weight than with any other limit, by the documents and by measure.
_BEST_ROWS = 499


class Question(NamedTuple):
    """What is asked of a kind: the rows of the periods that start from `first_ms` to `last_ms`; of all, or a symbol."""

    kind: Kind
    series: Series
    first_ms: int
    last_ms: int
    of_all: bool = False


class Limits:
    """What this process has asked within each limit that is of requests: it outlives a pass, as the limit does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, Requests] = {}

    def of(self, limit: Limit) -> Requests:
        """The one that counts what is asked within this limit."""
        if limit.name not in self._of:
            self._of[limit.name] = Requests(limit, self._clock.steady_sec)
        return self._of[limit.name]


class Hosts(NamedTuple):
    """Whom kinds are asked of: both hosts' conversations, each with its own budget of weight, and what is counted.

    `until_ms` is when nothing more is waited for, by the exchange's clock; None where all limits are waited out.
    """

    talks: Mapping[Host, Conversation]
    limits: Limits
    until_ms: int | None = None

    def branch(self, kind: Kind, wait_sec: float) -> "KindBranch":
        """A conversation about one question of this kind, which may wait so long for what is late."""
        whole = self.talks[kind.host]
        budget = whole.budget if kind.limit.is_weight else self.limits.of(kind.limit)
        return KindBranch(whole, budget, self.until_ms, wait_sec)


def spot_talk(rest: Rest, talk: Conversation) -> Conversation:
    """A conversation with the spot host, beside the one with the futures host, at the same time; half of its limit."""
    spot = rest.conversation(talk.patience.total_sec)
    spot.time = talk.time
    spot.budget = Budget(SPOT_WEIGHT.most // 2, lambda: spot.now_ms)
    return spot


class KindBranch(Branch):
    """A branch that waits for its kind's own limit, and no longer than the pass may take."""

    def __init__(
        self, whole: Conversation, budget: Budget | Requests | None, until_ms: int | None, wait_sec: float
    ) -> None:
        super().__init__(whole)
        self.budget = budget  # type: ignore[assignment] # both admit and settle, and nothing else is asked of either
        self._until_ms = until_ms
        self._wait_sec = wait_sec

    def begin(self) -> None:
        """Count the patience from here on: what is in line before it takes none of it."""
        self.patience = Patience(self.rest.clock, self._wait_sec)

    def _until_it_may(self, path: str, weighs: int) -> Steps[None]:
        for step in super()._until_it_may(path, weighs):
            if self._until_ms is not None and self.now_ms >= self._until_ms:
                raise ExchangeUnavailable(f"{self.base_url} was not asked {path}: its limit left no room in time")
            yield step


def rows(branch: KindBranch, question: Question) -> Steps[dict[str, list[Row]]]:
    """What the exchange has of it, by symbol, ascending; while the last row is not there it is asked again.

    `known_at_ms` of a row is that of one that was had in time. Raises as a conversation does.
    """
    branch.begin()
    attempt = 0
    while True:
        told = yield from _pages(branch, question)
        pause_sec, attempt = branch._next_pause(attempt, None)  # noqa: SLF001 - it is a conversation itself
        if not is_late(told, question) or pause_sec >= branch.patience.left_sec:
            return told
        branch.count_retry("late")
        yield branch.pause(pause_sec)


def once(branch: KindBranch, question: Question) -> Steps[dict[str, list[Row]]]:
    """As `rows`, of history: what is not there is asked for once."""
    branch.begin()
    return (yield from _pages(branch, question))


def is_late(told: Mapping[str, Sequence[Row]], question: Question) -> bool:
    """Whether the newest row that is due is not among those of a symbol; of moments nobody knows the next."""
    if question.kind.stamp is Stamp.MOMENT:
        return False
    found = told.get(question.series.symbol, ())
    return not found or found[-1].timestamp_ms < question.last_ms


def _pages(branch: KindBranch, question: Question) -> Steps[dict[str, list[Row]]]:
    found: dict[str, list[Row]] = {}
    for first_ms, last_ms, limit in _spans(question):
        told = yield from _page(branch, question, first_ms, last_ms, limit)
        for each in told:
            found.setdefault(each.symbol or question.series.symbol, []).append(_row(question, each))
    return found


def _page(branch: KindBranch, question: Question, first_ms: int, last_ms: int, limit: int) -> Steps[list[Told]]:
    kind, series = question.kind, question.series
    symbol = "" if question.of_all else series.symbol
    query = kind.query(symbol, series.interval, first_ms, last_ms, limit)
    told = yield from branch._steps(  # noqa: SLF001 - as above
        kind.path, query, lambda answer, _sent_sec: read_rows(kind, answer.body), kind.cost(limit)
    )
    if any(each.symbol not in {"", symbol} for each in told if symbol):
        others = sorted({each.symbol for each in told} - {symbol})
        raise ContractBroken(f"{kind.path} answered {', '.join(others)}, asked for {symbol}", hint="check --base-url")
    if kind.stamp is Stamp.MOMENT and len(told) >= limit:
        raise ContractBroken(f"{kind.path} answered {len(told)} rows, which may not be all: fewer were expected")
    return told


def _spans(question: Question) -> Iterator[tuple[int, int, int]]:
    """Pages: first and last `timestamp`, and how many rows are asked for."""
    kind, first_ms, last_ms = question.kind, question.first_ms, question.last_ms
    if kind.stamp is Stamp.MOMENT:
        # Of all symbols an hour is a page, as of one symbol are as many hours as rows come of a request.
        reach_ms = HOUR_MS if question.of_all else (kind.rows_max - 1) * HOUR_MS
        for begin_ms in range(first_ms, last_ms + 1, reach_ms):
            yield begin_ms, min(last_ms, begin_ms + reach_ms - 1), kind.rows_max
        return
    step_ms = question.series.interval.ms
    most = min(kind.rows_max, _BEST_ROWS) if kind.limit.is_weight else kind.rows_max
    for begin_ms in range(first_ms, last_ms + 1, most * step_ms):
        end_ms = min(last_ms, begin_ms + (most - 1) * step_ms)
        yield begin_ms, end_ms, (end_ms - begin_ms) // step_ms + 1


def _row(question: Question, told: Told) -> Row:
    interval = question.series.interval
    timestamp_ms = question.kind.stamp.start_ms(told.stamp_ms, interval.ms)
    return Row(timestamp_ms, question.kind.known_at_ms(timestamp_ms, interval), told.values)
