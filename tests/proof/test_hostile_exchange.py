"""An exchange that means harm: whatever it answers, a documented end, a manifest, and not a byte in the store."""

import gzip
import hashlib
import io
import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from barfeed.domain.errors import BarfeedError
from barfeed.exchange import archive
from barfeed.exchange.archive import FileBroken
from barfeed.exchange.refusals import Answer, dated_ms
from barfeed.feed.record import Record
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import FEED
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
EXITS = {0, 1, 3, 4, 5}
# `make fuzz FUZZ=100000` for as long as you like.
EXAMPLES = int(os.environ.get("BARFEED_FUZZ_EXAMPLES", "150"))
MEGABYTE = 1024 * 1024
# A cold feed has some 90; an answer may be 8, and be held a few times over while it is read.
MEMORY_MB_MAX = 400
# A process is given 2 s by --max-wait-sec; all else is a busy machine's. One that waits for as long as an endless
# answer comes is killed, and its test fails.
PATIENCE_SEC = 60


def hours_of(world: World) -> World:
    """Live up to 13:00, so that a store stands to be harmed."""
    world.clock.go_to(TARGET_MS + 30_000)
    assert world.run(catch_up=True).exit_code == 0
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    return world


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> World:
    tape = Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(10), 1010))
    return hours_of(World(tmp_path_factory.mktemp("lived"), [tape], TARGET_MS))


def suffer(world: World, time_answer: Answer | None, klines_answer: Answer | None) -> Record:
    """One cycle under an exchange that says this; None is what an honest one says."""
    honest = world.rest.transport

    def hostile(url: str, left_sec: float) -> Answer:
        said = time_answer if "/time" in url else klines_answer
        return honest(url, left_sec) if said is None else said

    began_ms = world.clock.now_ms
    before = world.duckdb.read_bytes()
    world.rest.transport = hostile
    try:
        record = world.run(max_wait_sec=30.0)
    finally:
        world.rest.transport = honest
        took_sec = (world.clock.now_ms - began_ms) / 1000
        world.clock.go_to(began_ms)
    assert took_sec <= 30 + 15 + 1
    assert record.exit_code in EXITS
    assert record.appended == 0
    assert world.duckdb.read_bytes() == before
    assert record.manifest_path is not None
    manifest = json.loads(Path(record.manifest_path).read_text("utf-8"))
    assert manifest["exit_code"] == record.exit_code
    assert str(record.failure and record.failure.message).isprintable()
    for left in world.feed.folder.glob("*_*"):
        left.unlink()
    return record


JSON_TEXT = st.one_of(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda some: st.lists(some) | st.dictionaries(st.text(), some),
        max_leaves=20,
    ).map(lambda value: json.dumps(value).encode()),
    st.sampled_from([
        b"", b"\xef\xbb\xbf[]", "[]".encode("utf-16"), b'"\\ud800"', b"[" * 100_000, b'{"a":' * 100_000, b"NaN",
        b"[Infinity]", b"1" * 1_000_000, b"[1e400]", b"-0", b"[[]]" * 1000, b'{"serverTime":1e400}',
        b'{"serverTime":' + b"9" * 100_000 + b"}", b'{"serverTime":1707573630000.0}', b'{"serverTime":-0}',
        b'{"serverTime":0}', b'{"serverTime":253402300799999}', b'{"serverTime":1,"serverTime":2}',
        b'{"code":"x","msg":[]}', b'{"code":1e99,"msg":"\\u001b[31m\\nERROR forged\\u202e"}', b"\x1b[2J<html>\r\n",
        b'{"code":-1003,"msg":"banned until 9999999999999"}', b'{"code":-1003,"msg":"banned until 0000000000000"}',
        '{"msg":"banned until ٣٣٣٣٣٣٣٣٣٣٣٣٣"}'.encode(),
    ]),
    st.binary(max_size=60),
)  # fmt: skip
FIELDS: st.SearchStrategy[Any] = st.one_of(
    st.integers(-(2**70), 2**70),
    st.sampled_from([TARGET_MS, TARGET_MS - 1, 0, 253_402_300_799_999, 1e308, -1, None, True, [], {}, "0"]),
    st.sampled_from(["NaN", "-0", "1e308", "5e-324", "1e400", "-1e308", "9" * 5000, "1e-999999999", "\x1b[31m", "٣"]),
)
GOOD_ROW = [TARGET_MS, "100", "110", "90", "105", "7", TARGET_MS + 3_599_999, "700", 12, "3", "300", "0"]


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    """Rows of the right shape with crazy values, or of nearly the right shape."""
    table = []
    for back in range(draw(st.integers(0, 8))):
        row: list[Any] = list(GOOD_ROW)
        row[0] -= hours(back)
        row[6] -= hours(back)
        for place in draw(st.lists(st.integers(0, 11), max_size=3)):
            row[place] = draw(FIELDS)
        table.append(row[: draw(st.integers(10, 12))])
    return json.dumps(table[::-1]).encode()


HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "date", "x-mbx-used-weight-1m", "location", "x-amzn-waf-action"]),
    st.one_of(
        st.text(st.characters(max_codepoint=255), max_size=30),
        st.sampled_from(["-1", "9" * 60_000, "1e9", "²", "file:///etc/passwd", "Mon, 01 Jan 0001 00:00:00 +2359",
                         "Mon, 01 Jan 2024 00:00:00 -0000", "\x1b[31m"]),
    ),
    max_size=3,
)  # fmt: skip
STATUSES = st.sampled_from(
    [200, 200, 200, 100, 204, 206, 301, 304, 400, 403, 408, 418, 429, 451, 499, 500, 503, 599, 999]
)
ANSWERS = st.builds(Answer, STATUSES, HEADERS, JSON_TEXT | rows())


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(st.one_of(st.tuples(st.none(), ANSWERS), st.tuples(ANSWERS, st.none()), st.tuples(ANSWERS, ANSWERS)))
def test_no_answer_reaches_the_store_or_escapes_the_documented_exits(
    lived: World, answers: tuple[Answer | None, Answer | None]
) -> None:
    suffer(lived, *answers)


@settings(max_examples=EXAMPLES)
@given(st.text(max_size=60) | st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,6} \d\d?:\d\d?:\d\d? [-+]?\w{1,6}"))
def test_no_date_header_is_too_odd(text: str) -> None:
    seen = dated_ms(Answer(200, {"date": text}, b""))
    assert seen is None or isinstance(seen, int)


@pytest.mark.parametrize("zone", ["", " -0000"])
def test_a_date_without_a_zone_is_utc_wherever_the_machine_stands(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert dated_ms(Answer(200, {"date": f"Sat, 10 Feb 2024 14:00:00{zone}"}, b"")) == ms(2024, 2, 10, 14)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_more_rows_than_were_ever_asked_for_are_not_looked_at_one_by_one(lived: World) -> None:
    record = suffer(lived, None, Answer(200, {}, b"[" + b"1," * 1_000_000 + b"1]"))
    assert record.failure is not None
    assert "answered 1000001 rows, expected at most 1500" in record.failure.message
    assert record.failure.findings == ()


def zipped(method: int = zipfile.ZIP_DEFLATED, name: str = "x.csv", content: bytes = b"1,2,3\n" * 50) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as file:
        file.writestr(name, content)
    return packed.getvalue()


METHODS = [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]


@settings(max_examples=EXAMPLES)
@given(st.sampled_from(METHODS), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6))
def test_no_zip_is_too_broken(method: int, changes: list[tuple[int, int]]) -> None:
    packed = bytearray(zipped(method))
    for at, byte in changes:
        packed[at % len(packed)] = byte
    with suppress(FileBroken):
        assert archive.unpack(bytes(packed), "x.csv", 1) == b"1,2,3\n" * 50


@pytest.mark.parametrize("at", range(30, 60))
def test_a_broken_stream_of_any_packing_is_a_broken_file(at: int) -> None:
    for method in METHODS[2:]:
        packed = bytearray(zipped(method))
        packed[at] ^= 0xFF
        with suppress(FileBroken):
            archive.unpack(bytes(packed), "x.csv", 1)


# --- on the wire ---------------------------------------------------------------------------------


@contextmanager
def server(say: Callable[[socket.socket], None]) -> Iterator[tuple[str, list[bytes]]]:
    """A raw socket that does to each connection what it is told; the requests it has seen."""
    seen: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def live(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE_SEC)
            seen.append(connection.recv(65536))
            say(connection)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=live, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", seen
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()


OK = b"HTTP/1.1 200 OK\r\n"


def says(content: bytes) -> Callable[[socket.socket], None]:
    return lambda connection: connection.sendall(content)


def endless(head: bytes, piece: bytes, pause_sec: float = 0.0) -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.sendall(head)
        # Longer than anybody waits for the process that listens.
        end_sec = time.monotonic() + 2 * PATIENCE_SEC
        while time.monotonic() < end_sec:
            connection.sendall(piece)
            time.sleep(pause_sec)

    return say


