"""One HTTP GET, bounded in time and memory. The only module that knows urllib3."""

import os
from collections.abc import Callable
from urllib.parse import urlsplit

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, SSLError
from urllib3.exceptions import TimeoutError as HttpTimeoutError

from barfeed import __version__
from barfeed.binance.refusals import Answer, TryAgain
from barfeed.clock import Clock
from barfeed.errors import ContractBroken, ExchangeRefused, UsageError

# 1,500 klines are 250 KB and a whole exchangeInfo 1.2 MB: more is no answer of this exchange.
BODY_BYTES_MAX = 16 * 1024 * 1024
CHUNK_BYTES = 64 * 1024
CONNECT_TIMEOUT_SEC = 5.0
READ_TIMEOUT_SEC = 10.0

# A plain function: a URL and how many seconds it may take in all.
Transport = Callable[[str, float], Answer]


def open_transport(base_url: str, clock: Clock) -> Transport:
    """A transport that keeps its connection open between calls and verifies TLS.

    Raises `TryAgain` for whatever may go better next time, `ExchangeRefused` for a certificate
    that cannot be trusted.
    """
    pool = _pool(base_url)

    def get(url: str, left_sec: float) -> Answer:
        end_sec = clock.steady_sec() + left_sec
        try:
            return _get(pool, url, clock, end_sec)
        except SSLError as problem:
            raise _untrusted(problem) from problem
        except MaxRetryError as problem:
            if isinstance(problem.reason, SSLError):
                raise _untrusted(problem.reason) from problem
            raise _broken(problem.reason or problem) from problem
        except (HTTPError, OSError) as problem:
            raise _broken(problem) from problem

    return get


def _pool(base_url: str) -> urllib3.PoolManager:
    headers = {"User-Agent": f"barfeed/{__version__}", "Accept-Encoding": "gzip"}
    proxy = _proxy_of(base_url)
    if proxy is None:
        return urllib3.PoolManager(num_pools=1, headers=headers)
    try:
        return urllib3.ProxyManager(proxy, num_pools=1, headers=headers)
    except HTTPError as problem:
        raise UsageError(f"the proxy from the environment cannot be used: {type(problem).__name__}") from problem


def _proxy_of(base_url: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Imported only here: most machines have no proxy, and it costs a fifth of an hour's start.
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    url = urlsplit(base_url)
    if proxy_bypass(url.netloc):
        return None
    proxies = getproxies()
    return proxies.get(url.scheme) or proxies.get("all")


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
        if len(body) > BODY_BYTES_MAX:
            raise ContractBroken(f"the exchange's answer is over {BODY_BYTES_MAX} bytes", hint="check --base-url")
        if clock.steady_sec() > end_sec:
            raise TryAgain("timeout", f"the body was not whole in time: {len(body)} bytes so far")
    return bytes(body)


def _broken(problem: BaseException) -> TryAgain:
    reason = "timeout" if isinstance(problem, HttpTimeoutError | ReadTimeoutError | TimeoutError) else "connection"
    return TryAgain(reason, f"{type(problem).__name__}: {str(problem)[:300]}")


def _untrusted(problem: BaseException) -> ExchangeRefused:
    return ExchangeRefused(
        f"the exchange's TLS certificate cannot be trusted: {str(problem)[:300]!r}",
        hint="check --base-url, the machine's date, and the proxy's certificate (SSL_CERT_FILE)",
    )
