"""What every command says to a person: the log, a complaint, and how it is asked to stop."""

import logging
import signal
import sys
from typing import NoReturn

import click


class Stopped(BaseException):
    """SIGTERM or SIGINT asked a long-running command to end."""


def log_to_stderr(debug: bool) -> None:
    """Send the log to stderr; everything with `debug`."""
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(levelname)s %(message)s",
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def complain(message: str, hint: str) -> None:
    """Say what is wrong, and what helps."""
    click.echo(f"barfeed: {message}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)


def stop_on_signals() -> None:
    """Let SIGTERM and SIGINT raise `Stopped`, once."""

    def stop(_number: int, _frame: object) -> NoReturn:
        # Once is enough: a second signal must not break into the end.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)
