"""Which proxy of the environment leads to an address, and how it is told without its password."""

import os
from urllib.parse import urlsplit

from barfeed.domain.errors import UsageError

_SOCKS_PORT = 1080
_MEND_PROXY = "mend http_proxy, https_proxy or all_proxy in the environment, or name the host in no_proxy"


def proxy_for(url: str) -> str | None:
    """The proxy that leads to this address, an exchange's or a stream's; with its password, so it is never told.

    Raises `ValueError` for one that is no address; its text may hold the password, too.
    """
    proxy = _proxy_of(url)
    if not proxy:
        return None
    # As curl does: an address without a scheme is spoken to over HTTP.
    address = proxy if "://" in proxy else f"http://{proxy}"
    _ = urlsplit(address).port
    return _as_socks(address) if address.lower().startswith("socks") else address


def _as_socks(address: str) -> str:
    """As urllib3 and websockets both write it; `socks://`, which desktops set, is a version 5 that looks names up."""
    scheme, _, rest = address.partition("://")
    url = urlsplit(f"{scheme.lower()}://{rest}")
    scheme = "socks5h" if url.scheme == "socks" else url.scheme
    return f"{scheme}://{url.netloc}" if url.port else f"{scheme}://{url.netloc.rstrip(':')}:{_SOCKS_PORT}"


def proxy_shown(base_url: str) -> str:
    """The proxy that is used for this address, without what it is opened with; empty where there is none."""
    try:
        proxy = proxy_for(base_url)
        return _without_password(proxy) if proxy else ""
    except ValueError:
        # Its text may hold a password.
        raise UsageError("the proxy from the environment is no address", hint=_MEND_PROXY) from None


def unusable(problem: Exception) -> UsageError:
    """The error for a proxy that a library does not take; the problem's text may hold a password."""
    return UsageError(f"the proxy from the environment cannot be used: {type(problem).__name__}", hint=_MEND_PROXY)


def without_library(address: str, library: str) -> UsageError:
    """The error for a SOCKS proxy that is spoken to by a library that is not there."""
    return UsageError(
        f"the proxy from the environment is {_without_password(address)}, and SOCKS needs a library that is not"
        f" installed: {library}",
        hint="pip install 'barfeed[socks]'",
    )


def _without_password(proxy: str) -> str:
    url = urlsplit(proxy)
    return f"{url.scheme}://{url.hostname}" + (f":{url.port}" if url.port else "")


def _proxy_of(base_url: str) -> str | None:
    if not any(name.lower().endswith("_proxy") for name in os.environ):
        return None
    # Imported only here: most machines have no proxy, and it costs a fifth of an hour's start.
    from urllib.request import getproxies, proxy_bypass  # noqa: PLC0415

    url = urlsplit(base_url)
    if proxy_bypass(url.netloc):
        return None
    proxies = getproxies()
    # A stream begins as a request over HTTP does.
    scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
    return proxies.get(scheme) or proxies.get("all")
