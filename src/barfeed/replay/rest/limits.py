"""What a request weighs, and what happens to who weighs too much."""

from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import MINUTE_MS

# As measured, not as documented: the documents are off by one at 100 and 500.
KLINE_WEIGHTS = ((100, 1), (500, 2), (1000, 5))
WEIGHT_ABOVE = 10
WEIGHT_WITHOUT_LIMIT = 5
LONGEST_NUMBER = 20

FIRST_BAN_MS = 2 * MINUTE_MS
LONGEST_BAN_MS = 3 * 24 * 60 * MINUTE_MS
ENOUGH_BANS = 12  # doubled so often, the first is longer than the longest


def is_whole_number(text: str) -> bool:
    """Whether a parameter is what the exchange takes for a number: `^[0-9]{1,20}$`."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_NUMBER


def kline_weight(limit: str) -> int:
    """What asking for klines costs, by the `limit` as it was sent; refused requests cost it too."""
    if not is_whole_number(limit):
        return WEIGHT_WITHOUT_LIMIT
    return next((weight for most, weight in KLINE_WEIGHTS if int(limit) <= most), WEIGHT_ABOVE)


class Weighed(NamedTuple):
    """`status` is 200, 429 or 418; `used` the weight of this minute; `until_ms` when a 418 ends."""

    status: int
    used: int
    until_ms: int = 0


class Limiter:
    """One address's weight in the exchange's UTC minute, and its ladder: 429, then 418, each ban twice the last."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._minute_ms = 0
        self._used = 0
        self._warned = False
        self._bans = 0
        self._banned_until_ms = 0

    def weigh(self, weight: int, now_ms: int) -> Weighed:
        """Count one request and say whether it may pass."""
        self._turn(grid.floor(now_ms, MINUTE_MS))
        self._used += weight
        if now_ms >= self._banned_until_ms and self._used > self.limit:
            return self._over(now_ms)
        status = 418 if now_ms < self._banned_until_ms else 200
        return Weighed(status, self._used, self._banned_until_ms)

    def _turn(self, minute_ms: int) -> None:
        if minute_ms != self._minute_ms:
            self._minute_ms, self._used, self._warned = minute_ms, 0, False

    def _over(self, now_ms: int) -> Weighed:
        if not self._warned:
            self._warned = True
            return Weighed(429, self._used)
        self._banned_until_ms = now_ms + min(FIRST_BAN_MS << min(self._bans, ENOUGH_BANS), LONGEST_BAN_MS)
        self._bans += 1
        return Weighed(418, self._used, self._banned_until_ms)
