import csv
import hashlib
import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.artifacts import writing
from barfeed.artifacts.writing import LATEST_NAME, LATEST_WINDOWS_NAME, Run, Written, run_files, slug
from barfeed.domain.bars import Bar
from barfeed.domain.errors import ArtifactsUnusable
from barfeed.machine.locks import locked
from waiting import in_time

# 2024-01-15 14:23:45.678 UTC.
RUN_TIME = 1_705_328_625_678
NAME = "20240115_142345Z"
BARS = [
    Bar(1_705_323_600_000, 42000.1, 42100.0, 41900.5, 42050.3, 1234.567),
    Bar(1_705_327_200_000, 42050.3, 42060.0, 42000.0, 42001.0, 0.001),
]
CONTENT = (
    "timestamp,open,high,low,close,volume\n"
    "2024-01-15 13:00:00,42000.1,42100.0,41900.5,42050.3,1234.567\n"
    "2024-01-15 14:00:00,42050.3,42060.0,42000.0,42001.0,0.001\n"
)


def shown(folder: Path) -> list[str]:
    """Everything there, hidden or not, but for the empty working folder and the lock in it."""
    return sorted(
        str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file() and each.name != "latest.lock"
    )


def publish(run: Run, bars: Sequence[Bar], newest_ms: int | None = None) -> Written:
    written = run.publish(bars)
    run.replace_latest(written, bars[-1].open_time_ms, newest_ms or bars[-1].open_time_ms)
    return written


