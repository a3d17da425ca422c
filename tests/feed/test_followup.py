"""The user's command after a publish: told everything, and unable to hurt the feed."""

import json
import logging
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from barfeed.feed import follow_up
from barfeed.feed.record import Record
from waiting import LONGEST_SEC, in_time, until
from world import World, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)


def then_of(record: Record) -> dict[str, object]:
    assert record.manifest_path
    told: dict[str, object] = json.loads(Path(record.manifest_path).read_text())["then"]
    return told


@pytest.fixture
def last_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a command said is read, however busy the machine is."""
    monkeypatch.setattr(follow_up, "_LAST_WORDS_SEC", LONGEST_SEC)


def time_runs_from(sign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command's time begins to run out when it has left its sign, and not while a busy machine begins it."""
    exit_code = follow_up._exit_code

    def begun(process: "subprocess.Popen[bytes]", timeout_sec: float) -> int | None:
        until(sign.exists)
        return exit_code(process, timeout_sec)

    monkeypatch.setattr(follow_up, "_exit_code", begun)


def test_the_command_is_told_the_csv_the_target_and_the_manifest(started: World, tmp_path: Path) -> None:
    told = tmp_path / "told"
    record = started.run(
        then=f'echo "$BARFEED_TARGET" > {told}; wc -l < "$BARFEED_INFERENCE_CSV" >> {told};'
        f' grep -c appended "$BARFEED_MANIFEST" >> {told}'
    )
    assert record.exit_code == 0
    target, lines, manifest = told.read_text().split("\n")[:3]
    assert (target, lines.strip()) == ("2024-02-10 13:00", "727")
    assert int(manifest) >= 1
    assert list(record.durations_sec)[-2:] == ["publish", "then"]
    assert then_of(record)["exit_code"] == 0


@pytest.mark.usefixtures("last_words")
def test_what_it_prints_is_in_the_log(started: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        started.run(then="echo spoken; echo complained >&2")
    assert {"--then: spoken", "--then: complained"} <= set(caplog.messages)


@pytest.mark.usefixtures("last_words")
def test_of_much_that_it_prints_the_last_is_in_the_log_and_nothing_on_the_disk(
    started: World, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where a temporary file would be made there is room for none.
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "absent"))
    with caplog.at_level(logging.INFO):
        record = started.run(then="yes | head -c 50000000; echo the last")
    said = [each for each in caplog.messages if each.startswith("--then: ")]
    assert then_of(record)["exit_code"] == 0
    assert said[0] == "--then: what it printed before this is left out"
    assert said[1:] == ["--then: y"] * 999 + ["--then: the last"]


@pytest.mark.long
@pytest.mark.usefixtures("last_words")
def test_a_command_that_prints_for_ever_is_killed_in_time(
    started: World, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_runs_from(tmp_path / "printing", monkeypatch)
    with caplog.at_level(logging.INFO):
        record = in_time(
            lambda: started.run(then=f"yes | head -n 100000; touch {tmp_path}/printing; yes", then_timeout_sec=1.0)
        )
    assert (record.exit_code, then_of(record)["exit_code"]) == (0, None)
    assert len([each for each in caplog.messages if each == "--then: y"]) in {999, 1000}


def test_a_failing_command_does_not_fail_the_hour(started: World) -> None:
    record = started.run(then="exit 7")
    assert (record.exit_code, record.status) == (0, "appended")
    assert then_of(record)["exit_code"] == 7


def test_a_hanging_command_is_killed_with_all_it_started(
    started: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    time_runs_from(tmp_path / "begun", monkeypatch)
    os.mkfifo(tmp_path / "pipe")
    pipe = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        # Whatever it starts holds the pipe open.
        command = f"exec > {tmp_path}/pipe; sleep 600 & touch {tmp_path}/begun; sleep 600"
        record = in_time(lambda: started.run(then=command, then_timeout_sec=1.0))
        assert (record.exit_code, then_of(record)["exit_code"]) == (0, None)
        os.set_blocking(pipe, True)
        assert in_time(lambda: os.read(pipe, 1)) == b""
    finally:
        os.close(pipe)


def test_a_command_that_leaves_a_child_behind_does_not_keep_the_feed(started: World, tmp_path: Path) -> None:
    child = tmp_path / "child"
    assert in_time(lambda: started.run(then=f"sleep 600 & echo $! > {child}")).exit_code == 0
    # It is still there.
    os.kill(int(child.read_text()), signal.SIGKILL)


def test_a_command_that_cannot_even_be_started_does_not_fail_the_hour(started: World) -> None:
    record = started.run(then="true " + "x" * 300_000)
    assert (record.exit_code, then_of(record)["exit_code"]) == (0, None)


def test_a_manifest_that_cannot_be_written_again_does_not_fail_the_hour(
    started: World, caplog: pytest.LogCaptureFixture
) -> None:
    record = started.run(then=f"rm -r {started.feed.folder}/.unfinished")
    assert (record.status, record.exit_code) == ("appended", 0)
    (said,) = caplog.messages
    assert said.startswith(f"{started.feed.folder / '20240210_140030Z_run.json'} cannot be written: No such file")
    assert then_of(record) is None


def test_its_paths_are_good_from_any_folder(started: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    started.feed = started.feed._replace(folder=Path("feed"))
    record = started.run(then='cd / && test -s "$BARFEED_INFERENCE_CSV" && test -s "$BARFEED_MANIFEST"')
    assert then_of(record)["exit_code"] == 0


def test_without_a_fresh_csv_nothing_is_run(started: World, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    started.clock.go_to(TARGET_MS + hours(3))
    assert started.run(then=f"touch {ran}").status == "missed_bars"
    assert started.run(then=f"touch {ran}", dry_run=True, catch_up=True).status == "dry_run"
    assert not ran.exists()


def test_the_exchanges_csv_is_followed_up_even_when_the_store_disagrees(started: World, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    started.execute("UPDATE ohlcv_btcusdt_1h SET close = 1 WHERE timestamp = '2024-02-10 11:00'")
    record = started.run(then=f"touch {ran}", inference_source="api")
    assert (record.status, ran.exists()) == ("mismatch", True)
