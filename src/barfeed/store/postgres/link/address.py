"""Where a database is, as libpq reads it. Pure, and told as it is: nothing of it is secret."""

import re
from urllib.parse import parse_qsl, urlsplit

from barfeed.domain.errors import UsageError

_SCHEME = re.compile(r"postgres(ql)?://", re.IGNORECASE)
_SECRETS = {"password", "sslpassword"}
_VISIBLE = re.compile(r"[!-~]+")


def is_address(text: str) -> bool:
    """Whether it names a database, and no path."""
    return _SCHEME.match(text) is not None


def checked(flag: str, text: str) -> str:
    """The address, where it is one and tells no password; `UsageError` names the flag."""
    if _holds_secret(text):
        raise UsageError(
            f"{flag} (not shown) holds a password: an address is told in messages, and by ps",
            hint="leave it out, and give it as PGPASSWORD, in ~/.pgpass, or in a service file: docs/hosts.md",
        )
    if not is_address(text) or not _VISIBLE.fullmatch(text):
        raise UsageError(f"{flag} {text[:120]!r} is not an address like postgresql://feeder@db.example.org/market")
    return text


def _holds_secret(text: str) -> bool:
    # What urlsplit stumbles over, a host in half a bracket, may hold one all the same.
    try:
        url = urlsplit(text)
    except ValueError:
        return True
    user = url.netloc.rpartition("@")[0]
    return ":" in user or any(name.lower() in _SECRETS for name, _ in parse_qsl(url.query, keep_blank_values=True))
