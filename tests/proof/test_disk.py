"""A disk that is full, read-only, broken or not what it seems: exit 4 with a word that helps, and no harm."""

import os
import resource
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.artifacts.writing import run_files
from barfeed.exchange.archive import _Cache
from barfeed.machine.atomic import new_file, whole_file
from holding import held
from lgbm_inference import files
from process import Ran
from proof.proof_world import (
    SLUG,
    TAPE,
    TARGET_MS,
    WINDOW_BARS,
    Exchange,
    add_old_runs,
    barfeed_words,
    copy,
    feed_words,
    read_csv,
    stored,
    window,
)
from world import hours

LATEST = f"feed/{SLUG}/latest_for_inference.csv"
Harm = Callable[[Path], object]
_NOBODY = 65534


def store_file(disk: Path) -> Path:
    return disk / "store" / "ohlcv.duckdb"


def bytes_of(disk: Path) -> dict[str, bytes]:
    """Every plain file but the lock and the log of a store, which whoever looks may make."""
    files = (path for path in disk.rglob("*") if path.is_file() and not path.is_symlink())
    return {str(path): path.read_bytes() for path in files if path.suffix not in {".wal", ".lock"}}


def run(world: Exchange, disk: Path, words: list[str], *before: str) -> Ran:
    """Run a command; more than a few seconds is a hang."""
    return world.run(disk, "timeout", "-s", "KILL", "40", *before, *words)


def assert_refused(ran: Ran, *names: str) -> None:
    assert ran.code == 4, ran
    assert "Traceback" not in ran.err
    assert "barfeed: " in ran.err
    assert "hint: " in ran.err
    for name in names:
        assert name in ran.err, ran.err


def assert_good_hour(world: Exchange, disk: Path) -> None:
    """The cause is gone: the next cycle is as though nothing had happened."""
    ran = run(world, disk, feed_words())
    assert ran.code == 0, ran.err
    assert sorted(stored(disk)) == list(range(TARGET_MS - hours(WINDOW_BARS + 1), TARGET_MS + 1, hours(1)))
    assert stored(disk).items() <= TAPE.items()
    assert read_csv(disk / LATEST) == window(TARGET_MS)


# --- the store's file ------------------------------------------------------------------------------------------------


def cut(length: int) -> Harm:
    return lambda path: os.truncate(path, length)


def garbage(path: Path) -> None:
    path.write_bytes(os.urandom(path.stat().st_size))


def flipped(at: int) -> Harm:
    def flip(path: Path) -> None:
        content = bytearray(path.read_bytes())
        content[at : at + 8] = bytes(byte ^ 0xFF for byte in content[at : at + 8])
        path.write_bytes(content)

    return flip


def of(content: bytes) -> Harm:
    """Another file in its place."""
    return lambda path: (path.write_bytes(content), None)[1]


def newer(path: Path) -> None:
    """The header of a version that does not exist yet, with the checksum that DuckDB expects of it."""
    header = bytearray(path.read_bytes()[:4096])
    struct.pack_into("<Q", header, 12, 999)
    total = 5381
    for (word,) in struct.iter_unpack("<Q", header[8:]):
        total ^= word * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    struct.pack_into("<Q", header, 0, total)
    with path.open("rb+") as file:
        file.write(header)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link_to(target: str) -> Harm:
    def link(path: Path) -> None:
        path.unlink()
        path.symlink_to(target)

    return link


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    path.unlink()
    # A socket's name must be short.
    here = Path.cwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path.name)
    os.chdir(here)


def parent_is_a_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("x")


def log_is_a_folder(path: Path) -> None:
    path.with_name(f"{path.name}.wal").mkdir()


