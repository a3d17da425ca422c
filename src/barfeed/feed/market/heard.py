"""What a market's streams say, for its watch: whose closing frames came, and of which symbols something became."""

from collections.abc import Callable, Mapping
from threading import Lock

from barfeed.domain.bars import Interval, Series
from barfeed.domain.life import Listing
from barfeed.exchange.stream.wire import Contract

# Of each interval: a frame of the bar before may come behind the first of the next one.
_BARS_KEPT = 2


class Heard:
    """Filled by the threads of the streams, read by the watch; `ring` wakes it. Times are ms since 1970-01-01 UTC."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._lock = Lock()
        self._closed: dict[Interval, dict[int, set[str]]] = {}
        self._contracts: dict[str, Contract] = {}

    def closed(self, series: Series, open_time_ms: int) -> None:
        """A bar's closing frame came."""
        with self._lock:
            bars = self._closed.setdefault(series.interval, {})
            bars.setdefault(open_time_ms, set()).add(series.symbol)
            for old_ms in sorted(bars)[:-_BARS_KEPT]:
                del bars[old_ms]
        self._ring()

    def contract(self, told: Contract) -> None:
        """Something became of a symbol."""
        with self._lock:
            self._contracts[told.symbol] = told
        self._ring()

    def newest_ms(self, interval: Interval) -> int | None:
        """The newest bar of which a closing frame came."""
        with self._lock:
            return max(self._closed.get(interval, {}), default=None)

    def symbols(self, interval: Interval, open_time_ms: int) -> frozenset[str]:
        """Whose closing frame of this bar came."""
        with self._lock:
            return frozenset(self._closed.get(interval, {}).get(open_time_ms, ()))

    def forget(self, interval: Interval, open_time_ms: int) -> None:
        """A frame of this bar was none that anybody waits for, or came much too early."""
        with self._lock:
            self._closed.get(interval, {}).pop(open_time_ms, None)

    def has_news(self, listed: Mapping[str, Listing]) -> bool:
        """Whether a symbol is said to be listed otherwise than `listed` has it; said once."""
        with self._lock:
            told, self._contracts = self._contracts, {}
        return any(_is_news(each, listed.get(each.symbol)) for each in told.values())


def _is_news(told: Contract, known: Listing | None) -> bool:
    # What is gone may be said to be listed as closed for a while.
    return known is None or (known.status, known.delivery_ms) != (told.status, told.delivery_ms)
