"""Kill -9 in the middle of a prune and of an export: nothing is lost, nothing is half there, the next call goes on."""

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

import fork_server
from barfeed.cli.commands.history.verify import verify
from barfeed.cli.commands.operate.prune import prune
from commands import BARS, add_run, call, execute, make_store, names
from world import ms

KILLED_COMMAND = str(Path(__file__).parents[1] / "killed.py")
NOW_MS = ms(2024, 2, 10, 14)
DAY_MS = 24 * 3_600_000


def killed_at(step: int, name: str, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, KILLED_COMMAND, name, str(step), *map(str, words)]
    return fork_server.run(command, os.environ)


def everything(folder: Path) -> dict[str, str]:
    """Each run's files, in the folder or in a zip; where it is in both, both are the same."""
    found: dict[str, str] = {}
    for name in sorted(names(folder)):
        if name.endswith(".zip"):
            with zipfile.ZipFile(folder / name) as archive:
                assert archive.testzip() is None
                assert len(archive.namelist()) == len(set(archive.namelist()))
                contents = [(each, archive.read(each)) for each in archive.namelist()]
        else:
            contents = [(name, (folder / name).read_bytes())]
        for each, content in contents:
            digest = hashlib.sha256(content).hexdigest()
            assert found.setdefault(each, digest) == digest
    return found


def make_runs(tmp_path: Path) -> Path:
    folder = tmp_path / "BINANCE_BTCUSDT.P_60"
    for days in (140, 101, 100, 0):
        add_run(folder, NOW_MS - days * DAY_MS)
    # One zip is there already, the other is to be made.
    assert call(prune, "--persist-dir", tmp_path, "--keep-days", 120).code == 0
    return folder


def verified(folder: Path) -> int:
    store = folder.parent / "ohlcv.duckdb"
    if not store.exists():
        make_store(store)
    return call(verify, "--persist-dir", folder.parent, "--duckdb", store).code


def live_killed_prunes(tmp_path: Path, every: int, *words: str) -> int:
    untouched = make_runs(tmp_path / "untouched")
    add_run(untouched, NOW_MS - 139 * DAY_MS)
    before = everything(untouched)
    assert verified(untouched) == 0
    shutil.copytree(tmp_path / "untouched", tmp_path / "whole")
    whole = killed_at(0, "prune", "--persist-dir", tmp_path / "whole", *words)
    effects = int(re.findall(r"effects=(\d+)", whole.stderr)[0])
    assert effects > 20
    after = everything(tmp_path / "whole" / untouched.name)
    here = names(tmp_path / "whole" / untouched.name)
    kills = 0
    for step in range(1, effects, every):
        root = tmp_path / str(step)
        shutil.copytree(tmp_path / "untouched", root)
        folder = root / untouched.name
        killed = killed_at(step, "prune", "--persist-dir", root, *words)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert verified(folder) == 0
        if "--discard" not in words:
            # A run's manifest may be on its way out, but is in the zip by then.
            assert everything(folder) == before
        assert call(prune, "--persist-dir", root, *words).code == 0
        assert everything(folder) == after
        assert names(folder) == here
        assert verified(folder) == 0
        assert not list((folder / ".leaving").glob("*"))
        kills += 1
        shutil.rmtree(root)
    return kills


@pytest.mark.long
def test_a_prune_killed_at_some_steps_loses_nothing(tmp_path: Path) -> None:
    assert live_killed_prunes(tmp_path, 110) >= 2


@pytest.mark.long
def test_a_discarding_prune_killed_at_some_steps_leaves_no_halves(tmp_path: Path) -> None:
    assert live_killed_prunes(tmp_path, 50, "--discard") >= 2


@pytest.mark.proof
def test_a_prune_killed_at_any_third_step_loses_nothing(tmp_path: Path) -> None:
    assert live_killed_prunes(tmp_path / "fold", 3) > 40
    assert live_killed_prunes(tmp_path / "discard", 3, "--discard") > 20


def export_command(store: Path, path: Path) -> list[str]:
    main = "from barfeed.cli.main import main; from barfeed.cli.commands.history.export import export; main(export)"
    return [sys.executable, "-c", main, str(path), "--duckdb", str(store), "--interval", "1m"]


def big_store(folder: Path) -> Path:
    store = make_store(folder / "ohlcv.duckdb", BARS[:0], "ohlcv_btcusdt_1m")
    execute(
        store,
        """INSERT INTO ohlcv_btcusdt_1m SELECT make_timestamp_ms(i * 60000), 1.5, 3, 1, 2, 0.1 * i, now()
           FROM range(600000) t(i)""",
    )
    return store


def live_killed_exports(tmp_path: Path, kills: int, suffix: str) -> int:
    store, path = big_store(tmp_path), tmp_path / f"bars{suffix}"
    dice = random.Random(7)
    subprocess.run(export_command(store, path), check=True, capture_output=True, timeout=60)
    whole = path.read_bytes()
    path.unlink()
    killed = 0
    for _ in range(kills):
        running = subprocess.Popen(export_command(store, path), stdout=subprocess.DEVNULL)
        time.sleep(dice.uniform(0.05, 0.6))
        running.kill()
        killed += running.wait(timeout=60) == -signal.SIGKILL
        if path.exists():
            assert path.read_bytes() == whole
            path.unlink()
    subprocess.run(export_command(store, path), check=True, capture_output=True, timeout=60)
    assert path.read_bytes() == whole
    return killed


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_killed_export_is_whole_or_absent(tmp_path: Path, suffix: str) -> None:
    assert live_killed_exports(tmp_path, 6, suffix) > 0


@pytest.mark.proof
def test_an_export_killed_forty_times_is_whole_or_absent(tmp_path: Path) -> None:
    assert live_killed_exports(tmp_path, 40, ".csv") > 10
