"""A market's watch that listens: each series earlier by its closing frame, the rest by the clock, none less safe."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Interval, Series
from barfeed.exchange.stream.wire import Contract
from barfeed.feed.market.heard import Heard
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.market.watch import Streams
from barfeed.operate.alerts.hearing import crowds
from barfeed.replay.tapes.tape import Tape
from holding import held
from market_world import MarketWorld
from world import hours, made_up_bars, ms

# It is 14:00:30 on the exchange: the target is the bar of 13:00, and the next one closes at 15:00.
TARGET_MS = ms(2026, 3, 10, 13)
CLOSE_MS = TARGET_MS + hours(2)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")


@pytest.fixture
def market(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MarketWorld:
    """A store of 48 hours up to 12:00."""
    tapes = [Tape.of(Series.of(each, "1h"), made_up_bars(TARGET_MS + hours(40), 200, each)) for each in SYMBOLS]
    # Another begins to trade at 15:00.
    tapes.append(Tape.of(Series.of("NEWUSDT", "1h"), made_up_bars(TARGET_MS + hours(40), 39, "NEWUSDT")))
    world = MarketWorld(tmp_path, tapes, TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "market_stream")
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    world.exchange.requests.clear()
    return world


class Playing:
    """Streams that say what was written down for a moment, whatever the watch does just then."""

    def __init__(self, market: MarketWorld, said: Sequence[tuple[int, Any]]) -> None:
        self.followed: list[set[str]] = []
        self.heard = Heard(lambda: None)
        self._clock = market.clock
        self._left = sorted(said, key=lambda each: each[0])
        self._step = market.clock.sleep
        market.clock.sleep = self._sleep  # type: ignore[method-assign]

    @property
    def streams(self) -> Streams:
        return Streams(self.heard, self._follow, self._listen)

    def _follow(self, series: Iterable[Series]) -> None:
        self.followed.append({str(each) for each in series})

    def _sleep(self, sec: float) -> None:
        end_ms = self._clock.now_ms + round(sec * 1000)
        while self._left and self._left[0][0] <= end_ms:
            self._say()
        self._step((end_ms - self._clock.now_ms) / 1000)

    def _listen(self, sec: float) -> None:
        if self._left and self._left[0][0] <= self._clock.now_ms + round(sec * 1000):
            self._say()
        else:
            self._step(sec)

    def _say(self) -> None:
        at_ms, what = self._left.pop(0)
        self._step((at_ms - self._clock.now_ms) / 1000)
        if isinstance(what, Contract):
            self.heard.contract(what)
        else:
            self.heard.closed(*what)


def closes(at: dict[str, int], bar_ms: int = CLOSE_MS - hours(1)) -> list[tuple[int, Any]]:
    """Each symbol's closing frame, so many ms after the close."""
    return [(bar_ms + hours(1) + after_ms, (Series.of(symbol, "1h"), bar_ms)) for symbol, after_ms in at.items()]


def began_ms(record: MarketRecord) -> int:
    """How long after its bar's close a pass began."""
    assert record.now_ms is not None
    assert record.target_ms is not None
    return record.now_ms - record.target_ms - hours(1)


def appended(record: MarketRecord) -> list[str]:
    return [symbol for symbol, each in record.outcomes.items() if each.appended]


def listened(
    market: MarketWorld, passes: int, said: Sequence[tuple[int, Any]], fault: str = "", **changes: Any
) -> list[MarketRecord]:
    """The passes over the bar of 14:00, behind the first, by the clock, over that of 13:00."""
    records = market.watch(passes + 1, fault, streams=Playing(market, said).streams, **changes)
    assert [each.exit_code for each in records if each.target_ms == TARGET_MS] == [0]
    return records[1:]


AT_ONCE = closes({"ADAUSDT": 5, "BTCUSDT": 5, "ETHUSDT": 12, "SOLUSDT": 20})


def test_all_that_are_heard_within_some_moments_are_fed_in_one_pass(market: MarketWorld) -> None:
    early, rest = listened(market, 2, AT_ONCE)
    assert (early.status, early.exit_code, early.is_early) == ("appended", 0, True)
    assert began_ms(early) == 35
    assert (appended(early), early.fresh) == (list(SYMBOLS), list(SYMBOLS))
    # By the clock nothing is left but to see what is listed.
    assert (appended(rest), rest.fresh, rest.is_early) == ([], [], False)
    assert began_ms(rest) == 10_002
    assert market.exchange.requests == {"/fapi/v1/klines": 8, "/fapi/v1/exchangeInfo": 2, "/fapi/v1/time": 14}


