"""Another process that has a store open for as long as a block lasts, as a notebook or a database browser has."""

import atexit
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

# One process for all of them: to import DuckDB takes ten times as long as to open a file.
_HOLD = """
import json, sys, duckdb
held = {}
for line in sys.stdin:
    path, what = json.loads(line)
    if what == "let go":
        held.pop(path).close()
    else:
        held[path] = duckdb.connect(path, read_only=what == "read")
        held[path].execute("FROM duckdb_tables()").fetchall()
    print(what, flush=True)
"""


@contextmanager
def held(path: Path, *, to: str = "read") -> Iterator[int]:
    """The number of a process that holds `path`, to `read` or to `write`."""
    holder = _holder()
    _tell(holder, path, to)
    try:
        yield holder.pid
    finally:
        _tell(holder, path, "let go")


def _tell(holder: "subprocess.Popen[str]", path: Path, what: str) -> None:
    assert holder.stdin
    assert holder.stdout
    print(json.dumps([str(path), what]), file=holder.stdin, flush=True)
    assert holder.stdout.readline() == f"{what}\n"


@cache
def _holder() -> "subprocess.Popen[str]":
    holder = subprocess.Popen([sys.executable, "-c", _HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(holder.communicate)
    return holder


# Two on one pipe would read each other's answers: a fork, as mutmut makes for each mutant, starts its own.
os.register_at_fork(after_in_child=_holder.cache_clear)
