"""Files that are whole under their name, or absent.

They are written in a hidden folder beside their place, flushed to the disk, and renamed once all of them are there.
"""

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lgbm_inference.errors import LocalError

# Nothing is staged for as long: an older working folder was left by a killed process.
_ABANDONED_AFTER_SEC = 24 * 3600
_WORKING_PREFIX = ".unfinished-"
# What a disk says that cannot flush at all: a shared folder, mostly. No waiting changes that, and the file stands.
_NEVER_FLUSHES = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A working folder inside `folder`, gone at the end with what was not published from it.

    If nothing was, a `folder` that was made for it is gone, too.
    """
    with translated(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=_WORKING_PREFIX, dir=folder))
        sweep(folder, working.stat().st_mtime)
    try:
        yield working
    finally:
        # Told to ignore errors it still lets some through; what stays is swept later.
        with suppress(OSError):
            shutil.rmtree(working, ignore_errors=True)
        if made:
            # Only an empty folder can be removed so.
            with suppress(OSError):
                folder.rmdir()


def write(path: Path, content: bytes) -> None:
    """Write a staged file down to the disk."""
    with translated(path), path.open("wb") as file:
        file.write(content)
        file.flush()
        _flush(file.fileno())


def publish(staged_path: Path, folder: Path, name: str) -> Path:
    """Give a staged file or folder its name in `folder`, or the name with `-2` if there is one of that name."""
    with translated(folder):
        path = _free(folder, name)
        staged_path.rename(path)
        flush_entries(folder)
    return path


def withdraw(paths: Sequence[Path]) -> None:
    """Take back files that were published for something that then failed, as far as the disk allows."""
    for path in paths:
        # What failed is what is to be told, not this.
        with suppress(OSError):
            path.unlink()


def sweep(folder: Path, now_sec: float) -> None:
    """Take away what killed processes have left in a folder; `now_sec` is the time by its disk."""
    for left in folder.glob(f"{_WORKING_PREFIX}*"):
        # Another process may be sweeping, too.
        with suppress(FileNotFoundError):
            if now_sec - left.stat().st_mtime > _ABANDONED_AFTER_SEC:
                shutil.rmtree(left, ignore_errors=True)


def _free(folder: Path, name: str) -> Path:
    stem, dot, suffix = name.partition(".csv")
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{dot}{suffix}"
    return path


def flush_entries(folder: Path) -> None:
    """Write the names in a folder down to the disk."""
    # Windows cannot open a folder; its file system flushes the entry with the file.
    if os.name == "posix":
        entries = os.open(folder, os.O_RDONLY)
        try:
            _flush(entries)
        finally:
            os.close(entries)


def _flush(descriptor: int) -> None:
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NEVER_FLUSHES:
            raise


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Whatever the disk says, as a `LocalError` that names `path`."""
    try:
        yield
    except OSError as problem:
        raise LocalError(f"{path} cannot be written: {problem.strerror or problem}") from problem
