"""Files that are whole under their name, or absent.

They are written in a hidden folder beside their place, flushed to the disk, and renamed once all of them are there.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lgbm_inference.errors import LocalError


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A working folder inside `folder`, gone at the end with what was not published from it.

    If nothing was, a `folder` that was made for it is gone, too.
    """
    with translated(folder):
        made = not folder.exists()
        folder.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder))
    try:
        yield working
    finally:
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
        os.fsync(file.fileno())


def publish(staged_path: Path, folder: Path, name: str) -> Path:
    """Give a staged file or folder its name in `folder`, or the name with `-2` if there is one of that name."""
    with translated(folder):
        path = _free(folder, name)
        staged_path.rename(path)
        _flush_entries(folder)
    return path


def withdraw(paths: Sequence[Path]) -> None:
    """Take back files that were published for something that then failed."""
    for path in paths:
        path.unlink(missing_ok=True)


def _free(folder: Path, name: str) -> Path:
    stem, dot, suffix = name.partition(".csv")
    path, number = folder / name, 1
    while path.exists():
        number += 1
        path = folder / f"{stem}-{number}{dot}{suffix}"
    return path


def _flush_entries(folder: Path) -> None:
    # Windows cannot open a folder; its file system flushes the entry with the file.
    if os.name == "posix":
        entries = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(entries)
        finally:
            os.close(entries)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Whatever the disk says, as a `LocalError` that names `path`."""
    try:
        yield
    except OSError as problem:
        raise LocalError(f"{path} cannot be written: {problem.strerror or problem}") from problem
