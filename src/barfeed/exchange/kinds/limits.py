"""What may be asked of the exchange within a limit of requests: so many in any span of its length."""

from collections import deque
from collections.abc import Callable
from threading import Lock

from barfeed.domain.kinds.kind import Limit

# Another program at this address asks, too; and a process that has just begun does not know what the last one asked.
_SHARE = 0.9
_SETTLED_SOON_SEC = 0.1


class Requests:
    """As a `Budget` of weight, for requests that are counted: whether by the clock or not, no span has too many."""

    def __init__(self, limit: Limit, now_sec: Callable[[], float]) -> None:
        self.limit = limit
        self._most = int(limit.most * _SHARE)
        self._span_sec = limit.span_ms / 1000
        self._now_sec = now_sec
        self._lock = Lock()
        self._sent_sec: deque[float] = deque()

    def admit(self, _cost: int) -> float:
        """Zero: go ahead, it is counted. Else wait so many seconds and ask again."""
        with self._lock:
            now_sec = self._now_sec()
            while self._sent_sec and self._sent_sec[0] <= now_sec - self._span_sec:
                self._sent_sec.popleft()
            if len(self._sent_sec) >= self._most:
                return max(_SETTLED_SOON_SEC, self._sent_sec[0] + self._span_sec - now_sec)
            self._sent_sec.append(now_sec)
            return 0.0

    def settle(self, _cost: int, _used: int | None, _sent_ms: int) -> None:
        """It is counted already, and from when it was sent; an answer under way may be counted later by so little."""
