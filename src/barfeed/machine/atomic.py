"""A file that is whole under its name or absent, for what is too large to be built in memory."""

import errno
import glob
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Literal

# Nothing is written for as long: an older unfinished file was left by a killed process.
ABANDONED_AFTER_SEC = 24 * 3600

# What a disk says that cannot flush at all: a shared folder, mostly. No waiting changes that, and the file stands.
_NEVER_FLUSHES = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS}

UNFINISHED_SUFFIX = ".unfinished"
_UNFINISHED = re.compile(rf"\..+\.\d+{re.escape(UNFINISHED_SUFFIX)}", re.DOTALL)


class Unflushed(OSError):
    """A file stands whole under its name, and the disk failed to keep that name for good."""


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """An empty file beside `path` to write to; at the end it is flushed to the disk and takes the name.

    After any exception but `Unflushed` `path` is what it was. Raises `OSError`, also for a pipe or a device in its
    place: whoever reads it would lose it. A link is replaced, not followed.
    """
    _refuse_special(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED_SUFFIX}")
    unfinished.write_bytes(b"")
    try:
        _sweep_old(unfinished)
        yield unfinished
        _flush_whole(unfinished)
        unfinished.replace(path)
        flush_entries(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name beside `path` to make a file under; it takes the name at the end, unless another process was quicker.

    What a killed process left beside is swept. Raises `OSError`.
    """
    sweep(path)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED_SUFFIX}")
    try:
        yield unfinished
        with suppress(FileExistsError, FileNotFoundError):
            _flush_whole(unfinished)
            _link(unfinished, path)
            flush_entries(path.parent)
    finally:
        unfinished.unlink(missing_ok=True)


def sweep(path: Path) -> None:
    """Take away what processes began for `path`; one that lives sees then that the name is taken, or tries again."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*{UNFINISHED_SUFFIX}"):
        with suppress(OSError):
            left.unlink()


def open_regular(path: Path, mode: Literal["rb", "ab"] = "rb") -> IO[bytes]:
    """A file's bytes; `OSError` for a pipe, which would be waited at for ever, or a device."""
    file = open(path, mode, opener=_open_at_once)  # noqa: SIM115 - the caller closes it
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise _special()
    return file


def flush(descriptor: int) -> None:
    """Flush an open file to the disk, if that disk can; `OSError` where it fails."""
    try:
        os.fsync(descriptor)
    except OSError as problem:
        if problem.errno not in _NEVER_FLUSHES:
            raise


def flush_entries(folder: Path) -> None:
    """Flush a folder's names to the disk; Windows does it with the file. Raises `Unflushed`."""
    # A folder that may be written to and not listed cannot be opened.
    if os.name == "posix" and os.access(folder, os.R_OK):
        try:
            _flush_folder(folder)
        except OSError as problem:
            raise Unflushed(problem.errno, problem.strerror) from problem


def _flush_folder(folder: Path) -> None:
    entries = os.open(folder, os.O_RDONLY)
    try:
        flush(entries)
    finally:
        os.close(entries)


def _open_at_once(path: str, flags: int) -> int:
    # Windows has no such pipes.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _special() -> OSError:
    return OSError(errno.EINVAL, "it is no regular file")


def _refuse_special(path: Path) -> None:
    # What is not there, or leads nowhere, is neither; a folder cannot be replaced anyway.
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise _special()


def _link(unfinished: Path, path: Path) -> None:
    try:
        path.hardlink_to(unfinished)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:
        # A file system without such links; there, two first starts in one moment may meet.
        unfinished.replace(path)


def _flush_whole(path: Path) -> None:
    with path.open("rb+") as file:
        flush(file.fileno())


def _sweep_old(own: Path) -> None:
    # Whatever name it was to take: that one may never be written again.
    now_sec = own.stat().st_mtime
    for left in _entries(own.parent):
        if _UNFINISHED.fullmatch(left.name):
            # Another process may be sweeping, too; and what is another user's may not be ours to take away.
            with suppress(OSError):
                if now_sec - left.stat().st_mtime > ABANDONED_AFTER_SEC:
                    shutil.rmtree(left) if left.is_dir() else left.unlink()


def _entries(folder: Path) -> list[Path]:
    # One may write to a folder and still not list it.
    with suppress(PermissionError):
        return list(folder.iterdir())
    return []
