"""The command line: it knows each command by name, and ends with the documented exit code."""

import gc
import importlib
import logging
import os
import re
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

import click

from barfeed import __version__
from barfeed.cli.terminal import complain, say
from barfeed.domain.errors import INTERRUPTED_EXIT_CODE, BarfeedError, UsageError
from barfeed.machine.signals import Stopped
from barfeed.machine.streams import open_closed_streams

# What a shell says of a process that ended by Ctrl-C.
_CTRL_C_EXIT_CODE = 130
# So many more objects before they are looked through for cycles: what is imported, and what a pass holds, has none.
_OBJECTS_BETWEEN_LOOKS = 100_000
# Each command's module, in the folder of the room that it calls.
COMMANDS = {
    name: f"barfeed.cli.commands.{place}"
    for name, place in {
        "run": "feed.run",
        "backfill": "history.backfill",
        "verify": "history.verify",
        "repair": "history.repair",
        "revisions": "history.revisions",
        "status": "operate.status",
        "doctor": "operate.doctor",
        "export": "history.export",
        "migrate": "history.migrate",
        "copy": "history.copy",
        "prune": "operate.prune",
        "alert": "feed.alert",
        "web": "operate.web",
        "replay": "replay",
    }.items()
}

_log = logging.getLogger(__name__)


class _Commands(click.Group):
    """Imports only the command that is called: the hourly one must start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - likewise
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(importlib.import_module(COMMANDS[cmd_name]), cmd_name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="barfeed")
def barfeed() -> None:
    """Closed, proven bars of Binance USDT-M Futures for a trading model."""


def main(command: click.Command = barfeed) -> NoReturn:
    """Run a command; end the process with the exit code that the documentation tells."""
    gc.set_threshold(_OBJECTS_BETWEEN_LOOKS)
    open_closed_streams()
    code = 0
    try:
        code = command.main(standalone_mode=False) or 0
    except click.ClickException as error:
        _show(error)
        sys.exit(UsageError.exit_code)
    except BarfeedError as error:
        _log.debug("traceback", exc_info=True)
        complain(str(error), error.hint)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_CTRL_C_EXIT_CODE)
    except Stopped as stopped:
        # Asked to end while it was ending.
        _leave(stopped.exit_code)
    except Exception as error:
        if _is_unheard(error):
            _leave(code)
        _log.debug("traceback", exc_info=True)
        complain(
            f"this is a bug in barfeed: {type(error).__name__}: {error}",
            "run it again with --debug and report what it prints",
        )
        # A library's thread that still sends an alert would keep the process alive.
        _leave(INTERRUPTED_EXIT_CODE)
    _leave(code)


def _show(error: click.ClickException) -> None:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        # Its message is the whole help.
        say(*error.format_message().splitlines(), err=True)
        return
    # As click shows it, but what was typed is not repeated as it was typed.
    context: click.Context | None = getattr(error, "ctx", None)
    if context:
        help_line = f"Try '{context.command_path} --help' for help."
        say(*context.get_usage().splitlines(), help_line, "", err=True)
    say(f"Error: {_masked(error.format_message())}", err=True)


def _masked(message: str) -> str:
    # A stray argument may be a channel's or a heartbeat's address, and that its token.
    # A bucket is none, and neither is a quote behind what was typed.
    return re.sub(r"(?<!\bs3)://\S*[^\s']", "://...", message)


def _is_unheard(error: Exception) -> bool:
    """Whether click could not print its help: a full stdout is no bug, as it is none where we print ourselves."""
    *_, (frame, _line) = traceback.walk_tb(error.__traceback__)
    return isinstance(error, OSError) and frame.f_code is click.echo.__code__


def _leave(code: int) -> NoReturn:
    # Every file is closed and on the disk: to take down what was imported, piece by piece, would be
    # a fifth of the hour.
    for stream in (sys.stdout, sys.stderr):
        # Full, it raises.
        with suppress(OSError):
            stream.flush()
    os._exit(code)
