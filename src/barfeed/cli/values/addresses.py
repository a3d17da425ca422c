"""Addresses as people write them, and whether they are ones."""

import re
from urllib.parse import urlsplit

from barfeed.domain.errors import UsageError

# A name of labels, or an IPv6 address as urlsplit gives it.
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*\.?|[0-9a-f:.]*:[0-9a-f:.]*")
_VISIBLE = re.compile(r"[!-~]+")


def check_address(flag: str, text: str, like: str = "https://fapi.binance.com") -> None:
    """Return for the address of a server of the same kind as `like`; `UsageError` names the flag."""
    if "@" in text:
        # It may hold a password: it is not repeated, neither here nor in any manifest.
        raise UsageError(f"{flag} holds a '@': an address with a name or password in it is not taken")
    secure = urlsplit(like).scheme
    if not _is_address(text, {secure, secure.removesuffix("s")}):
        raise UsageError(f"{flag} {text[:120]!r} is not an address like {like}")


def is_binance(url: str) -> bool:
    """Whether it is one of the exchange's own."""
    return f".{urlsplit(url).hostname}".endswith(".binance.com")


def _is_address(text: str, schemes: set[str]) -> bool:
    return is_server(text, schemes) and not (urlsplit(text).query or urlsplit(text).fragment)


def is_server(text: str, schemes: set[str]) -> bool:
    """Whether it is an address of one of these schemes, whatever comes behind the host."""
    try:
        url = urlsplit(text)
        host, port = url.hostname or "", url.port
    except ValueError:
        return False
    # urlsplit overlooks line breaks and blanks, a log and a request do not.
    return url.scheme in schemes and bool(_VISIBLE.fullmatch(text)) and port != 0 and bool(_HOST.fullmatch(host))
