"""The wide table of a pass: its models' windows, with what was known of every kind beside each bar."""

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from barfeed.artifacts.writing import Run, Written, table_bytes
from barfeed.domain.bars import Interval
from barfeed.domain.errors import ArtifactsUnusable, StoreUnusable, WindowGap
from barfeed.feed.hour import but_once_more
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.left import Features, KindsLeft
from barfeed.feed.record import Lived, failure_of
from barfeed.store.kinds.windows import WideWindows

_log = logging.getLogger(__name__)


class Windows(NamedTuple):
    """The windows that were published, each from the moment given with it (ms) to the target.

    `newest_ms` is the newest closed bar. `csv_for`: whose rows are wanted as CSV, too; None of one series, whose table
    names no symbol. `before`: of which a pass over the same bar has published them.
    """

    interval: Interval
    begins_ms: Mapping[str, int]
    target_ms: int
    newest_ms: int
    csv_for: Sequence[str] | None = None
    before: frozenset[str] = frozenset()

    @property
    def bars(self) -> int:
        """How many bars they have."""
        step_ms = self.interval.ms
        return sum((self.target_ms - begin_ms) // step_ms + 1 for begin_ms in self.begins_ms.values())


def publish(kinds: Kinds, run: Run, windows: Windows, record: Lived, left: KindsLeft) -> None:
    """Write the wide table of these windows, unless it holds nothing more than there is."""
    left.features = Features(of=windows.before)
    # Where another process has the store, what is due of the kinds is not there yet.
    if windows.begins_ms.keys() <= windows.before or any(each.is_pending for each in left.kinds):
        return
    try:
        with record.step("publish"):
            but_once_more(partial(_look_and_publish, kinds, run, windows, left))
    except (StoreUnusable, WindowGap, ArtifactsUnusable) as trouble:
        # The windows themselves are out.
        _log.debug("the wide table failed", exc_info=True)
        left.failure = failure_of(trouble)


def _look_and_publish(kinds: Kinds, run: Run, windows: Windows, left: KindsLeft) -> None:
    with kinds.wide_windows(windows.interval, windows.begins_ms, windows.target_ms, run.aside) as wide:
        _publish(run, windows, wide, left)


def _publish(run: Run, windows: Windows, wide: WideWindows, left: KindsLeft) -> None:
    table = run.publish_features(lambda path: _write(path, windows, wide))
    # Noted before the latest: a manifest tells every file that is there.
    left.features = Features(windows.before, table)
    run.replace_latest_features(table, windows.target_ms, windows.newest_ms, wide.end_of)
    csvs: dict[str, Written] = {}
    for symbol, name in _names_of_csvs(windows).items():
        content = table_bytes(wide.columns, wide.rows(symbol), plain_decimals=run.plain_decimals)
        csvs[symbol] = run.publish_features_csv(name, content, windows.target_ms, windows.newest_ms)
        left.features = Features(windows.before, table, csvs)
    left.features = Features(frozenset(windows.begins_ms), table, csvs)


def _write(path: Path, windows: Windows, wide: WideWindows) -> int:
    key = ("timestamp",) if windows.csv_for is None else ("symbol", "timestamp")
    rows = wide.write(path, key)
    if rows != windows.bars:
        # The windows may be the exchange's own; this table is of what is stored.
        raise WindowGap(
            f"{rows} of {windows.bars} bars of its windows are stored", hint="see what is missing: barfeed status"
        )
    return rows


def _names_of_csvs(windows: Windows) -> dict[str, str]:
    """Whose rows are written as CSV, and what the file's name tells of it."""
    if windows.csv_for is None:
        return dict.fromkeys(windows.begins_ms, "")
    return {symbol: symbol for symbol in windows.csv_for if symbol in windows.begins_ms.keys() - windows.before}
