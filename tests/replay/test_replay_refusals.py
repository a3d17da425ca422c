import json

import pytest

from replay.replay_world import World, header

BANNED = (
    "Way too many requests; IP(127.0.0.1) banned until 1705328745000. "
    "Please use the websocket for live updates to avoid bans."
)
TOO_MANY = (
    "Too many requests; current limit of IP(127.0.0.1) is 2400 requests per minute. "
    "Please use the websocket for live updates to avoid polling the API."
)
RESTRICTED = (
    "Service unavailable from a restricted location according to 'b. Eligibility' in "
    "https://www.binance.com/en/terms. Please contact customer service if you believe you "
    "received this message in error."
)
NO_BACKEND = "Timeout waiting for response from backend server. Send status unknown; execution status unknown."

PLAIN = [
    # what the exchange was seen to say, word for word
    (400, -1000, "An unknown error occurred while processing the request."),
    (401, -1002, "You are not authorized to execute this request."),
    (408, -1007, NO_BACKEND),
    (418, -1003, BANNED),
    (429, -1003, TOO_MANY),
    (451, 0, RESTRICTED),
    (500, -1000, "Request occur unknown error."),
]

PAGES = [
    (403, "Request blocked"),
    (404, "404 Not Found"),
    (502, "502 Bad Gateway"),
    (503, "ERROR: The request could not be satisfied"),
    (504, "504 Gateway Time-out"),
]


def _scripted(status: int, more: str = "") -> World:
    return World(faults=f"[[fault]]\nkind='status'\nstatus={status}\n{more}")


@pytest.mark.parametrize(("status", "code", "message"), PLAIN)
def test_a_scripted_status_has_the_exchanges_own_body(status: int, code: int, message: str) -> None:
    answer = _scripted(status).klines()
    assert (answer.status, json.loads(answer.body)) == (status, {"code": code, "msg": message})
    assert header(answer, "content-type") == "application/json"
    assert header(answer, "retry-after") is None


@pytest.mark.parametrize(("status", "text"), PAGES)
def test_the_edge_answers_with_a_page(status: int, text: str) -> None:
    answer = _scripted(status).klines()
    assert (answer.status, header(answer, "content-type")) == (status, "text/html")
    assert text in answer.body.decode()


def test_the_firewalls_challenge_is_empty() -> None:
    answer = _scripted(202).klines()
    assert (answer.status, answer.body, header(answer, "x-amzn-waf-action")) == (202, b"", "challenge")


def test_retry_after_is_how_long_a_ban_lasts() -> None:
    answer = _scripted(418, "retry_after=60").klines()
    assert header(answer, "Retry-After") == "60"
    assert "banned until 1705328685000." in json.loads(answer.body)["msg"]


def test_a_message_of_ones_own_makes_a_page_json() -> None:
    answer = _scripted(503, "code=-1008\nmsg='Request {throttled}.'").klines()
    assert json.loads(answer.body) == {"code": -1008, "msg": "Request {throttled}."}
    assert header(answer, "content-type") == "application/json"


def test_a_scripted_status_still_costs_weight() -> None:
    assert header(_scripted(503).klines("limit=1500"), "X-MBX-USED-WEIGHT-1M") == "10"
