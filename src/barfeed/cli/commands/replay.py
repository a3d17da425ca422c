"""`barfeed replay`: the local exchange."""

import logging
import sys
from typing import Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr
from barfeed.cli.values.paths import MeantBars, MeantFile
from barfeed.machine.signals import Stopped, stop_on_signals


@click.command(
    epilog=examples(
        "barfeed replay --generate BTCUSDT-1h --port 8080",
        "barfeed replay --data feed.duckdb --start 2024-02-10T13:59:50 --speed 60",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--data",
    "data",
    multiple=True,
    type=MeantBars(),
    metavar="[SYMBOL-INTERVAL=]PATH",
    help="Bars to serve: parquet, CSV, or a store; with a column symbol, a market, or its funding or open interest."
    " Repeatable.",
)
@click.option(
    "--generate",
    "generated",
    multiple=True,
    metavar="SYMBOL-INTERVAL",
    help="A series to make up instead, like BTCUSDT-1h; ALL-1h is a market of 800 symbols. Repeatable.",
)
@click.option("--seed", default=1, show_default=True, help="Seed of what is made up.")
@click.option(
    "--start",
    type=click.DateTime(["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d"]),
    help="The exchange's time when it starts, UTC."
    " [default: a minute before the last recorded bar closes, or 2024-02-10T13:58:00]",
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
    type=MeantFile(exists=True, dir_okay=False),
    help="TOML file of faults, see docs/replay.md. Repeatable.",
)
@click.option(
    "--weight-limit", type=click.IntRange(1), default=2400, show_default=True, help="Request weight a minute."
)
@click.option("--archive", is_flag=True, help="Serve the public archive too, under /data/futures/um/.")
@click.option(
    "--archive-data",
    multiple=True,
    type=MeantBars(),
    metavar="[SYMBOL-INTERVAL=]PATH",
    help="Bars that the archive has instead of the exchange's. Repeatable.",
)
@click.option(
    "--archive-fault",
    "archive_faults",
    multiple=True,
    type=MeantFile(exists=True, dir_okay=False),
    help="TOML file of what is wrong in the archive, see docs/replay.md. Repeatable.",
)
@click.option(
    "--latency-sec", type=click.FloatRange(0, 60), default=0.0, help="Every answer comes so much later.  [default: 0]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    help="Port to listen on; 0 takes a free one.",
)
@options_of("log_format")
@click.option("--quiet", is_flag=True, help="Do not log every request.")
def replay(**values: Any) -> None:
    """Serve Binance's own protocol from recorded or generated bars, with a clock of its own."""
    from barfeed.replay.command import serve  # noqa: PLC0415

    log_to_stderr(Settings(log_format=values.pop("log_format")))
    if values.pop("quiet"):
        logging.getLogger("barfeed.replay").setLevel(logging.WARNING)
    stop_on_signals()
    try:
        serve(**values)
    except Stopped:
        sys.exit(0)
