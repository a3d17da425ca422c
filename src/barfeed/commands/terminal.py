"""What every command says to a person: the log, a complaint, and how it is asked to stop."""

import logging
import signal
from contextlib import suppress
from typing import NoReturn

import click

from barfeed import logs
from barfeed.config import Settings

_log = logging.getLogger(__name__)


class Stopped(BaseException):
    """SIGTERM or SIGINT asked the command to end; `exit_code` is what a shell says of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


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


def stop_on_signals() -> None:
    """Let SIGTERM and SIGINT raise `Stopped`, once."""

    def stop(number: int, _frame: object) -> NoReturn:
        # Once is enough: a second signal must not break into the end.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped(number)

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
