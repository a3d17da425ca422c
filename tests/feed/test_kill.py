"""Kill -9 at each step of a cycle: nothing is lost, nothing is doubled, the next cycle heals."""

import csv
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fork_server
from process import Machine, lived_machine
from storage import opened
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
KILLED = str(Path(__file__).parents[1] / "killed.py")


def feed_killed_at(feeding: Machine, step: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, KILLED, "run", str(step), *feeding.command()[2:]]
    return fork_server.run(command, feeding.environment())


def open_times(store: Path) -> list[int]:
    with opened(store, read_only=True) as connection:
        return [row[0] for row in connection.execute("SELECT epoch_ms(timestamp) FROM ohlcv_btcusdt_1h").fetchall()]


def assert_every_file_is_whole(feeding: Machine) -> None:
    for path in feeding.artifacts.glob("*.csv"):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) in ({6, 726} if "api_pull" in path.name else {726}), path
        assert all(None not in row.values() for row in rows)
    for path in feeding.artifacts.glob("*_run.json"):
        assert path.read_text().endswith("}\n")


def live_killed_hours(tmp_path: Path, every: int) -> int:
    """Kill one hour at every `every`-th effect, heal it, go on to the next; how many kills there were."""
    kills = 0
    with lived_machine(tmp_path, TARGET_MS, hours_later=1) as feeding:
        effects = int(re.findall(r"effects=(\d+)", feed_killed_at(feeding, 0).stderr)[0])
        assert effects > 40
        for step in range(1, effects + 1, every):
            feeding.clock.advance(hours(1))
            before = open_times(feeding.duckdb)
            killed = feed_killed_at(feeding, step)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            after = open_times(feeding.duckdb)
            assert after in (before, [*before, before[-1] + hours(1)])
            assert_every_file_is_whole(feeding)
            healed = feeding.feed()
            assert healed.code == 0, healed.err
            assert open_times(feeding.duckdb) == [*before, before[-1] + hours(1)]
            assert_every_file_is_whole(feeding)
            kills += 1
    return kills


# Each call by which a cycle changes the disk is killed at by tests/proof/kills.py.
@pytest.mark.proof
def test_a_kill_at_every_fifth_step_loses_nothing(tmp_path: Path) -> None:
    assert live_killed_hours(tmp_path, every=5) > 30


@pytest.mark.long
def test_a_kill_at_some_steps_loses_nothing(tmp_path: Path) -> None:
    assert live_killed_hours(tmp_path, every=31) > 3
