"""A command, killed by itself in the middle: `killed.py NAME STEP ...` dies at its STEP-th effect.

An effect is a call out of Python that the disk or the database could see, counted before and after it.
`STEP` 0 lives to the end and prints how many effects there were.
"""

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

from barfeed.cli.main import COMMANDS

EFFECTS = {
    "execute", "fetchall", "fsync", "replace", "rename", "mkdir", "open", "write", "close", "rmdir", "unlink", "stat",
    "sendfile",
}  # fmt: skip
# What a command imports when it is called is imported before anything is counted.
IMPORTED_FIRST = (
    "artifacts.retention",
    "cli.market.backfill",
    "cli.wiring",
    "exchange.transport.each",
    "feed.cycle",
    "feed.kinds.of_series",
    "history.export",
    "history.market.migration",
    "history.mending.repair",
    "store.incoming.lacking",
    "store.revisions",
)

name, step = sys.argv.pop(1), int(sys.argv.pop(1))
for each in IMPORTED_FIRST:
    importlib.import_module(f"barfeed.{each}")
command = getattr(importlib.import_module(COMMANDS[name]), name)
seen = 0


def count(_frame: FrameType, event: str, called: Any) -> None:
    global seen  # noqa: PLW0603 - a profile function has nowhere else to count
    if event in {"c_call", "c_return"} and getattr(called, "__name__", "") in EFFECTS:
        seen += 1
        if seen == step:
            os.kill(os.getpid(), signal.SIGKILL)


sys.setprofile(count)
try:
    command.main(standalone_mode=False)
finally:
    sys.setprofile(None)
    sys.stderr.write(f"effects={seen}\n")
