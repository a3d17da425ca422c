"""A closed bar whose own columns contradict each other, let pass by a person: look, ask again, note.

The exchange may stand by such a row, and every later hour would be refused for it. What is noted is the bar with its
very values: should the exchange say another thing of it, that is refused again.
"""

from typing import NamedTuple

from barfeed.domain import grid, verdict
from barfeed.domain.bars import Bar, Pull, Series, Turnover
from barfeed.domain.errors import UsageError
from barfeed.domain.rules import TURNOVER_RULES, Asked, Finding, check_pull
from barfeed.exchange.rest import Conversation, Rest
from barfeed.store.port.whole import WholeHistory
from barfeed.store.revisions import WAIVER, Revision, Why


class Seen(NamedTuple):
    """What the exchange says of one bar at its time `now_ms`, and the rules that its columns break.

    `noted` is the note by which it is let pass already.
    """

    pull: Pull
    findings: list[Finding]
    now_ms: int
    seen_at_ms: int
    noted: Revision | None = None

    @property
    def bar(self) -> Bar:
        """The bar."""
        return self.pull.bars[0]

    @property
    def turnover(self) -> Turnover:
        """What stands beside it."""
        return self.pull.turnovers[0]

    @property
    def rules(self) -> list[str]:
        """The rules that are broken, by name."""
        return [found.rule for found in self.findings]

    @property
    def run(self) -> str:
        """The name of this look, for the audit table."""
        return f"{WAIVER} {grid.timestamp(self.now_ms // 1000 * 1000)}"


class LetPass:
    """One bar of a series, looked at and let pass."""

    def __init__(self, store: WholeHistory, rest: Rest, series: Series, max_wait_sec: float) -> None:
        self._store = store
        self._rest = rest
        self._series = series
        self._max_wait_sec = max_wait_sec

    def look(self, open_time_ms: int) -> Seen:
        """What the exchange says of the bar that opens at `open_time_ms`; nothing changes.

        Raises `UsageError` where it has no such closed bar, `ContractBroken` for a row that nobody may let pass,
        `ExchangeUnavailable`, `ExchangeRefused`; `StoreUnusable` where nothing could be noted.
        """
        talk = self._rest.conversation(self._max_wait_sec)
        talk.ask_time()
        now_ms, step_ms = talk.now_ms, self._series.interval.ms
        pull = talk.newest_bars(self._series, open_time_ms, 1)
        if not pull.bars or pull.bars[0].open_time_ms != open_time_ms or open_time_ms + step_ms > now_ms:
            raise UsageError(
                f"{self._series}: the exchange has no closed bar that opens at {grid.text(open_time_ms)}",
                hint="give the bar's open_time, UTC, as messages tell it",
            )
        findings = check_pull(pull, Asked(self._series, 1, now_ms))
        if others := [found for found in findings if found.rule not in TURNOVER_RULES]:
            raise verdict.broken(self._series, others, "such a bar is never let pass; report it if it stays")
        noted = self._store.noted_let_pass(self._series, pull.bars[0]) if findings else None
        return Seen(pull, findings, now_ms, self._rest.clock.utc_ms(), noted)

    def says_it_again(self, seen: Seen, pause_sec: float) -> bool:
        """Whether the exchange says the very same of it after a pause."""
        self._rest.clock.sleep(pause_sec)
        talk: Conversation = self._rest.conversation(self._max_wait_sec)
        return talk.newest_bars(self._series, seen.bar.open_time_ms, 1) == seen.pull

    def note(self, seen: Seen, reason: str) -> Seen:
        """Let it pass from now on; what was seen, with the note of whoever was quicker. Raises `StoreUnusable`."""
        why = Why(seen.seen_at_ms, f"{reason} ({', '.join(seen.rules)})", seen.run)
        return seen._replace(noted=self._store.note_let_pass(self._series, seen.bar, why))
