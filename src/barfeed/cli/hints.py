"""Commands to copy: those at the end of a help, and another as a hint prints it, on the same store and exchange."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from click.core import ParameterSource

_SERIES = ("symbol", "interval", "symbols", "intervals")
_KNOWN_TO_MOST = ("config", "duckdb", "store", *_SERIES, "base_url")
_KNOWN = {
    "prune": ("config", "persist_dir", "dataset", *_SERIES),
    "run": (*_KNOWN_TO_MOST, "persist_dir", "dataset"),
    "status": (*_KNOWN_TO_MOST, "persist_dir"),
}


def examples(*lines: str) -> str:
    """What `--help` shows after the options."""
    # \b: as it is written, not filled into paragraphs.
    return "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines), "", ""])


def sister(name: str, *more: str) -> str:
    """The command with the flags that both know, as they were given to this one, and `more` words.

    A series among those words is named instead of the one, or the many, that this command is about.
    """
    context = click.get_current_context()
    known = [each for each in _KNOWN.get(name, _KNOWN_TO_MOST) if not _is_named_by(more, each)]
    given = [each for each in known if context.get_parameter_source(each) is ParameterSource.COMMANDLINE]
    values = context.params | context.meta
    words = [word for each in given for word in (f"--{each.replace('_', '-')}", str(values[each]))]
    return shlex.join([_program(), name, *words, *more])


def _is_named_by(words: Sequence[str], setting: str) -> bool:
    """Whether the words say it themselves: `--symbol` and `--symbols` are one question, as are the intervals."""
    one = setting.removesuffix("s")
    return setting in _SERIES and not {f"--{one}", f"--{one}s"}.isdisjoint(words)


def _program() -> str:
    if not sys.argv[0].endswith(".py"):
        return sys.argv[0]
    # Started by Python itself, whose own folder need not be on the PATH.
    beside = Path(sys.executable).with_name("barfeed")
    is_found = not beside.exists() or shutil.which("barfeed") == str(beside)
    return "barfeed" if is_found else str(beside)
