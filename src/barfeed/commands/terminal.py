"""What every command says to a person: the log, a complaint, and how it is asked to stop."""

import logging
import signal
import sys
from contextlib import suppress
from typing import Any, NoReturn

import click


def printable(text: str) -> str:
    """The text in one line that a terminal shows and does not obey: what is no letter or sign is escaped."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


class _Printable(logging.Formatter):
    """One line for each message, whatever foreign text is in it; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        return printable(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802 - likewise
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


class Stopped(BaseException):
    """SIGTERM or SIGINT asked the command to end; `exit_code` is what a shell says of that signal."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.exit_code = 128 + number


def log_to_stderr(debug: bool) -> None:
    """Send the log to stderr; everything with `debug`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable("%(levelname)s %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if debug else logging.INFO)
    # It warns of broken headers with a traceback; what matters of them comes as an error of ours.
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)


def say(*lines: str, err: bool = False) -> None:
    """Print lines; a full or closed terminal or log must not end a good hour."""
    with suppress(OSError):
        click.echo("\n".join(map(printable, lines)), err=err)


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
