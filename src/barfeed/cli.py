"""The command line: flags in, one exit line and one exit code out."""

import json
import logging
import os
import shlex
import signal
import sys
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

import click

from barfeed import __version__
from barfeed.config import Settings, settings_options
from barfeed.errors import INTERRUPTED_EXIT_CODE, BarfeedError, UsageError

if TYPE_CHECKING:
    from barfeed.binance.rest import Conversation
    from barfeed.record import Record

# What a shell says of a process that ended by Ctrl-C.
_CTRL_C_EXIT_CODE = 130
_EXIT_CODES = """\b
Exit codes:
  0   appended, or already up to date
  1   validation failed: mismatch or gap
  2   wrong usage or configuration
  3   the exchange could not be reached in time, or limits us
  4   the store or the artifact folder cannot be used
  5   the exchange refused, or broke its own contract
  70  a bug in barfeed
"""

_log = logging.getLogger(__name__)


class Stopped(BaseException):
    """SIGTERM or SIGINT asked a long-running command to end."""


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="barfeed")
def barfeed() -> None:
    """Closed, proven bars of Binance USDT-M Futures for a trading model."""


@barfeed.command(epilog=_EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@settings_options
def run(**values: Any) -> int:
    """Pull the newest closed bars, prove them against the store, append the newest, publish the CSV."""
    settings = Settings(**values)
    _log_to_stderr(settings.debug)
    if settings.watch:
        _watch(settings)
    return _once(settings)


def _once(settings: Settings) -> int:
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cycle import run_cycle  # noqa: PLC0415
    from barfeed.wiring import wire  # noqa: PLC0415

    feed, order, rest = wire(settings, _catch_up_command())
    talk = rest.conversation(settings.max_wait_sec)
    record = run_cycle(feed, order, talk)
    _tell(settings, record, talk)
    if record.failure:
        _complain(record.failure.message, record.failure.hint)
    return record.exit_code


def _watch(settings: Settings) -> NoReturn:
    from barfeed.watch import Pace, watch  # noqa: PLC0415
    from barfeed.wiring import wire  # noqa: PLC0415

    feed, order, rest = wire(settings, _catch_up_command())
    pace = Pace(settings.sleep_sec, settings.max_wait_sec)
    _stop_on_signals()
    try:
        watch(feed, order, rest, pace, lambda record, talk: _tell(settings, record, talk))
    except Stopped:
        _log.info("stopped")
        sys.exit(0)


def _tell(settings: Settings, record: "Record", talk: "Conversation") -> None:
    if settings.json:
        manifest = record.manifest(talk) | {"manifest": record.manifest_path}
        click.echo(json.dumps(manifest))
    else:
        click.echo(record.line())


def _complain(message: str, hint: str) -> None:
    click.echo(f"barfeed: {message}", err=True)
    if hint:
        click.echo(f"  hint: {hint}", err=True)


def _catch_up_command() -> str:
    """The command that is running, with the flag that mends missed hours."""
    program = ["python", sys.argv[0]] if sys.argv[0].endswith(".py") else ["barfeed"]
    return shlex.join(
        [*program, *(word for word in sys.argv[1:] if word not in {"--watch", "--dry-run"}), "--catch-up"]
    )


def _stop_on_signals() -> None:
    def stop(_number: int, _frame: object) -> NoReturn:
        # Once is enough: a second signal must not break into the end.
        for each in (signal.SIGTERM, signal.SIGINT):
            signal.signal(each, signal.SIG_IGN)
        raise Stopped

    for each in (signal.SIGTERM, signal.SIGINT):
        signal.signal(each, stop)


def _log_to_stderr(debug: bool) -> None:
    logging.basicConfig(
        stream=sys.stderr,
        level=logging.DEBUG if debug else logging.INFO,
        format="%(levelname)s %(message)s",
    )
    logging.getLogger("urllib3").setLevel(logging.WARNING)


@barfeed.command()
@click.option(
    "--data",
    "data",
    multiple=True,
    metavar="[SYMBOL-INTERVAL=]PATH",
    help="Bars to serve: parquet, CSV, or a store. Repeatable.",
)
@click.option(
    "--generate",
    "generated",
    multiple=True,
    metavar="SYMBOL-INTERVAL",
    help="A series to make up instead, like BTCUSDT-1h. Repeatable.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of what is made up.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]),
    help="The exchange's time when it starts, UTC. [default: a minute before the last recorded bar closes]",
)
@click.option(
    "--speed",
    type=click.FloatRange(0, 100_000),
    default=1.0,
    show_default=True,
    help="Exchange seconds for each second.",
)
@click.option(
    "--fault",
    "faults",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False),
    help="TOML file of faults, see docs/replay.md. Repeatable.",
)
@click.option(
    "--weight-limit", type=click.IntRange(1), default=2400, show_default=True, help="Request weight a minute."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@click.option("--quiet", is_flag=True, help="Do not log every request.")
def replay(**values: Any) -> None:
    """Serve Binance's own protocol from recorded or generated bars, with a clock of its own."""
    from barfeed.replay.command import serve  # noqa: PLC0415

    _log_to_stderr(debug=False)
    if values.pop("quiet"):
        logging.getLogger("barfeed.replay").setLevel(logging.WARNING)
    _stop_on_signals()
    try:
        serve(**values)
    except Stopped:
        sys.exit(0)


def main(command: click.Command = barfeed) -> NoReturn:
    """Run a command; end the process with the exit code that the documentation tells."""
    debug = "--debug" in sys.argv or os.environ.get("BARFEED_DEBUG", "").lower() in {"1", "true", "yes", "on"}
    code = 0
    try:
        code = command.main(standalone_mode=False) or 0
    except click.ClickException as error:
        error.show()
        sys.exit(UsageError.exit_code)
    except BarfeedError as error:
        _log.debug("traceback", exc_info=True)
        _complain(str(error), error.hint)
        sys.exit(error.exit_code)
    except (KeyboardInterrupt, click.Abort):
        sys.exit(_CTRL_C_EXIT_CODE)
    except Exception as error:
        if debug:
            traceback.print_exc()
        _complain(
            f"this is a bug in barfeed: {type(error).__name__}: {error}",
            "run it again with --debug and report what it prints",
        )
        sys.exit(INTERRUPTED_EXIT_CODE)
    _leave(code)


def _leave(code: int) -> NoReturn:
    # Every file is closed and on the disk: to take down what was imported, piece by piece, would be
    # a fifth of the hour.
    with suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)
