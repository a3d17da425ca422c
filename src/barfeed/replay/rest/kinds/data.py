"""`/futures/data/*`: open interest, ratios and takers' volumes, at the end of each period, of the last thirty days."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.domain.kinds.kind import Kind
from barfeed.replay import refusals
from barfeed.replay.faults import tampering
from barfeed.replay.faults.script import Fault
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, reply
from barfeed.replay.rest import lives
from barfeed.replay.rest.limits import is_whole_number
from barfeed.replay.rest.venue import Venue
from barfeed.replay.rest.view import ABSENT, concerns
from barfeed.replay.tapes.kinds.flows import Trades
from barfeed.replay.tapes.kinds.waves import drawn

LIMIT_DEFAULT = 30
# How long after a period's end its row is there: between one minute and four.
PUBLISHED_SEC = (60, 240)


class Ask(NamedTuple):
    """A request that can be answered; both ends are ends of periods and included."""

    symbol: str
    step_ms: int
    start_ms: int | None
    end_ms: int | None
    limit: int


def _read(kind: Kind, sent: dict[str, str], venue: Venue, now_ms: int) -> Ask | Reply:
    """The request's meaning, or the refusal it earns."""
    if refusal := _malformed(kind, sent):
        return refusal
    symbol = sent["symbol"].upper()
    if symbol not in venue.listings:
        return refusals.BAD_SYMBOL.reply(400)
    start_ms, end_ms = (int(sent[name]) if name in sent else None for name in ("startTime", "endTime"))
    if start_ms is not None and start_ms < now_ms - _memory_ms(kind):
        return refusals.BAD_DATA.reply(400, name="startTime")
    if start_ms is not None and end_ms is not None and start_ms > end_ms:
        return refusals.BAD_DATA.reply(400, name="endTime")
    return Ask(symbol, Interval(sent["period"]).ms, start_ms, end_ms, int(sent.get("limit", LIMIT_DEFAULT)))


def _memory_ms(kind: Kind) -> int:
    assert kind.remembered_ms is not None, "all of these are forgotten"
    return kind.remembered_ms


def _malformed(kind: Kind, sent: dict[str, str]) -> Reply | None:
    for name in ("symbol", "period"):
        if not sent.get(name):
            return refusals.MISSING.reply(400, name=name)
    for name in ("startTime", "endTime", "limit"):
        if name in sent and not is_whole_number(sent[name]):
            return refusals.BAD_DATA.reply(400, name=name)
    if sent["period"] not in map(str, kind.intervals):
        return refusals.BAD_DATA.reply(400, name="period")
    if not 1 <= int(sent.get("limit", LIMIT_DEFAULT)) <= kind.rows_max:
        return refusals.BAD_DATA.reply(400, name="limit")
    return None


def answered(kind: Kind, venue: Venue, case: Case) -> Reply:
    """What each of them answers."""
    ask = _read(kind, dict(case.sent), venue, case.now_ms)
    if isinstance(ask, Reply):
        return ask
    if refusal := lives.refused(venue.listings[ask.symbol], case.faults, case.now_ms):
        return refusal
    faults = [each for each in case.faults if concerns(each, Series(ask.symbol, _interval(ask)), case.now_ms)]
    ends = _ends(kind, ask, venue.trades(ask.symbol), faults, case.now_ms)
    # More than there is room for: the newest, wherever the request begins.
    rows = [ROWS[kind.name](venue, ask.symbol, end_ms, ask.step_ms) for end_ms in ends[-ask.limit :]]
    for fault in faults:
        if fault.kind in tampering.ROWS:
            rows = tampering.ROWS[fault.kind](rows, _by_end(fault, ask.step_ms), None)
    return reply(200, f"[{','.join(rows)}]")


def _interval(ask: Ask) -> Interval:
    return next(each for each in Interval if each.ms == ask.step_ms)


def _by_end(fault: Fault, step_ms: int) -> Fault:
    """The fault by the row's own time: `bar` is a period's beginning, as a bar's, and a row tells the end."""
    if "bar" not in fault.args:
        return fault
    return replace(fault, args={**fault.args, "bar": fault.args["bar"] + step_ms})


def _ends(kind: Kind, ask: Ask, trades: Trades, faults: Sequence[Fault], now_ms: int) -> list[int]:
    """The ends of the periods that are told of."""
    step_ms = ask.step_ms
    first_ms = max(now_ms - _memory_ms(kind), trades.first_ms + 1, ask.start_ms or 0)
    last_ms = min(now_ms, trades.end_ms, now_ms if ask.end_ms is None else ask.end_ms)
    late_ms = max((round(fault.args["sec"] * 1000) for fault in faults if fault.kind == "late"), default=0)
    # When a row is there is drawn for the newest only: for all others it has been.
    surely_ms = now_ms - max(late_ms, PUBLISHED_SEC[1] * 1000)
    absences = [ABSENT[fault.kind](fault, step_ms) for fault in faults if fault.kind in ABSENT]
    hidden = {fault.args["bar"] for fault in faults if fault.kind == "hide"}
    return [
        end_ms
        for end_ms in range(first_ms + -first_ms % step_ms, last_ms + 1, step_ms)
        if (end_ms <= surely_ms or end_ms + max(late_ms, published_ms(trades.symbol, end_ms)) <= now_ms)
        and end_ms - step_ms not in hidden
        and not any(end_ms - step_ms in absence for absence in absences)
    ]


def published_ms(symbol: str, end_ms: int) -> int:
    """How many ms after a period's end its row is there, unless it is late."""
    first, last = PUBLISHED_SEC
    return round((first + (last - first) * (drawn(f"{symbol} published {end_ms}") + 1) / 2) * 1000)


def _open_interest(venue: Venue, symbol: str, end_ms: int, _step_ms: int) -> str:
    held = venue.positions(symbol).held(end_ms)
    return (
        f'{{"symbol":"{symbol}","sumOpenInterest":"{held.contracts:.8f}","sumOpenInterestValue":"{held.value:.8f}",'
        f'"CMCCirculatingSupply":"0.00000000","timestamp":{end_ms}}}'
    )


def _ratio(of: str, venue: Venue, symbol: str, end_ms: int, _step_ms: int) -> str:
    ratio = venue.positions(symbol).ratio(of, end_ms)
    long = round(ratio / (1 + ratio), 4)
    return (
        f'{{"symbol":"{symbol}","longAccount":"{long:.4f}","longShortRatio":"{ratio:.4f}",'
        f'"shortAccount":"{1 - long:.4f}","timestamp":{end_ms}}}'
    )


def _takers(venue: Venue, symbol: str, end_ms: int, step_ms: int) -> str:
    trades = venue.trades(symbol)
    taken = trades.takers(end_ms - step_ms, end_ms)
    digits = max(4, trades.volume_decimals)
    return (
        f'{{"buySellRatio":"{taken.ratio:.4f}","sellVol":"{taken.sold:.{digits}f}",'
        f'"buyVol":"{taken.bought:.{digits}f}","timestamp":{end_ms}}}'
    )


RATIOS = ("long_short_ratio", "top_long_short_accounts", "top_long_short_positions")
ROWS: dict[str, Callable[[Venue, str, int, int], str]] = {
    "open_interest": _open_interest,
    **{name: partial(_ratio, name) for name in RATIOS},
    "taker_volume": _takers,
}
