"""Whoever asks for the metrics, and however, gets an answer or is hung up on; nobody else waits."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from barfeed.domain.errors import UsageError
from barfeed.machine.clock import SystemClock
from barfeed.operate.metrics import server
from barfeed.operate.metrics.server import Address, Listener, Page, address
from operate.metrics.metering_world import get
from waiting import LONGEST_SEC, until
from world import SteppingClock

PAGES = {
    "/metrics": lambda: Page(200, "text/plain", b"barfeed_info 1\n"),
    "/healthz": lambda: Page(503, "application/json", b'{"healthy": false}\n'),
}


@pytest.fixture
def listener() -> Iterator[Listener]:
    each = Listener(Address("127.0.0.1", 0), PAGES, SystemClock())
    each.start()
    yield each
    each.stop()


def raw(listener: Listener, request: bytes) -> bytes:
    host, _, port = listener.url.removeprefix("http://").rpartition(":")
    with socket.create_connection((host, int(port)), timeout=LONGEST_SEC) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def idle(listener: Listener) -> socket.socket:
    host, _, port = listener.url.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=LONGEST_SEC)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464),
        ("[::1]:9464", "::1", 9464),
        ("localhost:0", "localhost", 0),
        (":9464", "", 9464),
        ("my-host.example.:65535", "my-host.example.", 65535),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text",
    ["x", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "::1:9464", "http://127.0.0.1:9464", "a b:1", ":1/x"],
)
def test_what_is_no_address_is_named(text: str) -> None:
    with pytest.raises(UsageError, match=r"--listen .* is not an address like 127\.0\.0\.1:9464"):
        address(text)


def test_a_page_comes_with_its_status_and_type(listener: Listener) -> None:
    assert get(f"{listener.url}/metrics") == (200, "text/plain", "barfeed_info 1\n")
    assert get(f"{listener.url}/healthz?verbose=1") == (503, "application/json", '{"healthy": false}\n')


def test_head_comes_without_the_body(listener: Listener) -> None:
    answer = raw(listener, b"HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK\r\n")
    assert b"Content-Length: 15\r\n" in answer
    assert answer.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("path", ["/", "/metric", "/metrics/", "/../etc/passwd"])
def test_another_path_is_not_found(listener: Listener, path: str) -> None:
    answer = get(f"{listener.url}{path}")
    assert (answer.status, answer.body) == (404, "404 here are /metrics, /healthz\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_another_method_is_not_allowed(listener: Listener, method: str) -> None:
    answer = raw(listener, f"{method} /metrics HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.0 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"BREW /metrics HTTP/1.1\r\n\r\n", b"501"),
        (b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET /metrics HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"\x16\x03\x01\x02\x00 TLS hello\r\n\r\n", b"400"),
    ],
)
def test_nonsense_is_refused_in_plain_text(listener: Listener, request_: bytes, status: bytes) -> None:
    answer = raw(listener, request_)
    assert status in answer.split(b"\n")[0]
    assert b"<html" not in answer.lower()


def test_a_taken_port_is_told_with_the_address(listener: Listener) -> None:
    port = int(listener.url.rpartition(":")[2])
    with pytest.raises(UsageError, match=f"--listen 127.0.0.1:{port} cannot be had: Address already in use"):
        Listener(Address("127.0.0.1", port), PAGES, SystemClock())


def test_a_stopped_listener_lets_go_of_its_port() -> None:
    other = Listener(Address("127.0.0.1", 0), PAGES, SystemClock())
    other.start()
    get(f"{other.url}/metrics")
    other.stop()
    again = Listener(Address("127.0.0.1", int(other.url.rpartition(":")[2])), PAGES, SystemClock())
    again.start()
    again.stop()


def test_it_listens_on_ipv6() -> None:
    try:
        each = Listener(Address("::1", 0), PAGES, SystemClock())
    except UsageError:
        pytest.skip("this machine has no IPv6")
    each.start()
    assert each.url.startswith("http://[::1]:")
    assert get(f"{each.url}/metrics").status == 200
    each.stop()


def test_those_who_say_nothing_are_few_and_not_there_for_long(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # It has a clock of its own; here only the listener's tells how long a connection is there.
    monkeypatch.setattr(server._Handler, "timeout", 10 * LONGEST_SEC)
    clock = SteppingClock(0)
    listener = Listener(Address("127.0.0.1", 0), PAGES, clock)
    listener.start()
    threads = threading.active_count()
    with ExitStack() as opened:
        silent = [opened.enter_context(idle(listener)) for _ in range(server.CONNECTIONS_MAX)]
        silent[0].sendall(b"GET /metrics HTT")
        # The next is turned away at once, whatever it asks.
        with suppress(ConnectionResetError):
            assert raw(listener, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
        assert threading.active_count() <= threads + server.CONNECTIONS_MAX
        clock.sleep(server.CONNECTION_SEC)
        for each in silent:
            # Blocks until the other side hangs up.
            assert each.recv(1) == b""
    until(lambda: threading.active_count() <= threads)
    assert get(f"{listener.url}/metrics").status == 200
    listener.stop()
    assert caplog.records == []


def test_a_page_that_cannot_be_made_ends_one_connection_and_is_told_as_a_bug(caplog: pytest.LogCaptureFixture) -> None:
    each = Listener(Address("127.0.0.1", 0), PAGES | {"/bug": lambda: Page(200, "", json.loads(""))}, SystemClock())
    each.start()
    assert raw(each, b"GET /bug HTTP/1.1\r\n\r\n") == b""
    assert get(f"{each.url}/metrics").status == 200
    each.stop()
    assert [record.message for record in caplog.records] == ["this is a bug in barfeed; report it"]
