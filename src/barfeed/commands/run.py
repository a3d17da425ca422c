"""`barfeed run`: the hourly feed, once or for ever."""

import json
import shlex
import sys
from typing import TYPE_CHECKING, Any, NoReturn

import click

from barfeed.commands.terminal import Stopped, complain, log_to_stderr, say, stop_on_signals
from barfeed.config import Settings, settings_options

if TYPE_CHECKING:
    from barfeed.binance.rest import Conversation
    from barfeed.record import Record

EXIT_CODES = """\b
Exit codes:
  0   appended, or already up to date
  1   validation failed: mismatch or gap
  2   wrong usage or configuration
  3   the exchange could not be reached in time, or limits us
  4   the store or the artifact folder cannot be used
  5   the exchange refused, or broke its own contract
  70  a bug in barfeed
"""


@click.command(epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@settings_options
def run(**values: Any) -> int:
    """Pull the newest closed bars, prove them against the store, append the newest, publish the CSV."""
    settings = Settings(**values)
    log_to_stderr(settings.debug)
    if settings.watch:
        _watch(settings)
    return _once(settings)


def _once(settings: Settings) -> int:
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cycle import run_cycle  # noqa: PLC0415
    from barfeed.wiring import wire  # noqa: PLC0415

    feed, order, rest = wire(settings, _catch_up_command())
    talk = rest.conversation(settings.max_wait_sec)
    stop_on_signals()
    try:
        record = run_cycle(feed, order, talk)
    except Stopped as stopped:
        return stopped.exit_code
    _tell(settings, record, talk)
    if record.failure:
        complain(record.failure.message, record.failure.hint)
    return record.exit_code


def _watch(settings: Settings) -> NoReturn:
    from barfeed.watch import Pace, watch  # noqa: PLC0415
    from barfeed.wiring import wire  # noqa: PLC0415

    feed, order, rest = wire(settings, _catch_up_command())
    pace = Pace(settings.sleep_sec, settings.max_wait_sec)
    stop_on_signals()
    try:
        watch(feed, order, rest, pace, lambda record, talk: _tell(settings, record, talk))
    except Stopped:
        sys.exit(0)


def _tell(settings: Settings, record: "Record", talk: "Conversation") -> None:
    if settings.json:
        manifest = record.manifest(talk) | {"manifest": record.manifest_path}
        say(json.dumps(manifest))
    else:
        say(record.line())


def _catch_up_command() -> str:
    """The command that is running, with the flag that mends missed hours."""
    words = (word for word in sys.argv[1:] if word not in {"--watch", "--dry-run"})
    return shlex.join([*_program(), *words, "--catch-up"])


def _program() -> list[str]:
    """How this very program can be called again."""
    if sys.argv[0].endswith("__main__.py"):
        return [sys.executable, "-m", "barfeed"]
    return [sys.executable, sys.argv[0]] if sys.argv[0].endswith(".py") else [sys.argv[0]]
