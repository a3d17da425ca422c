"""Every system call of a command that touches its disk: where it is, killed there, or told that it failed."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from process import Ran
from proof.scenes import Scene

STRACE = shutil.which("strace")
# What each call may say of a disk that fails. EINTR is no failure: the caller has to ask again.
# Not `stat`, which only DuckDB calls: docs/proof.md tells what becomes of a store that DuckDB cannot look for.
ERRORS = {
    "write": ("ENOSPC", "EIO", "EDQUOT"),
    "pwrite64": ("ENOSPC", "EIO"),
    "fsync": ("EIO", "ENOSPC"),
    "fdatasync": ("EIO", "ENOSPC"),
    "rename": ("EACCES", "EROFS", "ENOSPC"),
    "unlink": ("EACCES", "EROFS"),
    "unlinkat": ("EACCES", "EROFS"),
    "mkdir": ("EACCES", "EROFS", "ENOSPC"),
    "rmdir": ("EACCES", "EROFS"),
    "openat": ("EACCES", "EROFS", "ENOSPC", "EMFILE", "EINTR"),
    "ftruncate": ("EIO", "ENOSPC"),
    "fallocate": ("ENOSPC",),
    "copy_file_range": ("EIO",),
    "sendfile": ("EIO",),
    "link": ("EACCES",),
    "close": ("EIO",),
    "read": ("EIO",),
    "pread64": ("EIO",),
    "getdents64": ("EIO",),
    "newfstatat": ("EACCES",),
    "fcntl": ("ENOLCK",),
    "flock": ("ENOLCK",),
}
CHANGING = (
    "write", "pwrite64", "fsync", "fdatasync", "rename", "unlink", "unlinkat", "mkdir", "rmdir", "openat",
    "ftruncate", "fallocate", "copy_file_range", "sendfile", "link", "close", "flock",
)  # fmt: skip
# What a server that is gone, or a network between, makes of each call to it.
SERVER_ERRORS = {"connect": ("ECONNREFUSED",), "sendto": ("EPIPE",), "recvfrom": ("ECONNRESET", "ETIMEDOUT")}
# A statement is sent, waited for, and its answer taken.
_OF_SERVER = ("connect", "sendto", "poll", "recvfrom")
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_SOCKET = re.compile(r"<UNIX-STREAM:\[(\d+)")


class Point(NamedTuple):
    """The `number`-th call of a name in one thread, and the file of the disk that it is about."""

    call: str
    number: int
    file: str

    def __str__(self) -> str:
        return f"{self.call}#{self.number} {self.file}"


def works() -> bool:
    """Whether this machine lets a process be traced, and its calls be tampered with."""
    if STRACE is None:
        return False
    words = [STRACE, "-f", "-o", "/dev/null", "-e", "trace=close", "-e", "inject=close:signal=SIGKILL:when=1", "true"]
    return subprocess.run(words, capture_output=True, check=False).returncode == -9


def changing(scene: Scene) -> tuple[str, ...]:
    """The calls by which a command changes its disk, or its store elsewhere."""
    return (*CHANGING, *_OF_SERVER) if scene.server else CHANGING


def errors(scene: Scene) -> Mapping[str, Sequence[str]]:
    """What each of its calls may be told."""
    return ERRORS | SERVER_ERRORS if scene.server else ERRORS


def points(scene: Scene, root: Path, calls: Sequence[str]) -> list[Point]:
    """The calls that a whole run of the command makes to its disk, or its store elsewhere."""
    log = _log_of(root)
    done = scene.run(root, *_traced(log, calls))
    assert done.code == 0, done.err
    return list(dict.fromkeys(_parsed(log, scene, root, set(calls))))


def kill_at(scene: Scene, root: Path, point: Point) -> Ran:
    """Run the command and kill it where it makes that call, which then does not happen."""
    return _tampered(scene, root, point, "signal=SIGKILL")


def fail_at(scene: Scene, root: Path, point: Point, error: str) -> Ran:
    """Run the command; that call does not happen and returns an error."""
    return _tampered(scene, root, point, f"error={error}")


def has_struck(scene: Scene, root: Path) -> bool:
    """Whether the last failure hit a call to the disk, or to its store elsewhere."""
    return any("(INJECTED)" in said for _, _, said, about in _lines(_log_of(root), scene, root) if about)


def _tampered(scene: Scene, root: Path, point: Point, how: str) -> Ran:
    inject = f"inject={point.call}:{how}:when={point.number}"
    # Which socket is the server's, is told where it connects.
    calls = {point.call, "connect"} if scene.server else {point.call}
    return scene.run(root, *_traced(_log_of(root), sorted(calls)), "-e", inject)


def _log_of(root: Path) -> Path:
    return root.with_name(f"{root.name}.strace")


def _traced(log: Path, calls: Sequence[str]) -> list[str]:
    # A name that this machine's kernel does not know is no error with a question mark.
    names = ",".join(f"?{call}" for call in calls)
    # Without --seccomp-bpf: with it a signal may come calls later.
    return [STRACE or "strace", "-f", "-yy", "-q", "-o", str(log), "-e", f"trace={names}"]


def _parsed(log: Path, scene: Scene, root: Path, calls: set[str]) -> Iterator[Point]:
    seen: Counter[tuple[str, str]] = Counter()
    for thread, call, _, about in _lines(log, scene, root):
        if call in calls:
            # As strace counts them. What DuckDB does in a thread of its own, it may do in another next time.
            seen[thread, call] += 1
            if about:
                yield Point(call, seen[thread, call], about)


def _lines(log: Path, scene: Scene, root: Path) -> Iterator[tuple[str, str, str, str]]:
    """The thread, the name and the words of each call, and what of the disk, or of its store elsewhere, it is about."""
    sockets: set[str] = set()
    for line in log.read_text("utf-8", "replace").splitlines():
        if found := _LINE.match(line):
            thread, call, said = found.groups()
            if scene.server and scene.server in said:
                sockets.update(_SOCKET.findall(said))
            named = re.search(re.escape(str(root)) + r"[^\s\">]*", said)
            file = _timeless(named[0].removeprefix(f"{root}/")) if named else ""
            yield thread, call, said, file or ("the server" if sockets.intersection(_SOCKET.findall(said)) else "")


def _timeless(name: str) -> str:
    return re.sub(r"\d{8}_\d{6}Z", "RUN", re.sub(r"\.\d+\.unfinished", ".PID.unfinished", name))
