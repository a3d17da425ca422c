"""A disk that lacks something, for a real process: its system calls are told what such a disk tells."""

import atexit
import errno
import os
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path
from tempfile import mkdtemp

import pytest

# Each kind of call, and the variable that holds the number of its error.
_SOURCE = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int fails(const char *kind) {
    const char *number = getenv(kind);
    errno = number ? atoi(number) : 0;
    return number != NULL;
}

static int flush(int file, const char *call) {
    struct stat seen;
    int is_folder = fstat(file, &seen) == 0 && S_ISDIR(seen.st_mode);
    if (fails(is_folder ? "DISK_FLUSH_FOLDER" : "DISK_FLUSH_FILE")) return -1;
    return ((int (*)(int))dlsym(RTLD_NEXT, call))(file);
}

static int control(int file, int what, void *with, const char *call) {
    int is_lock = what == F_SETLK || what == F_SETLKW || what == F_GETLK;
    if (is_lock && fails("DISK_FCNTL")) return -1;
    return ((int (*)(int, int, ...))dlsym(RTLD_NEXT, call))(file, what, with);
}

#define CONTROL(call) \
    int call(int file, int what, ...) { \
        va_list rest; va_start(rest, what); void *with = va_arg(rest, void *); va_end(rest); \
        return control(file, what, with, #call); \
    }

CONTROL(fcntl)
CONTROL(fcntl64)
int fsync(int file) { return flush(file, "fsync"); }
int fdatasync(int file) { return flush(file, "fdatasync"); }
int flock(int file, int how) {
    return fails("DISK_FLOCK") ? -1 : ((int (*)(int, int))dlsym(RTLD_NEXT, "flock"))(file, how);
}
int link(const char *from, const char *to) {
    return fails("DISK_LINK") ? -1 : ((int (*)(const char *, const char *))dlsym(RTLD_NEXT, "link"))(from, to);
}
"""


@lru_cache(maxsize=1)
def _library() -> str:
    if shutil.which("gcc") is None or os.uname().sysname != "Linux":
        pytest.skip("needs gcc and Linux")
    folder = Path(mkdtemp(prefix="barfeed-disk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "disk.c").write_text(_SOURCE)
    words = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(folder / "disk.so"), str(folder / "disk.c"), "-ldl"]
    subprocess.run(words, check=True, capture_output=True)
    return str(folder / "disk.so")


def lacking(**errors: str) -> dict[str, str]:
    """The environment of a process whose disk tells these errors: `lacking(flock="EOPNOTSUPP")`."""
    numbers = {f"DISK_{call.upper()}": str(getattr(errno, name)) for call, name in errors.items()}
    return numbers | {"LD_PRELOAD": _library()}
