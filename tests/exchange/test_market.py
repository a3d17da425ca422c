"""A market's questions within one conversation: what they share, and what each has of its own. In process, in turn."""

import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from urllib.parse import parse_qs, urlsplit

import pytest

from barfeed.domain.bars import HOUR_MS, Pull, Series
from barfeed.domain.errors import BarfeedError, ContractBroken, ExchangeBlocked, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.rules import Asked
from barfeed.exchange.market import Branch
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import Pause, Steps
from barfeed.exchange.weight import of_klines
from barfeed.machine.clock import Patience
from barfeed.replay.rest.limits import Limiter, kline_weight
from in_turn import InTurn
from world import SteppingClock, ms

TARGET_MS = ms(2024, 2, 10, 13)
NOW_MS = TARGET_MS + HOUR_MS + 20_000
SYMBOLS = [f"S{number}USDT" for number in range(9)]
MANY = [f"S{number}USDT" for number in range(800)]


def kline(open_time_ms: int) -> list[object]:
    return [open_time_ms, "1", "2", "1", "2", "3", open_time_ms + HOUR_MS - 1, "4", 5, "1", "1", "0"]


def klines(*opens_ms: int) -> Answer:
    return Answer(200, {}, json.dumps([kline(each) for each in opens_ms]).encode())


GOOD = klines(TARGET_MS - HOUR_MS, TARGET_MS)
LATE = klines(TARGET_MS - HOUR_MS)
Reply = Answer | Exception


def refused(status: int, code: int = 0, **headers: str) -> Answer:
    body = json.dumps({"code": code, "msg": "no"}).encode() if code else b""
    return Answer(status, {name.replace("_", "-"): value for name, value in headers.items()}, body)


class Market:
    """An exchange that answers each symbol from a list, then the last for ever; all others well."""

    def __init__(
        self, replies: Mapping[str, Sequence[Reply]] | None = None, max_wait_sec: float = 120.0, limit: int = 2400
    ) -> None:
        self.clock = SteppingClock(NOW_MS)
        self.asked: list[tuple[str, float]] = []
        self._replies = {symbol: list(some) for symbol, some in (replies or {}).items()}
        self._limiter = Limiter(limit)
        self.statuses: Counter[int] = Counter()
        self.rest = Rest("http://exchange", self._transport, self.clock, jitter=lambda: 1.0)
        self.whole = self.rest.conversation(max_wait_sec)
        self.branches: list[Branch] = []

    def ask(
        self, symbols: Sequence[str] = SYMBOLS, bars: int = 2, beside: Sequence[Steps[Pull]] = ()
    ) -> list[Pull | BarfeedError]:
        self.branches = [Branch(self.whole) for _ in symbols]
        asked = [Asked(Series.of(symbol, "1h"), bars, self.whole.now_ms) for symbol in symbols]
        questions = [branch.steps_of_closed_bars(each) for branch, each in zip(self.branches, asked, strict=True)]
        return InTurn(self._transport, self.clock)([*questions, *beside])

    @property
    def gone_sec(self) -> float:
        return (self.clock.now_ms - NOW_MS) / 1000

    def asked_of(self, symbol: str) -> list[float]:
        """When it was asked about, in seconds since the beginning."""
        return [at_sec for name, at_sec in self.asked if name == symbol]

    def _transport(self, url: str, _left_sec: float) -> Answer:
        parts = urlsplit(url)
        query = {name: some[0] for name, some in parse_qs(parts.query).items()}
        symbol = query.get("symbol", parts.path)
        self.asked.append((symbol, self.gone_sec))
        weighed = self._limiter.weigh(kline_weight(query["limit"]) if query else 1, self.clock.now_ms)
        self.statuses[weighed.status] += 1
        replies = self._replies.get(symbol, [GOOD])
        reply = replies.pop(0) if len(replies) > 1 else replies[0]
        if isinstance(reply, Exception):
            raise reply
        return reply._replace(headers={**reply.headers, "x-mbx-used-weight-1m": str(weighed.used)})


def is_good(answer: Pull | BarfeedError) -> bool:
    return isinstance(answer, Pull) and answer.bars[-1].open_time_ms == TARGET_MS


