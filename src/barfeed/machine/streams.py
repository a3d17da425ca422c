"""stdin, stdout and stderr, which whoever begins a command may have closed."""

import os
import sys

_NAMES = ("stdin", "stdout", "stderr")


def open_closed_streams() -> None:
    """Let each that is closed lead nowhere, before anything else is opened.

    The next file would get its number, and whatever a library says on stderr would be written into that file: a store.
    """
    for number, name in enumerate(_NAMES):
        if getattr(sys, name) is None:
            # Of the numbers that are free the system gives the lowest, which is this one's own.
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(nowhere, nowhere < len(_NAMES))
            setattr(sys, name, os.fdopen(nowhere, "w" if number else "r", encoding="utf-8", errors="replace"))
