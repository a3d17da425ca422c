"""`barfeed revisions`: every stored bar that was ever changed, with both versions."""

import json
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.market.choice import Choice, choice, each_interval
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.domain import grid
from barfeed.domain.acceptance import values
from barfeed.domain.bars import VALUE_COLUMNS, Interval
from barfeed.domain.market.selection import Selection

if TYPE_CHECKING:
    from barfeed.store.port.whole import WholeHistory
    from barfeed.store.revisions import Revision

EXIT_CODES = """\b
Exit codes:
  0   listed, be there any or none
  2   wrong usage
  4   the store cannot be used
  70  a bug in barfeed
"""


@click.command(
    epilog=examples("barfeed revisions", "barfeed revisions --json", "barfeed revisions --symbols all") + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--kinds", "of_kinds", default="", help="Those of these kinds of series instead of bars.")
@options_of(
    "duckdb", "store", "symbol", "interval", "intervals", "lock_timeout_sec", "debug",
    symbols="Those of many series: all, or names and patterns.",
    json="Print one line of JSON instead.",
)  # fmt: skip
def revisions(*, of_kinds: str, **options: Any) -> int:
    """List the stored bars of a series that were changed: both versions, when, why and by which run.

    And those that were let pass though their own columns contradict each other (barfeed repair --let-pass).

    `accepted` is the moment by this machine's clock, or by the database's, UTC, to the millisecond: an export as of
    that moment has the new version, as of a millisecond before it the old one.
    """
    settings = Settings(**options)
    log_to_stderr(settings)
    if many := choice(settings):
        if of_kinds:
            return each_interval(many, lambda interval: _of_kinds(settings, of_kinds, many.selection, interval))
        return each_interval(many, lambda interval: _of_many(settings, many, interval))
    series = settings.series()
    if of_kinds:
        return _of_kinds(settings, of_kinds, Selection((series.symbol,), (), ()), series.interval)
    found = _store(settings).revisions(series)
    if settings.json:
        names = {"symbol": series.symbol, "interval": str(series.interval)}
        say(json.dumps({"series": names, "revisions": [_facts(each) for each in found]}))
    else:
        say(*map(_line, found), f"{series}: {len(found)} revisions")
    return 0


def _of_kinds(settings: Settings, named: str, selection: Selection, interval: Interval) -> int:
    from barfeed.cli.kinds.revisions import revisions_of_kinds  # noqa: PLC0415 - as in _store

    return revisions_of_kinds(settings, named, selection, interval)


def _of_many(settings: Settings, many: Choice, interval: Interval) -> int:
    """All of an interval in the order they were accepted, each with its symbol: of what stands in the audit table."""
    every = _store(settings).revisions_of_all(interval)
    found = [(symbol, each) for symbol, each in every if many.selection.includes(symbol)]
    series = len({symbol for symbol, _ in found})
    if settings.json:
        told = [{"symbol": symbol} | _facts(each) for symbol, each in found]
        say(json.dumps({"series": {"symbols": str(many.selection), "interval": str(interval)}, "revisions": told}))
    else:
        lines = [f"{symbol}  {_line(each)}" for symbol, each in found]
        say(f"revisions={len(found)} series={series} interval={interval}", *lines)
    return 0


def _store(settings: Settings) -> "WholeHistory":
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.stores import open_whole  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    store = open_whole(settings, SystemClock())
    store.expect_there()
    return store


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