def foreign_log(path: Path) -> None:
    """The log of another database, with a commit in it."""
    other = path.with_name("other.duckdb")
    code = (
        "import os, sys, duckdb; c = duckdb.connect(sys.argv[1]); c.execute('CREATE TABLE t (a INT)');"
        " c.execute('CHECKPOINT'); c.execute('INSERT INTO t VALUES (1)'); os._exit(0)"
    )
    subprocess.run([*feed_words()[:1], "-c", code, str(other)], check=True)
    Path(f"{other}.wal").rename(f"{path}.wal")
    other.unlink()


STORES: dict[str, tuple[Harm, str]] = {
    "empty": (cut(0), "is empty, 0 bytes: nothing is in it"),
    "one byte": (of(b"\0"), "not a valid DuckDB database"),
    "a text": (of(b"timestamp,open"), "is a text file, expected a DuckDB file"),
    "half a header": (cut(100), "cannot be used"),
    "one header": (cut(4096), "cannot be used"),
    "headers only": (cut(12288), "cannot be used"),
    "first blocks only": (cut(300_000), "cannot be used"),
    "garbage": (garbage, "not a valid DuckDB database"),
    "no magic": (flipped(8), "not a valid DuckDB database"),
    "wrong checksum": (flipped(0), "checksum"),
    "first database header": (flipped(4100), "cannot be used"),
    "newer": (newer, "was written by a newer DuckDB"),
    "folder": (folder, "is a folder, expected a DuckDB file"),
    "link to nowhere": (link_to("gone.duckdb"), "is a link to 'gone.duckdb', which is not there"),
    "link to itself": (link_to("ohlcv.duckdb"), "Too many levels of symbolic links"),
    "pipe": (pipe, "is no regular file"),
    "socket": (a_socket, "is no regular file"),
    "device": (link_to("/dev/zero"), "is no regular file"),
    "parent is a file": (parent_is_a_file, "Not a directory"),
    "log is a folder": (log_is_a_folder, "ohlcv.duckdb.wal"),
    "log of another": (foreign_log, "WAL does not match database file"),
}
AT_THE_STORE = {
    "run": feed_words(),
    "catch up": feed_words("--catch-up"),
    "api": feed_words("--inference-source", "api"),
    "backfill": barfeed_words("backfill", "--source", "rest", "--from", "2024-01-01"),
    "repair": barfeed_words("repair", "--yes"),
    "verify": barfeed_words("verify"),
    "status": barfeed_words("status"),
    "revisions": barfeed_words("revisions"),
}


def refused(world: Exchange, disk: Path, harm: Harm, words: list[str], said: str) -> None:
    kept = disk.with_name("kept")
    shutil.copy(store_file(disk), kept)
    harm(store_file(disk))
    before = bytes_of(disk)
    assert_refused(run(world, disk, words), "ohlcv.duckdb", said)
    after = bytes_of(disk)
    # A cycle adds its evidence; with the API as the source, the CSV too. Nothing that was there is touched.
    changed = {name for name, content in before.items() if after.get(name) != content}
    assert changed <= ({str(disk / LATEST)} if "api" in words else set())
    put_back(disk, kept)


def put_back(disk: Path, kept: Path) -> None:
    folder = disk / "store"
    if folder.is_dir():
        shutil.rmtree(folder)
    else:
        folder.unlink()
    folder.mkdir()
    shutil.copy(kept, store_file(disk))


@pytest.mark.long
@pytest.mark.parametrize("trouble", ["newer", "parent is a file"])
def test_a_store_that_is_none_is_refused_and_left_alone(trouble: str, world: Exchange, disk: Path) -> None:
    refused(world, disk, STORES[trouble][0], AT_THE_STORE["run"], STORES[trouble][1])
    assert_good_hour(world, disk)


@pytest.mark.long
@pytest.mark.parametrize("trouble", STORES)
def test_every_command_refuses_a_store_that_is_none(trouble: str, world: Exchange, start: Path, tmp_path: Path) -> None:
    for number, (name, words) in enumerate(AT_THE_STORE.items()):
        if name == "revisions" and trouble == "first blocks only":
            # It looks at one table, which is not there, and never at the blocks of the other.
            continue
        world.set_minute(number)
        disk = copy(start, tmp_path / "disk")
        refused(world, disk, STORES[trouble][0], words, STORES[trouble][1])
    assert_good_hour(world, disk)


