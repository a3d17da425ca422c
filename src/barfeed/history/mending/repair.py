"""Gaps and mismatches inside the history, mended on the exchange's word: survey, ask again, apply.

Nothing here decides for a person: the caller shows the survey and gets its yes. The network is never
used while the store is open; a changed bar and its audit row are one transaction.
"""

import logging
from collections.abc import Collection, Sequence
from typing import NamedTuple

from barfeed.domain import grid, verdict
from barfeed.domain.acceptance import Change, Difference, differences
from barfeed.domain.bars import MINUTE_MS, Bar, Pull, Series
from barfeed.domain.errors import ContractBroken, StoreEmpty
from barfeed.domain.rules import Asked, but_let_pass, check_pull
from barfeed.exchange.rest import Rest
from barfeed.store.duckdb import Coverage
from barfeed.store.port.history import SeriesBars
from barfeed.store.port.whole import WholeHistory
from barfeed.store.revisions import Why, overtaken

# The most rows per weight: 500 cost 2.
PAGE_BARS = 500
# Of the 2400 that the exchange allows in a minute: other feeds on this address must live, too.
WEIGHT_MAX = 1800

_log = logging.getLogger(__name__)


class Wanted(NamedTuple):
    """What is to be looked at: `[from_ms, to_ms)`, where None the last `window_bars` stored bars."""

    from_ms: int | None
    to_ms: int | None
    window_bars: int


class Survey(NamedTuple):
    """What was found, by the exchange's time `now_ms` and the machine's `seen_at_ms`; `opens` were looked at."""

    now_ms: int
    seen_at_ms: int
    opens: range
    differences: list[Difference]

    @property
    def run(self) -> str:
        """The name of this repair, for the audit table."""
        return f"repair {grid.timestamp(self.now_ms // 1000 * 1000)}"

    def of_kind(self, *kinds: str) -> list[Difference]:
        """Those of some kinds."""
        return [each for each in self.differences if each.kind in kinds]


class Mended(NamedTuple):
    """What a repair did: bars filled in, stored bars changed, and what it left as it was."""

    filled: list[Bar]
    revised: list[Change]
    left: list[Difference]


class Repair:
    """One repair of a series: `max_wait_sec` is how long each question to the exchange may take."""

    def __init__(self, store: WholeHistory, rest: Rest, series: Series, max_wait_sec: float) -> None:
        self._store = store
        self._rest = rest
        self._series = series
        self._max_wait_sec = max_wait_sec
        self._used_weight = 0
        self._let_pass: list[Bar] = []

    def survey(self, wanted: Wanted) -> Survey:
        """Compare the store with the exchange, changing nothing.

        Raises `StoreEmpty`, `StoreUnusable`, `ExchangeUnavailable`, `ExchangeRefused`.
        """
        talk = self._rest.conversation(self._max_wait_sec)
        talk.ask_time()
        now_ms = talk.now_ms
        with self._store.reading(self._series) as table:
            opens = within(table.coverage(), wanted, grid.last_closed(now_ms, self._step_ms), self._step_ms)
            stored = [bar for bar in table.bars(opens.start) if bar.open_time_ms < opens.stop] if opens else []
        if opens is None:
            raise StoreEmpty(f"{self._series}: the store holds no bar to repair", hint="barfeed run --catch-up")
        # Where no revision can be kept, none is planned.
        self._store.expect_audit()
        self._let_pass = self._store.let_pass(self._series)
        theirs = self._ask(opens, now_ms)
        return Survey(now_ms, self._rest.clock.utc_ms(), opens, differences(opens, stored, theirs))

    def expect(self, survey: Survey) -> None:
        """Return where the store can take all that the exchange has; `StoreUnusable` where it refuses a bar."""
        expect(self._store, self._series, survey)

    def confirmed(self, survey: Survey, pause_sec: float) -> list[Change]:
        """The changes of which the exchange says the same after a pause; gaps need no second word."""
        mismatches = survey.of_kind("mismatch")
        if not mismatches:
            return []
        self._rest.clock.sleep(pause_sec)
        runs = mismatched(survey, self._step_ms)
        return said_again(survey, {bar for opens in runs for bar in self._ask(opens, survey.now_ms)})

    def apply(self, survey: Survey, changes: Sequence[Change], reason: str) -> Mended:
        """Fill what is missing and make the changes, all or nothing; what else was found is left.

        Raises `Unrepaired` where the store is no longer what the survey saw, `StoreUnusable`.
        """
        return mend(self._store, self._series, survey, changes, reason)

    def _ask(self, opens: range, now_ms: int) -> list[Bar]:
        pages = (opens[start : start + PAGE_BARS] for start in range(0, len(opens), PAGE_BARS))
        return [bar for page in pages for bar in self._page(page, now_ms)]

    def _page(self, opens: range, now_ms: int) -> list[Bar]:
        if self._used_weight > WEIGHT_MAX:
            self._wait_for_a_new_minute()
        # A patience for each page: a long span is no reason to give up.
        talk = self._rest.conversation(self._max_wait_sec)
        pull = talk.newest_bars(self._series, opens[-1], len(opens))
        self._used_weight = talk.used_weight or 0
        refuse_broken(self._series, pull, opens[-1], now_ms, self._let_pass)
        return [bar for bar in pull.bars if bar.open_time_ms >= opens[0]]

    def _wait_for_a_new_minute(self) -> None:
        clock = self._rest.clock
        pause_sec = (MINUTE_MS - clock.utc_ms() % MINUTE_MS) / 1000
        _log.info("most of the exchange's weight for this minute is used; going on in %.0f s", pause_sec)
        clock.sleep(pause_sec)

    @property
    def _step_ms(self) -> int:
        return self._series.interval.ms


