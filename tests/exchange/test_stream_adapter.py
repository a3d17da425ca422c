"""The stream followed over a real socket, through each fault of the exchange's, a listener that is none, and TLS."""

import logging
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from websockets.frames import Opcode
from websockets.server import ServerProtocol

from barfeed.exchange.stream import wire as stream_wire
from barfeed.exchange.stream.follower import Stream
from barfeed.machine.clock import SystemClock
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from waiting import LONGEST_SEC, until
from world import BTCUSDT_1H, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
CLOSE_MS = TARGET_MS + hours(1)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "ws_proxy", "wss_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def _no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long they are is tested as a pure decision."""
    monkeypatch.setattr("barfeed.exchange.stream.follower.reconnect_pause_sec", lambda *_: 0.02)


class Venue:
    """An exchange on a socket, its clock, and a stream that follows it."""

    def __init__(self, exchange: ReplayExchange, clock: HandClock, url: str) -> None:
        self.exchange = exchange
        self.clock = clock
        self.url = url
        self.rung: list[int] = []

    @contextmanager
    def following(self, fault: str = "", url: str = "", **options: float) -> Iterator[Stream]:
        self.exchange.faults = parse_faults(fault, "the test")
        known = {"good_after_sec": 0.0} | options
        stream = Stream(url or self.url, BTCUSDT_1H, self.rung.append, SystemClock(), **known)  # type: ignore[arg-type]
        stream.start()
        try:
            yield stream
        finally:
            stream.stop()

    def live_to(self, now_ms: int, *, steps: int = 4) -> None:
        """The clock goes on to a moment in steps, as if there were something on the way."""
        begin_ms = self.clock.now_ms()
        for step in range(1, steps + 1):
            self.clock.set(begin_ms + (now_ms - begin_ms) * step // steps)
            time.sleep(0.03)


@pytest.fixture
def venue() -> Iterator[Venue]:
    clock = HandClock(CLOSE_MS - 10_000)
    exchange = ReplayExchange([Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(9), 40))], clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        yield Venue(exchange, clock, server.stream_url)


def _has(things: list[Any], count: int) -> bool:
    return len(things) == count


def test_each_close_is_rung_once(venue: Venue) -> None:
    begin_sec = SystemClock().steady_sec()
    with venue.following() as stream:
        until(lambda: stream.is_connected)
        venue.clock.set(CLOSE_MS - 5000)
        until(lambda: stream.frames)
        for hour in range(3):
            venue.live_to(CLOSE_MS + hours(hour) + 5)
            until(partial(_has, venue.rung, hour + 1))
        assert stream.frames > stream.closes == 3
    assert venue.rung == [TARGET_MS + hours(hour) for hour in range(3)]
    assert (stream.connections, stream.ignored, stream.silences, stream.is_connected) == (1, 0, 0, False)
    frames, age_sec = stream.frames, stream.followed().frame_age_sec
    assert stream.followed()._replace(frame_age_sec=0.0) == (1, frames, 3, 0, 0, False, 0.0)
    assert 0 < age_sec <= stream.last_frame_age_sec <= SystemClock().steady_sec() - begin_sec


def test_a_connection_that_breaks_is_opened_again(venue: Venue, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "barfeed.exchange.stream")
    for fault in ("", "close_code = 1008", "close_code = 1001"):
        venue.rung.clear()
        venue.exchange.connections = 0
        cut = f'[[fault]]\nkind = "disconnect"\nrequests = "1-3"\n{fault}'
        with venue.following(cut) as stream:
            until(lambda: stream.connections == 4)
            until(lambda: stream.is_connected)
            venue.live_to(venue.clock.now_ms() + hours(1))
            until(lambda: venue.rung)
    # Three breaks each time, of which one is told, and that it is over.
    told = [record.levelname for record in caplog.records]
    assert told == ["WARNING", "INFO"] * 3
    assert "until it is back, the clock starts each cycle" in caplog.records[0].message
    assert caplog.records[1].message.startswith("the stream is back")


