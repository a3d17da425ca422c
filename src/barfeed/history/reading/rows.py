"""What a row of each answer is. Moments are UTC without a zone; a symbol's bars open on its interval's grid."""

from datetime import datetime
from typing import NamedTuple


class BarRow(NamedTuple):
    """A bar: when it opens, its prices in the quote asset, its volume in the base asset; None where none is stored."""

    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class SymbolBarRow(NamedTuple):
    """A bar of several symbols'."""

    symbol: str
    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float


class CandleRow(NamedTuple):
    """Bars summed up: when the step begins, its first open, highest, lowest, last close, all volume, and how many."""

    timestamp: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    bars: int


class CoverageRow(NamedTuple):
    """A series that is stored: how many bars, and when the first and the last of them open."""

    symbol: str
    interval: str
    bars: int
    first: datetime
    last: datetime


class GapRow(NamedTuple):
    """A run of bars that is missing between two that are stored: when its first and its last bar would open."""

    symbol: str
    interval: str
    first: datetime
    last: datetime
    bars: int


class RevisionRow(NamedTuple):
    """A stored bar that was changed, both versions; the old one is None in one that was let pass as it is."""

    symbol: str
    interval: str
    timestamp: datetime
    old_open: float | None
    old_high: float | None
    old_low: float | None
    old_close: float | None
    old_volume: float | None
    new_open: float
    new_high: float
    new_low: float
    new_close: float
    new_volume: float
    seen_at: datetime
    accepted_at: datetime
    reason: str
    run: str


class ListingRow(NamedTuple):
    """How a symbol was listed when a pass last saw it otherwise than before; `UNLISTED` where it is no more."""

    symbol: str
    status: str
    contract_type: str
    quote: str
    onboard: datetime | None
    delivery: datetime | None
    tick: float | None
    seen_at: datetime
