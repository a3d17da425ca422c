"""Many series asked about within one conversation, by whoever drives their steps at once."""

from barfeed.domain.errors import BarfeedError, ExchangeRefused, ExchangeUnavailable
from barfeed.exchange import refusals
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Conversation
from barfeed.exchange.steps import Pause, Steps


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
            raise ExchangeUnavailable(
                f"{self.base_url} was not asked {path}: the others took all of {self.patience.total_sec:g} s"
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
