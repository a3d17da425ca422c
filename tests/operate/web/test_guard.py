from typing import Any

import pytest

from barfeed.operate.web.guard import Asking, Guard, Refusal

HOST = "127.0.0.1:8787"
LOOPBACK = Guard(frozenset({HOST, "localhost:8787"}))


def refused(guard: Guard, method: str = "GET", token: str = "", **headers: Any) -> int:
    """The status of the refusal, 0 where there is none."""
    asking = Asking(method, {"host": HOST} | {name.replace("_", "-"): text for name, text in headers.items()}, token)
    found: Refusal | None = guard.refusal(asking)
    return found.status if found else 0


def test_whoever_asks_by_the_right_name_is_answered() -> None:
    assert refused(LOOPBACK) == refused(LOOPBACK, "HEAD") == refused(LOOPBACK, host="LocalHost:8787") == 0


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "get"])
def test_nothing_but_reading_is_answered(method: str) -> None:
    assert refused(LOOPBACK, method) == 405


@pytest.mark.parametrize(
    "host", ["", "evil.example", "evil.example:8787", "127.0.0.1", "127.0.0.1:8788", "127.0.0.1:8787.x"]
)
def test_another_name_that_leads_here_is_none_of_ours(host: str) -> None:
    assert refused(LOOPBACK, host=host) == 421


@pytest.mark.parametrize(
    "origin", ["null", "", "http://evil.example", "http://127.0.0.1", "http://localhost:8787", "file://"]
)
def test_another_page_may_not_ask(origin: str) -> None:
    assert refused(LOOPBACK, origin=origin) == 403


def test_a_page_of_ours_may_ask() -> None:
    assert refused(LOOPBACK, origin=f"http://{HOST}") == 0
    # Behind a proxy that speaks TLS.
    assert refused(Guard(frozenset(), "s"), token="s", host="feed.example", origin="https://feed.example") == 0


@pytest.mark.parametrize("token", ["", "s", "secret ", "Secret", "sécret"])
def test_a_token_is_the_whole_token(token: str) -> None:
    guard = Guard(frozenset(), "secret")
    assert refused(guard, token=token, host="feed.example") == 401
    assert refused(guard, token="secret", host="feed.example") == 0


def test_a_proxy_vouches_for_those_it_lets_in() -> None:
    guard = Guard(frozenset(), proxy_header="X-Forwarded-User")
    assert refused(guard) == refused(guard, x_forwarded_user="") == 401
    assert refused(guard, x_forwarded_user="ana") == 0


def test_who_has_a_token_and_a_proxy_needs_both() -> None:
    guard = Guard(frozenset(), "secret", "X-Forwarded-User")
    assert refused(guard, token="secret") == refused(guard, x_forwarded_user="ana") == 401
    assert refused(guard, token="secret", x_forwarded_user="ana") == 0
