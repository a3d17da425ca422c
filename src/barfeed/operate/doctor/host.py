"""The machine around the feed: folders, free space, schedulers, installed packages. Only looked at."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from threading import get_ident

from barfeed.machine.atomic import whole_file
from barfeed.operate.doctor.checks import Scheduled

_UNIT_FOLDERS = ("etc/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system")
_PLIST_FOLDERS = ("Library/LaunchAgents", "Library/LaunchDaemons")
_NAMES = ("barfeed", "ohlcv_feed_binance")
_ASK_SEC = 3.0


def nearest(folder: Path) -> Path:
    """`folder`, or what stands nearest above it where it is not there yet; `OSError` where nobody may look."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return there


def probe(folder: Path) -> None:
    """Write a file whole and take it away again; `OSError` where that cannot be done."""
    # Two folders may be made in the same one, at the same time.
    path = folder / f"barfeed-doctor-{os.getpid()}-{get_ident()}.probe"
    try:
        with whole_file(path) as unfinished:
            unfinished.write_bytes(b"barfeed doctor\n")
    finally:
        path.unlink(missing_ok=True)


def probe_lock(folder: Path) -> None:
    """Lock a file as DuckDB does and take it away again; `OSError` where that cannot be done."""
    if sys.platform == "win32":
        return
    import fcntl  # noqa: PLC0415 - Windows has none

    path = folder / f"barfeed-doctor-{os.getpid()}-{get_ident()}.lock"
    try:
        with path.open("wb") as file:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        path.unlink(missing_ok=True)


def may_write(path: Path) -> bool:
    """Whether this user may write to the file."""
    return os.access(path, os.W_OK)


def free_bytes(folder: Path) -> int:
    """What this user may still write there."""
    return shutil.disk_usage(folder).free


def size_bytes(folder: Path, prefix: str) -> int:
    """The files of one run together."""
    return sum(path.stat().st_size for path in folder.glob(f"{prefix}*"))


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """Each package's installed version, None where it is not there."""
    found: dict[str, str | None] = {}
    for package in packages:
        found[package] = None
        with suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def schedulers(root: Path, home: Path) -> list[Scheduled]:
    """Everything below `root` and `home` that starts the feed, and what this user's scheduler tells."""
    return [*_units(root, home), *_cron(root), *_plists(root, home), *_windows_tasks()]


def _units(root: Path, home: Path) -> Iterator[Scheduled]:
    folders = [*(root / each for each in _UNIT_FOLDERS), home / ".config/systemd/user"]
    # Enabled is what another unit wants: systemd itself keeps it as a link in such a folder.
    wanted = {path.name for folder in folders for path in _listed(folder, "*.wants/barfeed*")}
    seen: set[str] = set()
    for path in (path for folder in folders for path in _listed(folder, "barfeed*")):
        if path.suffix in {".timer", ".service"} and path.name not in seen:
            seen.add(path.name)
            yield Scheduled(f"systemd {path.name}", path.name in wanted)


def _listed(folder: Path, pattern: str) -> list[Path]:
    # Another user's folder may be closed to this one.
    with suppress(OSError):
        return sorted(folder.glob(pattern))
    return []


def _cron(root: Path) -> Iterator[Scheduled]:
    if _mentions(_said_by("crontab", "-l")):
        yield Scheduled("crontab", on=True)
    for path in (root / "etc/crontab", *_listed(root / "etc/cron.d", "*"), *_listed(root / "etc/cron.hourly", "*")):
        with suppress(OSError):
            if _mentions(path.read_text("utf-8", "replace")):
                yield Scheduled(str(path), on=True)


def _plists(root: Path, home: Path) -> Iterator[Scheduled]:
    for path in (path for top in (root, home) for folder in _PLIST_FOLDERS for path in _listed(top / folder, "*")):
        with suppress(OSError):
            if _mentions(path.read_text("utf-8", "replace")):
                yield Scheduled(f"launchd {path.name}", on=True)


def _windows_tasks() -> list[Scheduled]:
    if sys.platform != "win32":
        return []
    lines = _said_by("schtasks", "/query", "/fo", "csv", "/nh").splitlines()
    return [Scheduled(f"task {line.split(',')[0]}", on=True) for line in lines if _mentions(line)]


def _mentions(text: str) -> bool:
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return any(name in line for line in lines for name in _NAMES)


def _said_by(*command: str) -> str:
    # Most machines lack one of these programs: FileNotFoundError.
    with suppress(OSError, subprocess.TimeoutExpired):
        done = subprocess.run(  # noqa: S603 - a fixed command that only lists
            command, capture_output=True, text=True, errors="replace", timeout=_ASK_SEC, check=False
        )
        return done.stdout
    return ""
