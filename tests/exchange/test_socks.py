"""A SOCKS proxy in the environment: used by REST and by the stream, or told plainly where its library is absent."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.domain.errors import UsageError
from barfeed.exchange.refusals import TryAgain
from barfeed.exchange.steps import Get, Steps
from barfeed.exchange.transport.proxies import proxy_shown
from barfeed.exchange.transport.single import open_transport
from barfeed.exchange.transport.together import asking_together
from barfeed.machine.clock import SystemClock
from process import BARFEED, Machine, machine
from socks_proxy import HOST, socks
from waiting import until
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
TIME = "/fapi/v1/time"


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    """A machine whose exchange has a name that only the proxy knows."""
    with machine(tmp_path, TARGET_MS) as made:
        made.url = made.url.replace("127.0.0.1", HOST)
        yield made


def without_library(folder: Path, *names: str) -> dict[str, str]:
    """The environment of a process for which these modules are not installed."""
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in names)
    (folder / "sitecustomize.py").write_text(f"import sys\n{lines}")
    return {"PYTHONPATH": str(folder)}


def test_without_the_proxy_nobody_knows_the_exchange(feeding: Machine) -> None:
    ran = feeding.feed("--catch-up", "--max-wait-sec", "1")
    assert ran.code == 3


@pytest.mark.parametrize("scheme", ["socks5h", "socks", "SOCKS5h"])
def test_an_hour_through_a_socks_proxy(feeding: Machine, scheme: str) -> None:
    with socks() as proxy:
        ran = feeding.feed("--catch-up", ALL_PROXY=f"{scheme}://127.0.0.1:{proxy.port}/")
    assert ran.code == 0, ran.err
    assert "appended=726" in ran.out
    assert {host for host, _ in proxy.asked} == {HOST}


@pytest.mark.parametrize("scheme", ["socks5", "socks5h"])
def test_name_and_password_are_given_as_they_are_meant(feeding: Machine, scheme: str) -> None:
    exchange = feeding.url.replace(HOST, "127.0.0.1")
    with socks(password="p@ss:word/1") as proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("all_proxy", f"{scheme}://me:p%40ss%3Aword%2F1@127.0.0.1:{proxy.port}")
        answer = open_transport(exchange, SystemClock())(f"{exchange}{TIME}", 60.0)
    assert answer.status == 200
    assert proxy.users == ["me"]


def time_of(exchange: str) -> Steps[bytes]:
    answer = yield Get(f"{exchange}{TIME}", 60.0)
    body: bytes = answer.body
    return body


@pytest.mark.parametrize("scheme", ["socks5", "socks5h", "socks"])
def test_many_questions_go_through_it_too(feeding: Machine, scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # A name that only the proxy knows, where it is the proxy that looks it up.
    exchange = feeding.url.replace(HOST, "127.0.0.1") if scheme == "socks5" else feeding.url
    with socks(password="p@ss:word/1") as proxy:
        monkeypatch.setenv("all_proxy", f"{scheme}://me:p%40ss%3Aword%2F1@127.0.0.1:{proxy.port}")
        with asking_together(exchange, SystemClock(), 4) as ask:
            answers = ask([time_of(exchange) for _ in range(20)])
    assert len(answers) == 20
    assert all(isinstance(answer, bytes) and b"serverTime" in answer for answer in answers)
    assert 1 <= len(proxy.asked) <= 4
    assert set(proxy.users) == {"me"}


def test_many_questions_tell_a_wrong_password_and_do_not_repeat_it(
    feeding: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socks(password="right") as proxy:
        monkeypatch.setenv("all_proxy", f"socks5h://me:wr0ng@127.0.0.1:{proxy.port}")
        with asking_together(feeding.url, SystemClock()) as ask, pytest.raises(TryAgain, match="auth") as told:
            ask([time_of(feeding.url)])
    assert "wr0ng" not in str(told.value)


def test_a_socks_proxy_that_is_not_there_is_tried_again(feeding: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("all_proxy", f"socks5h://127.0.0.1:{taken.getsockname()[1]}")
    with asking_together(feeding.url, SystemClock()) as ask, pytest.raises(TryAgain, match="connect to proxy") as told:
        ask([time_of(feeding.url)])
    assert told.value.reason == "connection"


@pytest.mark.parametrize("address", ["socks6://me:secret@127.0.0.1:1", "gopher://me:secret@127.0.0.1:1"])
def test_many_questions_refuse_a_proxy_of_another_kind(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", address)
    with (
        pytest.raises(UsageError, match="cannot be used") as told,
        asking_together("https://exchange.invalid", SystemClock()),
    ):
        pass
    assert "secret" not in str(told.value)


def test_without_its_library_many_questions_tell_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("all_proxy", "socks5://me:secret@127.0.0.1:1")
    monkeypatch.setitem(sys.modules, "aiohttp_socks", None)
    with pytest.raises(UsageError) as told, asking_together("https://exchange.invalid", SystemClock()):
        pass
    assert str(told.value) == (
        "the proxy from the environment is socks5://127.0.0.1:1, and SOCKS needs a library that is not"
        " installed: aiohttp-socks"
    )
    assert told.value.hint == "pip install 'barfeed[socks]'"


def test_a_wrong_password_is_told_and_not_repeated(feeding: Machine) -> None:
    with socks(password="right") as proxy, pytest.MonkeyPatch.context() as environment:
        environment.setenv("all_proxy", f"socks5h://me:wr0ng@127.0.0.1:{proxy.port}")
        with pytest.raises(TryAgain, match="authentication failed") as told:
            open_transport(feeding.url, SystemClock())(f"{feeding.url}{TIME}", 60.0)
    assert "wr0ng" not in str(told.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("socks5://me:secret@10.0.0.1", "socks5://10.0.0.1:1080"),
        ("socks://10.0.0.1:9/", "socks5h://10.0.0.1:9"),
        ("socks4a://[::1]", "socks4a://::1:1080"),
    ],
)
def test_a_socks_proxy_is_shown_with_its_port_and_without_its_password(
    address: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", address)
    assert proxy_shown("https://exchange.invalid") == shown
    assert proxy_shown("wss://exchange.invalid") == shown


def test_a_socks_proxy_of_no_version_is_wrong_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks6://me:secret@127.0.0.1:1")
    with pytest.raises(UsageError, match="cannot be used") as told:
        open_transport("https://exchange.invalid", SystemClock())
    assert "secret" not in str(told.value)


@pytest.mark.long
def test_a_stream_through_a_socks_proxy_starts_the_cycle(feeding: Machine) -> None:
    with socks() as proxy:
        flags = ("--watch", "--catch-up", "--sleep-sec", "0.1", "--settle-sec", "0", "--stream")
        address = ("--stream-url", f"{feeding.url.replace('http', 'ws', 1)}/market")
        environment = {"ALL_PROXY": f"socks5h://127.0.0.1:{proxy.port}"}
        with feeding.start(*flags, *address, "--debug", **environment) as watch:
            try:
                # One connection for REST, one for the stream.
                until(lambda: len(proxy.asked) > 1)
                assert watch.stdout is not None
                assert "appended=726" in watch.stdout.readline()
                feeding.clock.advance(hours(1))
                assert "target=2024-02-10 14:00" in watch.stdout.readline()
            finally:
                watch.terminate()
                _, err = watch.communicate(timeout=60)
    assert "is down" not in err
    assert "connected to ws://exchange.invalid" in err


@pytest.mark.long
@pytest.mark.parametrize("command", ["run", "backfill", "verify"])
def test_without_the_library_it_is_told_what_to_install(feeding: Machine, tmp_path: Path, command: str) -> None:
    flags = {"run": ["--catch-up"], "backfill": ["--from", "2024-02-01"], "verify": ["--against", "rest"]}[command]
    store = ["--duckdb", str(feeding.duckdb)]
    if command == "verify":
        with socks() as proxy:
            feeding.feed("--catch-up", ALL_PROXY=f"socks5h://127.0.0.1:{proxy.port}")
    lacking = without_library(tmp_path, "socks")
    ran = feeding.call([str(BARFEED), command, *store, *flags], ALL_PROXY="socks5://me:secret@127.0.0.1:1", **lacking)
    assert ran.code == 2
    assert ran.err.endswith(
        "barfeed: the proxy from the environment is socks5://127.0.0.1:1, and SOCKS needs a library that is not"
        " installed: PySocks\n  hint: pip install 'barfeed[socks]'\n"
    )
    assert "Traceback" not in ran.err


@pytest.mark.long
def test_doctor_tells_of_the_library_and_of_the_extra(feeding: Machine, tmp_path: Path) -> None:
    lacking = without_library(tmp_path, "socks")
    ran = feeding.call([str(BARFEED), "doctor"], ALL_PROXY="socks5://me:secret@127.0.0.1:1", **lacking)
    lines = {line.split()[1]: line for line in ran.out.splitlines()}
    assert lines["proxy"][0] == lines["exchange"][0] == "✗"
    assert "pip install 'barfeed[socks]'" in lines["proxy"]
    assert ran.code == 1
    assert "secret" not in ran.out
