"""Files of bars as other programs write them, from one day's bars that stand in the test itself."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import Bar
from barfeed.domain.errors import UsageError
from barfeed.domain.grid import Gap
from barfeed.history.backfill import Backfill
from barfeed.history.imports import Import
from barfeed.history.own_files import OwnFile
from barfeed.store.incoming.staging import Staging
from history.backfill.backfill_world import History
from world import BTCUSDT_1H, made_up_bars, ms

HEADER = "timestamp,open,high,low,close,volume"
DAY = made_up_bars(ms(2024, 1, 15, 23), 24)
YEAR = Gap(ms(2024, 1, 1), ms(2024, 12, 31, 23), 8784)
LINE = "{time},{open!r},{high!r},{low!r},{close!r},{volume!r}"


def text(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_ms // 1000))


def lines(bars: Iterable[Bar] = DAY, moment: Callable[[int], object] = text, line: str = LINE) -> str:
    """A line for each bar, its time written by `moment`."""
    return "".join(
        line.format(
            time=moment(bar.open_time_ms), open=bar.open, high=bar.high, low=bar.low, close=bar.close, volume=bar.volume
        )
        + "\n"
        for bar in bars
    )


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def taken(history: History, *paths: Path, **order: Any) -> Backfill:
    return history.run("csv", files=tuple(OwnFile(path) for path in paths), **order)


def staged(staging: Staging, path: Path, table: str | None = None) -> list[Bar]:
    """The bars of a file, or of a table in it, as they would be stored; what was staged before is forgotten."""
    Import(staging, BTCUSDT_1H).stage(OwnFile(path, table), YEAR)
    return staging.bars([YEAR])


def refusal(history: History, *paths: Path, **order: Any) -> UsageError:
    """How a file is refused; where there was no store there is none afterwards."""
    was_there = history.duckdb.exists()
    with pytest.raises(UsageError) as caught:
        taken(history, *paths, **order)
    assert history.duckdb.exists() == was_there
    return caught.value
