"""Many questions at once on real sockets: the replay exchange, and servers that do as they like.

What holds for one request, however it comes, holds here too: test_transport.py asks both ways.
"""

import gc
import logging
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs

import aiohttp_socks
import pytest
import trustme
from aiohttp import client_exceptions, http_exceptions

from barfeed.domain.bars import Pull, Series
from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.rules import Asked
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation, Rest
from barfeed.exchange.steps import Crowd, Get, Pause, Steps
from barfeed.exchange.transport import together
from barfeed.exchange.transport.each import asking_each
from barfeed.exchange.transport.single import open_transport
from barfeed.exchange.transport.together import FOREIGN, IN_FLIGHT, asking_together
from barfeed.exchange.weight import Budget
from barfeed.machine.clock import Clock, SystemClock
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Reply
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from exchange.serving import Conduct, Server, answer, drip, says
from process import ROOT
from waiting import LONGEST_SEC, in_time, until
from world import hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
NOW_MS = TARGET_MS + hours(1) + 30_000
CHINESE = ["币安人生USDT", "我踏马来了USDT"]


class MovedClock(SystemClock):
    """The machine's, as far ahead as the test says."""

    def __init__(self) -> None:
        self.ahead_sec = 0
        self._begun_sec = super().steady_sec()

    def steady_sec(self) -> float:
        return super().steady_sec() + self.ahead_sec

    def exchange_ms(self) -> int:
        return NOW_MS + round((self.steady_sec() - self._begun_sec) * 1000)


class Replayed:
    """The replay exchange on a socket, with the queries that came."""

    def __init__(self, symbols: Sequence[str], now_ms: Callable[[], int], weight_limit: int) -> None:
        bars = made_up_bars(TARGET_MS + hours(2), 20)
        tapes = [Tape.of(Series.of(name, "1h"), bars) for name in symbols]
        self.exchange = ReplayExchange(tapes, now_ms, (), weight_limit)
        self.queries: list[dict[str, list[str]]] = []
        self.server = ReplayServer(self)

    def handle(self, request: Request) -> Reply:
        self.queries.append(parse_qs(request.query))
        return self.exchange.handle(request)

    def has_answered(self, requests: int, budget: Budget | None) -> bool:
        return len(self.queries) >= requests and budget is not None and not budget._in_flight

    @property
    def symbols(self) -> list[str]:
        return [query["symbol"][0] for query in self.queries if "symbol" in query]


@contextmanager
def replayed(
    symbols: Sequence[str], now_ms: Callable[[], int] = lambda: NOW_MS, weight_limit: int = 2400
) -> Iterator[Replayed]:
    made = Replayed(symbols, now_ms, weight_limit)
    with made.server:
        yield made


def market(url: str, max_wait_sec: float = LONGEST_SEC, clock: Clock | None = None) -> Conversation:
    clock = clock or SystemClock()
    return Rest(url, open_transport(url, clock), clock, jitter=lambda: 0.0).conversation(max_wait_sec)


def questions(whole: Conversation, symbols: Sequence[str]) -> list[Steps[Pull]]:
    return [Branch(whole).steps_of_closed_bars(Asked(Series.of(name, "1h"), 6, NOW_MS)) for name in symbols]


def asked(whole: Conversation, symbols: Sequence[str], in_flight: int = IN_FLIGHT) -> list[Pull | BarfeedError]:
    def ask_all() -> list[Pull | BarfeedError]:
        with asking_together(whole.base_url, whole.rest.clock, in_flight) as ask:
            return ask(questions(whole, symbols))

    return in_time(ask_all)


def names(count: int) -> list[str]:
    return [f"S{number:03d}USDT" for number in range(count)]


def is_whole(pull: Pull | BarfeedError) -> bool:
    return isinstance(pull, Pull) and [bar.open_time_ms for bar in pull.bars] == [
        TARGET_MS - hours(back) for back in (5, 4, 3, 2, 1, 0)
    ]