def packs(piece: bytes, count: int, named: bytes = b"gzip") -> Callable[[socket.socket], None]:
    """`count` of `piece` in a JSON array, packed once for each encoding named; made only when asked for."""

    def say(connection: socket.socket) -> None:
        content = b"[" + piece * count + b"0]"
        for _ in named.split(b","):
            content = gzip.compress(content, 6)
        head = OK + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (named, len(content))
        connection.sendall(head + content)

    return say


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
WIRE: dict[str, Callable[[socket.socket], None]] = {
    "folded headers": says(OK + b"X: a\r\n b\r\n c\r\nContent-Length: 2\r\n\r\n[]"),
    "a header without a colon": says(OK + b"\x1b[31mcolourful\r\nContent-Length: 2\r\n\r\n[]"),
    "a header with a blank name": says(OK + b" : x\r\n: y\r\nContent-Length: 2\r\n\r\n[]"),
    "two lengths": says(OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n[]"),
    "a negative length": says(OK + b"Content-Length: -5\r\n\r\n[]"),
    "an absurd length": says(OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n[]"),
    "a negative chunk": says(CHUNKED + b"-5\r\n[]\r\n0\r\n\r\n"),
    "an absurd chunk": says(CHUNKED + b"f" * 5000 + b"\r\n[]\r\n0\r\n\r\n"),
    "length and chunks": says(OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n0\r\n\r\n"),
    "two answers at once": says((OK + b"Content-Length: 2\r\n\r\n[]") * 2),
    "a thousand headers": says(OK + b"X: y\r\n" * 1000 + b"\r\n"),
    "a status of letters": says(b"HTTP/1.1 \xb2\xb3\xb9 OK\r\n\r\n"),
    "a status of millions": says(b"HTTP/1.1 99999999999 OK\r\n\r\n"),
    "HTTP/0.9": says(b"[1,2,3]"),
    "brotli that is none": says(OK + b"Content-Encoding: br\r\nContent-Length: 2\r\n\r\n[]"),
    "zstd that is none": says(OK + b"Content-Encoding: zstd\r\nContent-Length: 2\r\n\r\n[]"),
    "deflate that is none": says(OK + b"Content-Encoding: deflate\r\nContent-Length: 2\r\n\r\n[]"),
    "many encodings": says(OK + b"Content-Encoding: " + b"gzip," * 2000 + b"gzip\r\nContent-Length: 2\r\n\r\n[]"),
    "endless hundreds": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01),
    "an endless head": endless(OK, b"X: y\r\n", 0.05),
    "an endless body, slowly": endless(OK + b"\r\n", b" ", 0.05),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X: y\r\n", 0.01),
}
HEAVY: dict[str, Callable[[socket.socket], None]] = {
    "an endless body, fast": endless(OK + b"\r\n", b" " * MEGABYTE),
    "endless chunks": endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "a gzip bomb": packs(b" " * MEGABYTE, 300),
    "a gzip bomb in a gzip bomb": packs(b" " * MEGABYTE, 300, b"gzip, gzip"),
    "eight megabytes of empty rows": packs(b"[],", 2_700_000),
    "eight megabytes of objects": packs(b'{"":0},', 1_140_000),
}
MEASURED = """
import runpy, sys, os
leave = os._exit
def told(code):
    # Not getrusage: that begins with what the parent had.
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    sys.stderr.write(f"rss_mb={int(peak.split()[1]) // 1024}\\n")
    sys.stderr.flush()
    leave(code)
os._exit = told
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
except SystemExit as end:
    told(end.code)
"""


def real(folder: Path, url: str) -> tuple[int, str, int]:
    """The command as a process: exit code, stderr, and its largest memory in MB."""
    command = [sys.executable, "-c", MEASURED, FEED[1], "--catch-up", "--base-url", url, "--max-wait-sec", "2"]
    paths = ["--duckdb", str(folder / "x.duckdb"), "--persist-dir", str(folder / "feed")]
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    if sys.platform != "linux":
        pytest.skip("the largest memory of a process is read from /proc")
    done = subprocess.run(
        [*command, *paths], capture_output=True, text=True, timeout=PATIENCE_SEC, env=environment, check=False
    )
    err, _, rss = done.stderr.rpartition("rss_mb=")
    return done.returncode, err, int(rss)


def check_process(folder: Path, say: Callable[[socket.socket], None]) -> None:
    with server(say) as (url, _):
        code, err, rss_mb = real(folder, url)
    assert code in EXITS - {0}, err
    assert "Traceback" not in err
    assert err.replace("\n", "").isprintable(), repr(err)
    assert not (folder / "x.duckdb").exists()
    (manifest,) = folder.glob("feed/*/*_run.json")
    assert json.loads(manifest.read_text())["exit_code"] == code
    assert rss_mb < MEMORY_MB_MAX


def test_a_hostile_wire_ends_as_documented(tmp_path: Path) -> None:
    check_process(tmp_path, WIRE["a header without a colon"])


@pytest.mark.long
@pytest.mark.parametrize("name", [*WIRE, *HEAVY])
def test_every_hostile_wire_ends_as_documented_in_bounded_time_and_memory(name: str, tmp_path: Path) -> None:
    check_process(tmp_path, (WIRE | HEAVY)[name])


@pytest.mark.long
@pytest.mark.parametrize("to", ["http://{}/fapi/v1/time", "//{}/fapi/v1/time", "file:///etc/passwd", "/fapi/v1/time"])
def test_a_redirect_reaches_nobody(to: str, tmp_path: Path) -> None:
    with server(says(b"")) as (other, other_saw):
        location = to.format(other.removeprefix("http://")).encode()
        head = b"HTTP/1.1 307 Temporary\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n" % location
        with server(says(head)) as (url, saw):
            code, err, _ = real(tmp_path, url)
    assert (code, len(saw), other_saw) == (5, 1, [])
    assert "which is not followed" in err


@pytest.mark.long
def test_a_storm_of_broken_heads_ends_as_documented() -> None:
    from barfeed.exchange.refusals import TryAgain  # noqa: PLC0415
    from barfeed.exchange.transport.single import open_transport  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    chance = random.Random(7)
    pieces = [OK, b"HTTP/1.1 ", b"200", b"\r\n", b"\n", b"\r", b"\0", b": ", b"Content-Length: ", b"-1", b"3",
              b"Transfer-Encoding: chunked", b"Content-Encoding: gzip", b"[]", b"\x1f\x8b\x08", b"zz", b"\xff", b";",
              b"0\r\n\r\n", b"HTTP/1.1 101 Switching\r\n\r\n", b"Location: x", b"Connection: keep-alive"]  # fmt: skip
    ended = 0
    with server(lambda connection: connection.sendall(OK * chance.randint(0, 1) + b"".join(
        chance.choices(pieces, k=chance.randint(0, 12))))) as (url, _):  # fmt: skip
        get = open_transport(url, SystemClock())
        for _ in range(3000):
            try:
                assert isinstance(get(url + "/fapi/v1/time", 2.0), Answer)
            except (TryAgain, BarfeedError):
                ended += 1
    assert ended > 1000


# --- the replay exchange under hostile clients -----------------------------------------------------

REQUESTS = st.one_of(
    st.binary(max_size=80),
    st.builds(
        lambda method, path, head: f"{method} {path} HTTP/1.1\r\n{head}\r\n\r\n".encode("utf-8", "replace"),
        st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "get", "", "G\x1b[31m"]),
        st.sampled_from(["/fapi/v1/klines?", "/fapi/v1/time?", "/fapi/v1/exchangeInfo?", "//", "*", "/%00"]).flatmap(
            lambda path: st.text(max_size=30).map(lambda more: path + more)
            | st.sampled_from(["9" * 20, "-1", "²", "", "0", "1e9"]).map(
                lambda value: f"{path}symbol=BTCUSDT&interval=1h&startTime={value}&limit={value}"
            )
        ),
        st.sampled_from(["", "Host: x", "Content-Length: -1", "Expect: 100-continue", "X: " + "y" * 70_000,
                         "X: y\r\n" * 200]),
    ),
)  # fmt: skip


