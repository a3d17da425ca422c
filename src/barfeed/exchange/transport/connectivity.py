"""A connection and nothing more: whether a server is there, and until when its certificate holds."""

import socket
import ssl
from urllib.parse import urlsplit

_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


def certificate_until(address: str, timeout_sec: float) -> int | None:
    """Connect, and tell when the trusted certificate ends, in ms since 1970-01-01 UTC; None without TLS.

    Raises `OSError`, also for a certificate that cannot be trusted, and `ValueError` for what is no address.
    """
    url = urlsplit(address)
    if url.scheme not in _PORTS or not url.hostname:
        raise ValueError(f"{address[:120]!r} is no address")
    with socket.create_connection((url.hostname, url.port or _PORTS[url.scheme]), timeout_sec) as line:
        if url.scheme in {"http", "ws"}:
            return None
        with ssl.create_default_context().wrap_socket(line, server_hostname=url.hostname) as secured:
            told = secured.getpeercert() or {}
            return int(ssl.cert_time_to_seconds(str(told["notAfter"])) * 1000)