@pytest.mark.long
def test_who_is_heard_later_is_fed_later_and_who_is_not_by_the_clock(market: MarketWorld) -> None:
    first, second, rest = listened(market, 3, closes({"ADAUSDT": 5, "BTCUSDT": 6, "ETHUSDT": 700}))
    assert [began_ms(each) for each in (first, second, rest)] == [35, 730, 10_002]
    assert [appended(each) for each in (first, second, rest)] == [["ADAUSDT", "BTCUSDT"], ["ETHUSDT"], ["SOLUSDT"]]
    assert [list(each.awaited) for each in (first, second, rest)] == [["ETHUSDT", "SOLUSDT"], ["SOLUSDT"], []]
    assert (first.missing, second.fresh) == (["ETHUSDT", "SOLUSDT"], ["ETHUSDT"])
    assert "series=2 appended=2 bars=2 awaited=2 interval=1h" in first.line()
    assert market.exchange.requests["/fapi/v1/klines"] == 8
    assert {symbol: bars[-1].open_time_ms for symbol, bars in market.windows().items()} == dict.fromkeys(
        SYMBOLS, TARGET_MS + hours(1)
    )
    # And the store is as it is by the clock.
    bars = {symbol: made_up_bars(TARGET_MS + hours(40), 200, symbol) for symbol in SYMBOLS}
    assert market.stored() == {
        symbol: [each for each in its if TARGET_MS - hours(48) <= each.open_time_ms <= TARGET_MS + hours(1)]
        for symbol, its in bars.items()
    }


LATE = """
[[fault]]
kind = "late"
rows = 2
sec = 3
symbol = "ETHUSDT"
from = 2026-03-10T15:00:00
"""


def test_who_is_heard_and_not_shown_yet_is_asked_until_it_is(market: MarketWorld) -> None:
    records = listened(market, 3, AT_ONCE, LATE)
    assert (appended(records[0]), records[0].status) == (["ADAUSDT", "BTCUSDT", "SOLUSDT"], "bar_late")
    assert appended(records[-1]) == ["ETHUSDT"]
    assert 3000 <= began_ms(records[-1]) + 1000 < 6000
    assert all(each.is_early for each in records)


REVISED = """
[[fault]]
kind = "revise"
symbol = "ETHUSDT"
bar = 2026-03-10T12:00:00
volume = 1.5
from = 2026-03-10T14:59:00
"""


def test_what_is_heard_must_be_said_twice_where_all_must(market: MarketWorld) -> None:
    early, rest = listened(market, 2, AT_ONCE, confirm_sec=10.0)
    assert (appended(early), early.exit_code, early.durations_sec["confirm"] >= 10) == (list(SYMBOLS), 0, True)
    assert appended(rest) == []


def test_a_revision_is_accepted_as_soon_as_it_is_heard_of(market: MarketWorld) -> None:
    early, *_ = listened(market, 2, AT_ONCE, REVISED, accept=Terms(0.01, 1e9, 5.0))
    assert (early.is_early, early.exit_code, appended(early)) == (True, 0, list(SYMBOLS))
    assert [bar.volume for bar in market.stored()["ETHUSDT"] if bar.open_time_ms == TARGET_MS - hours(1)] == [1.5]


@pytest.mark.long
def test_what_is_heard_beside_a_reader_is_in_the_windows_and_appended_later(market: MarketWorld) -> None:
    with held(market.duckdb):
        early, rest = market.watch(3, streams=Playing(market, AT_ONCE).streams)[1:]
        assert (early.status, early.is_early, appended(early)) == ("pending", True, [])
        assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS + hours(1)}
        assert rest.exit_code == 0
    market.clock.go_to(CLOSE_MS + hours(1) + 30_000)
    assert market.run_pass(catch_up=True).exit_code == 0
    assert {bars[-1].open_time_ms for bars in market.stored().values()} == {TARGET_MS + hours(2)}
    assert {len(bars) for bars in market.stored().values()} == {51, 1}


@pytest.mark.long
def test_what_needs_more_than_time_waits_for_the_clock(market: MarketWorld) -> None:
    first, second, rest, again = listened(market, 4, [*AT_ONCE[:3], *closes({"SOLUSDT": 900})], REVISED)
    assert [each.status for each in (first, second, rest, again)] == ["mismatch"] * 4
    assert [each.outcomes["ETHUSDT"].pulled for each in (first, second, rest, again)] == [6, 0, 6, 6]
    assert [began_ms(each) for each in (first, second, rest)] == [35, 930, 10_002]
    # Then it goes on as without a stream.
    assert began_ms(again) == 15_002


HALF_PAST = TARGET_MS + hours(1.5)
BTC = Series.of("BTCUSDT", "1h")
USELESS: dict[str, list[tuple[int, Any]]] = {
    "of the bar that is done": [(HALF_PAST + each, (BTC, TARGET_MS)) for each in range(100)],
    "of older bars": [(HALF_PAST + each, (BTC, TARGET_MS - hours(each))) for each in range(100)],
    "of the forming bar, much too early": [(HALF_PAST + each, (BTC, TARGET_MS + hours(1))) for each in range(100)],
    "of bars to come": [(HALF_PAST + each, (BTC, TARGET_MS + hours(each))) for each in range(2, 100)],
    "of another interval": [(CLOSE_MS + 5, (Series.of("BTCUSDT", "4h"), TARGET_MS - hours(1)))],
    "of what was fed, again and again": [(CLOSE_MS + 30_000 + each, (BTC, TARGET_MS + hours(1))) for each in range(99)],
}


