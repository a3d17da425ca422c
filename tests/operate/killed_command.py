"""A command, killed by itself in the middle: `killed_command.py NAME STEP ...` dies at its STEP-th effect.

An effect is a call out of Python that the disk could see, counted before and after it.
`STEP` 0 lives to the end and prints how many effects there were.
"""

import importlib
import os
import signal
import sys
from types import FrameType
from typing import Any

EFFECTS = {"execute", "fsync", "replace", "rename", "mkdir", "open", "write", "unlink", "close", "sendfile"}

name, step = sys.argv.pop(1), int(sys.argv.pop(1))
# What the command imports when it is called is imported before anything is counted.
importlib.import_module("barfeed.artifacts")
importlib.import_module("barfeed.retention" if name == "prune" else f"barfeed.{name}")
command = getattr(importlib.import_module(f"barfeed.commands.{name}"), name)
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