@pytest.fixture(autouse=True)
def _nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No task whose end nobody looks at, no session that nobody closes, no thread."""
    caplog.set_level(logging.WARNING, "asyncio")
    yield
    gc.collect()
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []
    assert "barfeed-together" not in [each.name for each in threading.enumerate()]


def test_eight_hundred_are_asked_once_each_and_answered_in_order() -> None:
    symbols = [*CHINESE, *names(798)]
    with replayed(symbols) as exchange:
        whole = market(exchange.server.url)
        whole.ask_time()
        info = whole.exchange_info()
        whole.keep_within((info.weight_limit or 0) // 2)
        pulls = asked(whole, symbols)
    assert len(info.listings) == 800
    assert all(map(is_whole, pulls))
    assert Counter(exchange.symbols) == Counter(symbols)
    # One /time, one exchangeInfo, one request a series: its own weight and the exchange's say the same.
    assert (whole.requests, whole.budget and whole.budget.used) == (802, 802)


def test_each_answer_is_its_questions(serve: Callable[[Conduct], Server]) -> None:
    def echo(server: Server, connection: socket.socket) -> None:
        while True:
            connection.sendall(answer(server.read_request(connection).split()[1]))

    url = serve(echo).url
    with asking_together(url, SystemClock(), 8) as ask:
        answers = ask([bodies(f"{url}/{number}") for number in range(200)])
    assert answers == [f"/{number}".encode() for number in range(200)]


def bodies(url: str, pause_sec: float = 0.0, left_sec: float = LONGEST_SEC) -> Steps[bytes]:
    yield Pause(pause_sec)
    told = yield Get(url, left_sec)
    body: bytes = told.body
    return body


def test_connections_are_kept_from_one_question_to_the_next_and_from_one_call_to_the_next(
    serve: Callable[[Conduct], Server],
) -> None:
    server = serve(says(answer(b"[]"), keep=True))
    with asking_together(server.url, SystemClock(), 8) as ask:
        for _ in range(3):
            assert ask([bodies(server.url) for _ in range(50)]) == [b"[]"] * 50
    assert len(server.requests) == 150
    assert server.connections <= 8


def test_so_many_are_in_flight_and_no_more(serve: Callable[[Conduct], Server]) -> None:
    inside: list[int] = []
    all_in = threading.Barrier(12)

    def conduct(server: Server, connection: socket.socket) -> None:
        server.read_request(connection)
        inside.append(1)
        # Nobody is answered before twelve have asked, on a connection each.
        all_in.wait(LONGEST_SEC)
        connection.sendall(answer(b"[]"))
        says(answer(b"[]"), keep=True)(server, connection)

    server = serve(conduct)
    with asking_together(server.url, SystemClock(), 12) as ask:
        assert in_time(lambda: ask([bodies(server.url) for _ in range(100)])) == [b"[]"] * 100
    assert len(inside) == server.connections == 12


def test_no_question_is_no_work(serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b"[]")))
    with asking_together(server.url, SystemClock()) as ask:
        assert ask([]) == []
    assert server.connections == 0


def test_who_pauses_holds_nobody_up(serve: Callable[[Conduct], Server]) -> None:
    server = serve(says(answer(b"[]"), keep=True))
    with asking_together(server.url, SystemClock(), 1) as ask:
        ask([bodies(f"{server.url}/late", 0.1), bodies(f"{server.url}/first"), bodies(f"{server.url}/second")])
    assert [request.split()[1] for request in server.requests] == [b"/first", b"/second", b"/late"]


def test_a_symbol_that_is_refused_is_alone_in_it() -> None:
    symbols = [*names(5), "GONEUSDT", *names(10)[5:]]
    with replayed(names(10)) as exchange:
        pulls = asked(market(exchange.server.url), symbols)
    assert [is_whole(pull) for pull in pulls] == [True] * 5 + [False] + [True] * 5
    assert isinstance(pulls[5], ExchangeRefused)
    assert pulls[5].code == -1121


def test_after_a_block_no_further_request_is_sent() -> None:
    with replayed(names(50)) as exchange:
        exchange.exchange.faults = parse_faults('[[fault]]\nkind = "status"\nstatus = 418', "the test")
        pulls = asked(market(exchange.server.url), names(50), in_flight=4)
    assert {type(pull) for pull in pulls} == {ExchangeBlocked}
    # Those that were in flight.
    assert len(exchange.queries) <= 4


def test_a_passing_fault_is_asked_again() -> None:
    with replayed(names(20)) as exchange:
        exchange.exchange.faults = parse_faults(
            '[[fault]]\nkind = "status"\nstatus = 503\nrequests = "3-7"', "the test"
        )
        whole = market(exchange.server.url)
        pulls = asked(whole, names(20))
    assert all(map(is_whole, pulls))
    assert dict(whole.retries) == {"http_503": 5}
    assert whole.requests == len(exchange.queries) == 25


def one_of_them(symbol: str, conduct: Conduct) -> Conduct:
    """As an exchange that has nothing, but for one symbol."""

    def live(server: Server, connection: socket.socket) -> None:
        while True:
            request = server.read_request(connection)
            if symbol.encode() in request:
                conduct(server, connection)
                return
            connection.sendall(answer(b"[]"))

    return live


def test_who_hangs_holds_nobody_up(serve: Callable[[Conduct], Server]) -> None:
    def hang_until_all_others_are_done(server: Server, connection: socket.socket) -> None:
        until(lambda: len(server.requests) >= 100 or server.over.is_set())
        connection.sendall(answer(b"[]"))

    server = serve(one_of_them("S003", hang_until_all_others_are_done))
    pulls = asked(market(server.url, 0.0001), names(100), in_flight=2)
    assert len(pulls) == 100


@pytest.mark.parametrize("length", [b"Content-Length: 999\r\n", b""], ids=["told", "untold"])
def test_who_drips_is_cut_in_time_though_the_patience_is_long(
    length: bytes, serve: Callable[[Conduct], Server], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "ANSWER_TIMEOUT_SEC", 0.3)
    dripped = threading.Event()

    def conduct(server: Server, connection: socket.socket) -> None:
        if dripped.is_set():
            connection.sendall(answer(b"[]"))
        else:
            dripped.set()
            drip(b"HTTP/1.1 200 OK\r\n%s\r\n" % length, b"1", read=False)(server, connection)

    server = serve(one_of_them("S003", conduct))
    whole = market(server.url)
    with asking_together(server.url, SystemClock()) as ask:
        steps = [
            Branch(whole).steps_of_newest_bars(Series.of(name, "1h"), NOW_MS, 6)  # nothing is late in that
            for name in names(10)
        ]
        assert in_time(lambda: ask(steps)) == [Pull((), (), ())] * 10
    # More than once where the machine is too slow for a good answer, too.
    assert set(whole.retries) == {"timeout"}


def test_where_nobody_listens_each_is_told_within_the_patience() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    whole = market(f"http://127.0.0.1:{port}", 0.3)
    pulls = asked(whole, names(30))
    assert {type(pull) for pull in pulls} == {ExchangeUnavailable}
    assert f"cannot connect to 127.0.0.1:{port}: Connection refused" in str(pulls[0])


@pytest.mark.long
def test_what_does_not_fit_into_a_minute_waits_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "SLICE_SEC", 0.005)
    clock = MovedClock()
    with replayed(names(250), clock.exchange_ms, weight_limit=100) as exchange:
        # Nothing of the patience goes by while the budget is waited for.
        whole = market(exchange.server.url, 5.0, clock)
        whole.ask_time()
        whole.keep_within(100)
        done: Future[list[Pull | BarfeedError]] = Future()
        threading.Thread(target=lambda: done.set_result(asked(whole, names(250))), daemon=True).start()
        for requests in (100, 200):
            # What is still in flight at the turn of the minute would weigh in the next.
            until(partial(exchange.has_answered, requests, whole.budget))
            clock.ahead_sec += 60
        pulls = done.result(LONGEST_SEC)
    # The exchange would have refused the hundred and first of a minute, and banned us for the next.
    assert all(map(is_whole, pulls))
    assert whole.retries.total() == 0
    assert len(exchange.queries) == 251


def test_a_bug_in_one_is_raised_and_the_others_end(serve: Callable[[Conduct], Server]) -> None:
    def hang(server: Server, connection: socket.socket) -> None:
        server.read_request(connection)
        server.over.wait()

    def bug() -> Steps[bytes]:
        yield Pause(0.05)
        raise ZeroDivisionError

    server = serve(hang)
    with asking_together(server.url, SystemClock()) as ask, pytest.raises(ZeroDivisionError):
        in_time(lambda: ask([bug(), *(bodies(server.url) for _ in range(10))]))


def test_each_question_is_closed_where_it_is_left(serve: Callable[[Conduct], Server]) -> None:
    closed = []

    def closing() -> Steps[bytes]:
        try:
            yield Pause(600.0)
        finally:
            closed.append(True)
        raise AssertionError

    def bug() -> Steps[bytes]:
        yield Pause(0.0)
        raise ZeroDivisionError

    with asking_together(serve(says(answer(b""))).url, SystemClock()) as ask, pytest.raises(ZeroDivisionError):
        ask([closing(), bug()])
    assert closed == [True]


SIGNALLED = """
import logging
import sys
from barfeed.exchange.steps import Get, Pause
from barfeed.exchange.transport.together import asking_together
from barfeed.machine.clock import SystemClock
from barfeed.machine.signals import Stopped, stop_on_signals

