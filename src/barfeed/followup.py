"""The user's own command after a publish: given the files, watched, and never able to hurt the feed."""

import logging
import os
import signal
import subprocess
import tempfile
from typing import IO

from barfeed.record import Ended

# What a command says is kept in the log, but not without end.
OUTPUT_BYTES_MAX = 64 * 1024

_log = logging.getLogger(__name__)


def run_command(command: str, variables: dict[str, str], timeout_sec: float) -> Ended:
    """Run a shell command with `variables` added to its environment, for at most `timeout_sec` seconds.

    The exit code is negative where a signal ended it, None where it could not be run or time ran out:
    then the command and all it started are killed. What it prints goes to the log, line by line.
    """
    try:
        return _run(command, variables, timeout_sec)
    except OSError as problem:
        _log.warning("--then: cannot be run: %s", problem)
        return Ended(command, None)


def _run(command: str, variables: dict[str, str], timeout_sec: float) -> Ended:
    # A file, not a pipe: a grandchild that outlives the command cannot keep us waiting for its end.
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(  # noqa: S602 - it is the user's own shell command
            command,
            shell=True,
            env=os.environ | variables,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code: int | None = process.wait(timeout_sec)
        except subprocess.TimeoutExpired:
            _log.warning("--then: not done after %g s, killed", timeout_sec)
            exit_code = None
        finally:
            _kill_all(process)
        _log_output(output)
    if exit_code:
        _log.warning("--then: ended with exit code %d", exit_code)
    return Ended(command, exit_code)


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is not None:
        return
    if os.name == "posix":
        os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.wait()


def _log_output(output: IO[bytes]) -> None:
    size = output.seek(0, os.SEEK_END)
    output.seek(max(0, size - OUTPUT_BYTES_MAX))
    for line in output.read().decode("utf-8", "replace").splitlines():
        _log.info("--then: %s", line)