def test_every_series_is_asked_once_and_answered_in_its_place() -> None:
    market = Market({"S3USDT": [klines(TARGET_MS)]})
    answers = market.ask()
    assert [symbol for symbol, _ in market.asked] == SYMBOLS
    assert all(map(is_good, answers))
    assert [len(answer.bars) for answer in answers if isinstance(answer, Pull)] == [2, 2, 2, 1, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (refused(400, -1121), ExchangeRefused),
        (refused(400, -1122), ExchangeRefused),
        (Answer(200, {}, b'[["1705323600000"]]'), ContractBroken),
        (ContractBroken("the exchange's answer is over 8388608 bytes"), ContractBroken),
        (TryAgain("connection", "reset"), ExchangeUnavailable),
        (refused(503), ExchangeUnavailable),
        (refused(503, retry_after="300"), ExchangeUnavailable),
    ],
)
def test_the_trouble_of_one_series_is_no_other_ones(trouble: Reply, kind: type[BarfeedError]) -> None:
    market = Market({"S3USDT": [trouble]}, max_wait_sec=20.0)
    answers = market.ask()
    assert type(answers[3]) is kind
    assert [is_good(answer) for answer in answers] == [True] * 3 + [False] + [True] * 5
    assert all(len(market.asked_of(symbol)) == 1 for symbol in SYMBOLS if symbol != "S3USDT")
    # The others were not made to wait for it.
    assert {at_sec for symbol, at_sec in market.asked if symbol != "S3USDT"} == {0.0}
    assert market.whole.refusal is None


def test_what_a_series_is_refused_it_is_not_asked_again() -> None:
    market = Market({"S3USDT": [refused(400, -1121)]})
    market.ask()
    with pytest.raises(ExchangeRefused):
        market.branches[3].newest_bars(Series.of("S3USDT", "1h"), NOW_MS, 2)
    assert len(market.asked_of("S3USDT")) == 1


@pytest.mark.parametrize(
    ("trouble", "kind"),
    [
        (refused(418, -1003), ExchangeBlocked),
        (refused(403), ExchangeBlocked),
        (refused(451), ExchangeRefused),
        (refused(302, location="/elsewhere"), ExchangeRefused),
        (refused(404), ExchangeRefused),
        (ExchangeRefused("the exchange's TLS certificate cannot be trusted"), ExchangeRefused),
    ],
)
def test_what_is_refused_to_the_address_is_asked_by_nobody_any_more(trouble: Reply, kind: type[BarfeedError]) -> None:
    market = Market({"S3USDT": [trouble]})
    answers = market.ask()
    assert [symbol for symbol, _ in market.asked] == SYMBOLS[:4]
    assert [type(answer) for answer in answers] == [Pull] * 3 + [kind] * 6
    assert type(market.whole.refusal) is kind
    with pytest.raises(kind):
        market.whole.ask_time()
    assert len(market.asked) == 4


def test_a_429_is_waited_for_by_all() -> None:
    market = Market({"S3USDT": [refused(429, retry_after="30"), GOOD]})
    answers = market.ask()
    assert all(map(is_good, answers))
    assert [at_sec for _, at_sec in market.asked] == [0.0] * 4 + [31.0] * 6
    assert dict(market.whole.retries) == {"http_429": 1}


def test_a_429_that_outlasts_the_patience_ends_all_at_once_and_is_told_once() -> None:
    market = Market({"S3USDT": [refused(429, retry_after="300")]})
    answers = market.ask()
    assert len(market.asked) == 4
    assert market.gone_sec == 0.0
    assert {type(answer) for answer in answers[3:]} == {ExchangeUnavailable}
    assert {answer.retry_after_sec for answer in answers[3:] if isinstance(answer, BarfeedError)} == {300.0}
    assert market.whole.refusal in answers


def test_a_late_bar_is_asked_for_again_while_the_others_are_done() -> None:
    market = Market({"S3USDT": [LATE, LATE, GOOD], "S5USDT": [LATE, GOOD]})
    assert all(map(is_good, market.ask()))
    assert market.asked_of("S3USDT") == [0.0, 0.25, 0.75]
    assert market.asked_of("S5USDT") == [0.0, 0.25]
    assert len(market.asked) == 9 + 3


def test_what_each_costs_adds_up() -> None:
    market = Market({"S3USDT": [LATE, GOOD], "S5USDT": [refused(503), TryAgain("timeout", "slow"), GOOD]})
    market.ask()
    whole, branches = market.whole, market.branches
    assert whole.requests == sum(branch.requests for branch in branches) == 12
    assert dict(whole.retries) == {"late": 1, "http_503": 1, "timeout": 1}
    assert dict(branches[5].retries) == {"http_503": 1, "timeout": 1}
    assert whole.used_weight == 12
    assert [branch.used_weight for branch in branches[:3]] == [1, 2, 3]