@pytest.mark.parametrize(
    ("dataset", "name"),
    [
        ("BINANCE_BTCUSDT.P, 60", "BINANCE_BTCUSDT.P_60"),
        ("plain-Name_1.0", "plain-Name_1.0"),
        ("a,b", "ab"),
        ("a b", "a_b"),
        ("a/b\\c:d", "a_b_c_d"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("", "_"),
        (",", "_"),
        (".", "_"),
        ("..", "_"),
        (",.,.,", "_"),
        ("...", "..."),
        ("\n", "_"),
        ("..\n", ".._"),
        ("ü", "_"),
        ("٣", "_"),
        ("\0", "_"),
    ],
)
def test_a_datasets_slug(dataset: str, name: str) -> None:
    assert slug(dataset) == name


@given(st.text(max_size=30))
def test_a_slug_is_always_a_name_of_a_folder_inside(dataset: str) -> None:
    name = slug(dataset)
    assert name not in {"", ".", ".."}
    assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")


def test_a_run_leaves_its_files_under_its_time_and_nothing_else(tmp_path: Path) -> None:
    with run_files(tmp_path / "feed" / "btc", RUN_TIME) as run:
        pull = run.save_pull(BARS)
        inference = publish(run, BARS)
        path = run.save_manifest({"status": "appended", "exit_code": 0})
    folder = tmp_path / "feed" / "btc"
    assert shown(folder) == [
        f"{NAME}_api_pull.csv",
        f"{NAME}_for_inference.csv",
        f"{NAME}_run.json",
        "latest_for_inference.csv",
    ]
    digest = hashlib.sha256(CONTENT.encode()).hexdigest()
    assert tuple(pull) == (f"{NAME}_api_pull.csv", digest, 2)
    assert tuple(inference) == (f"{NAME}_for_inference.csv", digest, 2)
    for name in (pull.file, inference.file, LATEST_NAME):
        assert (folder / name).read_text() == CONTENT
    assert path == folder / f"{NAME}_run.json"
    assert json.loads(path.read_text()) == {"status": "appended", "exit_code": 0}


def test_the_latest_is_replaced_and_everything_else_is_kept(tmp_path: Path) -> None:
    for bars in (BARS[:1], BARS):
        with run_files(tmp_path, RUN_TIME) as run:
            publish(run, bars)
    assert shown(tmp_path) == [f"{NAME}-2_for_inference.csv", f"{NAME}_for_inference.csv", LATEST_NAME]
    assert (tmp_path / LATEST_NAME).read_text() == CONTENT
    assert (tmp_path / f"{NAME}_for_inference.csv").read_text().count("\n") == 2


def test_the_latest_never_goes_back_behind_what_a_quicker_process_published(tmp_path: Path) -> None:
    with run_files(tmp_path, RUN_TIME) as slow, run_files(tmp_path, RUN_TIME) as quick:
        publish(quick, BARS)
        publish(slow, BARS[:1], BARS[1].open_time_ms)
    assert (tmp_path / LATEST_NAME).read_text() == CONTENT
    assert (tmp_path / f"{NAME}_for_inference.csv").read_text().count("\n") == 2


def test_the_latest_csv_of_one_symbol_of_a_market_never_goes_back(tmp_path: Path) -> None:
    newest_ms = BARS[1].open_time_ms
    with run_files(tmp_path, RUN_TIME) as slow, run_files(tmp_path, RUN_TIME) as quick:
        quick.publish_for("BTCUSDT", BARS, newest_ms)
        slow.publish_for("BTCUSDT", BARS[:1], newest_ms)
    assert (tmp_path / "latest_for_inference_BTCUSDT.csv").read_text() == CONTENT
    assert (tmp_path / f"{NAME}_for_inference_BTCUSDT.csv").read_text().count("\n") == 2


def test_the_latest_windows_of_a_market_never_go_back(tmp_path: Path) -> None:
    earlier_ms, newest_ms = (bar.open_time_ms for bar in BARS)

    def made(content: str) -> Callable[[Path], int]:
        return lambda path: path.write_text(content)

    with run_files(tmp_path, RUN_TIME) as slow, run_files(tmp_path, RUN_TIME) as quick:
        quick.replace_latest_windows(made("new"), newest_ms, newest_ms, lambda _: None)
        slow.replace_latest_windows(made("old"), earlier_ms, newest_ms, lambda _: newest_ms)
        assert (tmp_path / LATEST_WINDOWS_NAME).read_text() == "new"
        # One that ends after the newest closed bar is of another exchange's time.
        slow.replace_latest_windows(made("own"), earlier_ms, earlier_ms, lambda _: newest_ms)
        assert (tmp_path / LATEST_WINDOWS_NAME).read_text() == "own"


@pytest.mark.parametrize("foreign", [f"{CONTENT}2999-01-01 00:00:00,1,1,1,1,1\n", "", "\n", "\xff\n,\n", "9"])
def test_a_latest_that_no_feed_of_this_exchange_wrote_is_replaced(tmp_path: Path, foreign: str) -> None:
    (tmp_path / LATEST_NAME).write_text(foreign)
    with run_files(tmp_path, RUN_TIME) as run:
        publish(run, BARS)
    assert (tmp_path / LATEST_NAME).read_text() == CONTENT


def test_a_pull_without_bars_is_evidence_too(tmp_path: Path) -> None:
    with run_files(tmp_path, RUN_TIME) as run:
        assert run.save_pull([]).rows == 0
    assert (tmp_path / f"{NAME}_api_pull.csv").read_text() == "timestamp,open,high,low,close,volume\n"


# How long it takes to think of numbers says how busy the machine is.
doubles = st.floats(allow_nan=False, allow_infinity=False)


@given(st.lists(st.tuples(doubles, doubles, doubles, doubles, doubles), max_size=20))
def test_the_numbers_of_a_csv_read_back_as_the_very_same_doubles(
    values: list[tuple[float, float, float, float, float]],
) -> None:
    content = writing.csv_bytes(Bar(1_705_323_600_000, *each) for each in values).decode()
    _header, *rows = csv.reader(content.splitlines())
    assert [[float(text).hex() for text in row[1:]] for row in rows] == [[each.hex() for each in row] for row in values]


@given(st.lists(st.tuples(doubles, doubles, doubles, doubles, doubles), max_size=20))
def test_plain_decimals_have_no_exponent_and_read_back_as_the_very_same_doubles(
    values: list[tuple[float, float, float, float, float]],
) -> None:
    bars = [Bar(1_705_323_600_000, *each) for each in values]
    _header, *rows = csv.reader(writing.csv_bytes(bars, plain_decimals=True).decode().splitlines())
    assert [[float(text).hex() for text in row[1:]] for row in rows] == [[each.hex() for each in row] for row in values]
    assert all(re.fullmatch(r"-?\d+\.\d+", text) for row in rows for text in row[1:])


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1.57066e-05, "0.0000157066"),
        (1e-08, "0.00000001"),
        (0.0001, "0.0001"),
        (-2.5e-07, "-0.00000025"),
        (1e16, "10000000000000000.0"),
        (1.2345678901234567e16, "12345678901234568.0"),
        (9007199254740993.0, "9007199254740992.0"),
        (42000.1, "42000.1"),
        (0.0, "0.0"),
    ],
)
def test_a_plain_decimal_is_as_short_as_it_can_be(number: float, text: str) -> None:
    assert writing.plain(number) == text


