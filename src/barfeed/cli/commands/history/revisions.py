"""`barfeed revisions`: every stored bar that was ever changed, with both versions."""

import json
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.examples import examples
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.domain import grid
from barfeed.domain.acceptance import values
from barfeed.domain.bars import VALUE_COLUMNS, Series

if TYPE_CHECKING:
    from barfeed.store.revisions import Revision

EXIT_CODES = """\b
Exit codes:
  0   listed, be there any or none
  2   wrong usage
  4   the store cannot be used
  70  a bug in barfeed
"""


@click.command(
    epilog=examples("barfeed revisions", "barfeed revisions --json") + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@options_of("duckdb", "symbol", "interval", "lock_timeout_sec", "debug", json="Print one line of JSON instead.")
def revisions(**options: Any) -> int:
    """List the stored bars of a series that were changed: both versions, when, why and by which run.

    And those that were let pass though their own columns contradict each other (barfeed repair --let-pass).

    `accepted` is the moment by this machine's clock, UTC, to the millisecond: an export as of that moment has the new
    version, as of a millisecond before it the old one.
    """
    settings = Settings(**options)
    log_to_stderr(settings)
    series = settings.series()
    found = _listed(settings, series)
    if settings.json:
        names = {"symbol": series.symbol, "interval": str(series.interval)}
        say(json.dumps({"series": names, "revisions": [_facts(each) for each in found]}))
    else:
        say(*map(_line, found), f"{series}: {len(found)} revisions")
    return 0


def _listed(settings: Settings, series: Series) -> "list[Revision]":
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415
    from barfeed.store.duckdb import Store  # noqa: PLC0415
    from barfeed.store.revisions import listed  # noqa: PLC0415

    store = Store(settings.duckdb, SystemClock(), settings.lock_timeout_sec)
    store.expect_file()
    with store.session(write=False) as connection:
        store.table(connection, series)
        return listed(connection, series)


def _line(each: "Revision") -> str:
    seen, accepted = grid.timestamp(each.seen_at_ms), grid.timestamp(each.accepted_at_ms)
    return (
        f"{grid.text(each.change.open_time_ms)}  {_versions(each)}  {seen=!s} {accepted=!s}"
        f" reason={each.reason!r} run={each.run!r}"
    )


def _versions(each: "Revision") -> str:
    old, new = each.change
    if each.is_let_pass:
        return f"let pass: {', '.join(f'{name} {value}' for name, value in values(new).items())}"
    both = zip(VALUE_COLUMNS, old.values, new.values, strict=True)
    return ", ".join(f"{name} {was} -> {now}" for name, was, now in both if was != now)


def _facts(each: "Revision") -> dict[str, Any]:
    return {
        "bar": grid.text(each.change.open_time_ms),
        "old": values(each.change.old),
        "new": values(each.change.new),
        "seen_at": grid.timestamp(each.seen_at_ms),
        "accepted_at": grid.timestamp(each.accepted_at_ms),
        "reason": each.reason,
        "run": each.run,
    }
