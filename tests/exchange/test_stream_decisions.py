"""What a frame says, and when a connection is kept, renewed or given up: pure."""

import json

import pytest

from barfeed.domain.bars import Series
from barfeed.exchange.stream.wire import (
    Frame,
    is_silent,
    read_frame,
    reconnect_pause_sec,
    should_renew,
    stream_address,
)
from barfeed.feed.watch import is_news
from world import BTCUSDT_1H, ms

HOUR_MS = 3_600_000
HOUR = 3600.0

# As it came from the exchange on 2026-10-07.
CAPTURED = (
    '{"e":"kline","E":1791382992723,"s":"BTCUSDT","k":{"t":1791382980000,"T":1791383039999,"s":"BTCUSDT","i":"1m",'
    '"f":8153633367,"L":8153634395,"o":"83084.90","c":"83091.60","h":"83091.70","l":"83051.20","v":"13.551","n":1027,'
    '"x":false,"q":"1125714.73960","V":"6.426","Q":"533856.66860","B":"0"}}'
)
BTCUSDT_1M = Series.of("BTCUSDT", "1m")


def captured(**kline: object) -> bytes:
    event = json.loads(CAPTURED)
    event["k"] |= kline
    return json.dumps(event).encode()


def test_a_captured_frame_is_read() -> None:
    assert read_frame(CAPTURED.encode(), BTCUSDT_1M) == Frame(1791382980000, is_closing=False)
    assert read_frame(captured(x=True), BTCUSDT_1M) == Frame(1791382980000, is_closing=True)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"{}",
        b"\x00\xff",
        b'"\xff"',
        b"[" * 100_000,
        b'{"e":"kline","k":' * 10_000,
        b'{"result":null,"id":1}',
        CAPTURED.encode()[:-1],
        captured(s="ETHUSDT"),
        captured(i="1h"),
        captured(x=1),
        captured(x="true"),
        captured(t="1791382980000"),
        captured(t=1791382980001),
        captured(t=1e300),
    ],
    ids=lambda data: data[:30],
)
def test_what_is_no_frame_of_the_series_is_nothing(data: bytes) -> None:
    assert read_frame(data, BTCUSDT_1M) is None


@pytest.mark.parametrize(
    ("url", "symbol", "address"),
    [
        ("wss://fstream.binance.com/market", "BTCUSDT", "wss://fstream.binance.com/market/ws/btcusdt@kline_1h"),
        ("ws://127.0.0.1:8080/market/", "BTCUSDT_261225", "ws://127.0.0.1:8080/market/ws/btcusdt_261225@kline_1h"),
        ("ws://x", "币安人生USDT", "ws://x/ws/%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1h"),
    ],
)
def test_the_address_names_the_series_in_lower_case(url: str, symbol: str, address: str) -> None:
    assert stream_address(url, Series.of(symbol, "1h")) == address


@pytest.mark.parametrize(
    ("attempt", "status", "jitter", "expected_sec"),
    [
        (0, None, 1.0, 0.25),
        (0, None, 0.0, 0.125),
        (3, None, 1.0, 2.0),
        (50, None, 1.0, 60.0),
        (10**9, None, 0.0, 30.0),
        (0, 503, 1.0, 0.25),
        (0, 418, 1.0, 300.0),
        (0, 451, 0.0, 150.0),
    ],
)
def test_pauses_grow_are_spread_and_are_long_where_knocking_hurts(
    attempt: int, status: int | None, jitter: float, expected_sec: float
) -> None:
    assert reconnect_pause_sec(attempt, status, jitter) == expected_sec


@pytest.mark.parametrize(
    ("age_sec", "just_closed", "jitter", "expected"),
    [
        (21.4 * HOUR, True, 1.0, False),
        (21.6 * HOUR, True, 1.0, True),
        (21.9 * HOUR, True, 0.0, False),
        (22.0 * HOUR, True, 0.0, True),
        (22.9 * HOUR, False, 1.0, False),
        (23.4 * HOUR, False, 0.0, False),
        (23.5 * HOUR, False, 0.0, True),
        (23.1 * HOUR, False, 1.0, True),
    ],
)
def test_a_connection_is_renewed_before_its_day_ends_and_best_behind_a_close(
    age_sec: float, just_closed: bool, jitter: float, expected: bool
) -> None:
    assert should_renew(age_sec, just_closed=just_closed, jitter=jitter) is expected


def test_every_hour_has_a_close_at_which_to_renew() -> None:
    # Whenever it was opened: a close comes after it may be renewed, and before it must.
    for opened_min in range(60):
        closes = [hour * HOUR - opened_min * 60 for hour in range(1, 25)]
        assert any(should_renew(age, just_closed=True, jitter=0.0) and age < 23.5 * HOUR for age in closes)


def test_silence_is_told_by_the_seconds_since_the_last_frame() -> None:
    assert [is_silent(sec, 120.0) for sec in (0.0, 119.9, 120.0)] == [False, False, True]


@pytest.mark.parametrize(
    ("frame", "now", "done", "expected"),
    [
        (ms(2024, 2, 10, 13), ms(2024, 2, 10, 14) + 5, ms(2024, 2, 10, 12), True),
        (ms(2024, 2, 10, 13), ms(2024, 2, 10, 14) + 5, None, True),
        # A second time, or long after.
        (ms(2024, 2, 10, 13), ms(2024, 2, 10, 14) + 5, ms(2024, 2, 10, 13), False),
        (ms(2024, 2, 10, 12), ms(2024, 2, 10, 14) + 5, ms(2024, 2, 10, 11), False),
        # A second before the close, by the other clock, and two.
        (ms(2024, 2, 10, 13), ms(2024, 2, 10, 14) - 1000, ms(2024, 2, 10, 12), True),
        (ms(2024, 2, 10, 13), ms(2024, 2, 10, 14) - 1001, ms(2024, 2, 10, 12), False),
        (ms(2024, 2, 10, 14), ms(2024, 2, 10, 14) + 5, ms(2024, 2, 10, 13), False),
        (ms(9999, 2, 10, 14), ms(2024, 2, 10, 14) + 5, ms(2024, 2, 10, 12), False),
    ],
)
def test_only_the_awaited_bars_closing_frame_is_news(frame: int, now: int, done: int | None, expected: bool) -> None:
    assert is_news(frame, now, done, BTCUSDT_1H.interval.ms) is expected
