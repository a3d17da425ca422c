"""What every command says to a person: the log, a remark, a complaint."""

import logging
from contextlib import suppress

import click

from barfeed.cli.settings import Settings
from barfeed.operate import logs

_log = logging.getLogger(__name__)


def log_to_stderr(settings: Settings) -> None:
    """Send the log to stderr, as the settings ask for it."""
    logs.log_to_stderr(debug=settings.debug, as_json=settings.log_format == "json")


def say(*lines: str, err: bool = False) -> None:
    """Print lines; a full or closed terminal or log must not end a good hour."""
    with suppress(OSError):
        click.echo("\n".join(map(logs.printable, lines)), err=err)


def remark(line: str) -> None:
    """Say how far something is, or what should be known of it."""
    if logs.is_json():
        _log.info("%s", line)
    else:
        say(line, err=True)


def complain(message: str, hint: str) -> None:
    """Say what is wrong, and what helps."""
    if logs.is_json():
        _log.error("%s", message, extra={"facts": {"hint": hint}})
        return
    say(f"barfeed: {message}", err=True)
    if hint:
        say(f"  hint: {hint}", err=True)
