"""`barfeed backfill`: years of history into the store."""

import json
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import choice
from barfeed.cli.progress import followed, shown
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import complain, log_to_stderr, say
from barfeed.cli.values.addresses import check_address
from barfeed.cli.values.moments import MOMENT
from barfeed.cli.values.paths import MeantFile, MeantPath
from barfeed.domain import grid
from barfeed.domain.errors import UsageError

if TYPE_CHECKING:
    from barfeed.history.backfill import Backfill, Order, Tools
    from barfeed.history.filling.report import Report
    from barfeed.history.own_files import OwnFile

EXIT_CODES = """\b
Exit codes:
  0   done: the span is filled as far as the source has it
  1   some stored bars differ from the source; they stay as they are
  2   wrong usage, configuration, or a file or table that is refused
  3   the exchange or the archive could not be reached in time, or limits us
  4   the store or the cache cannot be used
  5   the exchange refused, or broke its own contract
  70  a bug in barfeed
"""
_MISMATCHES_SHOWN = 20
_CONNECTIONS = 4
# The sources that are files, and how they are given.
_OF_FILES = {"csv": "csv FILE...", "table": "table OTHER.duckdb[:schema.table]"}


@click.command(
    epilog=examples(
        "barfeed backfill --from 2024-01-01",
        "barfeed backfill --from 2020-01-01 --source archive",
        "barfeed backfill --source csv bars.csv.gz",
        "barfeed backfill --source table other.duckdb:candles",
        "barfeed backfill --symbols all --from 2026-01-01",
        "barfeed backfill --kinds funding,open_interest --from 2026-01-01",
    )
    + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("files", nargs=-1, metavar="[FILE]...", type=MeantFile(path_type=Path, readable=False))
@click.option("--from", "begin", type=MOMENT, help="First open_time, UTC.  [default: the symbol's first bar]")
@click.option("--to", "end", type=MOMENT, help="Up to this open_time, not included.  [default: the target's end]")
@click.option(
    "--source",
    type=click.Choice(["auto", "rest", "archive", "csv", "table"]),
    default="auto",
    show_default=True,
    help="Where the bars come from; auto: the archive where it saves time, REST for the rest; csv: FILE..., also"
    " Parquet, .feather and zips; table: OTHER.duckdb[:schema.table]...",
)
@click.option(
    "--kinds",
    "of_kinds",
    metavar="KINDS",
    help="Fill these kinds of series instead of bars, as funding,open_interest; what the exchange remembers by REST,"
    " what is beyond from the archive.",
)
@click.option("--force-name", is_flag=True, help="Take files and tables though they say another symbol or interval.")
@click.option(
    "--weight-budget",
    type=click.IntRange(10, 100_000),
    help="Request weight a minute.  [default: half of what the exchange allows]",
)
@click.option(
    "--connections",
    type=click.IntRange(1, 16),
    default=None,
    help="Requests in flight at once.  [default: 4; with --symbols as many as pay]",
)
@click.option("--archive-url", default="https://data.binance.vision", show_default=True, help="The public archive.")
@click.option(
    "--cache-dir",
    type=MeantPath(file_okay=False, path_type=Path, readable=False),
    help="Keep the archive's zips here; they are proven again when used again.",
)
@options_of(
    "duckdb",
    "store",
    "symbol",
    "interval",
    "intervals",
    "base_url",
    "spot_url",
    "lock_timeout_sec",
    "debug",
    symbols="Many symbols at once, as barfeed run feeds them: all, or names and patterns.  [instead of --symbol]",
    persist_dir="With --store: where servers.json tells which server it was.",
    max_wait_sec="How long to wait for one answer of the exchange or the archive in total.",
    json="Print the summary as one line of JSON instead.",
)
def backfill(**values: Any) -> int:
    """Fill the bars that open in [--from, --to) into the store; what is there stays as it is.

    Only what is missing is asked for, so a stored bar is compared where a page or file of the source holds it beside a
    missing one, or a FILE has it; barfeed verify --against rest compares all. Interrupted anywhere, the same command
    goes on where it ended.
    """
    own = {name: values.pop(name) for name in _OWN}
    settings = Settings(**values)
    log_to_stderr(settings)
    if own["of_kinds"]:
        # Imported here: bars go by without it.
        from barfeed.cli.kinds.backfill import backfill_kinds  # noqa: PLC0415

        _check(own)
        if own["source"] == "table":
            own["files"] = tuple(_own_file(path, is_table=True) for path in own["files"])
        return backfill_kinds(settings, own["of_kinds"], own)
    if many := choice(settings):
        # Imported here: one series goes by without it.
        from barfeed.cli.market.backfill import backfill_market  # noqa: PLC0415

        _check(own)
        return backfill_market(settings, many, own)
    # Imported here: it takes longer than --help may.
    from barfeed.cli.wiring import told_by_its_life  # noqa: PLC0415

    work, tools = _prepared(settings, own)
    meter = shown(str(settings.series()), tools.clock)
    work.watch(meter)

    def run() -> None:
        with told_by_its_life(settings, sister("backfill")):
            work.run()

    followed(meter, run, lambda error: _tell(settings, work.report, error))
    _complain_of_mismatches(work.report)
    return work.report.exit_code


_OWN = (
    "of_kinds",
    "files",
    "begin",
    "end",
    "source",
    "force_name",
    "weight_budget",
    "connections",
    "archive_url",
    "cache_dir",
)


def _prepared(settings: Settings, own: dict[str, Any]) -> "tuple[Backfill, Tools]":
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.wiring import history_tools  # noqa: PLC0415
    from barfeed.history.backfill import Backfill  # noqa: PLC0415

    order = _order(settings, own)._replace(repair=sister("repair"))
    check_address("--archive-url", own["archive_url"])
    connections = own["connections"] or _CONNECTIONS
    tools = history_tools(settings, connections, own["archive_url"], own["cache_dir"], writes=True)
    return Backfill(order, tools), tools


def _order(settings: Settings, own: dict[str, Any]) -> "Order":
    from barfeed.history.backfill import Order  # noqa: PLC0415

    _check(own)
    source, files = own["source"], own["files"]
    if source in _OF_FILES and not files:
        raise UsageError(f"--source {source} needs a FILE", hint=f"--source {_OF_FILES[source]}")
    if files and source not in _OF_FILES:
        raise UsageError(
            f"{files[0]}: --source {source} takes no FILE",
            hint=" or ".join(f"--source {each}" for each in _OF_FILES.values()),
        )
    if own["force_name"] and not files:
        raise UsageError("--force-name is about a FILE's name, and there is none", hint="--source csv FILE...")
    given = tuple(_own_file(path, is_table=source == "table") for path in files)
    return Order(settings.series(), source, own["begin"], own["end"], given, own["weight_budget"], own["force_name"])


def _check(own: dict[str, Any]) -> None:
    begin_ms, end_ms = own["begin"], own["end"]
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise UsageError(f"--from {grid.text(begin_ms)} is not before --to {grid.text(end_ms)}")


def _own_file(path: Path, *, is_table: bool) -> "OwnFile":
    """A file that is there, and the table after its colon."""
    from barfeed.history.own_files import OwnFile  # noqa: PLC0415 - as above

    file, table = path, ""
    if is_table and _what(path):
        name, _, table = str(path).rpartition(":")
        file = Path(name) if name else path
    if what := _what(file):
        raise UsageError(f"{file} {what}", hint=f"--source {_OF_FILES['table' if is_table else 'csv']}")
    return OwnFile(file, table if is_table else None)


def _what(path: Path) -> str:
    """Why a path is no file that can be read more than once; "" where it is one."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        # Too long, or with a byte in it that no name has.
        return "does not exist"
    return "" if stat.S_ISREG(mode) else "is a folder" if stat.S_ISDIR(mode) else "is no regular file"


def _tell(settings: Settings, report: "Report", error: str) -> None:
    if settings.json:
        say(json.dumps(report.as_json(error)))
        return
    for hole in report.holes:
        say(f"hole: {hole}: the source has no such bar; nothing was made up")
    say(report.line())


def _complain_of_mismatches(report: "Report") -> None:
    if not report.mismatches:
        return
    for finding in report.mismatches[:_MISMATCHES_SHOWN]:
        say(f"mismatch: {finding}", err=True)
    if len(report.mismatches) > _MISMATCHES_SHOWN:
        say(f"... and {len(report.mismatches) - _MISMATCHES_SHOWN} more; --json tells all", err=True)
    complain(
        f"{report.series}: {len(report.mismatches)} stored bars differ from the source; they stay as they are",
        "find out which is right: barfeed verify --against rest, then barfeed repair",
    )
