"""Kill -9 at any step of an hour with other kinds: nothing is lost or doubled, and the next hour heals."""

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import fork_server
from barfeed.domain.bars import HOUR_MS
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.generator import generate
from process import Machine
from storage import opened
from world import hours, ms

TARGET_MS = ms(2026, 3, 10, 13)
NAMES = ("klines", "premium_index", "open_interest")
KILLED = str(Path(__file__).parents[2] / "killed.py")


class KindsMachine(Machine):
    """A machine whose feed has other kinds beside its bars."""

    def command(self, *flags: str) -> list[str]:
        window = ("--catch-up", "--buffer-hours", "0")
        return super().command(*window, "--kinds", ",".join(NAMES), "--spot-url", self.url, *flags)

    def killed_at(self, step: int) -> "subprocess.CompletedProcess[str]":
        """An hour that is killed at its `step`-th effect."""
        return fork_server.run([sys.executable, KILLED, "run", str(step), *self.command()[2:]], self.environment())

    def stored(self) -> dict[str, list[int]]:
        """When the rows of each table begin."""
        tables = {"bars": "ohlcv_btcusdt_1h"} | {name: f"{name}_1h" for name in NAMES}
        with opened(self.duckdb, read_only=True) as connection:
            there = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
            query = "SELECT epoch_ms(timestamp) FROM {} ORDER BY timestamp"
            return {
                name: [at_ms for (at_ms,) in connection.execute(query.format(table)).fetchall()]
                if table in there
                else []
                for name, table in tables.items()
            }


@contextmanager
def living(folder: Path) -> Iterator[KindsMachine]:
    """An exchange seven minutes after a close, when all that is due is there."""
    clock = HandClock(TARGET_MS + HOUR_MS + 7 * 60_000)
    tape = generate("BTCUSDT", "1h", TARGET_MS - 40 * 24 * HOUR_MS, 60 * 24, seed=5)
    exchange = ReplayExchange([tape], clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        yield KindsMachine(folder, exchange, clock, server.url)


def live_killed_hours(folder: Path, every: int) -> int:
    kills = 0
    with living(folder) as feeding:
        assert feeding.feed().code == 0
        feeding.clock.advance(hours(1))
        effects = int(re.findall(r"effects=(\d+)", feeding.killed_at(0).stderr)[0])
        assert effects > 60
        for step in range(1, effects + 1, every):
            feeding.clock.advance(hours(1))
            before = feeding.stored()
            killed = feeding.killed_at(step)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            after = feeding.stored()
            for name, rows in before.items():
                assert after[name] in (rows, [*rows, rows[-1] + HOUR_MS]), name
            healed = feeding.feed()
            assert healed.code == 0, healed.err
            assert feeding.stored() == {name: [*rows, rows[-1] + HOUR_MS] for name, rows in before.items()}
            kills += 1
    return kills


@pytest.mark.parametrize(
    "every",
    [
        pytest.param(200, marks=pytest.mark.long),
        pytest.param(60, marks=pytest.mark.long),
        pytest.param(1, marks=pytest.mark.proof),
    ],
)
def test_a_kill_at_any_step_is_healed_by_the_next_hour(tmp_path: Path, every: int) -> None:
    assert live_killed_hours(tmp_path, every) >= 1
