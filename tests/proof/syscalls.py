"""Every system call of a command that touches its disk: where it is, killed there, or told that it failed."""

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
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
_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_ENDED = re.compile(r"\d+ \+\+\+ ")


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


def points(scene: Scene, root: Path, calls: Sequence[str]) -> list[Point]:
    """The calls that a whole run of the command makes to its disk."""
    log = root.with_name(f"{root.name}.strace")
    done = scene.world.run(root, *_traced(log, calls), *scene.words(root))
    assert done.code == 0, done.err
    return list(dict.fromkeys(_parsed(log, root, set(calls))))


def kill_at(scene: Scene, root: Path, point: Point) -> Ran:
    """Run the command and kill it where it makes that call, which then does not happen."""
    return _tampered(scene, root, point, "signal=SIGKILL")


def fail_at(scene: Scene, root: Path, point: Point, error: str) -> Ran:
    """Run the command; that call does not happen and returns an error."""
    return _tampered(scene, root, point, f"error={error}")


def struck(root: Path) -> str:
    """What the last tampering hit, for the report."""
    lines = root.with_name(f"{root.name}.strace").read_text("utf-8", "replace").splitlines()
    hit = [line for line in lines if "(INJECTED)" in line] or [line for line in lines if not _ENDED.match(line)]
    return hit[-1] if hit else ""


def _tampered(scene: Scene, root: Path, point: Point, how: str) -> Ran:
    log = root.with_name(f"{root.name}.strace")
    inject = f"inject={point.call}:{how}:when={point.number}"
    return scene.world.run(root, *_traced(log, [point.call]), "-e", inject, *scene.words(root))


def _traced(log: Path, calls: Sequence[str]) -> list[str]:
    # A name that this machine's kernel does not know is no error with a question mark.
    names = ",".join(f"?{call}" for call in calls)
    # Without --seccomp-bpf: with it a signal may come calls later.
    return [STRACE or "strace", "-f", "-y", "-q", "-o", str(log), "-e", f"trace={names}"]


def _parsed(log: Path, root: Path, calls: set[str]) -> Iterator[Point]:
    lines = [found.groups() for line in log.read_text("utf-8", "replace").splitlines() if (found := _LINE.match(line))]
    seen: Counter[tuple[str, str]] = Counter()
    for thread, call, said in lines:
        if call in calls:
            # As strace counts them. What DuckDB does in a thread of its own, it may do in another next time.
            seen[thread, call] += 1
            if named := re.search(re.escape(str(root)) + r"[^\s\">]*", said):
                yield Point(call, seen[thread, call], _timeless(named[0].removeprefix(f"{root}/")))


def _timeless(name: str) -> str:
    return re.sub(r"\d{8}_\d{6}Z", "RUN", re.sub(r"\.\d+\.unfinished", ".PID.unfinished", name))
