"""A lock on a file, between processes; it ends with the block or with the process, and is not waited for for ever."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from barfeed.machine.atomic import open_regular
from barfeed.machine.clock import SystemClock

# Held for a file's writing: whoever has it for longer is stopped, or no process of ours.
WAIT_SEC = 10.0
_LOOK_EVERY_SEC = 0.02


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made where it is missing.

    Yields whether it is held: another process may have it, with `wait` for over `WAIT_SEC` seconds.
    Raises `OSError`, also for a pipe in its place.
    """
    with open_regular(path, "ab") as file:
        yield _lock_within(WAIT_SEC if wait else 0.0, file)


def _lock_within(sec: float, file: IO[bytes]) -> bool:
    clock = SystemClock()
    end_sec = clock.steady_sec() + sec
    while not _lock(file):
        if clock.steady_sec() >= end_sec:
            return False
        clock.sleep(_LOOK_EVERY_SEC)
    return True


def _lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True