def test_the_evidence_shows_every_millisecond_of_an_open_time() -> None:
    odd = BARS[0]._replace(open_time_ms=BARS[0].open_time_ms + 500)
    assert writing.csv_bytes([odd]) != writing.csv_bytes([BARS[0]])


def test_runs_in_the_same_second_each_have_a_name(tmp_path: Path) -> None:
    with run_files(tmp_path, RUN_TIME) as one, run_files(tmp_path, RUN_TIME + 321) as two:
        one.save_manifest({})
        two.save_manifest({})
    with run_files(tmp_path, RUN_TIME) as three:
        assert [one.name, two.name, three.name] == [NAME, f"{NAME}-2", f"{NAME}-3"]


@pytest.mark.parametrize("kind", ["api_pull.csv", "for_inference.csv", "run.json"])
def test_a_name_with_any_file_of_its_own_is_taken(tmp_path: Path, kind: str) -> None:
    (tmp_path / f"{NAME}_{kind}").write_text("mine")
    with run_files(tmp_path, RUN_TIME) as run:
        assert run.name == f"{NAME}-2"
    assert (tmp_path / f"{NAME}_{kind}").read_text() == "mine"


ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}

CLAIM = """
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from barfeed.artifacts.writing import run_files
sys.stdin.read()
for _ in range(10):
    with run_files(Path(sys.argv[1]), {run_time}) as run:
        run.save_manifest({{"by": sys.argv[2]}})
        print(run.name)
"""


@pytest.mark.long
def test_processes_that_start_together_never_share_a_name(tmp_path: Path) -> None:
    code = CLAIM.format(run_time=RUN_TIME)
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(number)],
            env=ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    named = {number: racer.communicate(timeout=60)[0].split() for number, racer in enumerate(racers)}
    names = [name for some in named.values() for name in some]
    assert len(names) == len(set(names)) == 40
    for number, some in named.items():
        for name in some:
            assert json.loads((tmp_path / f"{name}_run.json").read_text()) == {"by": str(number)}


KILLED = """
import os, sys
from pathlib import Path
from barfeed.artifacts import writing
{spoil}
with writing.run_files(Path(sys.argv[1]), {run_time}) as run:
    run.save_pull([])
"""


@pytest.mark.parametrize(
    ("spoil", "left"),
    [
        ("os.fsync = lambda number: os._exit(9)", []),
        ("Path.replace = lambda self, other: os._exit(9)", []),
        ("writing.flush_entries = lambda folder: os._exit(9)", [f"{NAME}_api_pull.csv"]),
    ],
)
def test_a_killed_run_leaves_whole_files_or_none(tmp_path: Path, spoil: str, left: list[str]) -> None:
    code = KILLED.format(spoil=spoil, run_time=RUN_TIME)
    assert (
        subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT, check=False, timeout=60).returncode
        == 9
    )
    assert [name for name in shown(tmp_path) if not name.startswith(".")] == left
    for name in left:
        assert (tmp_path / name).read_text() == "timestamp,open,high,low,close,volume\n"
    with run_files(tmp_path, RUN_TIME) as run:
        assert run.name == f"{NAME}-2"


def working(folder: Path) -> set[str]:
    return {each.name for each in (folder / ".unfinished").iterdir()}


def test_what_killed_runs_left_is_swept_after_a_day_and_not_before(tmp_path: Path) -> None:
    for name, age_sec in (("old", 24 * 3600 + 60), ("young", 24 * 3600 - 60)):
        left = tmp_path / ".unfinished" / name
        left.mkdir(parents=True)
        (left / "half.csv").write_text("timestamp,op")
        then = left.stat().st_mtime - age_sec
        os.utime(left, (then, then))
    with run_files(tmp_path, RUN_TIME):
        assert working(tmp_path) == {"young", NAME}
    assert working(tmp_path) == {"young"}


def test_a_running_neighbour_is_not_swept(tmp_path: Path) -> None:
    with run_files(tmp_path, RUN_TIME) as one, run_files(tmp_path, RUN_TIME):
        one.save_pull(BARS)
    assert shown(tmp_path) == [f"{NAME}_api_pull.csv"]


def test_the_working_folder_goes_even_when_the_run_fails(tmp_path: Path) -> None:
    def fail() -> None:
        with run_files(tmp_path, RUN_TIME):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert working(tmp_path) == set()


