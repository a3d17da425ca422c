"""`barfeed repair`, killed by itself in the middle: `killed_repair.py STEP ...` dies at its STEP-th effect.

An effect is a call out of Python that the disk or the database could see, counted before and after it.
`STEP` 0 lives to the end and prints how many effects there were. With `accept` as the word before STEP it is
the hourly feed that is killed, told to accept.
"""

import os
import signal
import sys
from types import FrameType
from typing import Any

from barfeed import artifacts, cycle, repair, store, wiring  # noqa: F401 - imported before anything is counted
from barfeed.commands.repair import repair as repair_command
from barfeed.commands.run import run

EFFECTS = {"execute", "fetchall", "fsync", "replace", "rename", "mkdir", "open", "write", "close", "unlink", "stat"}

command = {"repair": repair_command, "accept": run}[sys.argv.pop(1)]
step = int(sys.argv.pop(1))
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
