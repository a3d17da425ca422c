"""What an answer that is not 200 means, and how long to wait before asking again. Pure decisions."""

import re
from calendar import timegm
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import MINUTE_MS
from barfeed.domain.errors import BarfeedError, ContractBroken, ExchangeBlocked, ExchangeRefused
from barfeed.exchange.wire import ErrorBody, quote, read_error

FIRST_PAUSE_SEC = 0.25
LONGEST_PAUSE_SEC = 15.0
# Documented; whoever says more is not to be taken at its word.
LONGEST_BAN_SEC = 3 * 24 * 3600.0

_BANNED_UNTIL = r"banned until (\d{13})"
_HTTP_OK = 200
_TRY_AGAIN_STATUSES = frozenset({408, 429})
_SERVER_ERRORS = 500
_BLOCKED_STATUSES = frozenset({403, 418})
_RESTRICTED_STATUS = 451
_TOO_MANY_STATUS = 429
# The reason of the `TryAgain` that says so.
TOO_MANY = f"http_{_TOO_MANY_STATUS}"
_ABSURD_DIGITS = 10
# Unknown, of a wrong status, settling or closed or not trading yet, closed: the list of symbols tells which.
UNKNOWN_SYMBOL = -1121
SYMBOL_CODES = frozenset({UNKNOWN_SYMBOL, -1122, -4108, -4141})
_NOT_TRADING = "the symbol is not trading: it was delisted or is not listed yet"
_HINTS_BY_CODE = {
    -1120: "check --interval",
    UNKNOWN_SYMBOL: "check --symbol: it must be a USDT-M perpetual or delivery symbol, like BTCUSDT",
    -1122: _NOT_TRADING,
    -4108: _NOT_TRADING,
    -4141: _NOT_TRADING,
}


class Answer(NamedTuple):
    """One HTTP answer, read to its end. Header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class TryAgain(Exception):
    """Asking again may help: a network fault, an overload, a body broken on its way.

    `reason` is one word for counters, `after_sec` what the exchange itself asked for.
    """

    def __init__(self, reason: str, message: str, after_sec: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.after_sec = after_sec


def pause_sec(attempt: int, asked_sec: float | None, jitter: float) -> float:
    """How long to wait before attempt `attempt + 1`: what the exchange asked for, else growing.

    `jitter` in [0, 1) spreads clients that failed together.
    """
    growing = min(LONGEST_PAUSE_SEC, FIRST_PAUSE_SEC * 2.0 ** min(attempt, 16)) * (0.5 + jitter / 2)
    return growing if asked_sec is None else max(growing, asked_sec + jitter)


def dated_ms(answer: Answer) -> int | None:
    """When the answer was sent, from its `Date` header, in ms to the second; None where it has none."""
    return _date_ms(answer.headers.get("date", ""))


@lru_cache(maxsize=16)
def _date_ms(text: str) -> int | None:
    """The many answers of one second all tell the same."""
    try:
        # Without a zone it would be taken for this machine's own time.
        return timegm(parsedate_to_datetime(text).utctimetuple()) * 1000
    except (ValueError, OverflowError):
        return None


def used_weight(answer: Answer) -> int | None:
    """What all requests from this address have weighed in the exchange's minute; None where it does not tell."""
    weight = answer.headers.get("x-mbx-used-weight-1m", "")
    return int(weight) if weight.isascii() and weight.isdigit() and len(weight) < _ABSURD_DIGITS else None


def is_for_all(refusal: BarfeedError) -> bool:
    """Whether it is the address that is refused, in either sense, and not only what was asked.

    A code of the exchange's own is about the question, and so is an answer that could not be read.
    """
    if isinstance(refusal, ExchangeRefused):
        return not isinstance(refusal, ContractBroken) and not refusal.code
    return isinstance(refusal, ExchangeBlocked)


def check_status(answer: Answer, now_ms: int) -> None:
    """Return for 200; otherwise raise `TryAgain`, `ExchangeBlocked` or `ExchangeRefused`."""
    if "x-amzn-waf-action" in answer.headers or answer.status in _BLOCKED_STATUSES:
        raise _blocked(answer, now_ms)
    if answer.status == _HTTP_OK:
        return
    if answer.status in _TRY_AGAIN_STATUSES or answer.status >= _SERVER_ERRORS:
        raise TryAgain(f"http_{answer.status}", _said(answer), _asked_pause_sec(answer, now_ms))
    raise _refused(answer)


def _asked_pause_sec(answer: Answer, now_ms: int) -> float | None:
    if until := re.search(_BANNED_UNTIL, _error(answer).msg):
        return max(0.0, min(LONGEST_BAN_SEC, (int(until[1]) - now_ms) / 1000))
    retry_after = answer.headers.get("retry-after", "")
    if retry_after.isascii() and retry_after.isdigit():
        return min(LONGEST_BAN_SEC, float(retry_after))
    if answer.status == _TOO_MANY_STATUS:
        # The weight counter starts anew with each UTC minute.
        return (grid.floor(now_ms, MINUTE_MS) + MINUTE_MS - now_ms) / 1000
    return None


def _blocked(answer: Answer, now_ms: int) -> ExchangeBlocked:
    until = re.search(_BANNED_UNTIL, _error(answer).msg)
    what = f"banned this address until {grid.text(int(until[1]))} UTC" if until else "blocks this address"
    return ExchangeBlocked(f"the exchange {what}: {_said(answer)}", retry_after_sec=_asked_pause_sec(answer, now_ms))


def _refused(answer: Answer) -> BarfeedError:
    if answer.status == _RESTRICTED_STATUS:
        return ExchangeRefused(
            f"the exchange does not serve this location: {_said(answer)}",
            hint="run it from a location that Binance serves, or set --base-url to one that may be used",
        )
    if location := answer.headers.get("location"):
        message = f"the exchange redirects to {location[:120]!r} (HTTP {answer.status}), which is not followed"
        return ExchangeRefused(message, hint="check --base-url")
    code = _error(answer).code
    hint = _HINTS_BY_CODE.get(code, "check --symbol, --interval and --base-url")
    return ExchangeRefused(f"the exchange refused: {_said(answer)}", hint=hint, code=code)


def _said(answer: Answer) -> str:
    error = _error(answer)
    said = f"{error.code} {error.msg[:200]!r}" if error.msg else quote(answer.body)
    return f"HTTP {answer.status} {said}"


def _error(answer: Answer) -> ErrorBody:
    return read_error(answer.body) or ErrorBody()
