"""Every path of the exchange's: what faults and counters call it, who answers, what it weighs, and on which limit."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from barfeed.domain.kinds.kind import Host, Kind, Limit
from barfeed.domain.kinds.table import DATA_REQUESTS, FUNDING_REQUESTS, KINDS, SPOT_WEIGHT, WEIGHT
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply
from barfeed.replay.rest import venue
from barfeed.replay.rest.kinds import data, payments, prices, spot
from barfeed.replay.rest.limits import Limiter, Rolling, kline_weight
from barfeed.replay.rest.venue import Venue

FUTURES_PATH, SPOT_PATH = "/fapi/v1/", "/api/v3/"

Answer = Callable[[Venue, Case], Reply]


class Route(NamedTuple):
    """One path."""

    name: str
    answer: Answer
    limit: Limit = WEIGHT
    weight: Callable[[Mapping[str, str]], int] = lambda _: 1


def limiters(weight_limit: int) -> dict[str, Limiter]:
    """The limits of one address by their names, each with nothing used yet."""
    minutes = {WEIGHT.name: Limiter(weight_limit), SPOT_WEIGHT.name: Limiter(SPOT_WEIGHT.most)}
    return minutes | {each.name: Rolling(each.most) for each in (FUNDING_REQUESTS, DATA_REQUESTS)}


def _of_klines(sent: Mapping[str, str]) -> int:
    return kline_weight(sent.get("limit", ""))


_OWN_ANSWERS: dict[str, Answer] = {
    "klines": venue.klines,
    "mark_price": prices.mark,
    "index_price": prices.index,
    "premium_index": prices.premium,
    "funding": payments.rates,
    "spot_klines": spot.klines,
}


def _of_kind(kind: Kind) -> Route:
    name = kind.path.rpartition("/")[2]
    if kind.host is Host.SPOT:
        return Route(f"spot/{name}", _OWN_ANSWERS[kind.name], kind.limit, lambda _: kind.cost(1))
    if kind.limit is DATA_REQUESTS:
        return Route(name, partial(data.answered, kind), kind.limit)
    return Route(name, _OWN_ANSWERS[kind.name], kind.limit, _of_klines if kind.limit is WEIGHT else lambda _: 1)


_OTHERS = {
    f"{FUTURES_PATH}ping": Route("ping", venue.ping),
    f"{FUTURES_PATH}time": Route("time", venue.time),
    f"{FUTURES_PATH}exchangeInfo": Route("exchangeInfo", venue.info),
    f"{FUTURES_PATH}fundingInfo": Route("fundingInfo", payments.intervals, FUNDING_REQUESTS),
    f"{SPOT_PATH}ping": Route("spot/ping", venue.ping, SPOT_WEIGHT),
    f"{SPOT_PATH}time": Route("spot/time", venue.time, SPOT_WEIGHT),
    f"{SPOT_PATH}exchangeInfo": Route("spot/exchangeInfo", spot.info, SPOT_WEIGHT, lambda _: 20),
}
ROUTES: dict[str, Route] = {kind.path: _of_kind(kind) for kind in KINDS.values()} | _OTHERS
# Whatever else is asked for.
NOWHERE = Route("", lambda _venue, _case: venue.nothing())
