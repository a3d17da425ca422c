"""Kill -9 at each step of a repair: never a changed bar without its audit row, and the next call goes on."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fork_server
from barfeed.replay.faults.script import parse_faults
from process import Machine, lived_machine
from storage import opened
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
KILLED = str(Path(__file__).parents[2] / "killed.py")
# With `accept` it is the hourly feed that is killed, told to accept.
COMMANDS = {"repair": "repair", "accept": "run"}
REVISED = "".join(
    f'[[fault]]\nkind = "revise"\nbar = 2024-02-10T{hour:02d}:00:00\nvolume = {77 + hour}.125\n' for hour in (9, 11)
)
FLAGS = {
    "repair": ("--yes", "--pause-sec", "0"),
    "accept": (
        "--on-mismatch",
        "accept",
        "--accept-volume-within",
        "100",
        "--pause-sec",
        "0",
        "--max-skew-sec",
        "1e10",
    ),
}


def killed_at(feeding: Machine, command: str, step: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, KILLED, COMMANDS[command], str(step), "--duckdb", str(feeding.duckdb), *FLAGS[command]]
    environment = feeding.environment(BARFEED_PERSIST_DIR=str(feeding.folder / "feed"))
    return fork_server.run(words, environment)


def volumes(feeding: Machine) -> dict[int, float]:
    """Of 03:00, 09:00 and 11:00, those that are stored."""
    with opened(feeding.duckdb, read_only=True) as connection:
        rows = connection.execute("SELECT epoch_ms(timestamp), volume FROM ohlcv_btcusdt_1h").fetchall()
    return {hour: volume for at, volume in rows for hour in (3, 9, 11) if at == ms(2024, 2, 10, hour)}


def audited(feeding: Machine) -> dict[int, tuple[float, float]]:
    with opened(feeding.duckdb, read_only=True) as connection:
        if connection.execute("SELECT count(*) FROM information_schema.tables").fetchall() == [(1,)]:
            return {}
        rows = connection.execute("SELECT hour(timestamp), old_volume, new_volume FROM ohlcv_revisions").fetchall()
    assert len(rows) == len({row[0] for row in rows})
    return {hour: (old, new) for hour, old, new in rows}


def live_killed_repairs(tmp_path: Path, command: str, every: int) -> int:
    """Kill one repair at every `every`-th effect, look, let it go on, begin anew.

    How many kills there were.
    """
    kills = 0
    with lived_machine(tmp_path, TARGET_MS) as feeding:
        if command == "repair":
            with opened(feeding.duckdb) as connection:
                connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 03:00:00'")
        broken = feeding.folder / "broken.duckdb"
        shutil.copy(feeding.duckdb, broken)
        feeding.exchange.faults = parse_faults(REVISED, "the test")
        feeding.clock.advance(hours(1))
        old = volumes(feeding)
        whole = killed_at(feeding, command, 0)
        new = volumes(feeding)
        assert [new[hour] for hour in (9, 11)] == [86.125, 88.125]
        both = {hour: (old[hour], new[hour]) for hour in (9, 11)}
        effects = int(re.findall(r"effects=(\d+)", whole.stderr)[0])
        assert effects > 20
        for step in range(1, effects + 1, every):
            # The exchange counts weight by the minute of its clock, which only moves here.
            feeding.clock.set(TARGET_MS + hours(2) + 30_000 + kills % 50 * 60_000)
            shutil.copy(broken, feeding.duckdb)
            Path(f"{feeding.duckdb}.wal").unlink(missing_ok=True)
            killed = killed_at(feeding, command, step)
            assert killed.returncode == -signal.SIGKILL, killed.stderr
            assert (volumes(feeding), audited(feeding)) in ((old, {}), (new, both))
            healed = killed_at(feeding, command, 0)
            assert healed.returncode == 0, healed.stderr
            assert (volumes(feeding), audited(feeding)) == (new, both)
            kills += 1
    return kills


@pytest.mark.proof
@pytest.mark.parametrize("command", ["repair", "accept"])
def test_a_kill_at_every_fifth_step_leaves_no_change_without_its_audit_row(tmp_path: Path, command: str) -> None:
    assert live_killed_repairs(tmp_path, command, every=5) > 20


@pytest.mark.long
@pytest.mark.parametrize("command", ["repair", "accept"])
def test_a_kill_at_some_steps_leaves_no_change_without_its_audit_row(tmp_path: Path, command: str) -> None:
    assert live_killed_repairs(tmp_path, command, every=37) > 2