def within(coverage: Coverage, wanted: Wanted, target_ms: int, step_ms: int) -> range | None:
    """The open_times to look at: inside what is stored and closed. None for an empty store. Pure.

    What comes before the first stored bar is for a backfill, what comes after the last for the feed.
    """
    if coverage.first_ms is None or coverage.last_ms is None:
        return None
    newest_ms = min(grid.floor(coverage.last_ms, step_ms), target_ms)
    from_ms = grid.window_start(newest_ms, wanted.window_bars, step_ms) if wanted.from_ms is None else wanted.from_ms
    to_ms = newest_ms + step_ms if wanted.to_ms is None else wanted.to_ms
    first_ms = _ceil(max(from_ms, coverage.first_ms), step_ms)
    return range(first_ms, min(_ceil(to_ms, step_ms), newest_ms + step_ms), step_ms)


def expect(store: WholeHistory, series: Series, survey: Survey) -> None:
    """Return where the store can take all that the exchange has; `StoreUnusable` where it refuses a bar."""
    if bars := [each.exchange for each in survey.differences if each.exchange]:
        with store.reading(series) as table:
            table.would_take(bars)


def refuse_broken(series: Series, pull: Pull, last_ms: int, now_ms: int, passed: Sequence[Bar]) -> None:
    """Return unless a pull up to `last_ms` breaks a rule; `passed` are bars that somebody let pass. Pure.

    Raises `ContractBroken`.
    """
    newest_ms = max((bar.open_time_ms for bar in pull.bars), default=last_ms)
    if newest_ms > last_ms:
        # It may be a closed bar on the grid, but of which time its values are nobody knows.
        raise ContractBroken(
            f"{series}: the exchange answered {grid.text(newest_ms)}, asked for none after {grid.text(last_ms)}"
        )
    # What the exchange itself does not have is told, bar by bar: it breaks no rule here.
    findings = but_let_pass(check_pull(pull, Asked(series, len(pull.bars), now_ms)), pull.bars, passed)
    if findings := [found for found in findings if found.rule != "one_interval_apart"]:
        raise verdict.broken(series, findings)


def mismatched(survey: Survey, step_ms: int) -> list[range]:
    """The open_times of the stored bars that differ, run by run. Pure."""
    runs = grid.gaps([each.open_time_ms for each in survey.of_kind("mismatch")], step_ms)
    return [grid.opens(run.first_ms, run.last_ms, step_ms) for run in runs]


def said_again(survey: Survey, again: Collection[Bar]) -> list[Change]:
    """The changes of which the exchange, asked again, says the same. Pure."""
    return [each.change for each in survey.of_kind("mismatch") if each.change and each.exchange in again]


def mend(store: WholeHistory, series: Series, survey: Survey, changes: Sequence[Change], reason: str) -> Mended:
    """Fill what is missing and make the changes, all or nothing; raises as `Repair.apply`."""
    fills = [each.exchange for each in survey.of_kind("missing") if each.exchange]
    if fills or changes:
        why = Why(survey.seen_at_ms, reason, survey.run)
        with store.revising(series, changes, why, dry_run=False) as table:
            table.append(fills)
            _prove(series, table, [*fills, *(change.new for change in changes)])
    mended = {*(bar.open_time_ms for bar in fills), *(change.open_time_ms for change in changes)}
    left = [each for each in survey.differences if each.open_time_ms not in mended]
    return Mended(fills, list(changes), left)


def _prove(series: Series, table: SeriesBars, bars: Sequence[Bar]) -> None:
    held = {bar.open_time_ms: bar for bar in table.bars(min(bar.open_time_ms for bar in bars))}
    if any(held.get(bar.open_time_ms) != bar for bar in bars):
        raise overtaken(series)


def _ceil(ms: int, step_ms: int) -> int:
    return -(-ms // step_ms) * step_ms
