"""One HTTP GET, bounded in time and memory. The only module that knows urllib3."""

import importlib
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, NewConnectionError, ProxyError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from barfeed import __version__
from barfeed.domain.errors import ContractBroken, ExchangeRefused
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.transport import proxies
from barfeed.machine.clock import Clock

# 1,500 klines are 250 KB and a whole exchangeInfo 1.2 MB: more is no answer of this exchange.
BODY_BYTES_MAX = 8 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_SEC = 5.0
READ_TIMEOUT_SEC = 10.0
HEADERS = {"User-Agent": f"barfeed/{__version__}", "Accept-Encoding": "gzip"}
_CUT_AGAIN_SEC = 0.05

# A plain function: a URL and how many seconds it may take in all.
Transport = Callable[[str, float], Answer]


def open_transport(base_url: str, clock: Clock) -> Transport:
    """A transport that keeps its connection open between calls and verifies TLS.

    Raises `UsageError` for a proxy in the environment that cannot be used; then, of each call, `TryAgain` for whatever
    may go better next time, `ExchangeRefused` for a certificate that cannot be trusted.
    """
    line = _Line()
    pool = _pool(base_url)
    pool.pool_classes_by_scheme = {scheme: line.tapped(each) for scheme, each in pool.pool_classes_by_scheme.items()}

    def get(url: str, left_sec: float) -> Answer:
        end_sec = clock.steady_sec() + left_sec
        try:
            with line.cut_after(left_sec):
                return _get(pool, url, clock, end_sec)
        except (HTTPError, OSError) as problem:
            if is_untrusted(problem):
                raise untrusted(problem) from problem
            raise _broken(problem, in_time=clock.steady_sec() < end_sec) from problem

    return get


class _Line:
    """The connection in use: a socket's timeout starts anew with each byte, so it is cut from beside."""

    def __init__(self) -> None:
        self._connection: Any = None
        self._socket: socket.socket | None = None

    def tapped(self, pool_class: type[urllib3.HTTPConnectionPool]) -> Any:
        """The pool class, but each connection it opens is known here."""

        def make_pool(*args: Any, **options: Any) -> urllib3.HTTPConnectionPool:
            pool = pool_class(*args, **options)
            connect = pool.ConnectionCls

            def tapped(*args: Any, **options: Any) -> Any:
                self._connection = self._remembering(connect(*args, **options))
                return self._connection

            pool.ConnectionCls = tapped  # type: ignore[assignment] # urllib3 only ever calls it
            return pool

        return make_pool

    def _remembering(self, connection: Any) -> Any:
        connect = connection.connect

        def remembered() -> None:
            connect()
            # Where an answer tells no length, the connection lets go of its socket before the answer's end.
            self._socket = connection.sock

        connection.connect = remembered
        return connection

    @contextmanager
    def cut_after(self, sec: float) -> Iterator[None]:
        """Cut the connection when `sec` seconds have passed, as often as it takes."""
        done = Event()

        def watch() -> None:
            if not done.wait(sec):
                while not done.wait(_CUT_AGAIN_SEC):
                    self._cut()

        Thread(target=watch, daemon=True, name="barfeed-cut").start()
        try:
            yield
        finally:
            done.set()

    def _cut(self) -> None:
        line: socket.socket | None = getattr(self._connection, "sock", None) or self._socket
        if line is not None:
            # It may have closed by itself.
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _pool(base_url: str) -> urllib3.PoolManager:
    headers = dict(HEADERS)
    try:
        address = proxies.proxy_for(base_url)
        if not address:
            return urllib3.PoolManager(num_pools=1, headers=headers)
        if address.startswith("socks"):
            return _socks_pool(address, headers)
        return urllib3.ProxyManager(address, num_pools=1, headers=headers, proxy_headers=_proxy_headers(address))
    except (HTTPError, ValueError) as problem:
        # Its text may hold a password.
        raise proxies.unusable(problem) from None


def _socks_pool(address: str, headers: dict[str, str]) -> urllib3.PoolManager:
    try:
        # Asked for first: where it is not there, urllib3 warns beside its error.
        importlib.import_module("socks")
    except ImportError:
        raise proxies.without_library(address, "PySocks") from None
    # Imported only here: most machines have no such proxy.
    from urllib3.contrib.socks import SOCKSProxyManager  # noqa: PLC0415

    url = urlsplit(address)
    user, password = (None if each is None else unquote(each) for each in (url.username, url.password))
    return SOCKSProxyManager(address, user, password, num_pools=1, headers=headers)


def _proxy_headers(address: str) -> dict[str, str]:
    url = urlsplit(address)
    if url.username is None:
        return {}
    return dict(urllib3.make_headers(proxy_basic_auth=f"{unquote(url.username)}:{unquote(url.password or '')}"))


def _get(pool: urllib3.PoolManager, url: str, clock: Clock, end_sec: float) -> Answer:
    left_sec = max(0.001, end_sec - clock.steady_sec())
    timeout = urllib3.Timeout(connect=min(CONNECT_TIMEOUT_SEC, left_sec), read=min(READ_TIMEOUT_SEC, left_sec))
    response = pool.request("GET", url, timeout=timeout, redirect=False, retries=False, preload_content=False)
    try:
        body = _read(response, clock, end_sec)
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return Answer(response.status, {name.lower(): value for name, value in response.headers.items()}, body)


def _read(response: urllib3.BaseHTTPResponse, clock: Clock, end_sec: float) -> bytes:
    body = bytearray()
    while chunk := response.read1(CHUNK_BYTES):
        body += chunk
        check_size(len(body))
    if clock.steady_sec() > end_sec:
        # Cut in its head, an answer looks whole and empty.
        raise TryAgain("timeout", f"the answer was not whole in time: {len(body)} bytes of its body so far")
    return bytes(body)


def check_size(body_bytes: int) -> None:
    """Refuse a body that is no answer of the exchange, however long it goes on."""
    if body_bytes > BODY_BYTES_MAX:
        raise ContractBroken(f"the exchange's answer is over {BODY_BYTES_MAX} bytes", hint="check --base-url")


def _broken(problem: Exception, *, in_time: bool) -> TryAgain:
    if not in_time and not isinstance(problem, NewConnectionError):
        # It was cut by ourselves: what the library takes for the other side's doing is none.
        return TryAgain("timeout", "the answer was not whole in time")
    timed_out = isinstance(problem, HttpTimeoutError | TimeoutError) and not isinstance(problem, NewConnectionError)
    return TryAgain("timeout" if timed_out or not in_time else "connection", _told(problem)[:300])


def _told(problem: Exception) -> str:
    name = type(problem).__name__
    if isinstance(problem, ProxyError):
        return f"{name}: {problem.args[0]}: {_told(problem.original_error)}"
    # urllib3 begins with its own object's repr.
    return f"{name}: {str(problem).rpartition('): ')[2] or problem}"


def is_untrusted(problem: Exception) -> bool:
    """Whether a library's error says that a certificate is not to be trusted."""
    # A handshake that broke off is an SSLError, too, but may go better next time.
    reasons = (problem, getattr(problem, "reason", None), *problem.args, problem.__cause__, problem.__context__)
    return any("certificate verify failed" in str(each).lower() for each in reasons if isinstance(each, Exception))


def untrusted(problem: Exception) -> ExchangeRefused:
    """The error for that."""
    return ExchangeRefused(
        f"the exchange's TLS certificate cannot be trusted: {str(problem)[:300]!r}",
        hint="check --base-url, the machine's date, and the proxy's certificate (SSL_CERT_FILE)",
    )
