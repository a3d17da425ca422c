"""Which windows of a market are given to its models: whole ones, and those that the exchange has no more of. Pure.

Times are ms since 1970-01-01 UTC.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from barfeed.domain import rules, verdict, window
from barfeed.domain.bars import Bar
from barfeed.domain.errors import WindowGap
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life
from barfeed.domain.window import Answer, Asked, Shortage, Told


class Lacking(NamedTuple):
    """A window that is not whole, what is held of it, and its gaps, with what nobody has asked the exchange yet."""

    asked: Asked
    held: Sequence[Bar]
    now: Life
    exchange_gaps: Sequence[Gap]

    @property
    def gaps(self) -> Sequence[Gap]:
        """What is missing of it."""
        return self.asked.gaps(self.held)

    @property
    def unknown(self) -> Sequence[Gap]:
        """What of that the exchange was never seen to have none of."""
        return [gap for gap in self.gaps if not self._is_known(gap)]

    @property
    def trouble(self) -> WindowGap:
        """What there is to say where the exchange has not been asked."""
        asked = self.asked
        findings = rules.check_window(self.held, asked.start_ms, asked.target_ms, asked.step_ms)
        return verdict.window_gap(asked.series, asked.start_ms, findings, asked.remedies)

    def judged(self, first_ms: Mapping[Gap, int | None]) -> Shortage | WindowGap:
        """How short it is, where the exchange has no more; what is wrong, where it has, or something else is.

        `first_ms` is the first bar that the exchange has in each unknown gap, None where it has none there.
        """
        trouble = self.trouble
        if any(found.rule != "gap" for found in trouble.findings):
            return trouble
        answers = [Answer(gap, None if self._is_known(gap) else first_ms.get(gap, gap.first_ms)) for gap in self.gaps]
        short = window.shortage(self.asked, self.gaps, answers)
        if all(each.first_ms is None for each in answers):
            return short
        return window.explained(trouble, self.asked, short, Told(answers), self.now)

    def _is_known(self, gap: Gap) -> bool:
        return any(known.first_ms <= gap.first_ms and gap.last_ms <= known.last_ms for known in self.exchange_gaps)