@pytest.mark.parametrize("status", [403, 418, 429, 451, 503])
def test_a_refused_connection_is_told_with_its_status(
    venue: Venue, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    with venue.following(f'[[fault]]\nkind = "refuse"\nrequests = "1-2"\nstatus = {status}') as stream:
        until(lambda: stream.is_connected)
    assert venue.exchange.connections == 3
    assert [f"refused with HTTP {status};" in record.message for record in caplog.records] == [True]


def test_a_connection_that_answers_no_ping_is_left_long_before_its_silence_tells(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("barfeed.exchange.stream.follower.PING_EVERY_SEC", 0.1)
    monkeypatch.setattr("barfeed.exchange.stream.follower.PONG_WITHIN_SEC", 0.1)
    send = ServerProtocol.send_frame
    monkeypatch.setattr(
        ServerProtocol, "send_frame", lambda self, frame: None if frame.opcode is Opcode.PONG else send(self, frame)
    )
    with venue.following() as stream:
        until(lambda: stream.connections > 1)
        assert stream.silences == 0
    assert "keepalive ping timeout" in caplog.records[0].message


def test_a_stream_that_is_silent_is_left(venue: Venue, caplog: pytest.LogCaptureFixture) -> None:
    with venue.following('[[fault]]\nkind = "silence"\nrequests = "1"', silent_after_sec=0.2) as stream:
        until(lambda: stream.silences)
    assert "no frame of BTCUSDT 1h in 0.2 s; check --stream-url if it stays" in caplog.text


def test_the_old_path_that_connects_and_stays_silent_is_found_out(venue: Venue) -> None:
    with venue.following(url=venue.url.removesuffix("/market"), silent_after_sec=0.3) as stream:
        until(lambda: stream.is_connected)
        venue.live_to(CLOSE_MS + 5)
        until(lambda: stream.silences)
    assert (venue.rung, stream.frames) == ([], 0)


HOSTILE = {
    "no JSON": 'text = "<html>"',
    "deep": 'text = "["\ntimes = 50000',
    "deep objects": "text = '{\"k\":'\ntimes = 8000",
    "binary": 'text = "\\u0000\\u0001"\nbinary = true',
    "of another symbol": f"""text = '{{"e":"kline","k":{{"t":{TARGET_MS},"s":"ETHUSDT","i":"1h","x":true}}}}'""",
    "combined": """text = '{"stream":"btcusdt@kline_1h","data":{}}'""",
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_is_no_frame_is_counted_and_rings_nothing(venue: Venue, text: str) -> None:
    fault = f'[[fault]]\nkind = "garbage"\n{text}\nuntil = 2024-02-10T14:30:00'
    with venue.following(fault) as stream:
        until(lambda: stream.is_connected)
        venue.clock.set(CLOSE_MS - 5000)
        until(lambda: stream.ignored == 1)
        # The closing frame and the next bar's first; the clock goes on when both were heard, or one would come
        # when the fault is over.
        venue.clock.set(CLOSE_MS + 2000)
        until(lambda: stream.ignored == 3)
        assert (stream.frames, venue.rung, stream.connections) == (0, [], 1)
        venue.live_to(CLOSE_MS + hours(1) + 5)
        until(lambda: venue.rung == [TARGET_MS + hours(1)])


def test_what_is_no_frame_does_not_count_against_silence(venue: Venue) -> None:
    with venue.following('[[fault]]\nkind = "garbage"\ntext = "{}"', silent_after_sec=0.3) as stream:
        until(lambda: stream.is_connected)
        end = time.monotonic() + 60
        while not stream.silences:
            venue.clock.advance(250)
            time.sleep(0.02)
            assert time.monotonic() < end


def test_a_huge_message_ends_the_connection_and_not_the_stream(venue: Venue) -> None:
    fault = '[[fault]]\nkind = "garbage"\ntext = "x"\ntimes = 3000000\nrequests = "1"'
    with venue.following(fault) as stream:
        until(lambda: stream.is_connected)
        venue.live_to(CLOSE_MS - 5000)
        until(lambda: stream.connections == 2)
        until(lambda: stream.is_connected)
        venue.live_to(CLOSE_MS + 5)
        until(lambda: venue.rung == [TARGET_MS])


def test_a_connection_is_renewed_behind_a_close(venue: Venue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_wire, "RENEW_AFTER_SEC", -1.0)
    with venue.following() as stream:
        until(lambda: stream.is_connected)
        venue.live_to(CLOSE_MS - 1000)
        until(lambda: stream.frames)
        assert stream.connections == 1
        venue.live_to(CLOSE_MS + 5)
        until(lambda: stream.connections == 2)
    assert venue.rung == [TARGET_MS]


def test_the_exchange_s_24_hours_are_survived(venue: Venue) -> None:
    with venue.following() as stream:
        until(lambda: stream.is_connected)
        venue.clock.advance(hours(5))
        until(lambda: stream.frames)
        venue.clock.advance(hours(19))
        until(lambda: stream.connections == 2)


def test_where_nobody_listens_is_tried_until_somebody_does(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    stream = Stream(f"ws://127.0.0.1:{port}", BTCUSDT_1H, print, SystemClock())
    stream.start()
    until(lambda: caplog.records)
    stream.stop()
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1
    assert "ConnectionRefusedError" in caplog.text
    assert stream.connections == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "refused with HTTP 200"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "InvalidMessage"),
        (b"", "InvalidMessage"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", "Invalid"),
    ],
)
def test_a_listener_that_is_no_stream_is_told_and_survived(
    caplog: pytest.LogCaptureFixture, answer: bytes, says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        stream = Stream(f"ws://127.0.0.1:{server.getsockname()[1]}", BTCUSDT_1H, print, SystemClock())
        stream.start()
        line, _ = server.accept()
        line.recv(4096)
        line.sendall(answer)
        line.close()
        until(lambda: caplog.records)
    stream.stop()
    assert says in caplog.text
    assert "bug" not in caplog.text


def test_a_host_that_is_no_name_and_a_proxy_that_is_none_are_told(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, (url, proxy) in enumerate([("ws://" + "a" * 70, ""), ("ws://x", "gopher://x"), ("ws://x", "http://")]):
        monkeypatch.setenv("http_proxy", proxy)
        stream = Stream(url, BTCUSDT_1H, print, SystemClock())
        stream.start()
        until(partial(_has, caplog.records, number + 1))
        stream.stop()
    assert {record.levelname for record in caplog.records} == {"WARNING"}
    assert "bug" not in caplog.text


@pytest.mark.parametrize("scheme", ["", "http://"])
def test_the_stream_takes_the_proxy_that_rest_does_as_it_is_written(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.settimeout(LONGEST_SEC)
        monkeypatch.setenv("http_proxy", f"{scheme}user:sesame@127.0.0.1:{proxy.getsockname()[1]}")
        stream = Stream("ws://exchange.invalid/market", BTCUSDT_1H, print, SystemClock())
        stream.start()
        line, _ = proxy.accept()
        asked = line.recv(4096)
        line.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        line.close()
        until(lambda: caplog.records)
    stream.stop()
    assert asked.startswith(b"CONNECT exchange.invalid:80 HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic dXNlcjpzZXNhbWU=\r\n" in asked
    assert "the proxy refused with HTTP 407;" in caplog.text


@pytest.mark.parametrize(
    "proxy",
    ["gopher://user:sesame@127.0.0.1:1", "sesame@127.0.0.1:1", "user:se/sesame@127.0.0.1:1", "http://[sesame"],
)
def test_the_password_of_a_proxy_that_cannot_be_used_is_told_nowhere(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("http_proxy", proxy)
    stream = Stream("ws://exchange.invalid/market", BTCUSDT_1H, print, SystemClock())
    stream.start()
    until(lambda: caplog.records)
    stream.stop()
    assert "the proxy from the environment " in caplog.text
    assert "sesame" not in caplog.text
    assert "bug" not in caplog.text