@pytest.mark.long
@pytest.mark.parametrize("said", USELESS.values(), ids=USELESS)
def test_a_frame_that_is_no_news_costs_a_look_at_most_and_no_pass(
    market: MarketWorld, said: list[tuple[int, Any]]
) -> None:
    (rest, following) = listened(market, 2, said)
    assert [began_ms(each) for each in (rest, following)] == [10_002] * 2
    assert (appended(rest), appended(following)[:4]) == (list(SYMBOLS), ["ADAUSDT", "BTCUSDT", "ETHUSDT", "NEWUSDT"])
    assert market.exchange.requests["/fapi/v1/time"] <= 32


def test_a_frame_of_what_is_not_fed_leaves_the_others_to_the_clock(market: MarketWorld) -> None:
    early, rest = listened(market, 2, closes({"NEWUSDT": 5}))
    assert (early.outcomes, len(early.awaited)) == ({}, 4)
    assert (appended(rest), began_ms(rest)) == (list(SYMBOLS), 10_002)


def test_a_pass_that_leaves_some_to_the_clock_says_nothing_of_who_is_not_in_it(market: MarketWorld) -> None:
    early, rest = listened(market, 2, closes({"ADAUSDT": 5}))
    talk = market.rest.conversation(1.0)
    assert crowds(early, talk, 0.0) == []
    assert [len(each.fed) for each in crowds(rest, talk, 0.0)] == [4, 4]
    assert [len(each.measured.newest_of or ()) for each in (early, rest)] == [0, 4]
    assert (early.measured.appended, rest.measured.appended) == (1, 3)


@pytest.mark.long
def test_a_series_that_fails_all_hour_does_not_deafen_the_watch(market: MarketWorld) -> None:
    refused = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "Illegal."\nsymbol = "ETHUSDT"\n'
    records = market.watch(40, refused, streams=Playing(market, AT_ONCE).streams)
    early = next(each for each in records if each.is_early)
    assert (appended(early), began_ms(early)) == (["ADAUSDT", "BTCUSDT", "SOLUSDT"], 35)
    of_next = [each for each in records if each.target_ms == early.target_ms]
    # And its pauses begin anew with each bar.
    assert [began_ms(each) for each in of_next[:4]] == [35, 10_002, 15_002, 25_002]


def test_a_pause_that_the_exchange_asked_for_is_not_cut_short(market: MarketWorld) -> None:
    banned = (
        '[[fault]]\nkind = "status"\nstatus = 418\npath = "*"\nretry_after = 3600\n'
        "from = 2026-03-10T14:40:00\nuntil = 2026-03-10T15:00:30\n"
    )
    records = market.watch(3, banned, streams=Playing(market, AT_ONCE).streams)
    assert [each.status for each in records] == ["appended", "exchange_blocked", "exchange_blocked"]
    assert records[2].target_ms is None
    assert market.clock.now_ms - CLOSE_MS >= 10_000


def contract(symbol: str, status: str) -> Contract:
    return Contract(symbol, status, 4_133_404_800_000)


def test_a_listing_that_is_said_is_asked_for_noted_and_followed(market: MarketWorld) -> None:
    said = [(CLOSE_MS + 1000, contract("NEWUSDT", "TRADING"))]
    playing = Playing(market, [*AT_ONCE, *said])
    market.watch(3, streams=playing.streams)
    assert playing.followed[0] == {f"{symbol} 1h" for symbol in SYMBOLS}
    assert playing.followed[1] == {f"{symbol} 1h" for symbol in (*SYMBOLS, "NEWUSDT")}
    assert market.exchange.requests["/fapi/v1/exchangeInfo"] == 3


def test_what_is_said_of_a_listing_and_is_known_asks_for_nothing(market: MarketWorld) -> None:
    said = [(HALF_PAST + each, contract("BTCUSDT", "TRADING")) for each in range(100)]
    listened(market, 1, said)
    assert market.exchange.requests["/fapi/v1/exchangeInfo"] == 2


def test_much_that_is_said_of_listings_is_asked_for_once_in_a_while(market: MarketWorld) -> None:
    said = [(HALF_PAST + each * 100, contract("BTCUSDT", "SETTLING")) for each in range(100)]
    listened(market, 1, said)
    assert market.exchange.requests["/fapi/v1/exchangeInfo"] <= 4


def test_what_is_heard_is_kept_of_two_bars() -> None:
    heard = Heard(lambda: None)
    for hour in range(5):
        heard.closed(BTC, TARGET_MS + hours(hour))
    told = [heard.symbols(Interval("1h"), TARGET_MS + hours(hour)) for hour in range(5)]
    assert [len(each) for each in told] == [0, 0, 0, 1, 1]
    assert heard.newest_ms(Interval("4h")) is None
