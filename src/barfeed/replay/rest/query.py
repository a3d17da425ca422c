"""What a klines request asks for, or why it is refused."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl

from barfeed.domain.bars import Interval
from barfeed.replay import refusals
from barfeed.replay.messages import Reply
from barfeed.replay.rest.limits import is_whole_number

# Three more than a tape can have: they are served, empty.
INTERVALS = frozenset([*map(str, Interval), "3d", "1w", "1M"])
LIMIT_DEFAULT = 500
LIMIT_MAX = 1500

LEGAL_NUMBER = "^[0-9]{1,20}$"
# The exchange lists Chinese symbols too, whatever its message says.
LEGAL_SYMBOL = "^[A-Z0-9-_.]{1,20}$"
_SYMBOL = re.compile(r"[\w.-]{1,20}")


class Ask(NamedTuple):
    """A klines request that can be answered; both ends are open_times and included."""

    symbol: str
    interval: str
    start_ms: int | None
    end_ms: int | None
    limit: int


def parameters(query: str) -> dict[str, str]:
    """The query string's parameters; the first of a name counts, unknown ones are left alone."""
    return dict(reversed(parse_qsl(query, keep_blank_values=True)))


def read(sent: Mapping[str, str], symbols: Collection[str]) -> Ask | Reply:
    """The request's meaning, or the refusal it earns."""
    return next((refusal for check in CHECKS if (refusal := check(sent, symbols))), None) or _ask(sent)


def _ask(sent: Mapping[str, str]) -> Ask:
    return Ask(
        sent["symbol"].upper(),
        sent["interval"],
        _number(sent, "startTime"),
        _number(sent, "endTime"),
        int(sent.get("limit", LIMIT_DEFAULT)),
    )


def _number(sent: Mapping[str, str], name: str) -> int | None:
    return int(sent[name]) if name in sent else None


def _missing(sent: Mapping[str, str], _: Collection[str]) -> Reply | None:
    name = next((each for each in ("symbol", "interval") if not sent.get(each)), None)
    return refusals.MISSING.reply(400, name=name) if name else None


def _not_a_number(sent: Mapping[str, str], _: Collection[str]) -> Reply | None:
    for name in ("startTime", "endTime", "limit"):
        if sent.get(name) == "":
            return refusals.EMPTY.reply(400, name=name)
        if name in sent and not is_whole_number(sent[name]):
            return refusals.ILLEGAL.reply(400, name=name, legal=LEGAL_NUMBER)
    return None


def _bad_limit(sent: Mapping[str, str], _: Collection[str]) -> Reply | None:
    fits = 1 <= int(sent.get("limit", LIMIT_DEFAULT)) <= LIMIT_MAX
    return None if fits else refusals.BAD_VALUE.reply(400, name="limit")


def _bad_symbol(sent: Mapping[str, str], symbols: Collection[str]) -> Reply | None:
    if not _SYMBOL.fullmatch(sent["symbol"]):
        return refusals.ILLEGAL.reply(400, name="symbol", legal=LEGAL_SYMBOL)
    return None if sent["symbol"].upper() in symbols else refusals.BAD_SYMBOL.reply(400)


def _bad_interval(sent: Mapping[str, str], _: Collection[str]) -> Reply | None:
    return None if sent["interval"] in INTERVALS else refusals.BAD_INTERVAL.reply(400)


def _start_after_end(sent: Mapping[str, str], _: Collection[str]) -> Reply | None:
    start, end = _number(sent, "startTime"), _number(sent, "endTime")
    late = start is not None and end is not None and start > end
    return refusals.START_AFTER_END.reply(400) if late else None


# In the order in which the exchange is taken to look; each may rely on those before it.
CHECKS: tuple[Callable[[Mapping[str, str], Collection[str]], Reply | None], ...] = (
    _missing,
    _not_a_number,
    _bad_limit,
    _bad_symbol,
    _bad_interval,
    _start_after_end,
)