@pytest.mark.long
def test_a_pipe_for_a_store_keeps_no_reader_waiting(world: Exchange, disk: Path) -> None:
    pipe(store_file(disk))
    assert_refused(run(world, disk, AT_THE_STORE["status"]), "is no regular file")


@pytest.mark.long
def test_a_link_to_a_store_elsewhere_is_used(world: Exchange, disk: Path) -> None:
    elsewhere = disk / "elsewhere.duckdb"
    store_file(disk).rename(elsewhere)
    store_file(disk).symlink_to(elsewhere)
    assert_good_hour(world, disk)
    assert store_file(disk).is_symlink()


def test_a_first_start_makes_no_new_store_where_a_link_leads_nowhere(world: Exchange, disk: Path) -> None:
    link_to("unmounted/ohlcv.duckdb")(store_file(disk))
    (disk / "store" / "unmounted").mkdir()
    assert_refused(run(world, disk, feed_words("--catch-up")), "mount the disk")
    assert list((disk / "store" / "unmounted").iterdir()) == []


@pytest.mark.long
def test_a_log_that_was_never_committed_is_passed_over(world: Exchange, disk: Path) -> None:
    Path(f"{store_file(disk)}.wal").write_bytes(os.urandom(300))
    assert_good_hour(world, disk)


# --- what a process may use ------------------------------------------------------------------------------------------


@pytest.mark.long
def test_too_few_open_files_send_nobody_to_a_backup(world: Exchange, disk: Path) -> None:
    assert_refused(run(world, disk, feed_words(), "prlimit", "--nofile=5:5"), "ulimit -n", "the file is as it was")
    assert_good_hour(world, disk)


@pytest.mark.long
def test_too_little_memory_sends_nobody_to_a_backup(world: Exchange, disk: Path) -> None:
    said = [run(world, disk, feed_words(), "prlimit", f"--as={mb << 20}") for mb in (150, 200)]
    told = [ran for ran in said if ran.code == 4]
    if not told:
        pytest.skip("this machine's Python needs another bound to come as far as the store")
    for ran in told:
        assert_refused(ran, "more memory")
    assert_good_hour(world, disk)


@pytest.mark.long
@pytest.mark.parametrize("size", [0, 1000, 20_000])
def test_a_bound_on_file_sizes_is_told(size: int, world: Exchange, disk: Path) -> None:
    assert_refused(run(world, disk, feed_words(), "prlimit", f"--fsize={size}"), "File too large", SLUG)
    assert_whole(disk)
    world.set_minute(1)
    assert_good_hour(world, disk)
    world.set_minute(0)


# --- the artifact folder ---------------------------------------------------------------------------------------------


def assert_whole(disk: Path) -> None:
    """Every CSV under its final name is one that the exchange's bars make."""
    for path in (disk / "feed" / SLUG).glob("*_for_inference.csv"):
        bars = read_csv(path)
        assert bars == window(bars[-1].open_time_ms)
    for path in (disk / "feed" / SLUG).glob("*_api_pull.csv"):
        assert all(TAPE[bar.open_time_ms] == bar for bar in read_csv(path))


@contextmanager
def mounted(path: Path, *options: str) -> Iterator[None]:
    """A file system of its own at `path`, with what was there; skipped where this user may not mount."""
    kept = copy(path, path.with_name(f"{path.name}.kept"))
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "proof", str(path)]
    if subprocess.run(words, capture_output=True, check=False).returncode:
        pytest.skip("this user may not mount a file system")
    try:
        shutil.copytree(kept, path, dirs_exist_ok=True)
        yield
        # What the process left there stays there.
        shutil.rmtree(kept)
        shutil.copytree(path, kept)
    finally:
        subprocess.run(["umount", str(path)], check=True)
        shutil.copytree(kept, path, dirs_exist_ok=True)
        shutil.rmtree(kept)


