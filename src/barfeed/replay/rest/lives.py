"""What becomes of a symbol by the exchange's clock: how it is listed, whether it is served, which bars it has."""

from collections.abc import Callable, Sequence

from barfeed.replay import refusals
from barfeed.replay.faults.script import ENDLESS, Fault
from barfeed.replay.messages import Reply
from barfeed.replay.rest.info import Listing, by_clock


def listed(listing: Listing, faults: Sequence[Fault], now_ms: int) -> Listing | None:
    """The symbol as exchangeInfo lists it now; None where it does not."""
    known = by_clock(listing, now_ms)
    for fault in faults:
        if known and fault.kind in _LISTED and _is_of(fault, listing.symbol, now_ms):
            known = _LISTED[fault.kind](known, fault, now_ms)
    return known


def refused(listing: Listing, faults: Sequence[Fault], now_ms: int) -> Reply | None:
    """The refusal of a symbol that is not known or not trading yet, or not listed any more; None where it is served."""
    if now_ms < listing.announced_ms:
        return refusals.BAD_SYMBOL.reply(400)
    for fault in faults:
        if fault.kind in _REFUSALS and _is_of(fault, listing.symbol, now_ms):
            is_refused, code = _REFUSALS[fault.kind]
            if is_refused(fault, now_ms):
                return refusals.REFUSING[fault.args.get("refusal", code)].reply(400)
    return None


def _is_of(fault: Fault, symbol: str, now_ms: int) -> bool:
    # A symbol's life is that of all its series.
    return (fault.series is None or fault.series.symbol == symbol) and fault.is_about(symbol, now_ms)


def _pending(listing: Listing, fault: Fault, now_ms: int) -> Listing:
    begun = listing._replace(onboard_ms=fault.args["at"])
    return begun._replace(status="PENDING_TRADING") if now_ms < fault.args["at"] else begun


def _halted(listing: Listing, fault: Fault, now_ms: int) -> Listing:
    if not fault.args["at"] <= now_ms < fault.args.get("resume", ENDLESS):
        return listing
    # As BTCSTUSDT was listed in 2021.
    return listing._replace(status=fault.args.get("listed", "PENDING_TRADING"), contract_type="")


def _settled(listing: Listing, fault: Fault, now_ms: int) -> Listing:
    ending = listing._replace(delivery_ms=fault.args["at"])
    return ending._replace(status=fault.args.get("listed", "SETTLING")) if now_ms >= fault.args["at"] else ending


def _delisted(listing: Listing, fault: Fault, now_ms: int) -> Listing | None:
    return None if now_ms >= fault.args["at"] else listing


_LISTED: dict[str, Callable[[Listing, Fault, int], Listing | None]] = {
    "pending": _pending,
    "halt": _halted,
    "settle": _settled,
    "delist": _delisted,
}
_REFUSALS: dict[str, tuple[Callable[[Fault, int], bool], int | None]] = {
    "pending": (lambda fault, now_ms: now_ms < fault.args["at"], refusals.BAD_STATUS.code),
    "delist": (lambda fault, now_ms: now_ms >= fault.args["at"], refusals.BAD_SYMBOL.code),
}
