"""Many series asked about within one conversation, by whoever drives their steps at once."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import sources
from barfeed.domain.bars import Series
from barfeed.domain.errors import BarfeedError, ExchangeRefused, ExchangeUnavailable
from barfeed.domain.grid import Gap
from barfeed.domain.sources import Part
from barfeed.exchange import refusals
from barfeed.exchange.paging import PAGE_ROWS, steps_of_page
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import AskAll, Pause, Steps
from barfeed.machine.clock import Patience


class Branch(Conversation):
    """A conversation about one series: one of many at once, within the whole market's.

    It shares the whole's time, patience and budget, and what it costs is counted there, too. A refusal is its own; one
    that concerns whoever asks from this address, as a block does, is the whole's: then no branch asks any more. It is
    made once the whole has asked the time, and has its budget.
    """

    def __init__(self, whole: Conversation) -> None:
        super().__init__(whole.rest, whole.patience, whole.budget)
        self.time = whole.time
        self.settled_sec = whole.settled_sec
        self._whole = whole

    def count_retry(self, reason: str) -> None:
        """Count it here, and in the whole's."""
        super().count_retry(reason)
        self._whole.count_retry(reason)

    def _counted(self, url: str, weighs: int) -> Steps[Answer]:
        try:
            return (yield from super()._counted(url, weighs))
        except ExchangeRefused as refusal:
            # A certificate that is not to be trusted now is not to be for the next one.
            self.remember(refusal)
            raise

    def count_request(self) -> None:
        """Count it here, and in the whole's."""
        super().count_request()
        self._whole.count_request()

    def note(self, used_weight: int | None, dated_ms: int | None) -> None:
        """What an answer tells, here and in the whole's."""
        super().note(used_weight, dated_ms)
        self._whole.note(used_weight, dated_ms)

    def refuse(self, path: str) -> None:
        """Raise why nothing more is asked, of this series or of any."""
        self._whole.refuse(path)
        super().refuse(path)
        if not self.patience.left_sec:
            # Its own is what was left of the whole's when its turn came: that may have been nothing.
            spent = self.patience if self._whole.patience.left_sec else self._whole.patience
            raise ExchangeUnavailable(
                f"{self.base_url} was not asked {path}: the others took all of {spent.total_sec:g} s"
            )

    def remember(self, refusal: BarfeedError) -> None:
        """Ask nothing more of this series, or of any."""
        super().remember(refusal)
        if refusals.is_for_all(refusal):
            self._whole.remember(refusal)

    def alone_sec(self) -> float:
        """How long the exchange is still to be left alone, by all."""
        return self._whole.alone_sec()

    def _pause_after(self, fault: TryAgain, attempts: int, pause_sec: float, path: str) -> Pause:
        if fault.reason != refusals.TOO_MANY:
            return super()._pause_after(fault, attempts, pause_sec, path)
        # It is said to the address: who asks on, for another series, is banned for it.
        try:
            pause = super()._pause_after(fault, attempts, pause_sec, path)
        except ExchangeUnavailable as unavailable:
            self._whole.remember(unavailable)
            raise
        self._whole.alone_until_sec = max(self._whole.alone_until_sec, self.rest.clock.steady_sec() + pause.sec)
        return pause

    def _is_news(self, fault: TryAgain, attempts: int) -> bool:
        # Once for all series: the manifest has the count.
        return super()._is_news(fault, attempts) and self._whole.retries[fault.reason] == 1


class History:
    """The exchange's word on the history of many series, within one conversation: pages of all of them at once."""

    def __init__(self, talk: Conversation, ask: AskAll, max_wait_sec: float) -> None:
        self._talk = talk
        self._ask = ask
        self._max_wait_sec = max_wait_sec
        self._parts: dict[tuple[Series, Gap], Part | BarfeedError] = {}

    def fetch_ahead(self, spans: Mapping[Series, Sequence[Gap]]) -> None:
        """Ask for these spans, all at once; what was fetched ahead before is forgotten."""
        pages = [(series, page) for series, each in spans.items() for page in _pages(series, each)]
        self._parts = dict(zip(pages, self._ask([self._page(*each) for each in pages]), strict=True))

    def of(self, series: Series) -> "HistoryOf":
        """That of one series, as a `Source`."""
        return HistoryOf(self, series)

    def fetch(self, series: Series, spans: Sequence[Gap]) -> Iterator[Part]:
        """As a `Source` does: from what was fetched ahead, or by asking."""
        for page in _pages(series, spans):
            part = self._parts.get((series, page)) or self._ask([self._page(series, page)])[0]
            if isinstance(part, BarfeedError):
                raise part
            yield part

    def _page(self, series: Series, page: Gap) -> Steps[Part]:
        branch = Branch(self._talk)
        # From its first step on: what is in line before it takes none of it.
        branch.patience = Patience(self._talk.rest.clock, self._max_wait_sec)
        return Part(self._talk.base_url, page, (yield from steps_of_page(branch, series, page)))


class HistoryOf(NamedTuple):
    """The exchange's word on the history of one series of many."""

    history: History
    series: Series

    def start(self, _weight_budget: int | None) -> None:
        """Nothing is left to ask: the conversation has begun."""

    def fetch(self, spans: Sequence[Gap]) -> Iterator[Part]:
        """The exchange's bars of ascending `spans`, a part for each page, in order; raises what the exchange does."""
        return self.history.fetch(self.series, spans)


def _pages(series: Series, spans: Sequence[Gap]) -> list[Gap]:
    return list(sources.pages(spans, PAGE_ROWS, series.interval.ms))
