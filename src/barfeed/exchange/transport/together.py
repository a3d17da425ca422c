"""Many questions at once, over a few connections that are kept. The only module that knows aiohttp.

The loop lives in a thread of its own, and whoever asks waits for it: a signal, which Python raises in the main thread,
ends that wait at once, and never lands in the middle of the loop.
"""

import asyncio
import errno
import importlib
import os
import zlib
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Thread
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote, urlsplit

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from barfeed.domain.errors import BarfeedError
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.steps import AskAll, Get, Pause, Step, Steps
from barfeed.exchange.transport import proxies, single
from barfeed.machine.clock import SLICE_SEC, Clock

# 50 ms away 800 questions take 2.7 s by 16 at once, 1.4 s by 32, and 0.9 s by 64 as by any more; next door 16 would do.
IN_FLIGHT = 64
# However slowly it comes: an answer of many is cut before it holds up all the others.
ANSWER_TIMEOUT_SEC = 30.0
# From one minute's questions to the next's; what the exchange closes before, the loop sees.
_KEPT_OPEN_SEC = 90.0
_GZIP = 16 + zlib.MAX_WBITS
# What aiohttp raises, its sockets, and what unpacks an answer; a ValueError for a host or a port that is none.
FOREIGN: tuple[type[Exception], ...] = (
    aiohttp.ClientError, HttpProcessingError, OSError, ValueError, EOFError, zlib.error,
)  # fmt: skip
# For what the library tells in the words of its own insides.
_WORDS: dict[type[Exception], str] = {
    aiohttp.ServerDisconnectedError: "the connection was closed before an answer came",
    aiohttp.ClientPayloadError: "the connection was closed before the answer was whole",
    aiohttp.ClientResponseError: "the answer is no HTTP",
    zlib.error: "the answer cannot be unpacked",
    EOFError: "the answer cannot be unpacked: it has no end",
}

_Value = TypeVar("_Value")


@contextmanager
def asking_together(base_url: str, clock: Clock, in_flight: int = IN_FLIGHT) -> Iterator[AskAll]:
    """What asks the exchange at `base_url` many questions, `in_flight` requests at once; TLS is verified.

    Raises `UsageError` for a proxy in the environment that cannot be used.
    """
    way = way_to(base_url)
    with loop_beside() as loop:
        line = awaited(loop, opened(way, in_flight))
        try:
            yield _Together(loop, line, clock, in_flight)
        finally:
            awaited(loop, closed(line))


