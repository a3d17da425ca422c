"""Prints docs/cli.md from the commands themselves: `make docs`."""

import sys
from collections.abc import Iterator

import click

from barfeed.cli.main import COMMANDS, barfeed

# What a line of the site holds.
PAGE_CHARS = 86


def page() -> str:
    """The whole page."""
    parts = [
        "# The command line",
        "Written by `make docs` from the commands themselves; `make test` tells when it is out of date.",
        "`python run/ohlcv_feed_binance.py` is the same as `barfeed run`.",
        "What can be set by more than a flag: [configuration.md](configuration.md).",
        _help(barfeed, "barfeed"),
        *(part for name in COMMANDS for part in _helps(_command(name), f"barfeed {name}")),
    ]
    return "\n\n".join(parts) + "\n"


def _command(name: str) -> click.Command:
    command = barfeed.get_command(click.Context(barfeed), name)
    assert command is not None
    return command


def _helps(command: click.Command, path: str) -> Iterator[str]:
    yield _help(command, path)
    for name, each in (command.commands if isinstance(command, click.Group) else {}).items():
        yield from _helps(each, f"{path} {name}")


def _help(command: click.Command, path: str) -> str:
    context = click.Context(command, info_name=path, **{**command.context_settings, "terminal_width": PAGE_CHARS})
    return f"## `{path}`\n\n```text\n{command.get_help(context)}\n```"


if __name__ == "__main__":
    sys.stdout.write(page())
