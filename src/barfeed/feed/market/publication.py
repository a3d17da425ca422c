"""The table of every series' window, for the models: what goes into it, and why not, series by series."""

from collections.abc import Sequence

from barfeed.artifacts.writing import Run
from barfeed.domain import grid, window
from barfeed.domain.errors import BarfeedError
from barfeed.domain.grid import Gap
from barfeed.domain.market.members import Member
from barfeed.domain.window import Shortage
from barfeed.exchange.market import Branch
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll
from barfeed.feed.market.keeping import Keeping
from barfeed.feed.market.order import MarketOrder
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.market.windows import Lacking
from barfeed.store.market import Window
from barfeed.store.port.history import MarketBars


class Publication:
    """What one pass publishes once its bars are appended."""

    def __init__(
        self, keeping: Keeping, order: MarketOrder, talk: Conversation, ask: AskAll, record: MarketRecord
    ) -> None:
        self._keeping = keeping
        self._order = order
        self._talk = talk
        self._ask = ask
        self._record = record
        self._target_ms = record.target_ms or 0
        self._start_ms = grid.window_start(self._target_ms, order.reach.window_bars, order.interval.ms)

    def publish(self, run: Run, due: Sequence[Member]) -> None:
        """Write the windows of what is well of these, and note why the others are left out."""
        self._record.begins_ms = begins_ms = self._usable([each for each in due if self._is_well(each)])
        if begins_ms.keys() <= self._record.published_before:
            # Nothing at all, or nothing more than there is.
            return
        newest_ms = grid.last_closed(self._talk.now_ms, self._order.interval.ms)
        with self._keeping.reading() as table:
            self._record.inference = run.replace_latest_windows(
                lambda path: table.write_windows(path, begins_ms, self._target_ms),
                self._target_ms,
                newest_ms,
                table.end_of,
            )
            fresh = begins_ms.keys() - self._record.published_before
            csvs = table.bars({each: begins_ms[each] for each in self._order.csv_for if each in fresh})
        for symbol, bars in csvs.items():
            window_bars = [bar for bar in bars if bar.open_time_ms <= self._target_ms]
            self._record.csvs[symbol] = run.publish_for(symbol, window_bars, newest_ms)
        for symbol in begins_ms:
            self._record.outcomes[symbol].is_published = True

    def _is_well(self, member: Member) -> bool:
        outcome = self._record.outcomes[member.symbol]
        return not (outcome.failure or outcome.quiet) and member.asked.target_ms == self._target_ms

    def _usable(self, well: Sequence[Member]) -> dict[str, int]:
        """From where on each window is given to the models."""
        whole = Window(self._order.reach.window_bars, is_sound=True)
        with self._keeping.reading() as table:
            windows = table.windows(self._start_ms, self._target_ms)
            lacking = [each for each in well if windows.get(each.symbol) != whole]
            short = self._lacking(table, lacking)
        begins_ms = {each.symbol: self._start_ms for each in well if each not in lacking}
        for each, told in zip(short, self._judged(short), strict=True):
            outcome = self._record.outcomes[each.asked.series.symbol]
            if isinstance(told, BarfeedError):
                outcome.fail(self._keeping.of_the_store(told))
                continue
            outcome.short = str(told)
            if told.first_ms is not None and 0 < self._order.window_bars_min <= told.bars:
                begins_ms[outcome.symbol] = told.first_ms
        return begins_ms

    def _lacking(self, table: MarketBars, lacking: Sequence[Member]) -> list[Lacking]:
        held = table.bars({each.symbol: self._start_ms for each in lacking})
        gaps = table.exchange_gaps([each.symbol for each in lacking])
        return [
            Lacking(self._window(each), held.get(each.symbol, ()), each.now, gaps.get(each.symbol, ()))
            for each in lacking
        ]

    def _window(self, member: Member) -> window.Asked:
        order, series = self._order, member.asked.series
        bars, bars_min = order.reach.window_bars, order.window_bars_min
        return window.Asked(series, self._target_ms, bars, bars_min, order.remedies(member.symbol))

    def _judged(self, short: Sequence[Lacking]) -> list[Shortage | BarfeedError]:
        """What the exchange has of each, where that is not known yet; it is asked once, and remembered."""
        unknown = [(each.asked.series, gap) for each in short for gap in each.unknown]
        questions = [
            Branch(self._talk).steps_of_first_bar(series, gap.first_ms, gap.last_ms) for series, gap in unknown
        ]
        answers = self._ask(questions) if questions else ()
        first_ms: dict[str, dict[Gap, int | None]] = {}
        for (series, gap), answer in zip(unknown, answers, strict=True):
            if not isinstance(answer, BarfeedError):
                opens_ms = [bar.open_time_ms for bar in answer.bars if gap.first_ms <= bar.open_time_ms <= gap.last_ms]
                first_ms.setdefault(series.symbol, {})[gap] = min(opens_ms, default=None)
        self._remember(first_ms)
        return [each.judged(first_ms.get(each.asked.series.symbol, {})) for each in short]

    def _remember(self, first_ms: dict[str, dict[Gap, int | None]]) -> None:
        absent = [(symbol, gap) for symbol, told in first_ms.items() for gap, found in told.items() if found is None]
        self._keeping.remember(absent)
