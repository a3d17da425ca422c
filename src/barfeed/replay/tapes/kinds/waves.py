"""Numbers that wander with the time, the same for the same key: what nobody recorded is made of them. Pure."""

from functools import lru_cache

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.tapes.made_up import Lot

# Each wave turns half as often as the one before it, the first every hour.
WAVES = 6


@lru_cache(maxsize=65_536)
def drawn(key: str) -> float:
    """A number from -1 to 1 by the key."""
    return Lot(key).between(0, -1, 1)


def level(key: str, at_ms: int) -> float:
    """From -1 to 1, without a jump; most of it is the slowest wave's."""
    shares = [2.0**wave for wave in range(WAVES)]
    return sum(share * _wave(key, wave, at_ms) for wave, share in enumerate(shares)) / sum(shares)


def _wave(key: str, wave: int, at_ms: int) -> float:
    number, along_ms = divmod(at_ms, HOUR_MS << wave)
    past = along_ms / (HOUR_MS << wave)
    return drawn(f"{key} {wave} {number}") * (1 - past) + drawn(f"{key} {wave} {number + 1}") * past
