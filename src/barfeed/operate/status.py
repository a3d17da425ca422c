"""How a feed is: what its store holds, how far it is behind the exchange, how its last cycle ended."""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder, Manifest
from barfeed.domain import grid, rules
from barfeed.domain.bars import MINUTE_MS, Interval, Series
from barfeed.domain.errors import ArtifactsUnusable, StoreUnusable, UsageError
from barfeed.domain.grid import Gap
from barfeed.domain.sources import between
from barfeed.store import revisions
from barfeed.store.duckdb import Coverage, Session, Store
from barfeed.store.incoming.lacking import gaps_in

# A feed needs some time for an hour that has just closed; until then the hour before is the newest it can hold.
GRACE_MS = 5 * MINUTE_MS

_TABLE = re.compile(r"ohlcv_(.+)_([^_]+)", re.DOTALL)
_TABLES = """
SELECT lower(table_name) AS name FROM information_schema.tables
WHERE table_catalog = 'store' AND table_schema = 'main' ORDER BY name
"""
_INTERVALS = frozenset(map(str, Interval))


class Bars(NamedTuple):
    """What a series' table holds, where bars are missing in between, how many revisions it has; and why none can come.

    `trouble` is what keeps the table from being used; where it cannot be read either, there is nothing else.
    `unaudited` is why no revision can be read or kept, and `revisions` is None then: an hour goes by without.
    """

    coverage: Coverage
    gaps: tuple[Gap, ...]
    revisions: int | None
    trouble: StoreUnusable | None = None
    unaudited: StoreUnusable | None = None


_NOTHING = Bars(Coverage(0, None, None), (), 0)


class Runs(NamedTuple):
    """What a series' artifact folder tells: its last cycle, and its newest inference file that is good."""

    folder: Path
    last: Manifest | None
    inference: str | None


class Word(NamedTuple):
    """What a cycle was told of the symbol: how it ended, its target, and the last bar of one that is settled."""

    status: str
    target_ms: int | None
    last_bar_ms: int | None

    @classmethod
    def of(cls, last: Manifest) -> "Word":
        """By its manifest."""
        return cls(last.status, last.target_ms, last.last_bar_ms)


class Condition(NamedTuple):
    """One series: what is stored, what was run, and what is wrong with it at `now_ms`.

    Where none `is_due`, every bar that the exchange has is stored, however long ago the newest closed.
    """

    series: Series
    bars: Bars
    runs: Runs
    lag_ms: int | None
    troubles: tuple[str, ...]
    is_due: bool = True


def lag_ms(series: Series, newest_ms: int | None, now_ms: int) -> int | None:
    """How long ago the first bar closed that is not stored; below zero where the next one is still forming.

    All in ms; None without a bar.
    """
    return None if newest_ms is None else now_ms - (newest_ms + 2 * series.interval.ms)


def judge(series: Series, bars: Bars, ran: Runs, now_ms: int, window_bars: int) -> Condition:
    """What is wrong, if anything: bars that should be there, a gap in the newest window, a last cycle that failed."""
    newest_ms, last = bars.coverage.last_ms, ran.last
    due_ms = newest_due(series, newest_ms, now_ms, Word.of(last)) if last else None
    troubles = [*_of_store(series, bars, now_ms, due_bars(last, window_bars), due_ms), failed(last), not_traded(last)]
    is_due = due_ms is None or newest_ms is None or newest_ms < due_ms
    lag = lag_ms(series, newest_ms, now_ms) if is_due else 0
    return Condition(series, bars, ran, lag, tuple(each for each in troubles if each), is_due)


def due_bars(last: Manifest | None, window_bars: int) -> int:
    """How many of the newest bars must be there: fewer where the last cycle could do with what the exchange has."""
    return last.made_do_with.bars if last and last.made_do_with else window_bars


def _of_store(series: Series, bars: Bars, now_ms: int, window_bars: int, due_ms: int | None) -> list[str]:
    shape = [f"{bars.trouble}; {bars.trouble.hint}"] if bars.trouble else []
    if shape and bars.coverage.last_ms is None:
        # Nothing is known of its bars.
        return shape
    return [*shape, behind(series, bars.coverage.last_ms, now_ms, due_ms), window_gap(series, bars, window_bars)]


def behind(series: Series, newest_ms: int | None, now_ms: int, due_ms: int | None = None) -> str:
    """Why the newest bar is not where it should be at `now_ms`; empty where it is.

    `due_ms` is the newest bar that there is to store, None where that is the target.
    """
    lag = lag_ms(series, newest_ms, now_ms)
    if newest_ms is None or lag is None:
        return "the store holds no bar"
    target_ms = grid.last_closed(now_ms, series.interval.ms)
    if newest_ms > target_ms:
        return f"the store ends at {grid.text(newest_ms)}, which is not closed yet"
    end_ms = target_ms if due_ms is None else min(target_ms, due_ms)
    bars = (end_ms - newest_ms) // series.interval.ms
    is_behind = lag >= GRACE_MS and bars > 0
    return f"the store is {bars} bar{'s' * (bars > 1)} behind {grid.text(end_ms)}" if is_behind else ""


