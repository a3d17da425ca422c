import json
from collections.abc import Callable
from urllib.parse import parse_qsl, urlsplit

import pytest

from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, ContractBroken, ExchangeBlocked, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.rules import Asked
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Conversation, Rest

HOUR = 3_600_000
# 2024-01-15 13:00 UTC is the target: it is 14:00:20 on the exchange.
TARGET = 1_705_323_600_000
NOW = TARGET + HOUR + 20_000
SERIES = Series.of("BTCUSDT", "1h")
ASKED = Asked(SERIES, 6, NOW)

Reply = Answer | TryAgain | Callable[[dict[str, str]], Answer]


def kline(open_time_ms: int) -> list[object]:
    close_time_ms = open_time_ms + HOUR - 1
    return [open_time_ms, "100.0", "110.0", "90.0", "105.0", "7.5", close_time_ms, "790.5", 12, "3.5", "360.1", "0"]


def klines(end_ms: int, bars: int) -> Answer:
    rows = [kline(end_ms - back * HOUR) for back in range(bars - 1, -1, -1)]
    return Answer(200, {}, json.dumps(rows).encode())


def status(number: int, **headers: str) -> Answer:
    return Answer(number, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def since_2019(query: dict[str, str]) -> Answer:
    """What an exchange with a long history answers."""
    return klines((int(query["endTime"]) // HOUR) * HOUR, int(query["limit"]))


class Scene:
    """A clock that moves only when slept on, and an exchange that answers from a list, then the last for ever."""

    def __init__(
        self, *replies: Reply, max_wait_sec: float = 120.0, takes_sec: float = 0.0, jitter: float = 1.0
    ) -> None:
        self.steady = 1000.0
        self.slept: list[float] = []
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.left_sec: list[float] = []
        self._replies = list(replies)
        self._takes_sec = takes_sec
        rest = Rest("http://exchange/", self._transport, self, jitter=lambda: jitter)
        self.talk: Conversation = rest.conversation(max_wait_sec)

    def steady_sec(self) -> float:
        return self.steady

    def utc_ms(self) -> int:
        return NOW + int((self.steady - 1000.0) * 1000)

    def sleep(self, sec: float) -> None:
        self.slept.append(sec)
        self.steady += max(0.0, sec)

    @property
    def gone_sec(self) -> float:
        return self.steady - 1000.0

    def _transport(self, url: str, left_sec: float) -> Answer:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        self.asked.append((f"{parts.netloc}{parts.path}", query))
        self.left_sec.append(left_sec)
        self.steady += min(self._takes_sec, left_sec)
        reply = self._replies.pop(0) if len(self._replies) > 1 else self._replies[0]
        if isinstance(reply, TryAgain):
            raise reply
        return reply if isinstance(reply, Answer) else reply(query)


def failure(scene: Scene) -> BarfeedError:
    with pytest.raises(BarfeedError) as told:
        scene.talk.closed_bars(ASKED)
    return told.value


def test_the_newest_closed_bars_are_asked_for_by_the_end_of_the_last_hour() -> None:
    scene = Scene(klines(TARGET, 6))
    pull = scene.talk.closed_bars(ASKED)
    assert [bar.open_time_ms for bar in pull.bars] == [TARGET - back * HOUR for back in (5, 4, 3, 2, 1, 0)]
    query = {"symbol": "BTCUSDT", "interval": "1h", "endTime": "1705327199999", "limit": "6"}
    assert scene.asked == [("exchange/fapi/v1/klines", query)]
    assert (scene.talk.requests, scene.slept, dict(scene.talk.retries)) == (1, [], {})


def test_the_exchange_tells_the_time_and_the_machine_only_until_then() -> None:
    scene = Scene(Answer(200, {"x-mbx-used-weight-1m": "17"}, b'{"serverTime":1705327000000}'), takes_sec=0.5)
    assert scene.talk.now_ms == NOW
    time = scene.talk.ask_time()
    assert scene.asked == [("exchange/fapi/v1/time", {})]
    assert time.round_trip_sec == 0.5
    # It said so half-way, a quarter of a second ago.
    assert scene.talk.now_ms == 1_705_327_000_250
    assert time.skew_sec == 220.25
    assert scene.talk.used_weight == 17


def test_a_time_that_took_a_minute_to_come_is_asked_for_again() -> None:
    scene = Scene(Answer(200, {}, b'{"serverTime":1705327000000}'), takes_sec=61.0)
    scene.talk.ask_time()
    assert (len(scene.asked), dict(scene.talk.retries)) == (2, {"timeout": 1})


@pytest.mark.parametrize("weight", ["", "x", "-1", "٣"])
def test_a_weight_that_is_no_number_is_ignored(weight: str) -> None:
    scene = Scene(Answer(200, {"x-mbx-used-weight-1m": weight}, b"[]"))
    scene.talk.newest_bars(SERIES, NOW, 2)
    assert scene.talk.used_weight is None


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (TryAgain("timeout", "Read timed out"), "timeout"),
        (TryAgain("connection", "reset"), "connection"),
        (status(408), "http_408"),
        (status(500), "http_500"),
        (status(503), "http_503"),
        (Answer(200, {}, b"<html>502 Bad Gateway</html>"), "not_json"),
        (Answer(200, {}, klines(TARGET, 6).body[:-40]), "not_json"),
        (Answer(200, {}, b""), "not_json"),
    ],
)
def test_a_passing_fault_is_asked_again_with_growing_pauses(fault: Reply, reason: str) -> None:
    scene = Scene(fault, fault, fault, klines(TARGET, 6))
    assert len(scene.talk.closed_bars(ASKED).bars) == 6
    assert scene.slept == [0.25, 0.5, 1.0]
    assert dict(scene.talk.retries) == {reason: 3}
    assert scene.talk.requests == 4


@pytest.mark.parametrize("fault", [TryAgain("connection", "reset by peer"), status(503), Answer(200, {}, b"<html>")])
@pytest.mark.parametrize("takes_sec", [0.0, 4.0, 10.0])
@pytest.mark.parametrize("max_wait_sec", [1.0, 30.0, 120.0])
def test_patience_is_never_exceeded(fault: Reply, takes_sec: float, max_wait_sec: float) -> None:
    scene = Scene(fault, max_wait_sec=max_wait_sec, takes_sec=takes_sec)
    error = failure(scene)
    assert type(error) is ExchangeUnavailable
    assert scene.gone_sec <= max_wait_sec
    assert scene.left_sec[0] == max_wait_sec
    assert min(scene.left_sec) > 0.0
    assert f"did not answer /fapi/v1/klines in {max_wait_sec:g} s ({len(scene.asked)} attempts)" in str(error)


def test_almost_all_of_the_patience_is_used_before_giving_up() -> None:
    scene = Scene(status(503))
    failure(scene)
    assert 120.0 - 15.0 <= scene.gone_sec < 120.0
    assert max(scene.slept) == 15.0


def test_each_attempt_may_take_what_is_left() -> None:
    scene = Scene(status(503), status(503), klines(TARGET, 6), max_wait_sec=30.0, takes_sec=2.0)
    scene.talk.closed_bars(ASKED)
    assert scene.left_sec == [30.0, 27.75, 25.25]


def test_the_time_and_the_bars_share_one_patience() -> None:
    scene = Scene(status(503), Answer(200, {}, b'{"serverTime":1705327220000}'), status(503), max_wait_sec=1.0)
    scene.talk.ask_time()
    failure(scene)
    assert scene.gone_sec < 1.0


@pytest.mark.parametrize("number", [429, 503])
def test_retry_after_is_honoured(number: int) -> None:
    scene = Scene(status(number, retry_after="30"), klines(TARGET, 6))
    scene.talk.closed_bars(ASKED)
    assert scene.slept == [31.0]


def test_without_a_word_429_waits_for_the_next_minute() -> None:
    scene = Scene(status(429), klines(TARGET, 6))
    scene.talk.closed_bars(ASKED)
    assert scene.slept == [41.0]


def test_a_retry_after_beyond_the_patience_gives_up_at_once_and_tells_it() -> None:
    scene = Scene(status(429, retry_after="300"))
    error = failure(scene)
    assert (scene.slept, len(scene.asked)) == ([], 1)
    assert error.retry_after_sec == 300.0


def test_retry_after_zero_still_pauses_longer_each_time() -> None:
    scene = Scene(status(429, retry_after="0"), jitter=0.05)
    failure(scene)
    assert len(scene.asked) < 40


@pytest.mark.parametrize("number", [403, 418])
def test_a_blocked_conversation_makes_no_more_calls(number: int) -> None:
    scene = Scene(status(number))
    errors = [failure(scene)]
    for ask in (scene.talk.ask_time, lambda: scene.talk.newest_bars(SERIES, NOW, 2)):
        with pytest.raises(ExchangeBlocked) as told:
            ask()
        errors.append(told.value)
    assert [type(error) for error in errors] == [ExchangeBlocked] * 3
    assert (len(scene.asked), scene.slept, scene.talk.requests) == (1, [], 1)


def test_a_restricted_location_makes_no_more_calls_either() -> None:
    scene = Scene(status(451))
    for _ in range(2):
        with pytest.raises(ExchangeRefused):
            scene.talk.ask_time()
    assert len(scene.asked) == 1


@pytest.mark.parametrize("number", [400, 404, 451, 302])
def test_a_refusal_is_not_asked_again(number: int) -> None:
    scene = Scene(status(number))
    assert isinstance(failure(scene), ExchangeRefused)
    assert (len(scene.asked), scene.slept) == (1, [])


@pytest.mark.parametrize("body", [b"{}", b"[[]]", b'[["1705323600000"]]'])
def test_rows_that_are_no_bars_are_not_asked_again(body: bytes) -> None:
    scene = Scene(Answer(200, {}, body))
    assert isinstance(failure(scene), ContractBroken)
    assert (len(scene.asked), scene.slept) == (1, [])


@pytest.mark.parametrize("shown", [klines(TARGET - HOUR, 6), klines(TARGET - HOUR, 5), Answer(200, {}, b"[]")])
def test_a_late_bar_is_asked_for_again_with_growing_pauses(shown: Answer) -> None:
    scene = Scene(shown, shown, klines(TARGET, 6))
    assert scene.talk.closed_bars(ASKED).bars[-1].open_time_ms == TARGET
    assert scene.slept == [0.25, 0.5]
    assert scene.talk.retries["late"] == 2
    assert len({query["endTime"] for _, query in scene.asked}) == 1


def test_a_bar_that_stays_late_comes_back_as_evidence_within_the_patience() -> None:
    scene = Scene(klines(TARGET - HOUR, 6), max_wait_sec=20.0)
    assert scene.talk.closed_bars(ASKED).bars[-1].open_time_ms == TARGET - HOUR
    assert 5.0 <= scene.gone_sec <= 20.0


def test_a_pull_that_goes_beyond_the_target_is_not_asked_again() -> None:
    scene = Scene(klines(TARGET + HOUR, 6))
    scene.talk.closed_bars(ASKED)
    assert len(scene.asked) == 1


@pytest.mark.parametrize(
    ("bars", "limits"),
    [(1, [1]), (1499, [1499]), (1500, [1500]), (1501, [1500, 1]), (3000, [1500, 1500]), (3200, [1500, 1500, 200])],
)
def test_a_long_pull_is_paged_without_a_seam(bars: int, limits: list[int]) -> None:
    scene = Scene(since_2019)
    pull = scene.talk.closed_bars(Asked(SERIES, bars, NOW))
    assert [int(query["limit"]) for _, query in scene.asked] == limits
    assert [bar.open_time_ms for bar in pull.bars] == [TARGET - back * HOUR for back in range(bars - 1, -1, -1)]
    assert pull.close_times_ms == tuple(bar.open_time_ms + HOUR - 1 for bar in pull.bars)


def test_paging_ends_where_the_history_begins() -> None:
    scene = Scene(klines(TARGET, 1500), klines(TARGET - 1500 * HOUR, 40))
    assert len(scene.talk.newest_bars(SERIES, NOW, 5000).bars) == 1540
    assert len(scene.asked) == 2
    scene = Scene(klines(TARGET, 1500), Answer(200, {}, b"[]"))
    assert len(scene.talk.newest_bars(SERIES, NOW, 5000).bars) == 1500


def test_an_exchange_that_ignores_what_is_asked_cannot_hold_us_for_ever() -> None:
    scene = Scene(klines(TARGET, 1500))
    scene.talk.newest_bars(SERIES, NOW, 6000)
    assert len(scene.asked) <= 4


def test_a_fault_on_a_later_page_costs_that_page_only() -> None:
    scene = Scene(klines(TARGET, 1500), status(503), klines(TARGET - 1500 * HOUR, 100))
    assert len(scene.talk.newest_bars(SERIES, NOW, 1600).bars) == 1600
    assert [query["limit"] for _, query in scene.asked] == ["1500", "100", "100"]


def test_a_symbol_outside_ascii_is_sent_percent_encoded() -> None:
    urls: list[str] = []

    def transport(url: str, _left_sec: float) -> Answer:
        urls.append(url)
        return Answer(200, {}, b"[]")

    scene = Scene(status(503))
    talk = Rest("http://exchange", transport, scene).conversation(1.0)
    talk.newest_bars(Series.of("币USDT", "1h"), NOW, 2)
    assert urls[0].startswith("http://exchange/fapi/v1/klines?symbol=%E5%B8%81USDT&interval=1h&endTime=")
