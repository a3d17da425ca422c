"""`/fapi/v1/fundingRate` and `/fapi/v1/fundingInfo`."""

from dataclasses import replace
from operator import itemgetter

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.replay import refusals
from barfeed.replay.faults import tampering
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, reply
from barfeed.replay.rest import lives
from barfeed.replay.rest.limits import is_whole_number
from barfeed.replay.rest.venue import Venue
from barfeed.replay.rest.view import concerns_symbol
from barfeed.replay.tapes.kinds.funding import Funding, Payment

FUNDING = KINDS["funding"]
LIMIT_DEFAULT = 100
# Earlier payments tell no mark price.
MARKED_FROM_MS = 1_696_118_400_000  # 2023-10-01

Row = tuple[int, str]


def rates(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/fundingRate`: of one symbol, or of all by time; the oldest where it says where to start."""
    if refusal := _malformed(case) or _refused(venue, case):
        return refusal
    if case.sent.get("startTime") == "0":
        # As if it was not sent.
        case = case._replace(sent={name: said for name, said in case.sent.items() if name != "startTime"})
    sent = case.sent
    symbols = [sent["symbol"].upper()] if sent.get("symbol") else sorted(venue.perpetuals)
    rows = [row for symbol in symbols for row in _rows(venue, symbol, case)]
    rows.sort(key=itemgetter(0))
    limit = min(FUNDING.rows_max, int(sent.get("limit", LIMIT_DEFAULT)))
    kept = rows[:limit] if "startTime" in sent else rows[-limit:]
    return reply(200, f"[{','.join(_tampered(kept, symbols, case))}]")


def _malformed(case: Case) -> Reply | None:
    numbers = {name: case.sent[name] for name in ("startTime", "endTime", "limit") if name in case.sent}
    for name, text in numbers.items():
        if not is_whole_number(text):
            return refusals.ILLEGAL.reply(400, name=name, legal="^[0-9]{1,20}$")
    if not 1 <= int(numbers.get("limit", LIMIT_DEFAULT)) <= FUNDING.rows_max:
        return refusals.BAD_VALUE.reply(400, name="limit")
    start, end = numbers.get("startTime"), numbers.get("endTime")
    return refusals.START_AFTER_END.reply(400) if start and end and int(start) > int(end) else None


def _refused(venue: Venue, case: Case) -> Reply | None:
    symbol = case.sent.get("symbol", "").upper()
    if not symbol:
        return None
    if symbol not in venue.listings:
        return refusals.BAD_SYMBOL.reply(400)
    return lives.refused(venue.listings[symbol], case.faults, case.now_ms)


def _rows(venue: Venue, symbol: str, case: Case) -> list[Row]:
    """The payments of one symbol within the request, oldest first."""
    begin_ms = int(case.sent.get("startTime", 0))
    faults = [fault for fault in case.faults if concerns_symbol(fault, symbol, case.now_ms)]
    late_sec = max((fault.args["sec"] for fault in faults if fault.kind == "late"), default=0)
    end_ms = min(round(case.now_ms - late_sec * 1000), int(case.sent.get("endTime", case.now_ms)))
    if "startTime" not in case.sent:
        begin_ms = end_ms - int(case.sent.get("limit", LIMIT_DEFAULT)) * 8 * HOUR_MS
    hidden = {fault.args["bar"] for fault in faults if fault.kind == "hide"}
    paid = venue.funding(symbol).between(grid.floor(begin_ms, HOUR_MS), end_ms + 1)
    return [
        (each.at_ms, _row(venue, symbol, each))
        for each in paid
        if begin_ms <= each.at_ms <= end_ms and grid.floor(each.at_ms, HOUR_MS) not in hidden
    ]


def _row(venue: Venue, symbol: str, paid: Payment) -> str:
    marked = f"{venue.funding(symbol).mark(paid.at_ms):.8f}" if paid.at_ms >= MARKED_FROM_MS else ""
    return f'{{"symbol":"{symbol}","fundingTime":{paid.at_ms},"fundingRate":"{paid.rate:.8f}","markPrice":"{marked}"}}'


def _tampered(kept: list[Row], symbols: list[str], case: Case) -> list[str]:
    rows = [text for _, text in kept]
    moments = {grid.floor(at_ms, HOUR_MS): at_ms for at_ms, _ in kept}
    for fault in case.faults:
        if fault.kind in tampering.ROWS and all(concerns_symbol(fault, each, case.now_ms) for each in symbols[:1]):
            bar_ms = fault.args.get("bar")
            args = fault.args if bar_ms is None else {**fault.args, "bar": moments.get(bar_ms, bar_ms)}
            rows = tampering.ROWS[fault.kind](rows, replace(fault, args=args), None)
    return rows


def intervals(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/fundingInfo`: how often each perpetual pays now, and within which bounds."""
    known = venue.listed(case.faults, case.now_ms)
    rows = (_interval(symbol, venue.funding(symbol), case.now_ms) for symbol in known if symbol in venue.perpetuals)
    return reply(200, f"[{','.join(rows)}]")


def _interval(symbol: str, funding: Funding, now_ms: int) -> str:
    return (
        f'{{"symbol":"{symbol}","adjustedFundingRateCap":"0.02000000","adjustedFundingRateFloor":"-0.02000000",'
        f'"fundingIntervalHours":{funding.hours(now_ms)},"disclaimer":false,"updateTime":null}}'
    )
