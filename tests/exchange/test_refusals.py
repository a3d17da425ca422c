import pytest

from barfeed.domain.errors import BarfeedError, ExchangeBlocked, ExchangeRefused
from barfeed.exchange import refusals
from barfeed.exchange.refusals import Answer, TryAgain

# 2024-01-15 13:00:20.500 UTC.
NOW = 1_705_323_620_500
INVALID_SYMBOL = b'{"code":-1121,"msg":"Invalid symbol."}'
TOO_MANY = b'{"code":-1003,"msg":"Too many requests; current limit of IP(1.2.3.4) is 2400 requests per minute."}'
BANNED = (
    b'{"code":-1003,"msg":"Way too many requests; IP(1.2.3.4) banned until 1705323680500.'
    b' Please use the websocket for live updates to avoid bans."}'
)
RESTRICTED = b'{"code":0,"msg":"Service unavailable from a restricted location according to \'b. Eligibility\'."}'


def check(status: int, body: bytes = b"", **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    refusals.check_status(Answer(status, named, body), NOW)


def again(status: int, body: bytes = b"", **headers: str) -> TryAgain:
    with pytest.raises(TryAgain) as told:
        check(status, body, **headers)
    return told.value


def refused(status: int, body: bytes = b"", **headers: str) -> BarfeedError:
    with pytest.raises(BarfeedError) as told:
        check(status, body, **headers)
    return told.value


def test_200_passes_whatever_its_body() -> None:
    check(200, b"<html>")
    check(200, INVALID_SYMBOL)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 505, 520, 522, 599])
def test_what_may_go_better_is_asked_again(status: int) -> None:
    assert again(status).reason == f"http_{status}"


def test_501_is_asked_again_like_every_5xx() -> None:
    assert again(501).reason == "http_501"


@pytest.mark.parametrize(
    ("status", "headers", "after_sec"),
    [
        (429, {"retry_after": "7"}, 7.0),
        (503, {"retry_after": "7"}, 7.0),
        (429, {"retry_after": "0"}, 0.0),
        # Without a word from the exchange, its counter starts anew at 13:01:00.
        (429, {}, 39.5),
        (429, {"retry_after": "soon"}, 39.5),
        (429, {"retry_after": "-7"}, 39.5),
        (429, {"retry_after": "7.5"}, 39.5),
        (503, {}, None),
        (500, {"retry_after": ""}, None),
    ],
)
def test_a_pause_that_the_exchange_asks_for_is_told(
    status: int, headers: dict[str, str], after_sec: float | None
) -> None:
    assert again(status, TOO_MANY, **headers).after_sec == after_sec


@pytest.mark.parametrize("status", [403, 418])
def test_a_block_is_told_apart_and_is_exit_3(status: int) -> None:
    error = refused(status, b"<html>blocked</html>")
    assert isinstance(error, ExchangeBlocked)
    assert error.exit_code == 3
    assert error.retry_after_sec is None
    assert str(error) == f"the exchange blocks this address: HTTP {status} '<html>blocked</html>'"


@pytest.mark.parametrize("status", [403, 418])
def test_a_ban_tells_until_when(status: int) -> None:
    error = refused(status, BANNED, retry_after="5")
    assert isinstance(error, ExchangeBlocked)
    assert str(error).startswith("the exchange banned this address until 2024-01-15 13:01:20.500 UTC: HTTP ")
    assert error.retry_after_sec == 60.0


def test_a_ban_that_is_over_asks_for_no_pause() -> None:
    error = refused(418, BANNED.replace(b"1705323680500", b"1705323600000"))
    assert error.retry_after_sec == 0.0


def test_a_block_with_a_retry_after_tells_it() -> None:
    assert refused(418, retry_after="120").retry_after_sec == 120.0


@pytest.mark.parametrize("status", [200, 202, 405])
def test_a_challenge_of_the_firewall_is_a_block(status: int) -> None:
    assert isinstance(refused(status, x_amzn_waf_action="challenge"), ExchangeBlocked)


def test_a_restricted_location_is_refused_with_a_hint_of_its_own() -> None:
    error = refused(451, RESTRICTED)
    assert isinstance(error, ExchangeRefused)
    assert error.exit_code == 5
    assert "does not serve this location" in str(error)
    assert "restricted location" in str(error)


@pytest.mark.parametrize(
    ("body", "hint"),
    [
        (INVALID_SYMBOL, "check --symbol: it must be a USDT-M perpetual or delivery symbol, like BTCUSDT"),
        (b'{"code":-1120,"msg":"Invalid interval."}', "check --interval"),
        (b'{"code":-1122,"msg":"Invalid symbol status."}', "the symbol is not trading"),
        (b'{"code":-1130,"msg":"x"}', "check --symbol, --interval and --base-url"),
        (b"<html>", "check --symbol, --interval and --base-url"),
    ],
)
def test_a_refusal_hints_at_the_flag_to_look_at(body: bytes, hint: str) -> None:
    error = refused(400, body)
    assert type(error) is ExchangeRefused
    assert error.hint.startswith(hint)


@pytest.mark.parametrize("status", [201, 202, 204, 300, 304, 400, 401, 404, 405, 410])
def test_any_other_status_is_a_refusal_that_no_retry_mends(status: int) -> None:
    assert type(refused(status)) is ExchangeRefused


def test_a_refusal_quotes_what_the_exchange_said() -> None:
    assert str(refused(400, INVALID_SYMBOL)) == "the exchange refused: HTTP 400 -1121 'Invalid symbol.'"
    assert str(refused(404, b"<h1>\x1b[2J</h1>")) == "the exchange refused: HTTP 404 '<h1>\\x1b[2J</h1>'"


def test_foreign_json_is_quoted_too() -> None:
    assert "Forbidden" in str(refused(403, b'{"message":"Forbidden"}'))


def test_a_redirect_names_where_it_leads() -> None:
    error = refused(302, location="https://elsewhere.example/")
    assert str(error) == "the exchange redirects to 'https://elsewhere.example/' (HTTP 302), which is not followed"
    assert error.hint == "check --base-url"


@pytest.mark.parametrize(
    ("attempt", "jitter", "pause_sec"),
    [
        (0, 0.0, 0.125),
        (0, 1.0, 0.25),
        (1, 0.0, 0.25),
        (3, 0.5, 1.5),
        (5, 1.0, 8.0),
        (6, 1.0, 15.0),
        (6, 0.0, 7.5),
        (500, 1.0, 15.0),
    ],
)
def test_pauses_grow_up_to_a_longest_one_and_are_jittered(attempt: int, jitter: float, pause_sec: float) -> None:
    assert refusals.pause_sec(attempt, None, jitter) == pause_sec


def test_a_pause_is_never_shorter_than_the_exchange_asked_for() -> None:
    assert refusals.pause_sec(0, 30.0, 0.0) == 30.0
    assert refusals.pause_sec(9, 30.0, 0.5) == 30.5


def test_pauses_stay_bounded_after_any_number_of_attempts() -> None:
    assert refusals.pause_sec(1024, None, 1.0) == 15.0


def test_an_absurd_retry_after_asks_for_no_infinite_pause() -> None:
    assert again(429, retry_after="9" * 400).after_sec != float("inf")
