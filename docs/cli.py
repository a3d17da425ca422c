"""Prints docs/cli.md from the commands themselves: `make docs`."""

import dataclasses
import sys
from collections.abc import Iterator

import click

from barfeed.cli import COMMANDS, barfeed
from barfeed.config import Settings, variable

PRECEDENCE = """\
A value comes from the flag, else from the variable, else from the TOML file of `--config`, else it is the default."""


def page() -> str:
    """The whole page."""
    parts = [
        "# The command line",
        "Written by `make docs` from the commands themselves; `make test` tells when it is out of date.",
        "`python run/ohlcv_feed_binance.py` is the same as `barfeed run`.",
        _help(barfeed, "barfeed"),
        *(part for name in COMMANDS for part in _helps(_command(name), f"barfeed {name}")),
        "## Settings of `barfeed run`",
        PRECEDENCE,
        _settings(),
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
    context = click.Context(command, info_name=path, **{**command.context_settings, "terminal_width": 100})
    return f"## `{path}`\n\n```text\n{command.get_help(context)}\n```"


def _settings() -> str:
    rows = ["| flag | variable | TOML key | default | range |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        flag = f"`--{field.name.replace('_', '-')}`"
        low, high = field.metadata["at_least"], field.metadata["at_most"]
        allowed = "" if low is None else f"{low:g} to {high:g}"
        rows.append(f"| {flag} | `{variable(field.name)}` | `{field.name}` | {_default(field.default)} | {allowed} |")
    return "\n".join(rows)


def _default(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if value not in {"", None, ()} else ""


if __name__ == "__main__":
    sys.stdout.write(page())
