"""What is held at a moment: open interest, and how it is shared between long and short. Pure.

Recorded where a file has it, made up around it elsewhere: without a jump, and valued at the price of the moment.
"""

from bisect import bisect_right
from collections.abc import Sequence
from math import exp
from typing import NamedTuple

from barfeed.replay.tapes.kinds.flows import Trades
from barfeed.replay.tapes.kinds.waves import drawn, level

# How many hours of trading are held at a time, and how far that wanders, as a power of e.
HOURS_HELD = 24
WANDERS = 0.4
# What is shared out: at most so much more of it is long than half, or less.
LEANS = 0.2
VALUE_DECIMALS = 8
RATIO_DECIMALS = 8


class Held(NamedTuple):
    """Open interest at a moment: contracts in the base asset, and their value in the quote asset."""

    at_ms: int
    contracts: float
    value: float


class Positions:
    """What is held of one symbol; `recorded` is ascending by time."""

    def __init__(self, trades: Trades, recorded: Sequence[Held] = ()) -> None:
        self._trades = trades
        self._recorded = recorded
        self._moments = [each.at_ms for each in recorded]

    def held(self, at_ms: int) -> Held:
        """The open interest at a moment."""
        after = bisect_right(self._moments, at_ms)
        if after and self._moments[after - 1] == at_ms:
            return self._recorded[after - 1]
        contracts = round(self._contracts(at_ms, after), self._trades.volume_decimals)
        return Held(at_ms, contracts, round(contracts * self._trades.price(at_ms), VALUE_DECIMALS))

    def _contracts(self, at_ms: int, after: int) -> float:
        if not self._recorded:
            return HOURS_HELD * self._trades.hourly * self._wandered(at_ms)
        if 0 < after < len(self._recorded):
            past, next_one = self._recorded[after - 1 : after + 1]
            share = (at_ms - past.at_ms) / (next_one.at_ms - past.at_ms)
            return past.contracts + share * (next_one.contracts - past.contracts)
        nearest = self._recorded[0 if after == 0 else -1]
        return nearest.contracts * self._wandered(at_ms) / self._wandered(nearest.at_ms)

    def _wandered(self, at_ms: int) -> float:
        return exp(WANDERS * level(f"{self._trades.symbol} held", at_ms))

    def long_share(self, of: str, at_ms: int) -> float:
        """Which share of what `of` counts is long."""
        key = f"{self._trades.symbol} {of}"
        return 0.5 + LEANS / 2 * (drawn(key) + level(key, at_ms))

    def ratio(self, of: str, at_ms: int) -> float:
        """Long over short, with the digits that the archive has; REST's fewer ones are rounded from these."""
        share = self.long_share(of, at_ms)
        return round(share / (1 - share), RATIO_DECIMALS)
