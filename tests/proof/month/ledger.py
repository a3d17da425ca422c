"""What must be: written by who makes the trouble, and asked of nobody else."""

from collections import Counter
from typing import NamedTuple


class Told(NamedTuple):
    """A message to people: its kind, the end of its title, and how its text must begin (a pattern)."""

    kind: str
    title: str
    says: str


class Ledger:
    """Counts of what happened so far, and every message that is due for it."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.appended = self.mismatches = self.gaps = self.beats = self.closes = 0
        self.retries: Counter[str] = Counter()
        self.messages: list[Told] = []
        self.kinds: Counter[str] = Counter()
        self._spell: list[str] = []
        self._failed = 0

    def good(self, appended: int = 1, **retries: int) -> None:
        """A cycle that appends so many bars, and ends what trouble there was."""
        self.ended.append("appended" if appended else "up_to_date")
        self.appended += appended
        self.beats += 1
        self.retries.update(retries)
        if self._spell:
            cycles = f"{self._failed} failed cycle{'s' * (self._failed > 1)}"
            says = rf"well again after .+, {cycles} \({', '.join(self._spell)}\); caught up to "
            self.messages.append(Told("success", "well again", says))
        self._spell, self._failed = [], 0

    def bad(self, status: str, cycles: int = 1, mismatches: int = 0, gaps: int = 0) -> None:
        """As many cycles that fail so, each of which sees these."""
        self.ended += [status] * cycles
        self._failed += cycles
        self.mismatches += cycles * mismatches
        self.gaps += cycles * gaps
        if status not in self._spell:
            self._spell.append(status)
            self.messages.append(Told("failure", status, ".+"))

    def reminder(self, status: str) -> None:
        """A day of one trouble is over: the cycle that was noted last tells of it again."""
        self.messages.append(Told("failure", status, rf"still, after 1 d and {self._failed} failed cycles: "))

    def says(self) -> dict[str, float]:
        """The metrics that count, those at zero left out."""
        cycles = Counter(self.ended)
        counted = {"bars_appended": self.appended, "mismatches": self.mismatches, "gaps": self.gaps}
        said = {f"barfeed_{name}_total": number for name, number in counted.items()}
        said |= {f"barfeed_cycles_total{{status={status}}}": number for status, number in cycles.items()}
        failed = {status: number for status, number in cycles.items() if status not in {"appended", "up_to_date"}}
        said |= {f"barfeed_refusals_total{{reason={status}}}": number for status, number in failed.items()}
        said |= {f"barfeed_retries_total{{reason={reason}}}": number for reason, number in self.retries.items()}
        said |= {"barfeed_stream_closes_total": self.closes}
        return {name: float(number) for name, number in said.items() if number}
