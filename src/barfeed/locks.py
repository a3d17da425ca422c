"""A lock on an open file, between processes; it ends with the file or with the process."""

import sys
from typing import IO


def lock(file: IO[bytes]) -> None:
    """Lock it until it is closed, or the process is gone; `OSError` where another has."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl  # noqa: PLC0415

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
