"""A lock on a file, between processes; it ends with the block or with the process, and is not waited for for ever.

On a disk that cannot lock, as a shared folder, whoever first makes a second file beside has the lock until it is gone.
"""

import errno
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from barfeed.machine.atomic import open_regular
from barfeed.machine.clock import SystemClock

# Held for a file's writing: whoever has it for longer is stopped, or no process of ours.
WAIT_SEC = 10.0
# What a killed process holds by a file stays held: so long where others wait for it, and where they do not.
_WRITES_FOR_SEC = 60.0
_WORKS_FOR_SEC = 24 * 3600.0
_LOOK_EVERY_SEC = 0.02
# What a disk says that knows no locks at all.
CANNOT_LOCK = {errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOLCK, errno.ENOSYS, errno.EINVAL}
_HELD_SUFFIX = ".held"


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made where it is missing.

    Yields whether it is held: another process may have it, with `wait` for over `WAIT_SEC` seconds.
    Raises `OSError`, also for a pipe in its place.
    """
    patience_sec = WAIT_SEC if wait else 0.0
    with open_regular(path, "ab") as file:
        try:
            is_ours = _within(patience_sec, lambda: _lock(file))
        except OSError as problem:
            if problem.errno not in CANNOT_LOCK:
                raise
        else:
            yield is_ours
            return
    held = path.with_name(f"{path.name}{_HELD_SUFFIX}")
    is_ours = _within(patience_sec, lambda: _make(held, _WRITES_FOR_SEC if wait else _WORKS_FOR_SEC))
    try:
        yield is_ours
    finally:
        if is_ours:
            held.unlink(missing_ok=True)


def _within(sec: float, has: Callable[[], bool]) -> bool:
    clock = SystemClock()
    end_sec = clock.steady_sec() + sec
    while not has():
        if clock.steady_sec() >= end_sec:
            return False
        clock.sleep(_LOOK_EVERY_SEC)
    return True


def _make(held: Path, abandoned_after_sec: float) -> bool:
    with suppress(FileExistsError):
        held.touch(exist_ok=False)
        return True
    with suppress(FileNotFoundError):
        if _disk_sec(held) - held.stat().st_mtime > abandoned_after_sec:
            held.unlink()
    return False


def _disk_sec(held: Path) -> float:
    """What time it is for the disk, whose own clock dates its files."""
    probe = held.with_name(f"{held.name}.{os.getpid()}")
    probe.touch()
    try:
        return probe.stat().st_mtime
    finally:
        probe.unlink(missing_ok=True)


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