def asks(url):
    yield Pause(0.01)
    yield Get(url, 600.0)
    yield Pause(600.0)

# That something took long is the machine's affair; what was left undone is an error.
logging.getLogger("asyncio").setLevel(logging.ERROR)
stop_on_signals()
try:
    with asking_together(sys.argv[1], SystemClock()) as ask:
        ask([asks(sys.argv[1]) for _ in range(100)])
except Stopped as stopped:
    sys.exit(stopped.exit_code)
"""


@pytest.mark.long
@pytest.mark.parametrize("is_answered", [False, True])
@pytest.mark.parametrize(("number", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_ends_it_at_once_and_cleanly(
    number: str, code: int, is_answered: bool, serve: Callable[[Conduct], Server]
) -> None:
    def hang(server: Server, connection: socket.socket) -> None:
        while True:
            server.read_request(connection)
            if not is_answered:
                server.over.wait()
            connection.sendall(answer(b"[]"))

    server = serve(hang)
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", SIGNALLED, server.url], stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    wanted = 100 if is_answered else IN_FLIGHT
    until(lambda: len(server.requests) >= wanted or process.poll() is not None)
    process.send_signal(getattr(__import__("signal"), number))
    _, err = process.communicate(timeout=LONGEST_SEC)
    assert (process.returncode, err) == (code, "")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def secured(authority: trustme.CA) -> Conduct:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def conduct(server: Server, connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as line:
            says(answer(b"[]"), keep=True)(server, line)

    return conduct


def test_a_certificate_that_nobody_trusts_is_told_and_no_further_one_is_looked_at(
    authority: trustme.CA, serve: Callable[[Conduct], Server]
) -> None:
    server = serve(secured(authority))
    pulls = asked(market(server.url.replace("http:", "https:")), names(40), in_flight=4)
    assert {type(pull) for pull in pulls} == {ExchangeRefused}
    assert "certificate cannot be trusted" in str(pulls[0])
    assert isinstance(pulls[0], ExchangeRefused)
    assert "SSL_CERT_FILE" in pulls[0].hint
    assert server.connections <= 4
    assert server.requests == []


TRUSTING = """
import sys
from barfeed.exchange.steps import Get
from barfeed.exchange.transport.together import asking_together
from barfeed.machine.clock import SystemClock