def fill(path: Path, leave_kb: int) -> Path:
    """Fill a file system but for so much."""
    ballast = path / "ballast"
    free = os.statvfs(path).f_bavail * os.statvfs(path).f_frsize
    with suppress(OSError), ballast.open("wb") as file:
        file.write(b"x" * max(0, free - leave_kb * 1024))
    return ballast


# What there is room for decides at which step the disk is full: a pull is 4 kB, a CSV 44 kB, a manifest 4 kB.
# The latest, once replaced, leaves room for the manifest.
ROOM = {
    "nothing": 0,
    "the pull": 8,
    "half a CSV": 28,
    "the CSV, not the latest": 72,
}


@pytest.mark.parametrize(
    "room", [pytest.param(name, marks=[] if "half" in name else pytest.mark.long) for name in ROOM]
)
def test_a_disk_that_fills_up_leaves_no_half_file(room: str, world: Exchange, disk: Path) -> None:
    with mounted(disk / "feed", "size=2m"):
        ballast = fill(disk / "feed", ROOM[room])
        ran = run(world, disk, feed_words())
        assert_refused(ran, "No space left on device", SLUG)
        assert_whole(disk)
        ballast.unlink()
        world.set_minute(1)
        assert_good_hour(world, disk)
    world.set_minute(0)


@pytest.mark.long
@pytest.mark.parametrize("to", ["read", "write"])
@pytest.mark.parametrize("room", ROOM)
def test_a_disk_that_fills_up_beside_who_has_the_store_leaves_no_half_file(
    room: str, to: str, world: Exchange, disk: Path
) -> None:
    words = feed_words("--catch-up")
    with mounted(disk / "feed", "size=2m"):
        ballast = fill(disk / "feed", ROOM[room])
        with held(store_file(disk), to=to):
            assert_refused(run(world, disk, words), "No space left on device", SLUG)
            assert_whole(disk)
            ballast.unlink()
            world.set_minute(1)
            ran = run(world, disk, words)
            assert (ran.code, " pending=1 " in ran.out) == (0, True), ran
            assert read_csv(disk / LATEST) == window(TARGET_MS)
        assert_good_hour(world, disk)
    world.set_minute(0)


@pytest.mark.long
def test_a_disk_without_inodes_is_told(world: Exchange, disk: Path) -> None:
    with mounted(disk / "feed", "size=2m", "nr_inodes=12"):
        assert_refused(run(world, disk, feed_words()), "No space left on device", SLUG)
        assert_whole(disk)
    assert_good_hour(world, disk)


@pytest.mark.long
@pytest.mark.parametrize("room", [0, 100, 400])
def test_a_store_without_room_is_refused_or_keeps_the_bar(room: int, world: Exchange, disk: Path) -> None:
    before = stored(disk)
    with mounted(disk / "store", "size=4m"):
        ballast = fill(disk / "store", room)
        ran = run(world, disk, feed_words())
        if ran.code:
            assert_refused(ran, "ohlcv.duckdb")
        else:
            assert len(stored(disk)) == len(before) + 1
        assert stored(disk).items() >= before.items()
        ballast.unlink()
        world.set_minute(1)
        assert_good_hour(world, disk)
    world.set_minute(0)


@pytest.mark.long
@pytest.mark.parametrize("words", [feed_words(), barfeed_words("backfill", "--source", "rest", "--from", "2024-01-01")])
def test_a_read_only_store_is_refused(words: list[str], world: Exchange, disk: Path) -> None:
    with mounted(disk / "store", "size=4m"):
        subprocess.run(["mount", "-o", "remount,ro", str(disk / "store")], check=True)
        assert_refused(run(world, disk, words), "ohlcv.duckdb", "may not be read and written by this user")
        assert run(world, disk, barfeed_words("verify")).code == 0
        subprocess.run(["mount", "-o", "remount,rw", str(disk / "store")], check=True)
        assert_good_hour(world, disk)


