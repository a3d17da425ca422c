import gzip
import json
import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPResponse, IncompleteRead, RemoteDisconnected
from time import perf_counter
from urllib.parse import urlsplit

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

import fork_server
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from process import BARFEED
from replay.replay_world import World
from waiting import LONGEST_SEC, in_time, until

KLINES = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=3"


class Client:
    """One keep-alive connection to the world's exchange."""

    def __init__(self, world: World, server: ReplayServer) -> None:
        self.world = world
        self.server = server
        self.connection = HTTPConnection(urlsplit(server.url).netloc, timeout=LONGEST_SEC)

    def get(self, target: str = KLINES, **headers: str) -> tuple[HTTPResponse, bytes]:
        self.connection.request("GET", target, headers=headers)
        response = self.connection.getresponse()
        return response, response.read()

    def script(self, toml: str) -> None:
        self.world.exchange.faults = parse_faults(f"[[fault]]\n{toml}", "wire.toml")


@pytest.fixture
def client() -> Iterator[Client]:
    world = World()
    with ReplayServer(world.exchange) as server:
        client = Client(world, server)
        yield client
        client.connection.close()


def test_an_answer_comes_over_a_socket_as_the_exchange_made_it(client: Client) -> None:
    response, body = client.get()
    assert (response.status, response.reason, response.version) == (200, "OK", 11)
    assert response.getheader("Content-Type") == "application/json"
    assert response.getheader("X-MBX-USED-WEIGHT-1M") == "1"
    assert response.getheader("Date") == "Mon, 15 Jan 2024 14:23:45 GMT"
    assert [row[4] for row in json.loads(body)][:2] == ["113.0", "114.0"]


def test_one_connection_serves_many_requests(client: Client) -> None:
    client.get()
    sock = client.connection.sock
    for target in ("/fapi/v1/ping", "/nothing", KLINES):
        client.get(target)
    assert client.connection.sock is sock


def test_gzip_goes_through_whole(client: Client) -> None:
    response, body = client.get(**{"Accept-Encoding": "gzip"})
    assert response.getheader("Content-Encoding") == "gzip"
    assert len(json.loads(gzip.decompress(body))) == 3


def test_a_small_answer_does_not_wait_for_an_acknowledgement(client: Client) -> None:
    client.get("/fapi/v1/time")
    (line,) = client.server._http._open
    # A delayed acknowledgement comes after 40 ms.
    assert line.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_requests_at_the_same_time_are_all_counted(client: Client) -> None:
    def ask(_: int) -> int:
        other = Client(client.world, client.server)
        for _ in range(20):
            other.get("/fapi/v1/ping")
        other.connection.close()
        return 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))
    response, _ = client.get("/fapi/v1/ping")
    assert response.getheader("X-MBX-USED-WEIGHT-1M") == "161"


def test_a_posted_body_is_not_taken_for_the_next_request(client: Client) -> None:
    client.connection.request("POST", "/fapi/v1/ping", body=b"GET /fapi/v1/time HTTP/1.1\r\n\r\n")
    assert client.connection.getresponse().read().startswith(b"<html>")
    client.connection.close()
    assert client.world.exchange.requests.total() == 1


def test_a_reset_is_a_reset(client: Client) -> None:
    client.script('kind = "reset"')
    with pytest.raises(ConnectionResetError) as caught:
        client.get()
    # http.client's own word for a connection that closed politely.
    assert not isinstance(caught.value, RemoteDisconnected)


def test_a_truncated_body_is_shorter_than_its_length_says(client: Client) -> None:
    client.script('kind = "truncate"')
    with pytest.raises(IncompleteRead) as caught:
        client.get()
    assert caught.value.partial
    assert caught.value.expected


