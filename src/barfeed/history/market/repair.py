"""A market mended on the exchange's word, by the rules of one series: all asked at once, each mended by itself."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.acceptance import Change, differences
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.errors import BarfeedError, StoreEmpty
from barfeed.domain.market.selection import Selection
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll, Steps
from barfeed.history.market.universe import universe
from barfeed.history.mending.repair import (
    PAGE_BARS,
    Survey,
    Wanted,
    mismatched,
    refuse_broken,
    said_again,
    within,
)
from barfeed.machine.clock import Patience
from barfeed.store.duckdb import Coverage
from barfeed.store.port.whole import WholeHistory
from barfeed.store.revisions import Revision

# So many bars of either side are in memory at once.
_BARS_AT_ONCE = 50_000


class _Look(NamedTuple):
    """A series that is looked at: which open_times, in a table of its own or not, and what of it was let pass."""

    series: Series
    opens: range
    is_alone: bool
    passed: Sequence[Bar]


class MarketRepair:
    """One repair of many series; `max_wait_sec` is how long each question to the exchange may take."""

    def __init__(
        self, store: WholeHistory, interval: Interval, talk: Conversation, ask: AskAll, max_wait_sec: float
    ) -> None:
        self._store = store
        self._interval = interval
        self._talk = talk
        self._ask = ask
        self._max_wait_sec = max_wait_sec
        self._passed: Mapping[str, Sequence[Bar]] = {}

    def survey(self, selection: Selection, wanted: Wanted) -> dict[str, Survey | BarfeedError]:
        """Each symbol that is meant, sorted: what differs, or why that is not known. Changes nothing.

        Raises `StoreUnusable` for what is wrong with the file.
        """
        now_ms, seen_at_ms = self._talk.now_ms, self._talk.rest.clock.utc_ms()
        looks, found = self._looks(selection, wanted, now_ms)
        for batch in _batches(looks):
            stored = self._stored(batch)
            answers = self._ask([self._asking(each, [each.opens], now_ms) for each in batch])
            for look, theirs in zip(batch, answers, strict=True):
                symbol = look.series.symbol
                if isinstance(theirs, BarfeedError):
                    found[symbol] = theirs
                else:
                    differing = differences(look.opens, stored.get(symbol, ()), theirs)
                    found[symbol] = Survey(now_ms, seen_at_ms, look.opens, differing)
        return dict(sorted(found.items()))

    def confirmed(self, surveys: Mapping[str, Survey], pause_sec: float) -> dict[str, list[Change] | BarfeedError]:
        """Of each, the changes of which the exchange says the same after a pause; gaps need no second word."""
        runs = {symbol: mismatched(each, self._interval.ms) for symbol, each in surveys.items()}
        again = [symbol for symbol, each in runs.items() if each]
        if again:
            self._talk.rest.clock.sleep(pause_sec)
        looks = [_Look(self._series(each), range(0), is_alone=False, passed=self._of(each)) for each in again]
        answers = self._ask(
            [
                self._asking(look, runs[look.series.symbol], surveys[look.series.symbol].now_ms)
                for look in looks
            ]
        ) if again else []  # fmt: skip
        told = {
            symbol: each if isinstance(each, BarfeedError) else said_again(surveys[symbol], set(each))
            for symbol, each in zip(again, answers, strict=True)
        }
        return {symbol: told.get(symbol, []) for symbol in surveys}

    def _looks(
        self, selection: Selection, wanted: Wanted, now_ms: int
    ) -> tuple[list[_Look], dict[str, Survey | BarfeedError]]:
        """What is to be looked at of each; why nothing of the others."""
        self._store.expect_there()
        symbols = universe(self._store, self._interval, selection)
        # Where no revision can be kept, none is planned.
        self._passed = _let_pass(self._store.revisions_of_all(self._interval))
        with self._store.reading_market(self._interval) as table:
            elsewhere, together = table.elsewhere(), table.coverage()
        own = {each for each in symbols if self._series(each).table in elsewhere}
        looks: list[_Look] = []
        found: dict[str, Survey | BarfeedError] = {}
        for symbol in symbols:
            try:
                coverage = self._coverage(symbol) if symbol in own else together.get(symbol, Coverage(0, None, None))
                looks.append(self._look(symbol, coverage, wanted, now_ms, is_alone=symbol in own))
            except BarfeedError as problem:
                found[symbol] = problem
        return looks, found

    def _coverage(self, symbol: str) -> Coverage:
        with self._store.reading(self._series(symbol)) as table:
            return table.coverage()

    def _look(self, symbol: str, coverage: Coverage, wanted: Wanted, now_ms: int, *, is_alone: bool) -> _Look:
        step_ms = self._interval.ms
        opens = within(coverage, wanted, grid.last_closed(now_ms, step_ms), step_ms)
        if opens is None:
            raise StoreEmpty(f"{self._series(symbol)}: the store holds no bar to repair", hint="barfeed run --catch-up")
        return _Look(self._series(symbol), opens, is_alone, self._of(symbol))

    def _stored(self, batch: Sequence[_Look]) -> dict[str, list[Bar]]:
        bars: dict[str, list[Bar]] = {}
        from_ms = {each.series.symbol: each.opens.start for each in batch if not each.is_alone}
        if from_ms:
            with self._store.reading_market(self._interval) as market:
                bars |= market.bars(from_ms)
        for each in batch:
            if each.is_alone:
                with self._store.reading(each.series) as table:
                    bars[each.series.symbol] = table.bars(each.opens.start)
        return {
            each.series.symbol: [
                bar for bar in bars.get(each.series.symbol, ()) if bar.open_time_ms < each.opens.stop
            ]
            for each in batch
        }  # fmt: skip

    def _asking(self, look: _Look, runs: Sequence[range], now_ms: int) -> Steps[list[Bar]]:
        """The exchange's bars of some runs of open_times, page by page."""
        branch, found = Branch(self._talk), []
        pages = [opens[at : at + PAGE_BARS] for opens in runs for at in range(0, len(opens), PAGE_BARS)]
        for page in pages:
            # A patience for each page: a long span is no reason to give up.
            branch.patience = Patience(self._talk.rest.clock, self._max_wait_sec)
            pull = yield from branch.steps_of_newest_bars(look.series, page[-1], len(page))
            refuse_broken(look.series, pull, page[-1], now_ms, look.passed)
            found += [bar for bar in pull.bars if bar.open_time_ms >= page[0]]
        return found

    def _of(self, symbol: str) -> Sequence[Bar]:
        return self._passed.get(symbol, ())

    def _series(self, symbol: str) -> Series:
        return Series(symbol, self._interval)


def _let_pass(revisions: Sequence[tuple[str, Revision]]) -> dict[str, list[Bar]]:
    passed: dict[str, list[Bar]] = {}
    for symbol, each in revisions:
        if each.is_let_pass:
            passed.setdefault(symbol, []).append(each.change.new)
    return passed


def _batches(looks: Sequence[_Look]) -> Iterator[list[_Look]]:
    batch: list[_Look] = []
    for each in looks:
        batch.append(each)
        if sum(len(look.opens) for look in batch) >= _BARS_AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
