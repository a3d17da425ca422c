"""One series among all the others in a database."""

from collections.abc import Sequence

from barfeed.domain.bars import Bar, Series
from barfeed.store.duckdb import Coverage
from barfeed.store.postgres.tables.market import MarketTable


class SeriesTable:
    """The bars of one series, in a transaction."""

    def __init__(self, market: MarketTable, series: Series) -> None:
        self._market = market
        self._symbol = series.symbol

    def coverage(self) -> Coverage:
        """How many there are, the first and the last."""
        return self._market.coverage_of(self._symbol)

    def bars(self, from_ms: int) -> list[Bar]:
        """The bars that open at `from_ms` (ms) or later, ascending; a stored NULL comes as NaN."""
        return self._market.bars({self._symbol: from_ms}).get(self._symbol, [])

    def append(self, bars: Sequence[Bar]) -> int:
        """Insert those whose open_time is not there yet; how many were."""
        return self._market.append({self._symbol: bars})[self._symbol]

    def would_take(self, bars: Sequence[Bar]) -> int:
        """How many of `bars` can be stored: all, nothing in these tables refuses one."""
        return len(bars)
