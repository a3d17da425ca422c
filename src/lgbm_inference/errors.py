"""Every way a user can be told no, by whose move is next.

InferenceError
├── DataError          1  the bars cannot be used: text in a number, a gap, a time zone, too few
├── UsageError         2  a flag, or a file it names, is not what it should be
│   └── ModelUnusable     the model cannot be read, or is another one than these features are for
└── LocalError         4  the predictions store or a folder cannot be written

Each carries its exit code and a hint that says what helps. Whichever is raised, nothing was written.
"""

from typing import ClassVar

# EX_SOFTWARE of sysexits.h: this package itself is wrong.
BUG_EXIT_CODE = 70
# What a shell says of a process that ended by Ctrl-C.
CTRL_C_EXIT_CODE = 130


class InferenceError(Exception):
    """Something the user can act on: a message that says what, and a hint that says what helps."""

    exit_code: ClassVar[int]
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint or self.default_hint


class DataError(InferenceError):
    """The bars cannot be used."""

    exit_code = 1
    default_hint = "mend what writes these bars; a bar is never made up here"


class UsageError(InferenceError):
    """A flag, or a file it names, is not what it should be."""

    exit_code = 2
    default_hint = "see --help"


class ModelUnusable(UsageError):
    """The model cannot be read, or is another one than these features are for."""

    default_hint = "point --model-path at a whole run folder that `train_lgbm.py` made with the same --timeframes"


class LocalError(InferenceError):
    """The predictions store or a folder cannot be used."""

    exit_code = 4
    default_hint = "check that it is a place you may write to and that its disk is not full"
