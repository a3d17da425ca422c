"""A market's streams over real sockets: within the exchange's limits, through its faults, as the market changes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import pytest

from barfeed.domain.bars import Series
from barfeed.exchange.stream import wire
from barfeed.exchange.stream.market import MarketStream
from barfeed.exchange.stream.wire import Closing, Contract, Frame, read_combined, requests
from barfeed.machine.clock import SystemClock
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.stream.session import Session
from barfeed.replay.tapes.tape import Tape
from waiting import until
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
CLOSE_MS = TARGET_MS + hours(1)
BARS = made_up_bars(TARGET_MS + hours(10), 100)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    # How long the pauses are is tested as a pure decision.
    monkeypatch.setattr("barfeed.exchange.stream.follower.reconnect_pause_sec", lambda *_: 0.02)
    monkeypatch.setattr("barfeed.exchange.stream.market.SPEAK_EVERY_SEC", 0.02)


def series(*symbols: str) -> list[Series]:
    return [Series.of(each, "1h") for each in symbols]


class Ear:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.closes: list[tuple[str, int]] = []
        self.contracts: list[tuple[str, str]] = []

    def closed(self, series: Series, open_time_ms: int) -> None:
        self.closes.append((series.symbol, open_time_ms))

    def contract(self, told: Contract) -> None:
        self.contracts.append((told.symbol, told.status))


class Venue(NamedTuple):
    """An exchange of some symbols on a socket, and what is heard of it."""

    exchange: ReplayExchange
    clock: HandClock
    ear: Ear
    stream: MarketStream
    sessions: list[Session]

    def subscribed(self) -> list[int]:
        """How many streams each connection has that was ever opened."""
        return [len(each._streams) for each in self.sessions]

    def close(self, hour: int = 0) -> None:
        """The clock comes near a close, and passes it."""
        self.clock.set(CLOSE_MS + hours(hour) + 100)


@contextmanager
def venue(symbols: Sequence[str], fault: str = "") -> Iterator[Venue]:
    clock, ear = HandClock(CLOSE_MS - 60_000), Ear()
    exchange = ReplayExchange([Tape.of(each, BARS) for each in series(*symbols)], clock.now_ms)
    exchange.faults = parse_faults(fault, "the test")
    sessions: list[Session] = []

    class Streams:
        def open(self, request: object) -> object:
            opened = exchange.open(request)  # type: ignore[arg-type]
            sessions.extend([opened] if isinstance(opened, Session) else [])
            return opened

    with ReplayServer(exchange, streams=Streams()) as server:  # type: ignore[arg-type]
        stream = MarketStream(server.stream_url, ear, SystemClock(), good_after_sec=0.0)
        try:
            yield Venue(exchange, clock, ear, stream, sessions)
        finally:
            stream.stop()


SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "币安人生USDT")


def test_each_series_is_heard_to_close_once() -> None:
    with venue(SYMBOLS) as at:
        at.stream.follow(series(*SYMBOLS))
        until(lambda: at.subscribed() == [5])
        at.close()
        until(lambda: len(at.ear.closes) >= 4)
        assert sorted(at.ear.closes) == [(symbol, TARGET_MS) for symbol in sorted(SYMBOLS)]
        assert at.stream.followed().closes == 4
        assert at.stream.followed().is_connected


def test_more_than_a_connection_takes_are_followed_on_several() -> None:
    many = [f"S{number}USDT" for number in range(1500)]
    with venue(SYMBOLS) as at:
        # 1500 names that are acknowledged and silent, and four that speak, on the second connection.
        at.stream.follow(series(*many, *SYMBOLS))
        until(lambda: sorted(at.subscribed()) == [504, wire.STREAMS_FILLED + 1])
        at.close()
        until(lambda: len(at.ear.closes) >= 4)
        assert at.exchange.connections == 2


def test_what_is_new_is_followed_and_what_is_gone_is_let_go() -> None:
    with venue(SYMBOLS) as at:
        at.stream.follow(series("ADAUSDT", "BTCUSDT"))
        until(lambda: at.subscribed() == [3])
        at.stream.follow(series("BTCUSDT", "ETHUSDT", "币安人生USDT"))
        until(lambda: at.subscribed() == [4])
        at.close()
        until(lambda: len(at.ear.closes) >= 3)
        assert sorted(symbol for symbol, _ in at.ear.closes) == ["BTCUSDT", "ETHUSDT", "币安人生USDT"]
        assert at.exchange.connections == 1


@pytest.mark.parametrize("close_code", ["", "close_code = 1001\n"], ids=["cut", "closed"])
def test_after_a_connection_has_ended_everything_is_subscribed_to_again(close_code: str) -> None:
    with venue(SYMBOLS, f'[[fault]]\nkind = "disconnect"\nrequests = "1"\n{close_code}') as at:
        at.stream.follow(series(*SYMBOLS))
        until(lambda: at.subscribed()[1:] == [5])
        at.close()
        until(lambda: len(at.ear.closes) >= 4)
        assert at.stream.followed().connections >= 2


def test_what_becomes_of_a_symbol_is_heard() -> None:
    settled = '[[fault]]\nkind = "settle"\nat = 2026-03-10T14:00:00\nsymbol = "ETHUSDT"\n'
    with venue(SYMBOLS, settled) as at:
        at.stream.follow(series(*SYMBOLS))
        until(lambda: at.subscribed() == [5])
        at.clock.set(CLOSE_MS + 2000)
        until(lambda: at.ear.contracts)
        assert at.ear.contracts == [("ETHUSDT", "SETTLING")]


def test_garbage_of_one_and_the_silence_of_another_leave_the_others_heard() -> None:
    fault = (
        '[[fault]]\nkind = "garbage"\ntext = "["\ntimes = 1000\nsymbol = "ADAUSDT"\n'
        '[[fault]]\nkind = "silence"\nsymbol = "BTCUSDT"\n'
    )
    with venue(SYMBOLS, fault) as at:
        at.stream.follow(series(*SYMBOLS))
        until(lambda: at.subscribed() == [5])
        at.close()
        until(lambda: len(at.ear.closes) >= 2)
        assert sorted(symbol for symbol, _ in at.ear.closes) == ["ETHUSDT", "币安人生USDT"]
        until(lambda: at.stream.followed().ignored > 0)


def test_names_go_in_as_many_messages_as_they_take() -> None:
    said = requests("SUBSCRIBE", [f"s{number}" for number in range(450)], 7)
    assert [each.count('"s') for each in said] == [200, 200, 50]
    assert [each.rpartition('"id":')[2] for each in said] == ["7}", "8}", "9}"]
    assert requests("SUBSCRIBE", [], 1) == []


FOLLOWED = {wire.stream_name(each): each for each in series("BTCUSDT", "币安人生USDT")}


def kline(symbol: str = "BTCUSDT", t: int = TARGET_MS, i: str = "1h", x: str = "true", e: str = "kline") -> bytes:
    told = f'{{"t":{t},"s":"{symbol}","i":"{i}","x":{x}}}'
    return f'{{"stream":"?","data":{{"e":"{e}","E":1,"s":"{symbol}","k":{told}}}}}'.encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (kline(), Closing("btcusdt@kline_1h", Frame(TARGET_MS, True))),
        (kline(x="false"), Closing("btcusdt@kline_1h", Frame(TARGET_MS, False))),
        (kline("币安人生USDT"), Closing("币安人生usdt@kline_1h", Frame(TARGET_MS, True))),
        (kline("ETHUSDT"), None),
        (kline(i="4h"), None),
        (kline(t=TARGET_MS + 1), None),
        (kline(x="1"), None),
        (kline(e="trade"), None),
        (b'{"result":null,"id":1}', None),
        (b'{"stream":"x","data":{"e":"kline","s":"BTCUSDT"}}', None),
        (b"[" * 100_000, None),
        (b"\xff", None),
        (
            b'{"stream":"!contractInfo","data":{"e":"contractInfo","E":1,"s":"X","ps":"X","ct":"PERPETUAL","dt":5,"cs":"CLOSE"}}',
            Contract("X", "CLOSE", 5),
        ),
    ],
)
def test_a_message_of_a_market_s_stream_is_a_frame_an_event_or_nothing(data: bytes, told: object) -> None:
    assert read_combined(data, FOLLOWED) == told
