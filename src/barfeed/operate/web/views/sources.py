"""Where the views read from, and what several of them ask."""

import math
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.errors import UsageError
from barfeed.domain.grid import Gap
from barfeed.history.reading.moments import ms_of
from barfeed.history.reading.rows import CandleRow, CoverageRow, RevisionRow
from barfeed.machine.clock import Clock
from barfeed.operate.web import answers
from barfeed.operate.web.manifests import DAY_MS, Manifests, Run
from barfeed.operate.web.stores.looks import Looks

# Runs are named by the exchange's clock, and the machine's may be far behind it.
_AHEAD_MS = 400 * DAY_MS


class Missing(Exception):
    """What was asked for is not there."""


class Sources(NamedTuple):
    """The store, the manifests, and what may be absent: a store of predictions and the feed's log."""

    looks: Looks
    manifests: Manifests
    clock: Clock
    predictions: Path | None
    log: Path | None

    def series(self, symbol: str, interval: str) -> Series:
        """The series that is asked for; `UsageError`."""
        try:
            return Series.of(symbol, interval)
        except UsageError as problem:
            raise UsageError(f"symbol or interval: {problem}") from None

    def holdings(self) -> list[CoverageRow]:
        """Every series that is stored."""
        return self.looks.look("coverage", lambda reader: list(reader.coverage()))

    def holding(self, series: Series) -> CoverageRow:
        """One that must be stored."""
        for each in self.holdings():
            if (each.symbol, each.interval) == (series.symbol, str(series.interval)):
                return each
        raise Missing(f"the store holds no bar of {series}")

    def candles(self, series: Series, span: Gap, step_ms: int) -> list[CandleRow]:
        """The bars that open in `span`, summed up in steps."""
        about = (series.symbol, str(series.interval))
        start, end = (datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms in (span.first_ms, span.last_ms + 1))
        return self.looks.look(
            ("candles", series, span, step_ms),
            lambda reader: list(reader.candles(*about, every_ms=step_ms, start=start, end=end)),
        )

    def revisions(self, series: Series) -> list[RevisionRow]:
        """The stored bars of a series that were changed."""
        about = (series.symbol, str(series.interval))
        return self.looks.look(("revisions", series), lambda reader: list(reader.revisions(*about)))

    def newest_runs(self, count: int, before_ms: int | None = None) -> list[Run]:
        """The newest runs before a moment, newest first."""
        ahead_ms = self.clock.utc_ms() + _AHEAD_MS
        return self.manifests.newest(count, ahead_ms if before_ms is None else before_ms)

    def exchange_ms(self, newest: Run | None) -> int:
        """The exchange's clock, as far off the machine's as the newest run saw it."""
        return self.clock.utc_ms() - round(((newest.skew_sec if newest else None) or 0.0) * 1000)

    def refusals(self, series: Series, first_ms: int, last_ms: int) -> list[answers.Refusal]:
        """The hours between two moments that a run had no bar of."""
        found = []
        for run in self.manifests.between(first_ms, last_ms + DAY_MS):
            trouble = run.trouble_of(series.symbol) if run.concerns(series.symbol, str(series.interval)) else None
            if trouble and first_ms <= (at_ms := hour_of(run)) <= last_ms:
                said = (trouble.status, trouble.message, trouble.hint)
                found.append(answers.Refusal(at_ms, *said, run.folder, run.run))
        return found


def hour_of(run: Run) -> int:
    """The hour that a run was for, in ms; of one that never knew it, the hour before it began."""
    return run.at_ms - HOUR_MS if run.target_ms is None else run.target_ms


def ms(moment: datetime) -> int:
    """A moment that was read, in ms since 1970-01-01 UTC."""
    return ms_of(moment)


def finite(value: float | None) -> float | None:
    """A number that JSON has a word for."""
    return value if value is not None and math.isfinite(value) else None