@pytest.mark.long
@pytest.mark.parametrize("words", [feed_words(), barfeed_words("prune")])
def test_a_read_only_artifact_folder_is_refused(words: list[str], world: Exchange, disk: Path) -> None:
    with mounted(disk / "feed", "size=4m"):
        subprocess.run(["mount", "-o", "remount,ro", str(disk / "feed")], check=True)
        before = bytes_of(disk)
        assert_refused(run(world, disk, words), SLUG, "Read-only file system")
        assert bytes_of(disk) == before
        subprocess.run(["mount", "-o", "remount,rw", str(disk / "feed")], check=True)
        assert_good_hour(world, disk)


LESS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
less_than_root = pytest.mark.skipif(
    shutil.which("setpriv") is None or os.geteuid() != 0, reason="needs root to be less than root"
)


@pytest.mark.long
@less_than_root
@pytest.mark.parametrize(("folder", "said"), [("feed", SLUG), ("store", "ohlcv.duckdb")])
def test_a_folder_without_leave_to_write_is_refused(folder: str, said: str, world: Exchange, disk: Path) -> None:
    for path in [disk / folder, *(disk / folder).rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert_refused(run(world, disk, feed_words(), *LESS), said)
    for path in [disk / folder, *(disk / folder).rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    assert_good_hour(world, disk)


@contextmanager
def closed(path: Path) -> Iterator[None]:
    """What nobody without root's powers may read, as another user's."""
    mode = path.stat().st_mode
    path.chmod(0)
    try:
        yield
    finally:
        path.chmod(mode)


@pytest.mark.long
@less_than_root
@pytest.mark.parametrize(("name", "status"), [("store/ohlcv.duckdb", "store_unusable"), ("feed", "artifacts_unusable")])
def test_what_may_not_be_read_is_refused(name: str, status: str, world: Exchange, disk: Path) -> None:
    with closed(disk / name):
        ran = run(world, disk, feed_words(), *LESS)
        assert_refused(ran, str(disk / name))
        assert f"failed={status}" in ran.out
        looked = run(world, disk, barfeed_words("doctor"), *LESS)
    assert (looked.code, "Usage:" in looked.err) == (1, False), looked.err
    assert str(disk / name) in looked.out
    assert_good_hour(world, disk)


@pytest.mark.long
@less_than_root
def test_a_metrics_file_that_may_not_be_read_is_a_warning(world: Exchange, disk: Path) -> None:
    file = disk / "feed.prom"
    file.touch()
    with closed(file):
        ran = run(world, disk, feed_words("--metrics-file", str(file)), *LESS)
    assert (ran.code, "cannot be read, the counters begin anew" in ran.err) == (0, True), ran.err


def replace(name: str, harm: Harm) -> Harm:
    """Put something else where a file or folder of the artifact folder is to be."""

    def put(feed: Path) -> None:
        path = feed / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        harm(path)

    return put


FOLDERS: dict[str, Harm] = {
    "folder is a file": replace("", lambda path: path.write_text("x")),
    "folder is a link to nowhere": replace("", lambda path: path.symlink_to("gone")),
    "latest is a folder": replace("latest_for_inference.csv", lambda path: (path / "x").mkdir(parents=True)),
    "latest is a pipe": replace("latest_for_inference.csv", os.mkfifo),
    "working folder is a file": replace(".unfinished", lambda path: path.write_text("x")),
    "working folder is a link to nowhere": replace(".unfinished", lambda path: path.symlink_to("gone")),
}


@pytest.mark.long
@pytest.mark.parametrize("trouble", FOLDERS)
def test_a_name_that_is_taken_is_told(trouble: str, world: Exchange, disk: Path) -> None:
    kept = copy(disk / "feed", disk / "kept")
    FOLDERS[trouble](disk / "feed" / SLUG)
    assert_refused(run(world, disk, feed_words()), SLUG)
    world.set_minute(1)
    shutil.rmtree(disk / "feed")
    kept.rename(disk / "feed")
    assert_good_hour(world, disk)
    world.set_minute(0)


@pytest.mark.long
def test_a_published_file_is_in_the_manifest_though_the_latest_could_not_be_replaced(
    world: Exchange, disk: Path
) -> None:
    FOLDERS["latest is a folder"](disk / "feed" / SLUG)
    ran = run(world, disk, feed_words())
    assert_refused(ran, "latest_for_inference.csv")
    assert "inference=20240210_160030Z_for_inference.csv" in ran.out
    assert run(world, disk, barfeed_words("prune", "--keep-days", "1", "--dry-run")).code == 0
    manifest = (disk / "feed" / SLUG / "20240210_160030Z_run.json").read_text()
    assert '"file": "20240210_160030Z_for_inference.csv"' in manifest


@pytest.mark.long
def test_a_pipe_for_the_latest_keeps_nobody_waiting(world: Exchange, disk: Path) -> None:
    FOLDERS["latest is a pipe"](disk / "feed" / SLUG)
    assert_refused(run(world, disk, feed_words()), "latest_for_inference.csv", "is no regular file")


@pytest.mark.long
def test_a_link_for_the_latest_is_replaced_and_what_it_leads_to_left_alone(world: Exchange, disk: Path) -> None:
    (disk / "theirs").write_text("not ours")
    replace("latest_for_inference.csv", lambda path: path.symlink_to(disk / "theirs"))(disk / "feed" / SLUG)
    assert_good_hour(world, disk)
    assert (disk / "theirs").read_text() == "not ours"
    assert not (disk / LATEST).is_symlink()


@pytest.mark.long
@pytest.mark.parametrize("name", ["2023-09_runs.zip", "20240101_000000Z_run.json"])
@pytest.mark.parametrize("command", ["verify", "status", "prune"])
def test_a_pipe_among_the_files_keeps_nobody_waiting(name: str, command: str, world: Exchange, disk: Path) -> None:
    add_old_runs(disk)
    os.mkfifo(disk / "feed" / SLUG / name)
    ran = run(world, disk, barfeed_words(command, *(["--keep-days", "30"] if command == "prune" else [])))
    assert ran.code in {0, 1, 4}
    assert "Traceback" not in ran.err


@pytest.mark.long
def test_a_watch_lives_on_when_its_folder_is_taken_away(world: Exchange, disk: Path) -> None:
    watching = subprocess.Popen(
        feed_words("--watch", "--sleep-sec", "0.05", "--settle-sec", "0"),
        env=world.environment(disk),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert watching.stdout is not None
        assert "appended=1" in watching.stdout.readline()
        shutil.rmtree(disk / "feed")
        world.clock.advance(hours(1))
        assert "appended=1" in watching.stdout.readline()
        assert read_csv(disk / LATEST) == window(TARGET_MS + hours(1))
    finally:
        watching.kill()
        watching.communicate(timeout=60)
        world.set_minute(0)


# --- what is left over -----------------------------------------------------------------------------------------------


def test_what_a_killed_writer_left_is_swept_whatever_file_is_written_next(tmp_path: Path) -> None:
    left = [tmp_path / ".a.zip.4711.unfinished", tmp_path / ".young.zip.4712.unfinished", tmp_path / ".mine"]
    for path in left:
        path.write_bytes(b"half")
    for path in (left[0], left[2]):
        os.utime(path, (time.time() - 48 * 3600,) * 2)
    with whole_file(tmp_path / "b.zip") as unfinished:
        unfinished.write_bytes(b"whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine", ".young.zip.4712.unfinished", "b.zip"]


def test_what_may_not_be_taken_away_keeps_nobody_from_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid():
        pytest.skip("only root can be another user")
    # Another user's, in a folder with the sticky bit.
    left = tmp_path / ".x.prom.4242.unfinished"
    left.touch()
    os.utime(left, (time.time() - 48 * 3600,) * 2)
    tmp_path.chmod(0o1777)
    # By a path that needs nothing of the folders above.
    monkeypatch.chdir(tmp_path)
    writer = os.fork()
    if writer == 0:
        os.setuid(_NOBODY)
        with whole_file(Path("feed.prom")) as unfinished:
            unfinished.write_bytes(b"whole")
        os._exit(0)
    assert os.waitpid(writer, 0)[1] == 0
    assert (tmp_path / "feed.prom").read_bytes() == b"whole"
    assert left.exists()


@pytest.mark.long
def test_the_next_hour_takes_away_the_other_name_of_a_store_whose_maker_was_killed(world: Exchange, disk: Path) -> None:
    other = disk / "store" / ".ohlcv.duckdb.4711.unfinished"
    other.hardlink_to(store_file(disk))
    assert_good_hour(world, disk)
    assert [path.name for path in (disk / "store").iterdir()] == ["ohlcv.duckdb"]


def test_a_prune_takes_away_the_zip_that_a_killed_one_had_begun(disk: Path) -> None:
    add_old_runs(disk)
    begun = disk / "feed" / SLUG / ".2023-10_runs.zip.4711.unfinished"
    begun.write_bytes(b"half")
    assert prune(disk / "feed" / SLUG, TARGET_MS, Keep(30, dry_run=True)).runs == 4
    assert begun.exists()
    assert prune(disk / "feed" / SLUG, TARGET_MS, Keep(30)).runs == 4
    assert not begun.exists()


def test_an_inference_sweeps_what_a_killed_one_left(tmp_path: Path) -> None:
    for name, age_sec in ((".unfinished-old", 48 * 3600), (".unfinished-young", 60), ("theirs", 48 * 3600)):
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age_sec,) * 2)
    with files.staged(tmp_path):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == [".unfinished-young", "theirs"]


def test_a_working_folder_that_cannot_be_taken_away_spoils_no_good_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with run_files(tmp_path, TARGET_MS) as one, files.staged(tmp_path):
        one.save_manifest({})
    assert (tmp_path / f"{one.name}_run.json").exists()


def test_debug_files_that_cannot_be_taken_back_do_not_hide_why(tmp_path: Path) -> None:
    (tmp_path / "a folder").mkdir()
    (tmp_path / "b").write_text("x")
    files.withdraw([tmp_path / "a folder", tmp_path / "b"])
    assert not (tmp_path / "b").exists()


def test_of_two_first_starts_one_makes_the_store(tmp_path: Path) -> None:
    path = tmp_path / "ohlcv.duckdb"
    with new_file(path) as late:
        late.write_bytes(b"late")
        with new_file(path) as quick:
            quick.write_bytes(b"quick")
    assert path.read_bytes() == b"quick"
    assert [each.name for each in tmp_path.iterdir()] == ["ohlcv.duckdb"]


def test_a_full_disk_leaves_no_half_zip_in_the_cache(tmp_path: Path) -> None:
    with mounted_folder(tmp_path / "cache") as folder:
        with pytest.raises(Exception, match="No space left on device"):
            _Cache(folder).write("a/b.zip", b"x" * 1_000_000)
        assert [path for path in folder.rglob("*") if path.is_file()] == []


@contextmanager
def mounted_folder(path: Path) -> Iterator[Path]:
    path.mkdir()
    with mounted(path, "size=200k"):
        yield path


def test_the_bounds_of_this_process_are_its_own() -> None:
    # The tests above bound only the processes that they start.
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
