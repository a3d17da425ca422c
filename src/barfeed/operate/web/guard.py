"""Who may ask for what: decided by a request's own headers. Pure."""

import hmac
from collections.abc import Mapping
from typing import NamedTuple

# A page of ours loads nothing but ours, runs nothing that stands in it, and stands in nobody else's frame.
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
COOKIE = "barfeed_token"

_READING = frozenset({"GET", "HEAD"})


class Refusal(NamedTuple):
    """Why a request gets nothing."""

    status: int
    reason: str


class Asking(NamedTuple):
    """A request as far as it is looked at; header names in lower case, the token from wherever it was given."""

    method: str
    headers: Mapping[str, str]
    token: str = ""


class Guard(NamedTuple):
    """What a request must have.

    `hosts`: what it may call this server, as 127.0.0.1:8787; empty where another address is served, and then `token`
    or `proxy_header`, which a reverse proxy sets for those it lets in, is demanded.
    """

    hosts: frozenset[str]
    token: str = ""
    proxy_header: str = ""

    def refusal(self, asking: Asking) -> Refusal | None:
        """Why nothing is answered; None where the request is well."""
        host = asking.headers.get("host", "").lower()
        if asking.method not in _READING:
            return Refusal(405, "this server is only read from: GET and HEAD")
        # A name of somebody else's that leads here would make their page ours.
        if self.hosts and host not in self.hosts:
            return Refusal(421, "this server has another name: look at the address that barfeed web printed")
        origin = asking.headers.get("origin")
        if origin is not None and origin.lower() not in {f"http://{host}", f"https://{host}"}:
            return Refusal(403, "another page may not read this one")
        return None if self._is_known(asking) else Refusal(401, "the address that barfeed web printed has the token")

    def _is_known(self, asking: Asking) -> bool:
        if self.proxy_header and not asking.headers.get(self.proxy_header.lower()):
            return False
        return not self.token or hmac.compare_digest(asking.token.encode(), self.token.encode())
