"""Numbers that wander with the time, the same for the same key: what nobody recorded is made of them. Pure."""

from functools import lru_cache

from barfeed.domain.bars import HOUR_MS
from barfeed.replay.tapes.made_up import Lot

# Each wave turns half as often as the one before it, the first every hour.
WAVES = 4
_SHARES = [2.0**wave / (2**WAVES - 1) for wave in range(WAVES)]


@lru_cache(maxsize=65_536)
def drawn(key: str) -> float:
    """A number from -1 to 1 by the key."""
    return Lot(key).between(0, -1, 1)


def level(key: str, at_ms: int) -> float:
    """From -1 to 1, without a jump; most of it is the slowest wave's."""
    found = 0.0
    for wave, share in enumerate(_SHARES):
        number, along_ms = divmod(at_ms, HOUR_MS << wave)
        past = along_ms / (HOUR_MS << wave)
        found += share * (_turn(key, wave, number) * (1 - past) + _turn(key, wave, number + 1) * past)
    return found


@lru_cache(maxsize=65_536)
def _turn(key: str, wave: int, number: int) -> float:
    return drawn(f"{key} {wave} {number}")
