"""Disks that lack something: the feed does without where its promise can be kept, else the true cause is told."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from disks import lacking
from proof.proof_world import (
    SLUG,
    TAPE,
    TARGET_MS,
    Exchange,
    add_old_runs,
    barfeed_words,
    feed_words,
    make_empty_disk,
    read_csv,
    stored,
    window,
)
from waiting import in_time

# What a shared folder, a network's or a container's disk says that has no such thing.
NEVER = ["EINVAL", "EOPNOTSUPP", "ENOSYS"]
UNLOCKABLE = ["EOPNOTSUPP", "ENOLCK", "ENOSYS", "EINVAL"]
LOCK = """
import sys
from pathlib import Path
from barfeed.machine.locks import locked
with locked(Path(sys.argv[1]), wait=bool(int(sys.argv[2]))) as is_ours:
    print(is_ours, flush=True)
    sys.stdin.read()
"""


def latest(disk: Path) -> object:
    return read_csv(disk / "feed" / SLUG / "latest_for_inference.csv")


def leftovers(disk: Path) -> list[str]:
    return [path.name for path in disk.rglob("*") if path.suffix in {".held", ".unfinished"} and path.is_file()]


# --- flock: the feed's own locks -------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("error", UNLOCKABLE)
def test_on_a_disk_without_flock_the_hour_is_good(world: Exchange, disk: Path, error: str) -> None:
    ran = world.run(disk, *feed_words(), **lacking(flock=error))
    assert (ran.code, ran.err) == (0, "")
    assert latest(disk) == window(TARGET_MS)
    assert leftovers(disk) == []


@pytest.mark.long
def test_on_a_disk_without_flock_old_runs_are_folded(world: Exchange, disk: Path) -> None:
    add_old_runs(disk)
    ran = world.run(disk, *barfeed_words("prune", "--keep-days", "30"), **lacking(flock="EOPNOTSUPP"))
    assert (ran.code, ran.err) == (0, "")
    assert leftovers(disk) == []


def holding(path: Path, *, wait: bool) -> "subprocess.Popen[str]":
    """A process that holds the lock until its stdin ends, on a disk without flock."""
    words = [sys.executable, "-c", LOCK, str(path), str(int(wait))]
    environment = os.environ | lacking(flock="EOPNOTSUPP")
    return subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_without_flock_one_process_has_the_lock_and_the_next_when_it_is_let_go(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    with holding(lock, wait=False) as first:
        assert said(first) == "True"
        with holding(lock, wait=False) as second:
            assert said(second) == "False"
        # Who did not get it has not taken it away.
        with holding(lock, wait=True) as third:
            first.communicate()
            assert said(third) == "True"
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


@pytest.mark.parametrize(("wait", "old_sec", "is_taken_over"), [(True, 120, True), (False, 120, False)])
def test_without_flock_what_a_killed_process_held_is_taken_over_once_it_is_old(
    tmp_path: Path, wait: bool, old_sec: int, is_taken_over: bool
) -> None:
    lock = tmp_path / "x.lock"
    with holding(lock, wait=wait) as killed:
        assert said(killed) == "True"
        killed.kill()
    (held,) = [path for path in tmp_path.iterdir() if path != lock]
    made_sec = held.stat().st_mtime
    os.utime(held, (made_sec - old_sec, made_sec - old_sec))
    with holding(lock, wait=wait) as second:
        assert said(second) == str(is_taken_over)


# --- fsync -----------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("error", NEVER)
def test_on_a_disk_whose_folders_cannot_be_flushed_all_is_as_ever(world: Exchange, tmp_path: Path, error: str) -> None:
    disk = make_empty_disk(tmp_path / "disk")
    without = lacking(flush_folder=error)
    ran = world.run(disk, *feed_words("--catch-up", "--metrics-file", str(disk / "feed.prom")), **without)
    assert (ran.code, ran.err) == (0, f"INFO {disk}/store/ohlcv.duckdb is a new store\n")
    assert latest(disk) == window(TARGET_MS)
    assert "barfeed" in (disk / "feed.prom").read_text()
    ran = world.run(disk, *barfeed_words("export", str(disk / "out.csv")), **without)
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.long
def test_on_a_disk_that_fails_to_flush_a_folder_the_file_is_told_as_it_stands(world: Exchange, disk: Path) -> None:
    ran = world.run(disk, *feed_words(), **lacking(flush_folder="EIO"))
    assert ran.code == 4
    (pull,) = (disk / "feed" / SLUG).glob("20240210_16*_api_pull.csv")
    assert f"{pull} stands whole, but its folder cannot be flushed to the disk: Input/output error" in ran.err
    assert "the file is good" in ran.err
    assert len(read_csv(pull)) == 6
    ran = world.run(disk, *barfeed_words("export", str(disk / "out.csv")), **lacking(flush_folder="EIO"))
    assert (ran.code, f"{disk}/out.csv stands whole" in ran.err) == (4, True)
    assert len(read_csv(disk / "out.csv")) == len(stored(disk))


@pytest.mark.long
def test_a_disk_that_can_flush_nothing_is_the_cause_that_is_told_of_a_store_on_it(world: Exchange, disk: Path) -> None:
    ran = world.run(disk, *feed_words(), **lacking(flush_file="EINVAL"))
    assert ran.code == 4
    assert "ohlcv.duckdb is on a disk that cannot be flushed: Invalid argument" in ran.err
    assert "put the store on another" in ran.err
    assert stored(disk).items() <= TAPE.items()


# --- links and folders -----------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("error", ["EPERM", "EOPNOTSUPP", "ENOSYS", "EMLINK"])
def test_on_a_disk_without_hard_links_a_first_start_is_good(world: Exchange, tmp_path: Path, error: str) -> None:
    disk = make_empty_disk(tmp_path / "disk")
    assert world.run(disk, *feed_words("--catch-up"), **lacking(link=error)).code == 0
    assert len(stored(disk)) == 726


@pytest.mark.long
@pytest.mark.skipif(shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root to be less than root")
def test_a_file_is_written_whole_to_a_folder_that_may_not_be_listed(world: Exchange, disk: Path) -> None:
    drop = disk / "drop"
    drop.mkdir()
    drop.chmod(0o300)
    less = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
    ran = world.run(disk, *less, *feed_words("--metrics-file", str(drop / "feed.prom")))
    assert (ran.code, ran.err) == (0, "")
    assert "barfeed" in (drop / "feed.prom").read_text()


# --- fcntl: DuckDB's own lock ----------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.parametrize("error", UNLOCKABLE)
def test_a_store_on_a_disk_without_locks_is_told_as_that_and_not_waited_for(
    world: Exchange, disk: Path, error: str
) -> None:
    patient = {"BARFEED_LOCK_TIMEOUT_SEC": "3000"}
    ran = in_time(lambda: world.run(disk, *feed_words(), **lacking(fcntl=error), **patient))
    assert ran.code == 4
    assert f"{disk}/store/ohlcv.duckdb is on a disk that cannot lock files" in ran.err
    assert "put the store on another" in ran.err
    assert "held by" not in ran.err
    assert "backup" not in ran.err
    before = stored(disk)
    assert world.run(disk, *feed_words()).code == 0
    assert before.items() < stored(disk).items()


@pytest.mark.long
def test_doctor_tells_of_a_disk_without_locks_before_the_feed_does(world: Exchange, disk: Path) -> None:
    ran = world.run(disk, *barfeed_words("doctor"), **lacking(fcntl="ENOLCK"))
    (line,) = [each for each in ran.out.splitlines() if each.split()[1] == "locks"]
    assert f"{disk}/store is on a disk that cannot lock files: No locks available" in line
    assert ran.code == 1
    assert not re.search(r"^\S+ +locks ", world.run(disk, *barfeed_words("doctor")).out, re.MULTILINE)


def sees_no_other() -> list[str]:
    words = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user may not make a namespace of processes")
    return words


@pytest.mark.long
def test_a_store_held_in_another_container_is_told_as_that(world: Exchange, disk: Path) -> None:
    container = sees_no_other()
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(disk / "store" / "ohlcv.duckdb")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert said(holder) == "held"
        ran = world.run(disk, *container, *feed_words())
        holder.communicate()
    assert ran.code == 4
    assert "ohlcv.duckdb is held by a process of another container or host" in ran.err
    assert "PID 0" not in ran.err
    assert world.run(disk, *container, *feed_words()).code == 0


@pytest.mark.long
def test_a_process_that_is_seen_is_still_named(world: Exchange, disk: Path) -> None:
    code = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"
    words = [sys.executable, "-c", code, str(disk / "store" / "ohlcv.duckdb")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert said(holder) == "held"
        ran = world.run(disk, *feed_words())
        holder.communicate()
    assert f"(PID {holder.pid})" in ran.err
