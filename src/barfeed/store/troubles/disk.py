"""Why a store's file cannot be had though it is whole: another process has it, or its disk lacks what DuckDB needs."""

import errno
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import duckdb

from barfeed.domain.errors import StoreUnusable

_UNLOCKED = r'(?s)Could not set lock on file ".*": (.*)'
_UNFLUSHED = r'(?s)Could not fsync file ".*": (.*)'
# How DuckDB says that another process has the file; the latter two where that one let go meanwhile.
_HELD = ("Conflicting lock is held", os.strerror(errno.EAGAIN), os.strerror(errno.EACCES))
_TOLD = [os.strerror(number) for number in sorted(errno.errorcode)]
# What is sorted at once: half a million bars take 70 MB, and what takes more goes by way of the disk.
_MEMORY = "512MB"
_OTHER_DISK = "put the store on another, of this machine: --duckdb"


def is_held(problem: BaseException) -> bool:
    """Whether another process has the file: it may let go."""
    found = re.search(_UNLOCKED, str(problem))
    return found is not None and found[1].startswith(_HELD)


@contextmanager
def bounded(connection: duckdb.DuckDBPyConnection, unfinished: Path) -> Iterator[None]:
    """What is too large to be sorted in memory goes by way of the disk that the file is to be on."""
    # DuckDB makes it where it is needed; what a killed process leaves is swept as its file is.
    folder = unfinished.with_name(f".sorting{unfinished.name}")
    quoted = str(folder.absolute()).replace("'", "''")
    connection.execute(f"SET memory_limit = '{_MEMORY}'")
    connection.execute(f"SET temp_directory = '{quoted}'")
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copied(connection: duckdb.DuckDBPyConnection, statement: str, values: Sequence[object] = ()) -> int:
    """Write a file by a COPY of DuckDB's; how many rows. Raises `OSError`, in the system's words, where that fails."""
    try:
        return int(connection.execute(statement, list(values)).fetchall()[0][0])
    except duckdb.IOException as problem:
        said = str(problem)
        number = next((number for number in errno.errorcode if os.strerror(number) in said), errno.EIO)
        raise OSError(number, os.strerror(number)) from problem


def trouble(path: Path, problem: BaseException) -> StoreUnusable | None:
    """What there is to say of who has the file, or of the disk it is on; None where that is not the matter."""
    said = str(problem)
    if is_held(problem):
        return _held(path, said)
    if found := re.search(_UNLOCKED, said):
        return StoreUnusable(
            f"{path} is on a disk that cannot lock files{_why(found[1])}",
            hint=f"{_OTHER_DISK}; or mount this one with locks, NFS with lockd or local_lock=all",
        )
    if found := re.search(_UNFLUSHED, said):
        return StoreUnusable(f"{path} is on a disk that cannot be flushed{_why(found[1])}", hint=_OTHER_DISK)
    return None


def _held(path: Path, said: str) -> StoreUnusable:
    # Where the other only reads, DuckDB goes on with what its own tools can do beside it.
    told = said.partition("Conflicting lock is held in ")[2].partition(". See also")[0].partition(". However")[0]
    holder = told or "another process"
    # The system numbers a process that it cannot see 0, or below.
    if re.fullmatch(r"PID (0|-\d+)", holder):
        return StoreUnusable(
            f"{path} is held by a process of another container or host",
            hint="end there what uses the file or let it finish, or wait longer with --lock-timeout-sec",
            is_held=True,
        )
    return StoreUnusable(
        f"{path} is held by {holder}",
        hint="end that process or let it finish, or wait longer with --lock-timeout-sec",
        is_held=True,
    )


def _why(said: str) -> str:
    """The system's own word, which DuckDB repeats but for one."""
    return next((f": {told}" for told in _TOLD if said.startswith(told)), "")
