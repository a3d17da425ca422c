"""What every command says to a person: the log, a complaint, and how it is asked to stop."""

import logging
import signal
import sys
from contextlib import suppress
from typing import NoReturn

import click


class Stopped(BaseException):
    """SIGTERM or SIGINT asked the command to end; `exit_code` is what a shell says of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


def log_to_stderr(debug: bool) -> None:
    """Send the log to stderr; everything with `debug`."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(levelname)s %(message)s",
    )
    for library in ("urllib3", "websockets"):
        logging.getLogger(library).setLevel(logging.WARNING)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; a full or closed terminal or log must not end a good hour."""
    with suppress(OSError):
        click.echo(line, err=err)


def complain(message: str, hint: str) -> None:
    """Say what is wrong, and what helps."""
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
