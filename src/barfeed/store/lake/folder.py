"""A lake's table in a folder of this machine, or of a disk that it mounts."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from barfeed.domain.errors import LakeUnusable
from barfeed.machine.atomic import Unflushed, sweep, whole_file
from barfeed.machine.locks import locked
from barfeed.store.lake.contents.parquet import DISK_HINT

_LOCK = ".lock"
_A_FILE = "a file stands where a folder of the lake should: point --lake elsewhere, or move that file away"
_NOT_ALLOWED = "check the owner and mode of it and of the folders above it"
_HINTS = {
    errno.ENOTDIR: _A_FILE,
    errno.EEXIST: _A_FILE,
    errno.EACCES: _NOT_ALLOWED,
    errno.EPERM: _NOT_ALLOWED,
}


class Folder:
    """See `Files`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def address(self) -> str:
        """The folder's path."""
        return str(self._path)

    @contextmanager
    def exporting(self) -> Iterator[bool]:
        """Hold the lock of the folder, which is made where it is missing."""
        with self._told():
            self._path.mkdir(parents=True, exist_ok=True)
            lock = locked(self._path / _LOCK, wait=True)
            is_ours = lock.__enter__()
        try:
            yield is_ours
        finally:
            with self._told():
                lock.__exit__(None, None, None)

    def folders(self) -> set[str]:
        """Folders, by one look."""
        with self._told(), suppress(FileNotFoundError):
            return {entry.name for entry in self._path.iterdir() if "." not in entry.name}
        return set()

    def names(self) -> set[str]:
        """Every file that a glob finds."""
        with self._told():
            return {path.relative_to(self._path).as_posix() for path in self._path.rglob("*.parquet")}

    def read(self, name: str) -> bytes | None:
        """A file's content."""
        with self._told(), suppress(FileNotFoundError):
            return (self._path / name).read_bytes()
        return None

    def save(self, name: str, content: bytes) -> None:
        """Write beside, flush, rename."""
        with self.placing(name) as path:
            path.write_bytes(content)

    @contextmanager
    def placing(self, name: str) -> Iterator[Path]:
        """A path beside the file's own."""
        path = self._path / name
        with self._told():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Who is killed leaves one; nobody else writes here now.
            sweep(path)
            # A disk that cannot keep a name for good has it all the same: no reader is the worse for it.
            with suppress(Unflushed), whole_file(path) as unfinished:
                yield unfinished

    @contextmanager
    def at_hand(self, name: str) -> Iterator[Path | None]:
        """The file itself."""
        path = self._path / name
        yield path if path.is_file() else None

    def remove(self, name: str) -> None:
        """Take a file away, and its folder where nothing else is in it."""
        path = self._path / name
        with self._told():
            path.unlink(missing_ok=True)
            with suppress(OSError):
                path.parent.rmdir()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as problem:
            hint = _HINTS.get(problem.errno or 0, DISK_HINT)
            raise LakeUnusable(f"{self._path} cannot be used: {problem.strerror}", hint=hint) from problem