def test_all_share_the_time_that_was_asked_once() -> None:
    time = Answer(200, {"date": "Sat, 10 Feb 2024 14:00:20 GMT"}, b'{"serverTime":%d}' % (NOW_MS + 5000))
    market = Market({"/fapi/v1/time": [time]})
    market.whole.ask_time()
    assert Branch(market.whole).now_ms == market.whole.now_ms == NOW_MS + 5000
    assert market.whole.dated_ms == NOW_MS


def test_a_trouble_of_all_is_warned_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "barfeed")
    market = Market({symbol: [refused(503), refused(503), GOOD] for symbol in SYMBOLS})
    market.ask()
    assert market.whole.retries["http_503"] == 18
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert warned == ["/fapi/v1/klines: HTTP 503 ''; asking again"]


def test_a_series_whose_turn_never_came_says_so() -> None:
    market = Market(max_wait_sec=5.0)
    market.clock.sleep(5.0)
    answers = market.ask()
    assert market.asked == []
    assert {str(answer) for answer in answers} == {
        "http://exchange was not asked /fapi/v1/klines: the others took all of 5 s"
    }
    assert {type(answer) for answer in answers} == {ExchangeUnavailable}


def test_what_the_others_took_is_told_though_nothing_was_left_for_it() -> None:
    market = Market(max_wait_sec=5.0)
    market.clock.sleep(5.0)
    branch = Branch(market.whole)
    branch.patience = Patience(market.clock, market.whole.patience.left_sec)
    with pytest.raises(ExchangeUnavailable, match="the others took all of 5 s"):
        branch.newest_bars(Series.of(SYMBOLS[0], "1h"), NOW_MS, 2)


class TestWithinABudget:
    """The exchange's own counter is the judge: it bans whoever goes over it."""

    def test_what_does_not_fit_into_a_minute_waits_for_the_next(self) -> None:
        market = Market(max_wait_sec=10.0, limit=300)
        market.whole.keep_within(300)
        answers = market.ask(MANY)
        assert all(map(is_good, answers))
        assert market.statuses == {200: 800}
        # It began 20 s into a minute.
        minutes = Counter(int((at_sec + 20) // 60) for _, at_sec in market.asked)
        assert minutes == {0: 300, 1: 300, 2: 200}
        # Though the patience was 10 s: it is for the exchange.
        assert market.whole.patience.left_sec == pytest.approx(10.0)

    def test_what_has_been_asked_before_counts(self) -> None:
        market = Market(limit=300)
        market.ask(MANY[:250])
        market.whole.keep_within(300)
        market.ask(MANY[:100])
        minutes = Counter(int((at_sec + 20) // 60) for _, at_sec in market.asked)
        assert minutes == {0: 300, 1: 50}

    def test_what_others_weigh_on_the_same_address_counts(self) -> None:
        market = Market(limit=300)
        market.whole.keep_within(300)
        market._limiter.weigh(200, NOW_MS)
        market.ask(MANY[:150])
        assert market.statuses == {200: 150}

    def test_a_refused_request_costs_too(self) -> None:
        market = Market({symbol: [refused(400, -1121)] for symbol in MANY}, limit=300)
        market.whole.keep_within(300)
        market.ask(MANY)
        assert market.statuses == {200: 800}

    def test_more_bars_weigh_more(self) -> None:
        market = Market(limit=2400)
        market.whole.keep_within(20)
        market.ask(MANY[:20], bars=101)
        minutes = Counter(int((at_sec + 20) // 60) for _, at_sec in market.asked)
        assert minutes == {0: 10, 1: 10}

    def test_a_block_is_heard_of_by_who_waits_for_the_next_minute(self) -> None:
        market = Market()
        market.whole.keep_within(5)

        def blocked() -> Steps[Pull]:
            yield Pause(7.0)
            market.whole.remember(ExchangeBlocked("the exchange blocks this address"))
            raise market.whole.refusal or AssertionError

        answers = market.ask(MANY[:50], beside=[blocked()])
        assert [type(answer) for answer in answers] == [Pull] * 5 + [ExchangeBlocked] * 46
        assert len(market.asked) == 5
        # The next minute begins after 40 s.
        assert market.gone_sec <= 12.0


@pytest.mark.parametrize(
    ("limit", "weight"), [(1, 1), (100, 1), (101, 2), (500, 2), (501, 5), (1000, 5), (1001, 10), (1500, 10)]
)
def test_klines_weigh_by_their_limit(limit: int, weight: int) -> None:
    assert of_klines(limit) == weight