def test_a_file_is_written_elsewhere_flushed_renamed_and_the_folder_flushed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    happened: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted_fsync(number: int) -> None:
        happened.append("flush folder" if os.path.isdir(f"/proc/self/fd/{number}") else "flush file")  # noqa: PTH112
        fsync(number)

    def noted_replace(self: Path, target: Path) -> Path:
        assert not target.exists()
        assert self.read_text() == CONTENT
        happened.append("rename")
        return replace(self, target)

    with run_files(tmp_path, RUN_TIME) as run:
        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(Path, "replace", noted_replace)
        run.save_pull(BARS)
    assert happened == ["flush file", "rename", "flush folder"]


def test_a_folder_that_is_a_file_is_unusable(tmp_path: Path) -> None:
    (tmp_path / "feed").write_text("")
    for folder in (tmp_path / "feed", tmp_path / "feed" / "btc"):
        with pytest.raises(ArtifactsUnusable, match="cannot be written: ") as told, run_files(folder, RUN_TIME):
            pass
        assert "--persist-dir" in told.value.hint


def save(run: Run, kind: str) -> None:
    saving: dict[str, Callable[[], object]] = {
        "pull": lambda: run.save_pull(BARS),
        "publish": lambda: publish(run, BARS),
        "manifest": lambda: run.save_manifest({}),
    }
    saving[kind]()


@pytest.mark.parametrize("kind", ["pull", "publish", "manifest"])
def test_a_folder_that_is_removed_meanwhile_is_told_as_unusable(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "btc"
    with run_files(folder, RUN_TIME) as run:
        shutil.rmtree(folder)
        with pytest.raises(ArtifactsUnusable, match=r"btc/.* cannot be written: No such file or directory"):
            save(run, kind)


@pytest.mark.parametrize("kind", ["pull", "publish", "manifest"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), PermissionError(13, "Permission denied")])
def test_a_full_disk_is_told_and_leaves_no_half_file(
    tmp_path: Path, kind: str, error: OSError, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_number: int) -> None:
        raise error

    with run_files(tmp_path, RUN_TIME) as run:
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ArtifactsUnusable, match=f"cannot be written: {error.strerror}") as told:
            save(run, kind)
        assert told.value.__cause__ is error
    assert shown(tmp_path) == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_a_place_that_cannot_be_written_is_unusable() -> None:
    with pytest.raises(ArtifactsUnusable), run_files(Path("/proc/nowhere"), RUN_TIME):
        pass


@settings(max_examples=5)
@given(st.sets(st.integers(0, 86_399), min_size=1, max_size=5))
def test_names_sort_as_the_runs_came(tmp_path_factory: pytest.TempPathFactory, seconds: set[int]) -> None:
    folder = tmp_path_factory.mktemp("runs")
    names = []
    for second in sorted(seconds):
        with run_files(folder, 1_705_276_800_000 + second * 1000) as run:
            names.append(run.name)
    assert names == sorted(names)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
def test_a_pipe_in_place_of_a_folders_mark_or_of_a_lock_keeps_nobody_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".series")
    with pytest.raises(ArtifactsUnusable, match=r"/\.series cannot be written: it is no regular file"):
        in_time(lambda: writing.keep_for(tmp_path, "BTCUSDT 1h"))
    with run_files(tmp_path, RUN_TIME) as run:
        os.mkfifo(tmp_path / ".unfinished" / "latest.lock")
        with pytest.raises(ArtifactsUnusable, match=r"/latest\.lock cannot be written"):
            in_time(lambda: publish(run, BARS))
    assert not (tmp_path / LATEST_NAME).exists()


def test_a_lock_that_another_process_keeps_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barfeed.machine.locks.WAIT_SEC", 0.2)
    with run_files(tmp_path, RUN_TIME) as run, locked(tmp_path / ".unfinished" / "latest.lock", wait=False) as is_ours:
        assert is_ours
        with pytest.raises(ArtifactsUnusable, match=r"/latest\.lock is held by another process"):
            in_time(lambda: publish(run, BARS))
    with run_files(tmp_path, RUN_TIME) as run:
        publish(run, BARS)
    assert (tmp_path / LATEST_NAME).read_text() == CONTENT


def test_earlier_runs_are_known_and_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / LATEST_NAME).write_text("")
    (tmp_path / "20240210_140030Z_for_inference.csv").write_text("")
    assert not writing.has_published(tmp_path, but="20240210_140030Z")
    assert writing.has_published(tmp_path, but="20240210_150030Z")
    most, highest = resource.getrlimit(resource.RLIMIT_NOFILE)
    # No file more may be opened.
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, highest))
    try:
        with pytest.raises(ArtifactsUnusable, match=f"^{tmp_path} cannot be read: Too many open files$"):
            writing.has_published(tmp_path, but="20240210_150030Z")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, highest))