def asks(url):
    answer = yield Get(url, 60.0)
    return answer.body

with asking_together(sys.argv[1], SystemClock()) as ask:
    print(ask([asks(sys.argv[1])] ))
"""


@pytest.mark.long
def test_a_certificate_that_the_machine_is_told_to_trust_is_trusted(
    authority: trustme.CA, serve: Callable[[Conduct], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "trusted.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "trusted.pem"))
    url = serve(secured(authority)).url.replace("http:", "https:")
    ran = subprocess.run([sys.executable, "-c", TRUSTING, url], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.stdout, ran.stderr) == ("[b'[]']\n", "")


def exceptions(*modules: ModuleType) -> set[type[Exception]]:
    """Those that a library defines there."""
    found = {value for module in modules for value in vars(module).values() if isinstance(value, type)}
    library = modules[0].__name__.partition(".")[0]
    return {each for each in found if issubclass(each, Exception) and each.__module__.startswith(f"{library}.")}


def test_no_exception_of_the_library_is_left_untranslated() -> None:
    raised = exceptions(client_exceptions, http_exceptions)
    # Nothing here speaks over a websocket, and the other is what the library makes a `ClientPayloadError` of.
    raised -= {client_exceptions.WSMessageTypeError, http_exceptions.PayloadEncodingError}
    assert len(raised) > 30
    assert [each for each in raised if not issubclass(each, FOREIGN)] == []


def test_no_exception_of_the_library_for_socks_is_left_untranslated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5h://127.0.0.1:1")
    raised = exceptions(aiohttp_socks)
    assert len(raised) == 3
    assert all(issubclass(each, together.way_to("http://exchange.invalid").foreign) for each in raised)


@pytest.mark.long
def test_an_hour_of_one_series_loads_none_of_it() -> None:
    code = (
        "import sys, barfeed.cli.wiring, barfeed.feed.cycle; print(sorted({'aiohttp', 'asyncio'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n"


def test_answers_are_taken_as_they_come_and_a_pause_of_one_crowd_holds_up_no_other() -> None:
    symbols = names(40)
    with replayed(symbols) as exchange, replayed(symbols) as other:
        one, two = market(exchange.server.url), market(other.server.url)
        one.ask_time()
        two.ask_time()
        is_over = threading.Event()

        def waiting() -> Steps[str]:
            while not is_over.is_set():
                yield Pause(0.01)
            return "waited"

        def named(whole: Conversation, symbol: str) -> Steps[str]:
            yield from Branch(whole).steps_of_closed_bars(Asked(Series.of(symbol, "1h"), 6, NOW_MS))
            return symbol

        def ask() -> list[str]:
            came: list[str] = []
            slow = Crowd(iter([waiting(), *(named(one, each) for each in symbols)]), 1)
            quick = Crowd((named(two, each) for each in symbols), 3)
            with asking_each([one.base_url, two.base_url], SystemClock()) as ask_each:
                for each in ask_each(slow, quick):
                    came += [each] if each else []
                    if len(came) == len(symbols):
                        # All of the one crowd, and nothing of the other.
                        assert not exchange.symbols
                        is_over.set()
            return came

        came = in_time(ask)
    assert sorted(came[:40]) == symbols
    assert came[40:] == ["waited", *symbols]


def test_no_more_are_begun_than_are_taken() -> None:
    begun: list[int] = []

    def counted(number: int) -> Steps[int]:
        begun.append(number)
        yield Pause(0)
        return number

    def ask() -> None:
        with asking_each(["http://exchange.invalid"], SystemClock()) as ask_each:
            answers = ask_each(Crowd((counted(number) for number in range(1000)), 4))
            assert next(answers) is not None
            until(lambda: len(begun) >= 8)
            # Those that wait to be taken, and the next of each worker that waits for room.
            assert len(begun) <= 9
            answers.close()

    in_time(ask)


def test_a_bug_in_one_of_ever_more_is_raised() -> None:
    def bug() -> Steps[None]:
        yield Pause(0)
        raise ZeroDivisionError

    def ask() -> None:
        with asking_each(["http://exchange.invalid"], SystemClock()) as ask_each:
            list(ask_each(Crowd(iter([bug(), bug()]), 2)))

    with pytest.raises(ZeroDivisionError):
        in_time(ask)
