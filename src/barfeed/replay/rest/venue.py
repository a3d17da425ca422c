"""What the exchange has to say, as far as tapes go: the answer of each endpoint, before anything bends it."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import UsageError
from barfeed.replay.faults import tampering
from barfeed.replay.faults.script import Fault
from barfeed.replay.faults.tampering import Case
from barfeed.replay.messages import Reply, reply
from barfeed.replay.refusals import refused
from barfeed.replay.rest import lives, query
from barfeed.replay.rest.info import Listing, exchange_info
from barfeed.replay.rest.view import Reel, View, concerns
from barfeed.replay.stream import frames
from barfeed.replay.tapes.kinds.files import NOTHING, Recorded
from barfeed.replay.tapes.kinds.flows import Trades
from barfeed.replay.tapes.kinds.funding import Funding
from barfeed.replay.tapes.kinds.positions import Positions
from barfeed.replay.tapes.kinds.prices import PRICES, SPOT, price_tape
from barfeed.replay.tapes.klines import Decimals
from barfeed.replay.tapes.rows import price_row, spot_row
from barfeed.replay.tapes.tape import Tape

# Finished rows kept as text, of all series together, and of each at least.
CACHED_ROWS = 50_000
CACHED_ROWS_MIN = 64

# How long a market's symbol is listed before it trades.
ANNOUNCED_BEFORE_MS = 24 * HOUR_MS
# The longest pause that was seen between two frames of a stream.
QUIETEST_MS = 10_000
# How the rows are written that are no contract's trades.
TEXTS = {**dict.fromkeys(PRICES, price_row), SPOT: spot_row}


class Venue:
    """The symbols and series that there are; `recorded` is what was found of their funding and open interest."""

    def __init__(self, tapes: Iterable[Tape], recorded: Recorded = NOTHING) -> None:
        by_symbol = _by_symbol(tapes)
        self._recorded = recorded
        # Each is put together when it is first asked for.
        self._further: dict[tuple[str, str, str], Reel] = {}
        self.trades = cache(self._trades)
        self.positions = cache(self._positions)
        self.funding = cache(self._funding)
        self.listings = {symbol: _listing(symbol, some) for symbol, some in by_symbol.items()}
        cached = max(CACHED_ROWS_MIN, CACHED_ROWS // max(1, sum(map(len, by_symbol.values()))))
        self.reels = {
            (symbol, str(tape.series.interval)): _reel(tape, tapes, self.listings[symbol].decimals, cached)
            for symbol, tapes in by_symbol.items()
            for tape in tapes
        }
        self.perpetuals = {symbol for symbol in by_symbol if "_" not in symbol}
        self._by_symbol = by_symbol
        self.streams = {frames.name(reel.tape.series): reel.tape.series for reel in self.reels.values()}

    def reel(self, name: str, symbol: str, interval: str) -> Reel | None:
        """The tape behind an endpoint of klines."""
        whole = self.reels.get((symbol, interval))
        if whole is None or name == "klines":
            return whole
        key = (name, symbol, interval)
        if key not in self._further:
            self._further[key] = self._beside(name, whole)
        return self._further[key]

    def _beside(self, name: str, whole: Reel) -> Reel:
        decimals = self.listings[whole.tape.series.symbol].decimals
        tape, *finer = (price_tape(name, each, decimals) for each in (whole.tape, *whole.finer))
        return Reel(tape, finer, tape.decimals, CACHED_ROWS_MIN, TEXTS[name])

    def _trades(self, symbol: str) -> Trades:
        return Trades(self._by_symbol[symbol], self.listings[symbol].decimals)

    def _positions(self, symbol: str) -> Positions:
        return Positions(self.trades(symbol), self._recorded.held.get(symbol, ()))

    def _funding(self, symbol: str) -> Funding:
        return Funding(self.trades(symbol), self._recorded.funding.get(symbol, ()))

    def listed(self, faults: Sequence[Fault], now_ms: int) -> dict[str, Listing]:
        """What is listed at a moment, and as what."""
        known = (lives.listed(listing, faults, now_ms) for listing in self.listings.values())
        return {each.symbol: each for each in known if each}

    def pause_ms(self, series: Series, now_ms: int) -> int:
        """How long it is from one trade to the next while a market's bar is forming; 0 for what is no market's."""
        reel = self.reels[series.symbol, str(series.interval)]
        index = reel.tape.index(grid.floor(now_ms, reel.step_ms)) if reel.tape.contract else None
        return 0 if index is None else min(QUIETEST_MS, round(reel.step_ms / max(1.0, reel.kline(index).trades)))


def ping(_venue: Venue, _case: Case) -> Reply:
    """`/fapi/v1/ping`."""
    return reply(200, "{}")


def nothing() -> Reply:
    """Where there is no such path."""
    return refused(404, until_ms=0, limit=0)


def time(_venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/time`."""
    now_ms = case.now_ms
    for fault in case.faults:
        if fault.kind in tampering.TIMES:
            now_ms = tampering.TIMES[fault.kind](now_ms, fault)
    return reply(200, f'{{"serverTime":{now_ms}}}')


def info(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/exchangeInfo`; a symbol in the request is ignored."""
    known = venue.listed(case.faults, case.now_ms)
    return reply(200, exchange_info(list(known.values()), case.now_ms, case.weight_limit))


def klines(venue: Venue, case: Case) -> Reply:
    """`/fapi/v1/klines`."""
    return answered(venue, "klines", case.sent, case)


def answered(venue: Venue, name: str, sent: Mapping[str, str], case: Case) -> Reply:
    """What an endpoint of klines answers."""
    ask = query.read(sent, venue.listings)
    if isinstance(ask, Reply):
        return ask
    if refusal := lives.refused(venue.listings[ask.symbol], case.faults, case.now_ms):
        return refusal
    reel = venue.reel(name, ask.symbol, ask.interval)
    return reply(200, f"[{','.join(_rows(reel, ask, case))}]" if reel else "[]")


def _rows(reel: Reel, ask: query.Ask, case: Case) -> list[str]:
    """The rows that the series has for this, through the faults that concern it."""
    faults = [fault for fault in case.faults if concerns(fault, reel.tape.series, case.now_ms)]
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
    listing = Listing(symbol, min((tape.open_times[0] for tape in tapes if len(tape)), default=0), decimals)
    contract = tapes[0].contract
    if contract is None:
        return listing
    return listing._replace(
        contract_type=contract.contract_type,
        announced_ms=listing.onboard_ms - ANNOUNCED_BEFORE_MS,
        ticks=tuple(contract.ticks),
    )


def _reel(tape: Tape, tapes: Sequence[Tape], decimals: Decimals, cached: int) -> Reel:
    step_ms = tape.series.interval.ms
    finer = [each for each in tapes if each.series.interval.ms < step_ms and step_ms % each.series.interval.ms == 0]
    return Reel(tape, finer, decimals, cached)
