"""Stores, artifact folders and commands for the tests of verify, status, export and prune."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import click
from click.testing import CliRunner

from barfeed.artifacts.writing import run_files
from barfeed.domain.bars import Bar
from barfeed.domain.errors import BarfeedError
from storage import opened
from world import made_up_bars, ms

BARS = made_up_bars(ms(2024, 2, 10, 13), 800)
TABLE = "ohlcv_btcusdt_1h"
# A user's own table: such a key lets everything in that verify is there to find, but for a bar that comes twice.
_COLUMNS = (
    "timestamp TIMESTAMP UNIQUE, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,"
    " created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP"
)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str
    hint: str = ""

    @property
    def told(self) -> dict[str, Any]:
        """What it printed with `--json`."""
        read: dict[str, Any] = json.loads(self.out)
        return read


def call(command: click.Command, *words: object) -> Ended:
    """Run a command in this process; its errors count as the exit code that `main` would make of them."""
    with patch.object(sys, "argv", ["barfeed"]):
        done = CliRunner().invoke(command, [str(word) for word in words], standalone_mode=False)
    if isinstance(done.exception, BarfeedError):
        return Ended(done.exception.exit_code, done.stdout, str(done.exception), done.exception.hint)
    if isinstance(done.exception, click.ClickException):
        return Ended(2, done.stdout, done.exception.format_message())
    if done.exception:
        raise done.exception
    return Ended(done.return_value or 0, done.stdout, done.stderr)


def make_store(path: Path, bars: Iterable[Bar] = BARS, table: str = TABLE, *, with_key: bool = True) -> Path:
    """A store with these bars; without a key, a bar can come twice."""
    path.parent.mkdir(parents=True, exist_ok=True)
    columns = [list(column) for column in zip(*bars, strict=True)] or [[]] * 6
    with opened(path) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"CREATE TABLE {table} ({_COLUMNS if with_key else _COLUMNS.replace(' UNIQUE', '')})")
        connection.execute(
            f"INSERT INTO {table} (timestamp, open, high, low, close, volume) SELECT make_timestamp_ms(unnest(?)),"
            " unnest(?), unnest(?), unnest(?), unnest(?), unnest(?)",
            columns,
        )
    return path


def execute(path: Path, *statements: str) -> None:
    """Change a store behind everybody's back."""
    with opened(path) as connection:
        for statement in statements:
            connection.execute(statement)


def add_run(folder: Path, run_time_ms: int, *, good: bool = True, bars: Sequence[Bar] = BARS) -> str:
    """A run's files, as a cycle leaves them; its name. One that is not good published no inference file."""
    with run_files(folder, run_time_ms) as run:
        pull = run.save_pull(bars[-6:])
        inference = run.publish(bars[-20:]) if good else None
        if inference:
            run.replace_latest(inference, bars[-1].open_time_ms, bars[-1].open_time_ms)
        run.save_manifest(
            {
                "manifest_version": 1,
                "run_time": run.name,
                "series": {"symbol": "BTCUSDT", "interval": "1h"},
                "dataset": "BINANCE_BTCUSDT.P, 60",
                "status": "appended" if good else "mismatch",
                "exit_code": 0 if good else 1,
                "message": "" if good else "BTCUSDT 1h: 1 of 5 stored bars differ from the exchange",
                "target": "2024-02-10 13:00",
                "files": {"api_pull": pull._asdict(), "for_inference": inference._asdict() if inference else None},
            }
        )
        return run.name


def names(folder: Path) -> set[str]:
    """The files in a folder that are not hidden."""
    return {path.name for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")}
