"""A file that is whole under its name or absent, for what is too large to be built in memory; and a lock beside it."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Nothing is written for as long: an older unfinished file was left by a killed process.
ABANDONED_AFTER_SEC = 24 * 3600

_SUFFIX = ".unfinished"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to write to; at the end it is flushed to the disk and takes the name.

    After any exception `path` is what it was. Raises `OSError`.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{_SUFFIX}")
    unfinished.write_bytes(b"")
    try:
        _sweep(path, unfinished)
        yield unfinished
        _flush(unfinished)
        unfinished.replace(path)
        flush_entries(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def flush_entries(folder: Path) -> None:
    """Flush a folder's names to the disk; Windows does it with the file."""
    if os.name == "posix":
        entries = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)


@contextmanager
def locked(path: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of the file `path`, which is made where it is missing, until the end or the process's death.

    Yields whether it is held: without `wait` another process may have it. Raises `OSError`.
    """
    with path.open("ab") as file:
        yield _lock(file, wait=wait)


def _lock(file: IO[bytes], *, wait: bool) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt  # noqa: PLC0415

            msvcrt.locking(file.fileno(), msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)
        else:
            import fcntl  # noqa: PLC0415

            fcntl.flock(file.fileno(), fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    return True


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _sweep(path: Path, own: Path) -> None:
    now_sec = own.stat().st_mtime
    for left in path.parent.iterdir():
        if left.name.startswith(f".{path.name}.") and left.name.endswith(_SUFFIX):
            # Another process may be sweeping, too.
            with suppress(FileNotFoundError):
                if now_sec - left.stat().st_mtime > ABANDONED_AFTER_SEC:
                    left.unlink()
