"""When a market's passes are run, what is asked again of which series, and what the watch survives."""

import logging
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from barfeed.domain.bars import Interval, Series
from barfeed.exchange.refusals import Answer
from barfeed.feed.market.order import Market
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.order import Feed
from barfeed.replay.tapes.tape import Tape
from market_world import MarketWorld
from world import hours, made_up_bars, ms

# It is 14:00:30 on the exchange: the target is the bar of 13:00.
TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT")


class Asked:
    """The symbols whose bars were asked for, in their order."""

    def __init__(self, market: MarketWorld) -> None:
        self.symbols: list[str] = []
        self._answer = market.rest.transport
        market._transport = self  # type: ignore[method-assign]

    def __call__(self, url: str, left_sec: float) -> Answer:
        self.symbols += parse_qs(urlsplit(url).query).get("symbol", [])
        return self._answer(url, left_sec)


@pytest.fixture
def market(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> MarketWorld:
    """A store of 48 hours up to 12:00."""
    tapes = [Tape.of(Series.of(each, "1h"), made_up_bars(TARGET_MS + hours(40), 200, each)) for each in SYMBOLS]
    world = MarketWorld(tmp_path, tapes, TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "market_watch")
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    world.exchange.requests.clear()
    return world


def appended(records: list[MarketRecord]) -> list[int]:
    return [sum(each.appended for each in record.outcomes.values()) for record in records]


def fault(kind: str, *lines: str, symbol: str = "ETHUSDT") -> str:
    return "\n".join(["[[fault]]", f'kind = "{kind}"', f'symbol = "{symbol}"', *lines, ""])


def test_hours_are_lived_as_soon_as_each_bar_is_due(market: MarketWorld) -> None:
    records = market.watch(3)
    assert [each.target_ms for each in records] == [TARGET_MS + hours(hour) for hour in range(3)]
    assert (appended(records), {each.exit_code for each in records}) == ([4] * 3, {0})
    assert market.clock.now_ms - (TARGET_MS + hours(3) + 10_000) in range(500)
    # One question a series and a list each hour; the time, each 300 seconds.
    assert market.exchange.requests["/fapi/v1/klines"] == 12
    assert market.exchange.requests["/fapi/v1/exchangeInfo"] == 3
    assert 23 <= market.exchange.requests["/fapi/v1/time"] <= 33


LATE = fault("late", "sec = 14", "rows = 2", "from = 2026-03-10T15:00:00")


def test_the_others_do_not_wait_for_what_is_late_and_only_that_is_asked_again(market: MarketWorld) -> None:
    market.watch(1)
    asked = Asked(market)
    first, second = market.watch(3, LATE)[1:]
    assert (first.status, first.line().split(" interval=")[0]) == (
        "bar_late", "failed=bar_late exit=3 series=4 appended=3 bars=3 bar_late=1",
    )  # fmt: skip
    assert (first.target_ms, second.target_ms) == (TARGET_MS + hours(1),) * 2
    assert second.line().split(" interval=")[0] == "series=4 appended=1 bars=1"
    assert sorted(set(asked.symbols[4:8])) == list(SYMBOLS)
    assert set(asked.symbols[8:]) == {"ETHUSDT"}
    # They had theirs within some seconds, and it came within some more.
    assert market.clock.now_ms - (TARGET_MS + hours(2)) < 20_000


@pytest.mark.long
def test_what_comes_of_it_is_published_again_with_all_that_was_there(market: MarketWorld, tmp_path: Path) -> None:
    market.watch(1)
    told = tmp_path / "told"
    then = f'echo "$BARFEED_FRESH/$BARFEED_MISSING" >> {told}'
    first, second = market.watch(3, LATE, then=then, csv_for=("ETHUSDT",))[1:]
    assert (sorted(first.fresh), first.missing) == (["ADAUSDT", "BTCUSDT", "SOLUSDT"], ["ETHUSDT"])
    assert (second.fresh, second.missing) == (["ETHUSDT"], [])
    assert {symbol: bars[-1].open_time_ms for symbol, bars in market.windows().items()} == dict.fromkeys(
        SYMBOLS, TARGET_MS + hours(1)
    )
    # For the first hour's pass, nothing more was to do.
    assert told.read_text().split() == [
        "ADAUSDT,BTCUSDT,ETHUSDT,SOLUSDT/",
        "ADAUSDT,BTCUSDT,SOLUSDT/ETHUSDT",
        "ETHUSDT/",
    ]
    assert list(second.csvs) == ["ETHUSDT"]
    assert "windows=4 inference=latest_for_inference.parquet" in second.line()


MISMATCH = fault("revise", "bar = 2026-03-10T12:00:00", "volume = 1.5")


@pytest.mark.long
def test_what_stays_is_asked_again_with_growing_pauses_and_told_once(
    market: MarketWorld, caplog: pytest.LogCaptureFixture
) -> None:
    began_ms = market.clock.now_ms
    asked = Asked(market)
    with caplog.at_level(logging.WARNING):
        records = market.watch(5, MISMATCH)
    assert [each.status for each in records] == ["mismatch"] * 5
    assert appended(records) == [3, 0, 0, 0, 0]
    assert asked.symbols == [*SYMBOLS, *["ETHUSDT"] * 4]
    assert market.clock.now_ms - began_ms == (5 + 10 + 20 + 40) * 1000
    said = [each.getMessage() for each in caplog.records]
    assert len([each for each in said if "ETHUSDT 1h: 1 of 5 stored bars differ" in each]) == 1
    assert said[1] == "1 of 4 series failed: mismatch=1; looking again in 5 s"


@pytest.mark.long
def test_where_nothing_more_came_nothing_is_published_nor_run_again(market: MarketWorld, tmp_path: Path) -> None:
    count = tmp_path / "count"
    market.watch(1, MISMATCH, then=f"echo run >> {count}")
    latest = market.feed.folder / "latest_for_inference.parquet"
    before = latest.stat().st_ino
    records = market.watch(3, MISMATCH, then=f"echo run >> {count}")
    assert latest.stat().st_ino != before
    # Of a new watch, the first pass publishes once more; the two that follow it do not.
    assert count.read_text().split() == ["run"] * 2
    assert [each.fresh for each in records] == [["ADAUSDT", "BTCUSDT", "SOLUSDT"], [], []]
    assert [each.line().split(" windows=")[1].split()[0] for each in records] == ["3"] * 3


@pytest.mark.long
def test_a_series_that_fails_until_the_hours_end_keeps_no_other_from_the_next(market: MarketWorld) -> None:
    refused = fault("status", "status = 400", "code = -1100", 'msg = "Illegal."', "until = 2026-03-10T15:10:00")
    market.clock.go_to(TARGET_MS + hours(1) + 40 * 60_000)
    records = market.watch(20, refused)
    of_next = [each for each in records if each.target_ms == TARGET_MS + hours(1)]
    assert appended(of_next)[0] == 3
    # Once it is answered again, what it missed comes with it, as --catch-up says.
    assert (sum(appended(of_next)), of_next[-1].exit_code) == (5, 0)
    assert len(of_next) < 12


def test_a_trouble_of_all_is_one_trouble_and_all_are_asked_again(market: MarketWorld) -> None:
    away = '[[fault]]\nkind = "status"\nstatus = 503\npath = "exchangeInfo"\nuntil = 2026-03-10T14:04:00\n'
    records = market.watch(2, away)
    assert [each.status for each in records] == ["exchange_unavailable", "appended"]
    assert records[0].trouble.startswith("http://replay did not answer /fapi/v1/exchangeInfo in 120 s")
    assert appended(records) == [0, 4]


def test_a_pass_that_comes_to_nothing_forgets_nothing_of_the_one_before(market: MarketWorld) -> None:
    market.watch(1)
    away = (
        '[[fault]]\nkind = "status"\nstatus = 400\npath = "exchangeInfo"\n'
        "from = 2026-03-10T15:00:15\nuntil = 2026-03-10T15:00:30\n"
    )
    asked = Asked(market)
    records = market.watch(5, LATE.replace("14", "60") + away)
    of_hour = [each for each in records if each.target_ms in {TARGET_MS + hours(1), None}]
    assert [each.status for each in of_hour] == ["bar_late", "exchange_refused", "exchange_refused", "bar_late"]
    assert set(asked.symbols[8:]) == {"ETHUSDT"}


def test_a_bug_of_a_pass_is_told_and_does_not_end_the_watch(
    market: MarketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("barfeed.feed.market.one_pass.verdict.judge", stumble)
    records = market.watch(2)
    assert [(each.status, each.exit_code) for each in records] == [("interrupted", 70), ("appended", 0)]


def test_after_a_laptops_sleep_the_watch_looks_at_once_and_takes_what_it_missed(market: MarketWorld) -> None:
    sleep = market.clock.sleep
    slept: list[float] = []

    def lid_closed(sec: float) -> None:
        # The first of the long ones, between two looks.
        is_closed = sec > 100 and not slept
        slept.extend([sec] if is_closed else [])
        sleep(3.5 * 3600 if is_closed else sec)

    market.clock.sleep = lid_closed  # type: ignore[method-assign]
    records = market.watch(2)
    assert (records[1].target_ms, appended(records)) == (TARGET_MS + hours(3), [4, 12])


def several(market: MarketWorld, *intervals: str) -> list[Market]:
    """The market at several intervals, in one store."""
    markets = []
    for interval in intervals:
        order = market.watched(dataset=f"BINANCE.P, {interval}")
        order = order._replace(reach=order.reach._replace(interval=Interval(interval)))
        folder = market.feed.folder.parent / f"BINANCE.P_{interval}"
        markets.append(Market(Feed(market.feed.store, folder, market.clock), order))
    return markets


@pytest.fixture
def two(tmp_path: Path) -> MarketWorld:
    """The same at 1h and 4h, with nothing stored yet; it is 15:00:30."""
    tapes = [
        Tape.of(Series.of(each, interval), made_up_bars(TARGET_MS + hours(39), 300, each, interval))
        for each in SYMBOLS
        for interval in ("1h", "4h")
    ]
    return MarketWorld(tmp_path, tapes, TARGET_MS + hours(2) + 30_000)


@pytest.mark.long
def test_each_interval_has_its_passes_when_its_bars_close(two: MarketWorld) -> None:
    records = two.watch(6, markets=several(two, "1h", "4h"))
    assert [(str(each.interval), (each.target or "")[8:]) for each in records] == [
        ("1h", "10 14:00"), ("4h", "10 08:00"), ("1h", "10 15:00"), ("4h", "10 12:00"),
        ("1h", "10 16:00"), ("1h", "10 17:00"),
    ]  # fmt: skip
    assert {each.exit_code for each in records} == {0}
    assert two.stored("ohlcv_4h").keys() == set(SYMBOLS)


def test_what_is_said_to_the_address_is_kept_by_every_interval(two: MarketWorld) -> None:
    banned = '[[fault]]\nkind = "status"\nstatus = 418\npath = "*"\nretry_after = 1800\nuntil = 2026-03-10T15:30:00\n'
    records = two.watch(4, banned, markets=several(two, "1h", "4h"))
    assert [each.status for each in records] == ["exchange_blocked", "exchange_blocked", "appended", "appended"]
    blocked = [each for each in records if each.exit_code]
    # The second was not even asked for.
    assert [each.manifest_path is not None for each in blocked] == [True, True]
    assert two.clock.now_ms >= TARGET_MS + hours(2.5)
    assert two.exchange.requests["/fapi/v1/time"] == 3


def test_a_carried_outcome_is_as_it_ended_with_nothing_pulled(market: MarketWorld) -> None:
    outcome = market.watch(1)[0].outcomes["ETHUSDT"]
    assert outcome.carried() == replace(outcome, pulled=0, validated=0, appended=0)
    assert outcome.carried().status == "up_to_date"
