"""Any of stdin, stdout and stderr closed: each command does and ends as with `/dev/null` there."""

import logging
import shlex
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest

from barfeed.cli.main import COMMANDS
from barfeed.operate.logs import ToStream
from proof.proof_world import (
    TAPE,
    Exchange,
    add_old_runs,
    barfeed_words,
    break_store,
    copy,
    feed_words,
    stored,
    write_csvs,
)

# How it ends as the documentation has it: nobody at stdin confirms a repair, no folder is there for the metrics.
ENDS = {
    "run": (["--catch-up"], 0),
    "backfill": (["--from", "2023-12-01", "--connections", "1"], 0),
    "backfill --source csv": (["csv/a.csv"], 0),
    "verify": ([], 0),
    "repair": ([], 2),
    "repair --yes": ([], 0),
    "revisions": ([], 0),
    "status": ([], 0),
    "doctor": (["--metrics-file", "/nowhere/feed.prom"], 1),
    "export": (["out.csv"], 0),
    "migrate": (["--dry-run"], 0),
    "copy": (["store/ohlcv.duckdb", "copy.duckdb"], 0),
    "prune": (["--keep-days", "3"], 0),
    "alert": (["test"], 2),
    "web": (["--listen", "0.0.0.0:0"], 2),
    "replay": (["--generate", "none"], 2),
    "--help": ([], 0),
    "nonsense": ([], 2),
}
CLOSED = ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"]
# Those that used to fail, and the feed itself; the others with `make long`.
WITH_EVERY_CHANGE = {("run", "<&- >&- 2>&-"), ("backfill", "2>&-"), ("doctor", ">&-"), ("repair", "<&-")}


@pytest.fixture(scope="module")
def start(start: Path) -> Path:
    """With CSV files to take bars from and runs to prune, too."""
    write_csvs(start)
    add_old_runs(start)
    return start


def ends(world: Exchange, disk: Path, words: list[str], closed: str) -> int:
    shell = f"cd {disk}; exec {shlex.join(words)} {closed}"
    return subprocess.run(["sh", "-c", shell], env=world.environment(disk), capture_output=True, check=False).returncode


@pytest.mark.parametrize(
    ("command", "closed"),
    [
        pytest.param(name, closed, marks=[] if (name, closed) in WITH_EVERY_CHANGE else pytest.mark.long)
        for name in ENDS
        for closed in CLOSED
    ],
)
def test_a_command_ends_as_ever_with_a_stream_closed(
    world: Exchange, start: Path, tmp_path: Path, command: str, closed: str
) -> None:
    words, code = ENDS[command]
    disk = copy(start, tmp_path / "disk")
    if command.startswith("repair"):
        break_store(disk)
    assert ends(world, disk, barfeed_words(*command.split(), *words), closed) == code
    if command != "repair":
        assert stored(disk).items() <= TAPE.items()
    if command == "export":
        assert (disk / "out.csv").read_text().count("\n") == len(stored(disk)) + 1


def test_every_command_is_tried() -> None:
    assert set(COMMANDS) <= {each.split()[0] for each in ENDS}


def test_the_first_start_of_the_feed_makes_a_whole_store_with_all_streams_closed(
    world: Exchange, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    assert ends(world, tmp_path, feed_words("--catch-up"), "<&- >&- 2>&-") == 0
    assert len(stored(tmp_path)) == 726
    assert stored(tmp_path).items() <= TAPE.items()


@pytest.mark.parametrize("closed", CLOSED)
def test_what_is_opened_next_does_not_get_the_number_of_a_closed_stream(closed: str, tmp_path: Path) -> None:
    """What a library writes to stdout and stderr by their numbers is in no file."""
    code = (
        "import os, sys; from barfeed.machine.streams import open_closed_streams; open_closed_streams();"
        f"file = os.open({str(tmp_path / 'store')!r}, os.O_RDWR | os.O_CREAT); os.write(1, b'x'); os.write(2, b'x');"
        "print('said'); print('said', file=sys.stderr); assert sys.stdin.read() == ''; sys.exit(file)"
    )
    shell = f"{shlex.join([sys.executable, '-c', code])} < /dev/null {closed}"
    done = subprocess.run(["sh", "-c", shell], capture_output=True, check=False)
    assert done.returncode > 2
    assert (tmp_path / "store").read_bytes() == b""


def test_a_line_of_the_log_that_cannot_be_written_leaves_no_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def log(stream: TextIO, message: str) -> str:
        ToStream(stream).handle(logging.LogRecord("barfeed", logging.WARNING, "", 0, message, ("one",), None))
        return capsys.readouterr().err

    # What is left of it cannot be written when it is closed either.
    with suppress(OSError), Path("/dev/full").open("w", encoding="utf-8") as full:
        lost, of_a_bug = log(full, "%s bar"), log(full, "%d bar")
    assert (lost, "--- Logging error ---" in of_a_bug) == ("", True)
