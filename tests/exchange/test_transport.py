import gzip
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
import urllib3

from barfeed.domain.errors import BarfeedError, ContractBroken, ExchangeRefused, UsageError
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.steps import Get, Steps
from barfeed.exchange.transport import single
from barfeed.exchange.transport.single import Transport, open_transport
from barfeed.exchange.transport.together import asking_together
from barfeed.machine.clock import SystemClock
from exchange.serving import BROKEN, LENGTHS, Conduct, Server, answer, drip, says
from waiting import LONGEST_SEC, in_time


class Line:
    """The way of one hour's questions to the exchange, or of many at once: what holds for one must for the other."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self.kind = kind
        self._stack = stack

    def open(self, url: str) -> Transport:
        if self.kind == "single":
            return open_transport(url, SystemClock())
        ask = self._stack.enter_context(asking_together(url, SystemClock()))

        def get(url: str, left_sec: float) -> Answer:
            (answer,) = ask([question(url, left_sec)])
            if isinstance(answer, BarfeedError):
                raise answer
            return answer

        return get

    def get(self, url: str, left_sec: float = LONGEST_SEC) -> Answer:
        return self.open(url)(f"{url}/fapi/v1/time?a=1", left_sec)

    def fault(self, url: str, left_sec: float = LONGEST_SEC) -> tuple[str, float]:
        """The reason of the `TryAgain` that comes, and after how many seconds."""
        begin_sec = time.perf_counter()
        with pytest.raises(TryAgain) as told:
            in_time(lambda: self.get(url, left_sec))
        if told.value.reason == "timeout":
            # Ours: the other side did not end it.
            ends = ("RemoteDisconnected", "IncompleteRead", "ProtocolError", "ServerDisconnected", "Payload")
            assert not any(name in str(told.value) for name in ends)
        return told.value.reason, time.perf_counter() - begin_sec


def question(url: str, left_sec: float) -> Steps[Answer]:
    """One request, and whatever comes of it."""
    answer: Answer = yield Get(url, left_sec)
    return answer


@pytest.fixture(params=["single", "together"])
def line(request: pytest.FixtureRequest, serve: object) -> Iterator[Line]:  # noqa: ARG001 - it is closed before that
    with ExitStack() as stack:
        yield Line(request.param, stack)


def test_an_answer_is_read_to_its_end(line: Line, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b'{"serverTime":1}', headers=b"X-MBX-USED-WEIGHT-1M: 3\r\n")))
    seen = line.get(server.url)
    assert (seen.status, seen.body, seen.headers["x-mbx-used-weight-1m"]) == (200, b'{"serverTime":1}', "3")
    head = server.requests[0].decode()
    assert head.startswith("GET /fapi/v1/time?a=1 HTTP/1.1\r\n")
    assert "\r\nUser-Agent: barfeed/" in head


def test_a_packed_answer_is_unpacked(line: Line, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(gzip.compress(b"[1, 2, 3]"), headers=b"Content-Encoding: gzip\r\n")))
    assert line.get(server.url).body == b"[1, 2, 3]"
    assert b"\r\nAccept-Encoding: gzip\r\n" in server.requests[0]


def test_an_answer_in_chunks_is_read_to_its_end(line: Line, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[1\r\n", b"1\r\n]\r\n0\r\n\r\n"))
    assert line.get(server.url).body == b"[1]"


@pytest.mark.parametrize(
    "status", ["400 Bad Request", "429 Too Many Requests", "503 Service Unavailable", "418 Teapot"]
)
def test_a_status_of_any_kind_is_an_answer(line: Line, status: str, serve: Callable[[Conduct], Server]) -> None:
    assert line.get(serve(says(answer(b"{}", status))).url) == Answer(int(status[:3]), {"content-length": "2"}, b"{}")


def test_one_connection_is_kept_for_all_calls(line: Line, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b"[]"), keep=True))
    ask = line.open(server.url)
    assert [ask(server.url, LONGEST_SEC).body for _ in range(3)] == [b"[]"] * 3
    assert server.connections == 1


def test_a_connection_that_the_server_dropped_meanwhile_is_opened_anew(
    line: Line, serve: Callable[[Conduct], Server]
) -> None:
    server = serve(says(answer(b"[]")))
    ask = line.open(server.url)
    assert ask(server.url, LONGEST_SEC).body == b"[]"
    server.wait_for_goodbyes()
    assert ask(server.url, LONGEST_SEC).body == b"[]"
    assert server.connections == 2


@pytest.mark.parametrize("location", [b"http://127.0.0.1:1/elsewhere", b"/elsewhere"])
def test_a_redirect_is_not_followed(line: Line, location: bytes, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b"", "302 Found", b"Location: %s\r\n" % location), keep=True))
    seen = line.get(server.url)
    assert (seen.status, seen.headers["location"]) == (302, location.decode())
    assert len(server.requests) == 1


@pytest.mark.parametrize("parts", BROKEN.values(), ids=BROKEN)
def test_a_broken_answer_is_tried_again(
    line: Line, parts: tuple[bytes, ...], serve: Callable[[Conduct], Server]
) -> None:
    # Not "timeout": it is told by what came, and not waited for.
    assert line.fault(serve(says(*parts)).url)[0] == "connection"


def test_a_reset_is_tried_again(line: Line, serve: Callable[[Conduct], Server]) -> None:
    def reset(server: Server, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")

    assert line.fault(serve(reset).url)[0] == "connection"


def test_a_port_where_nobody_listens_is_tried_again(line: Line) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TryAgain, match="refused"):
        line.get(f"http://127.0.0.1:{port}")


def test_a_refused_connection_is_not_counted_as_a_timeout(line: Line) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert line.fault(f"http://127.0.0.1:{port}")[0] == "connection"


def test_a_name_that_does_not_exist_is_tried_again(line: Line) -> None:
    with pytest.raises(TryAgain):
        line.get("http://no-such-host.invalid")


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", b"HTTP/1.1 200 OK\r\n\r\n[1"]
)
def test_a_server_that_hangs_is_left_when_the_time_is_up(
    line: Line, head: bytes, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(server: Server, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(head)
        server.over.wait()

    # Nothing but the time that is left ends it.
    monkeypatch.setattr(single, "READ_TIMEOUT_SEC", 10 * LONGEST_SEC)
    reason, took_sec = line.fault(serve(hang).url, left_sec=0.3)
    assert reason == "timeout"
    assert took_sec > 0.25


@pytest.mark.parametrize("length", LENGTHS, ids=["told", "untold"])
def test_a_body_that_drips_is_left_when_the_time_is_up(
    line: Line, length: bytes, serve: Callable[[Conduct], Server]
) -> None:
    reason, took_sec = line.fault(serve(drip(b"HTTP/1.1 200 OK\r\n%s\r\n" % length, b"1")).url, left_sec=0.3)
    assert reason == "timeout"
    assert took_sec > 0.25


@pytest.mark.parametrize("piece", [b"a", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_a_head_that_drips_is_left_when_the_time_is_up(
    line: Line, piece: bytes, serve: Callable[[Conduct], Server]
) -> None:
    head = b"HTTP/1.1 200 OK\r\nX: " if piece == b"a" else b""
    reason, took_sec = line.fault(serve(drip(head, piece)).url, left_sec=0.3)
    assert reason == "timeout"
    assert took_sec > 0.25


@pytest.mark.parametrize("length", LENGTHS, ids=["told", "untold"])
def test_a_body_that_hangs_after_a_while_is_left_when_the_time_is_up(
    line: Line, length: bytes, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    def conduct(server: Server, connection: socket.socket) -> None:
        server.read_request(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n%s\r\n" % length)
        server.over.wait(0.2)
        connection.sendall(b"1")
        server.over.wait()

    # The socket's own timeout begins anew with each byte; here it never ends a read.
    never = urllib3.Timeout(connect=LONGEST_SEC, read=10 * LONGEST_SEC)
    monkeypatch.setattr(urllib3, "Timeout", lambda **_: never)
    assert line.fault(serve(conduct).url, left_sec=0.5)[0] == "timeout"


@pytest.mark.parametrize("packed", [False, True])
def test_a_gigantic_body_is_refused_in_bounded_memory(
    line: Line, packed: bool, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(single, "BODY_BYTES_MAX", 100_000)
    body = b"0" * 400_000
    sent = answer(gzip.compress(body), headers=b"Content-Encoding: gzip\r\n") if packed else answer(body)
    with pytest.raises(ContractBroken, match="over 100000 bytes"):
        line.get(serve(says(sent)).url)


def test_the_largest_body_is_many_times_the_exchanges_largest_answer(
    line: Line, serve: Callable[[Conduct], Server]
) -> None:
    # A whole exchangeInfo is 1.2 MB.
    assert len(line.get(serve(says(answer(b"0" * 5_000_000))).url).body) == 5_000_000


def test_a_connection_lost_in_the_tls_handshake_is_tried_again(line: Line, serve: Callable[[Conduct], Server]) -> None:
    def conduct(_server: Server, connection: socket.socket) -> None:
        connection.recv(65536)

    with pytest.raises(TryAgain):
        line.get(serve(conduct).url.replace("http:", "https:"))


def test_a_server_without_tls_is_never_spoken_to_in_the_clear(line: Line, serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b"[]")))
    with pytest.raises((ExchangeRefused, TryAgain)):
        line.get(server.url.replace("http:", "https:"), left_sec=0.5)
    assert server.requests == []


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"])
def test_a_proxy_from_the_environment_is_used(
    line: Line, name: str, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(says(answer(b'"proxied"')))
    monkeypatch.setenv(name, proxy.url)
    assert line.get("http://exchange.invalid").body == b'"proxied"'
    assert proxy.requests[0].startswith(b"GET http://exchange.invalid/fapi/v1/time?a=1 HTTP/1.1\r\n")


@pytest.mark.parametrize("bypass", ["127.0.0.1", "example.org, 127.0.0.1", "*"])
@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_no_proxy_is_respected(
    line: Line, name: str, bypass: str, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, exchange = serve(says(answer(b'"proxied"'))), serve(says(answer(b'"direct"')))
    monkeypatch.setenv("http_proxy", proxy.url)
    monkeypatch.setenv(name, bypass)
    assert line.get(exchange.url).body == b'"direct"'
    assert proxy.requests == []


def test_a_proxy_for_https_is_not_used_for_http(
    line: Line, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, exchange = serve(says(answer(b'"proxied"'))), serve(says(answer(b'"direct"')))
    monkeypatch.setenv("https_proxy", proxy.url)
    assert line.get(exchange.url).body == b'"direct"'
    assert proxy.connections == 0


def test_https_is_tunnelled_through_the_proxy(
    line: Line, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(says(b"HTTP/1.1 502 Bad Gateway\r\n\r\n"))
    monkeypatch.setenv("https_proxy", proxy.url)
    with pytest.raises(TryAgain):
        line.get("https://exchange.invalid")
    assert proxy.requests[0].startswith(b"CONNECT exchange.invalid:443 HTTP/1.")


def test_name_and_password_of_the_proxy_are_sent(
    line: Line, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = serve(says(answer(b"[]")))
    monkeypatch.setenv("http_proxy", f"http://user:secret@{proxy.address}")
    line.get("http://exchange.invalid")
    assert b"proxy-authorization: basic dxnlcjpzzwnyzxq=\r\n" in proxy.requests[0].lower()


@pytest.mark.parametrize("address", ["socks6://127.0.0.1:1", "gopher://127.0.0.1:1", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_a_usage_error(
    line: Line, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", address)
    with pytest.raises(UsageError, match="the proxy from the environment cannot be used") as told:
        line.open("http://exchange.invalid")
    assert "http_proxy" in told.value.hint


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there_is_told_in_plain_words(
    line: Line, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(TryAgain, match=r"connect to (the )?proxy.* Connection refused$"):
        line.get(f"{scheme}://exchange.invalid")