@settings(max_examples=EXAMPLES, suppress_health_check=list(HealthCheck))
@given(REQUESTS)
def test_no_request_kills_the_replay_exchange(
    replay: ReplayServer, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    caplog.clear()
    ask(replay, sent)
    assert [each.getMessage() for each in caplog.records if each.levelname == "ERROR"] == []
    assert b'{"serverTime":' in ask(replay, b"GET /fapi/v1/time HTTP/1.1\r\nConnection: close\r\n\r\n")


@pytest.fixture(scope="module")
def replay() -> Iterator[ReplayServer]:
    tape = Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS, 100))
    with ReplayServer(ReplayExchange([tape], HandClock(TARGET_MS + hours(1)).now_ms, weight_limit=10**9)) as started:
        yield started


def ask(replay: ReplayServer, sent: bytes) -> bytes:
    host, _, port = replay.url.removeprefix("http://").partition(":")
    answer = b""
    with socket.create_connection((host, int(port)), PATIENCE_SEC) as connection, suppress(OSError):
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while some := connection.recv(65536):
            answer += some
    return answer


def test_the_store_that_was_fuzzed_lives_its_next_hour(lived: World) -> None:
    digest = hashlib.sha256(lived.duckdb.read_bytes()).hexdigest()
    assert lived.run().appended == 1
    assert hashlib.sha256(lived.duckdb.read_bytes()).hexdigest() != digest