def newest_due(series: Series, newest_ms: int | None, now_ms: int, word: Word) -> int | None:
    """The newest bar that there is to store, by what a cycle was told of the symbol; None where that is the target."""
    if word.status == "symbol_gone":
        return newest_ms if word.last_bar_ms is None else word.last_bar_ms
    # It may trade again at any time: the word is good for as long as no further bar is due.
    since_ms = lag_ms(series, word.target_ms, now_ms)
    is_of_now = since_ms is not None and since_ms < GRACE_MS
    return newest_ms if word.status == "symbol_not_trading" and is_of_now else None


def window_gap(series: Series, bars: Bars, window_bars: int) -> str:
    """What is missing in the newest `window_bars` bars; empty where nothing is."""
    if bars.coverage.last_ms is None:
        return ""
    start_ms = grid.window_start(bars.coverage.last_ms, window_bars, series.interval.ms)
    within = [str(gap) for gap in bars.gaps if gap.last_ms >= start_ms]
    return f"the newest {window_bars} bars have a gap: {', '.join(within)}" if within else ""


def gaps_since(series: Series, bars: Bars, start_ms: int) -> list[Gap]:
    """What is missing from `start_ms` to the newest bar, what comes before the first one too."""
    step_ms, first_ms = series.interval.ms, bars.coverage.first_ms
    before = [] if first_ms is None else grid.gaps(grid.opens(start_ms, first_ms - 1, step_ms), step_ms)
    within = (between(max(gap.first_ms, start_ms), gap.last_ms + 1, step_ms) for gap in bars.gaps)
    return [*before, *(gap for gap in within if gap)]


def short_history(series: Series, bars: Bars, window_bars: int) -> str:
    """That the store begins after the newest `window_bars` bars do; empty where it does not."""
    first_ms, last_ms = bars.coverage.first_ms, bars.coverage.last_ms
    if first_ms is None or last_ms is None or first_ms <= grid.window_start(last_ms, window_bars, series.interval.ms):
        return ""
    return f"the newest {window_bars} bars are not all there: the store begins at {grid.text(first_ms)}"


def failed(last: Manifest | None) -> str:
    """How the last cycle failed; empty where it did not."""
    return f"the last cycle failed: {last.message}" if last and last.exit_code else ""


def not_traded(last: Manifest | None) -> str:
    """Where the newest bars were not traded, by the last cycle; empty where they were."""
    flat = last.flat if last else ()
    return rules.not_traded(f"{each['first']}..{each['last']} ({each['bars']} bars)" for each in flat)


def look(store: Store, wanted: Sequence[Series]) -> dict[Series, Bars]:
    """What the store holds of `wanted`, or of every series it has; nothing where there is no file.

    Raises `StoreUnusable` for what is wrong with the file.
    """
    if not store.exists():
        return dict.fromkeys(wanted, _NOTHING)
    with store.session(write=False) as connection:
        return {series: _bars(store, connection, series) for series in wanted or _all_series(connection)}


def _bars(store: Store, connection: Session, series: Series) -> Bars:
    try:
        table, trouble = store.readable(connection, series)
        coverage = table.coverage()
        whole = _whole(series, coverage)
        gaps = gaps_in(connection, table.place.rows, whole, series.interval.ms) if whole else ()
        bars = Bars(coverage, tuple(gaps), None, trouble or store.refusal(table))
    except StoreUnusable as problem:
        # One table that is none says nothing of the others.
        return _NOTHING._replace(trouble=problem)
    try:
        return bars._replace(revisions=len(revisions.listed(connection, series)))
    except StoreUnusable as problem:
        return bars._replace(unaudited=problem)


def _all_series(connection: Session) -> list[Series]:
    names = [_TABLE.fullmatch(name) for (name,) in connection.execute(_TABLES).fetchall()]
    found = []
    for name in names:
        if name and name[2] in _INTERVALS:
            with suppress(UsageError):
                found.append(Series.of(name[1], name[2]))
    return found


def _whole(series: Series, coverage: Coverage) -> Gap | None:
    """From the first bar to the last; what lies beside the grid is for `verify` to tell."""
    if coverage.first_ms is None or coverage.last_ms is None:
        return None
    return between(coverage.first_ms, coverage.last_ms + 1, series.interval.ms)


def runs_of(root: Path, series: Series) -> Runs:
    """The series' artifact folder below `root`, by what the manifests written last say; the one written to last."""
    told = {"symbol": series.symbol, "interval": str(series.interval)}
    return runs_where(root, lambda last: last.series == told)


def runs_where(root: Path, is_meant: Callable[[Manifest], bool]) -> Runs:
    """The artifact folder below `root` whose manifest written last is meant; the one written to last."""
    found = [ran for path in _folders(root) if (ran := _read(path)).last and is_meant(ran.last)]
    return max(found, key=_written_ns, default=Runs(root, None, None))


def _written_ns(ran: Runs) -> int:
    return Folder(ran.folder).written_ns(ran.last.run_time) if ran.last else 0


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(each for each in root.iterdir() if each.is_dir())
    except FileNotFoundError:
        return []
    except OSError as problem:
        raise reading.unreadable(root, problem) from problem


def _read(path: Path) -> Runs:
    folder = Folder(path)
    names = reading.as_written(folder)
    for run in reversed(names):
        # One that cannot be read is for `verify` to tell.
        with suppress(ArtifactsUnusable):
            last = reading.read_manifest(folder, run)
            return Runs(path, last, reading.newest_good(folder, names))
    return Runs(path, None, None)