@contextmanager
def loop_beside() -> Iterator[asyncio.AbstractEventLoop]:
    """A loop in a thread of its own, for as long as it is needed."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True, name="barfeed-together")
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def awaited(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, _Value]) -> _Value:
    """What the work in the loop comes to; who stops waiting stops the work."""
    future = asyncio.run_coroutine_threadsafe(work, loop)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise


class _Way(NamedTuple):
    """How the exchange is reached: through which HTTP proxy, by which connector, and what else that may raise."""

    proxy: str | None
    connector: Callable[..., aiohttp.TCPConnector]
    foreign: tuple[type[Exception], ...] = FOREIGN


def way_to(base_url: str) -> _Way:
    """How a server is reached; `UsageError` for a proxy in the environment that cannot be used."""
    try:
        address = proxies.proxy_for(base_url)
        if not address:
            return _Way(None, aiohttp.TCPConnector)
        return _way_through_socks(address) if address.startswith("socks") else _way_through_http(address)
    except (ValueError, KeyError) as problem:
        # Its text may hold a password.
        raise proxies.unusable(problem) from None


def _way_through_http(address: str) -> _Way:
    if URL(address).scheme not in {"http", "https"}:
        raise ValueError(address)
    return _Way(address, aiohttp.TCPConnector)


def _way_through_socks(address: str) -> _Way:
    try:
        # Imported only here: most machines have no such proxy.
        socks = importlib.import_module("aiohttp_socks")
    except ImportError:
        raise proxies.without_library(address, "aiohttp-socks") from None
    url = urlsplit(address)
    user, password = (None if each is None else unquote(each) for each in (url.username, url.password))
    connector = partial(
        socks.ProxyConnector,
        host=url.hostname,
        port=url.port,
        proxy_type=socks.ProxyType[url.scheme.rstrip("ha").upper()],
        username=user,
        password=password,
        # Whether the proxy looks the exchange's name up.
        rdns=url.scheme[-1] in "ha",
    )
    foreign = (socks.ProxyError, socks.ProxyConnectionError, socks.ProxyTimeoutError)
    return _Way(None, connector, (*FOREIGN, *foreign))


class Line(NamedTuple):
    """The connections that are kept, and what may be raised of them."""

    client: aiohttp.ClientSession
    foreign: tuple[type[Exception], ...]

    async def get(self, url: str, left_sec: float) -> Answer:
        """As a `Transport` does."""
        try:
            async with asyncio.timeout(min(left_sec, ANSWER_TIMEOUT_SEC)):
                return await self._get(url)
        except self.foreign as problem:
            if single.is_untrusted(problem):
                raise single.untrusted(problem) from problem
            raise _broken(problem) from problem

    async def _get(self, url: str) -> Answer:
        async with self.client.get(URL(url, encoded=True), allow_redirects=False) as response:
            body = await _read(response.content)
            headers = {name.lower(): value for name, value in response.headers.items()}
            is_packed = headers.get("content-encoding") == "gzip"
            return Answer(response.status, headers, _unpacked(body) if is_packed else body)


async def opened(way: _Way, in_flight: int) -> Line:
    """Connections to one server, none of them open yet."""
    client = aiohttp.ClientSession(
        connector=way.connector(limit=in_flight, keepalive_timeout=_KEPT_OPEN_SEC),
        headers=single.HEADERS,
        proxy=way.proxy,
        timeout=aiohttp.ClientTimeout(
            total=None, sock_connect=single.CONNECT_TIMEOUT_SEC, sock_read=single.READ_TIMEOUT_SEC
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        # An answer is unpacked here, within bounds.
        auto_decompress=False,
    )
    return Line(client, way.foreign)


async def closed(line: Line) -> None:
    """End all that is done in the loop, then hang up."""
    await cancelled([each for each in asyncio.all_tasks() if each is not asyncio.current_task()])
    await line.client.close()


async def cancelled(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Cancel these, and wait until they have ended."""
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _read(content: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while chunk := await content.readany():
        body += chunk
        single.check_size(len(body))
    return bytes(body)


def _unpacked(packed: bytes) -> bytes:
    """What is in a gzip, of as many members as it may have."""
    plain = b""
    while packed:
        member = zlib.decompressobj(_GZIP)
        plain += member.decompress(packed, single.BODY_BYTES_MAX + 1 - len(plain))
        single.check_size(len(plain))
        if not member.eof:
            raise EOFError
        packed = member.unused_data
    return plain


def _broken(problem: Exception) -> TryAgain:
    if type(problem) is TimeoutError:
        return TryAgain("timeout", "the answer was not whole in time")
    # Through SOCKS, only the cause is one.
    timed_out = isinstance(problem, TimeoutError) or isinstance(problem.__cause__, TimeoutError)
    return TryAgain("timeout" if timed_out else "connection", _told(problem)[:300])


def _told(problem: Exception) -> str:
    if isinstance(problem, aiohttp.ClientConnectorError):
        whom = "the proxy " if isinstance(problem, aiohttp.ClientProxyConnectionError) else ""
        return f"cannot connect to {whom}{problem.host}:{problem.port}: {_why(problem.os_error)}"
    if isinstance(problem, aiohttp.ClientHttpProxyError):
        return f"the proxy answered HTTP {problem.status} {problem.message!a}"
    words = next((words for kind, words in _WORDS.items() if isinstance(problem, kind)), "")
    return words or f"{type(problem).__name__}: {' '.join(str(problem).split())}"


def _why(problem: OSError) -> str:
    """In the system's words; a name that nobody knows has a number of another kind."""
    number = problem.errno
    return os.strerror(number) if number and number in errno.errorcode else str(problem.strerror or problem)


async def got(steps: Steps[Any], get: Get, line: Line) -> Callable[[], Step]:
    """How a question goes on: what the request came to is raised where the steps asked."""
    try:
        return partial(steps.send, await line.get(*get))
    except Exception as fault:
        return partial(steps.throw, fault)


class _Together:
    """Asks many questions, and waits for all of them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, line: Line, clock: Clock, in_flight: int) -> None:
        self._loop = loop
        self._line = line
        self._clock = clock
        self._in_flight = in_flight

    def __call__(self, questions: Sequence[Steps[_Value]], /) -> list[_Value | BarfeedError]:
        """What each comes to, in their order."""
        return awaited(self._loop, _Crowd(questions, self._line, self._clock).answers(self._in_flight))


class _Crowd:
    """Questions on their way: each is ready to go on, with a worker, or pausing, which takes up no worker's time."""

    def __init__(self, questions: Sequence[Steps[Any]], line: Line, clock: Clock) -> None:
        self._questions = questions
        self._line = line
        self._clock = clock
        self._answers: list[Any] = [None] * len(questions)
        self._unanswered = len(questions)
        self._ready: asyncio.Queue[tuple[int, Callable[[], Step]]] = asyncio.Queue()
        self._over = asyncio.Event()
        self._bug: Exception | None = None

    async def answers(self, in_flight: int) -> list[Any]:
        """What each comes to; raises a bug of one."""
        if not self._questions:
            return []
        for number, steps in enumerate(self._questions):
            self._ready.put_nowait((number, partial(next, steps)))
        workers = [asyncio.create_task(self._work()) for _ in range(min(in_flight, self._unanswered))]
        try:
            await self._over.wait()
        finally:
            await cancelled(workers)
            for steps in self._questions:
                steps.close()
        if self._bug:
            raise self._bug
        return self._answers

    async def _work(self) -> None:
        try:
            while True:
                await self._go_on(*await self._ready.get())
        except Exception as bug:
            self._bug = bug
            self._over.set()

    async def _go_on(self, number: int, resume: Callable[[], Step]) -> None:
        """Do one question's steps until it pauses or is answered."""
        while True:
            try:
                step = resume()
            except StopIteration as end:
                return self._answer(number, end.value)
            except BarfeedError as error:
                return self._answer(number, error)
            if isinstance(step, Pause):
                return self._pause(number, self._clock.steady_sec() + step.sec)
            resume = await got(self._questions[number], step, self._line)

    def _answer(self, number: int, answer: Any) -> None:
        self._answers[number] = answer
        self._unanswered -= 1
        if not self._unanswered:
            self._over.set()

    def _pause(self, number: int, end_sec: float) -> None:
        """Be ready at a steady second; looked at in slices, as any sleep is, for a machine that was suspended."""
        left_sec = end_sec - self._clock.steady_sec()
        if left_sec > 0:
            asyncio.get_running_loop().call_later(min(left_sec, SLICE_SEC), self._pause, number, end_sec)
        else:
            self._ready.put_nowait((number, partial(next, self._questions[number])))
