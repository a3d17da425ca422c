"""A path as its writer meant it: no shell is there to read what stands in a variable or a file of settings."""

import os
import re
from contextlib import suppress
from typing import Any, NewType

import click

from barfeed.domain.errors import UsageError

_QUOTES = "\"'`“”‘’"  # noqa: RUF001 - as word processors set them
# $HOME, ${HOME}, $(pwd), %USERPROFILE%, and %h of a systemd unit.
_UNREPLACED = re.compile(r"\$[A-Za-z_]\w*|\$\{[^}]*\}?|\$\([^)]*\)?|%[A-Za-z_]{4,}%|^%[a-zA-Z](?=/)")
_ELSEWHERE = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://|:memory:")
_OF_SERIES = re.compile(r"[^-=/\\]+-[^-=/\\]+=")
_OF_WINDOWS = re.compile(r"[A-Za-z]:[\\/]")

# Where a lake is: a folder, or an address of S3.
Lake = NewType("Lake", str)


class MeantPath(click.Path):
    """A path with the home that a leading `~` stands for; one that could only make a folder by mistake is refused."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or wrong usage that says what of it is meant for somebody else."""
        text = _at_home(os.fsdecode(value))
        if why := _unmeant(text):
            self.fail(f"{text[:120]!r} {why}", param, ctx)
        return super().convert(text, param, ctx)


class MeantLake(click.ParamType[str]):
    """A folder as a `MeantPath`, or `s3://bucket/prefix`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same, or wrong usage."""
        if not value:
            return ""
        # Imported here: most feeds have none.
        from barfeed.store.lake.address import checked, is_bucket  # noqa: PLC0415

        if not is_bucket(value):
            return str(MeantPath().convert(value, param, ctx))
        try:
            return checked(value)
        except UsageError as wrong:
            self.fail(str(wrong), param, ctx)


class MeantFile(MeantPath):
    """A file to read, or `FILE:table`: what is there by that very name is meant, whatever it is called."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or wrong usage as of any other."""
        text = os.fsdecode(value)
        if any(map(os.path.lexists, (text, text.rpartition(":")[0]))):
            return click.Path.convert(self, value, param, ctx)
        return super().convert(value, param, ctx)


class MeantBars(click.ParamType[str]):
    """`[SYMBOL-INTERVAL=]PATH`: no shell replaces a `~` behind the `=`."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same, its path as a `MeantFile`."""
        series, sign, path = value.partition("=") if _OF_SERIES.match(value) else ("", "", value)
        return f"{series}{sign}{MeantFile().convert(path, param, ctx)}"


def stray_ends(text: str) -> str:
    """What of a text's ends nobody means, "" where all is well."""
    ends = text[:1] + text[-1:]
    if any(char in _QUOTES for char in ends):
        return "begins or ends with a quote, which no shell has taken away: write it without"
    if any(char.isspace() or char == "\ufeff" for char in ends):
        return "begins or ends with a blank or a line break, as a file with the line ends of Windows gives it"
    return ""


def _at_home(text: str) -> str:
    # A NUL is told with every other text that is none.
    with suppress(ValueError):
        return os.path.expanduser(text)  # noqa: PTH111 - a path that is none yet
    return text


def _unmeant(text: str) -> str:
    if stray := stray_ends(text):
        return stray
    if text.startswith("~"):
        return "begins with the home of nobody on this machine: write the whole path"
    if unreplaced := _UNREPLACED.search(text):
        return f"holds {unreplaced[0]}, which nobody has replaced: write the whole path"
    if _ELSEWHERE.match(text):
        return "is no path on this machine"
    if os.name == "posix" and _OF_WINDOWS.match(text):
        return "is a path of Windows, and this machine has none"
    return ""