def test_a_cut_body_is_as_long_as_its_length_says(client: Client) -> None:
    client.script('kind = "cut_json"')
    response, body = client.get()
    assert int(response.getheader("Content-Length") or 0) == len(body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


def test_a_hanging_request_is_answered_after_its_time(client: Client) -> None:
    client.script('kind = "hang"\nsec = 0.3')
    start = perf_counter()
    _, body = client.get()
    assert perf_counter() - start >= 0.3
    assert len(json.loads(body)) == 3


def test_a_hanging_request_does_not_hold_up_others(client: Client) -> None:
    client.script(f'kind = "hang"\nsec = {10 * LONGEST_SEC}')
    client.connection.request("GET", KLINES)
    until(client.world.exchange.requests.total)
    other = Client(client.world, client.server)
    response, _ = other.get("/fapi/v1/time")
    assert response.status == 200
    other.connection.close()


def test_a_dripping_body_comes_slowly_and_whole(client: Client) -> None:
    _, whole = client.get()
    client.script(f'kind = "drip"\nbytes_per_sec = {len(whole) * 3}')
    start = perf_counter()
    _, body = client.get()
    assert perf_counter() - start >= 0.25
    assert len(body) == len(whole)


def test_header_names_are_spelt_as_told(client: Client) -> None:
    client.script('kind = "header_case"\ncase = "lower"')
    response, body = client.get()
    assert ("x-mbx-used-weight-1m", "1") in response.getheaders()
    assert len(json.loads(body)) == 3


def test_it_stops_though_connections_hang_drip_and_idle() -> None:
    world = World(
        faults='[[fault]]\nkind="hang"\nsec=600\n[[fault]]\npath="exchangeInfo"\nkind="drip"\nbytes_per_sec=1'
    )
    server = ReplayServer(world.exchange)
    server.start()
    clients = [Client(world, server) for _ in range(3)]
    clients[0].connection.request("GET", KLINES)
    clients[1].connection.request("GET", "/fapi/v1/exchangeInfo")
    clients[2].get("/fapi/v1/ping")
    until(lambda: world.exchange.requests.total() == len(clients))
    in_time(server.stop)
    for client in clients:
        with pytest.raises((OSError, IncompleteRead)) as ended:
            client.get() if client is clients[2] else client.connection.getresponse().read()
        # It was hung up on, and did not lose its patience.
        assert not isinstance(ended.value, TimeoutError)
        client.connection.close()


def test_after_a_stop_its_port_is_free() -> None:
    world = World()
    with ReplayServer(world.exchange) as server:
        port = urlsplit(server.url).port
    assert port
    with ReplayServer(world.exchange, port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


def test_a_port_in_use_is_an_error_at_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(OSError, match="in use"):
        ReplayServer(World().exchange, port=taken.getsockname()[1])


def test_a_client_that_leaves_in_the_middle_is_not_an_error(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    client.script('kind = "drip"\nbytes_per_sec = 100')
    client.connection.request("GET", KLINES)
    client.connection.close()
    client.server.stop()
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize("answers", [True, False])
def test_a_client_of_the_stream_is_pinged_and_cut_where_it_does_not_answer(
    monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    monkeypatch.setattr("barfeed.replay.stream.socket.PING_EVERY_SEC", 0.1)
    # Who answers is never late, however busy the machine is.
    monkeypatch.setattr("barfeed.replay.stream.socket.PONG_WITHIN_SEC", 10 * LONGEST_SEC if answers else 0.1)
    world, pongs, send = World(), [], ClientProtocol.send_frame

    def sending(self: ClientProtocol, frame: Frame) -> None:
        if frame.opcode is not Opcode.PONG:
            send(self, frame)
        elif answers:
            pongs.append(frame)
            send(self, frame)

    monkeypatch.setattr(ClientProtocol, "send_frame", sending)
    with (
        ReplayServer(world.exchange, streams=world.exchange) as server,
        connect(f"{server.stream_url}/ws/btcusdt@kline_1h", proxy=None, ping_interval=None) as line,
    ):
        if answers:
            # The next ping comes only when the last one was answered.
            until(lambda: len(pongs) > 1)
        ends: type[Exception] = TimeoutError if answers else ConnectionClosed
        with pytest.raises(ends, match="timed out" if answers else "keepalive ping timeout"):
            # The clock stands: there is no frame to hear.
            line.recv(timeout=0 if answers else LONGEST_SEC)
    assert bool(pongs) == answers


@pytest.mark.parametrize(
    ("host", "hint"),
    [("127.0.0.1", "--port 0 takes a free one"), ("192.0.2.1", "name an address"), ("é" * 70, "name an address")],
)
def test_an_address_that_cannot_be_listened_on_is_told_with_what_helps(host: str, hint: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        flags = ["--generate", "BTCUSDT-1h", "--host", host, "--port", str(taken.getsockname()[1])]
        ran = fork_server.run([BARFEED, "replay", *flags], os.environ)
    assert ran.returncode == 2
    assert "cannot be listened on: " in ran.stderr
    assert f"  hint: {hint}" in ran.stderr
