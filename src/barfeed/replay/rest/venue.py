"""What the exchange has to say, as far as tapes go: the answer of each endpoint, before anything bends it."""

from collections.abc import Callable, Iterable, Sequence

from barfeed.domain.errors import UsageError
from barfeed.replay.faults import tampering
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, reply
from barfeed.replay.rest import lives, query
from barfeed.replay.rest.info import Listing, exchange_info
from barfeed.replay.rest.view import Reel, View, concerns
from barfeed.replay.tapes.klines import Decimals
from barfeed.replay.tapes.tape import Tape


class Venue:
    """The symbols and series that there are."""

    def __init__(self, tapes: Iterable[Tape]) -> None:
        by_symbol = _by_symbol(tapes)
        self.listings = [_listing(symbol, some) for symbol, some in by_symbol.items()]
        self.reels = {
            (listing.symbol, str(tape.series.interval)): _reel(tape, by_symbol[listing.symbol], listing.decimals)
            for listing in self.listings
            for tape in by_symbol[listing.symbol]
        }
        self.symbols = frozenset(by_symbol)


def ping(_venue: Venue, _case: Case) -> Reply:
    """`/fapi/v1/ping`."""
    return reply(200, "{}")


def time(_venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/time`."""
    now_ms = case.now_ms
    for fault in case.faults:
        if fault.kind in tampering.TIMES:
            now_ms = tampering.TIMES[fault.kind](now_ms, fault)
    return reply(200, f'{{"serverTime":{now_ms}}}')


def info(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/exchangeInfo`; a symbol in the request is ignored."""
    known = (lives.listed(listing, case.faults, case.now_ms) for listing in venue.listings)
    return reply(200, exchange_info([each for each in known if each], case.now_ms, case.weight_limit))


def klines(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/klines`."""
    ask = query.read(case.sent, venue.symbols)
    if isinstance(ask, Reply):
        return ask
    if refusal := lives.refused(ask.symbol, case.faults, case.now_ms):
        return refusal
    reel = venue.reels.get((ask.symbol, ask.interval))
    return reply(200, f"[{','.join(_rows(reel, ask, case))}]" if reel else "[]")


ENDPOINTS: dict[str, Callable[[Venue, Case], Reply]] = {
    "ping": ping,
    "time": time,
    "exchangeInfo": info,
    "klines": klines,
}


def _rows(reel: Reel, ask: query.Ask, case: Case) -> list[str]:
    """The rows that the series has for this, through the faults that concern it."""
    faults = [fault for fault in case.faults if concerns(fault, reel.tape.series)]
    view = View(reel, case.now_ms, faults)
    rows = view.rows(ask)
    for fault in faults:
        if fault.kind in tampering.ROWS:
            rows = tampering.ROWS[fault.kind](rows, fault, view.forming())
    return rows


def _by_symbol(tapes: Iterable[Tape]) -> dict[str, list[Tape]]:
    """Each symbol's tapes, the finest first."""
    by_symbol: dict[str, list[Tape]] = {}
    for tape in sorted(tapes, key=lambda each: each.series.interval.ms):
        some = by_symbol.setdefault(tape.series.symbol, [])
        if some and some[-1].series == tape.series:
            raise UsageError(f"{tape.series}: two tapes; expected one with all its bars")
        some.append(tape)
    return by_symbol


def _listing(symbol: str, tapes: Sequence[Tape]) -> Listing:
    decimals = Decimals(0, 0, 0)
    for tape in tapes:
        decimals = decimals.widest(tape.decimals)
    return Listing(symbol, min((tape.open_times[0] for tape in tapes if len(tape)), default=0), decimals)


def _reel(tape: Tape, tapes: Sequence[Tape], decimals: Decimals) -> Reel:
    step_ms = tape.series.interval.ms
    finer = [each for each in tapes if each.series.interval.ms < step_ms and step_ms % each.series.interval.ms == 0]
    return Reel(tape, finer, decimals)
