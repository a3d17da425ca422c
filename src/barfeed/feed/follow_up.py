"""The user's own command after a publish: given the files, watched, and never able to hurt the feed."""

import logging
import os
import signal
import subprocess
from threading import Thread
from typing import IO

from barfeed.feed.record import Ended
from barfeed.machine.signals import put_off

# What a command says is kept in the log, but not without end: the last of it, where its error stands.
OUTPUT_BYTES_MAX = 64 * 1024
OUTPUT_LINES_MAX = 1000
# All that it said is in the pipe when it ends; a grandchild that outlives it may keep the pipe open for ever.
_LAST_WORDS_SEC = 0.5

_log = logging.getLogger(__name__)


def run_command(command: str, variables: dict[str, str], timeout_sec: float) -> Ended:
    """Run a shell command with `variables` added to its environment, for at most `timeout_sec` seconds.

    The exit code is negative where a signal ended it, None where it could not be run or time ran out:
    then the command and all it started are killed. The last of what it prints goes to the log, line by line.
    """
    try:
        return _run(command, variables, timeout_sec)
    except OSError as problem:
        _log.warning("--then: cannot be run: %s", problem)
        return Ended(command, None)


def _run(command: str, variables: dict[str, str], timeout_sec: float) -> Ended:
    process: subprocess.Popen[bytes] | None = None
    try:
        # A signal while it begins would leave a command that nobody knows of.
        with put_off():
            process = _started(command, variables)
            assert process.stdout is not None
            output = _Output(process.stdout)
        exit_code = _exit_code(process, timeout_sec)
    finally:
        if process:
            _kill_all(process)
    output.log()
    if exit_code:
        _log.warning("--then: ended with exit code %d", exit_code)
    return Ended(command, exit_code)


def _started(command: str, variables: dict[str, str]) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(  # noqa: S602 - it is the user's own shell command
        command,
        shell=True,
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def _exit_code(process: "subprocess.Popen[bytes]", timeout_sec: float) -> int | None:
    try:
        return process.wait(timeout_sec)
    except subprocess.TimeoutExpired:
        _log.warning("--then: not done after %g s, killed", timeout_sec)
        return None


class _Output:
    """Reads all that a command prints, beside it, and keeps the last of it: in memory, so that it fills no disk."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._kept = b""
        self._is_cut = False
        self._thread = Thread(target=self._read, args=(pipe,), daemon=True, name="barfeed-then")
        self._thread.start()

    def log(self) -> None:
        """Say what it said, once it has ended."""
        self._thread.join(_LAST_WORDS_SEC)
        lines = self._kept.decode("utf-8", "replace").splitlines()
        if self._is_cut or len(lines) > OUTPUT_LINES_MAX:
            _log.info("--then: what it printed before this is left out")
        for line in lines[-OUTPUT_LINES_MAX:]:
            _log.info("--then: %s", line)

    def _read(self, pipe: IO[bytes]) -> None:
        with pipe:
            while chunk := os.read(pipe.fileno(), OUTPUT_BYTES_MAX):
                said = self._kept + chunk
                self._is_cut = self._is_cut or len(said) > OUTPUT_BYTES_MAX
                self._kept = said[-OUTPUT_BYTES_MAX:]


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()
