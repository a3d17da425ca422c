"""What a request weighs, and what happens to who weighs too much."""

from collections import deque
from http import HTTPStatus
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import MINUTE_MS

# As measured, not as documented: the documents are off by one at 100 and 500.
KLINE_WEIGHTS = ((100, 1), (500, 2), (1000, 5))
WEIGHT_ABOVE = 10
WEIGHT_WITHOUT_LIMIT = 5
LONGEST_NUMBER = 20

ROLLING_MS = 5 * MINUTE_MS

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
    """One address's weight in the exchange's UTC minute, and its ladder: 429, then 418, each ban twice the last.

    `most` is the most that was ever used, `refused` how many requests were.
    """

    span = "minute"

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.most = self.refused = 0
        self._minute_ms = 0
        self._used = 0
        self._warned = False
        self._bans = 0
        self._banned_until_ms = 0

    def weigh(self, weight: int, now_ms: int) -> Weighed:
        """Count one request and say whether it may pass."""
        self._count(weight, now_ms)
        self.most = max(self.most, self._used)
        verdict = self._verdict(now_ms)
        self.refused += verdict.status != HTTPStatus.OK
        return verdict

    def _count(self, weight: int, now_ms: int) -> None:
        minute_ms = grid.floor(now_ms, MINUTE_MS)
        if minute_ms != self._minute_ms:
            self._minute_ms, self._used, self._warned = minute_ms, 0, False
        self._used += weight

    def _verdict(self, now_ms: int) -> Weighed:
        if now_ms >= self._banned_until_ms and self._used > self.limit:
            return self._over(now_ms)
        status = 418 if now_ms < self._banned_until_ms else 200
        return Weighed(status, self._used, self._banned_until_ms)

    def _over(self, now_ms: int) -> Weighed:
        if not self._warned:
            self._warned = True
            return Weighed(429, self._used)
        self._banned_until_ms = now_ms + min(FIRST_BAN_MS << min(self._bans, ENOUGH_BANS), LONGEST_BAN_MS)
        self._bans += 1
        return Weighed(418, self._used, self._banned_until_ms)


class Rolling(Limiter):
    """Requests of any five minutes: nobody has told where the exchange's begin, so every five count."""

    span = "5 minutes"

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self._times_ms: deque[int] = deque()

    def _count(self, weight: int, now_ms: int) -> None:
        self._times_ms.extend([now_ms] * weight)
        while self._times_ms[0] <= now_ms - ROLLING_MS:
            self._times_ms.popleft()
        self._used = len(self._times_ms)
        self._warned &= self._used > self.limit
