"""`barfeed migrate`: one series' tables into a market's, and back."""

import json as json_text
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.stores import meant_database
from barfeed.domain.errors import UsageError
from barfeed.domain.market.selection import EVERYTHING, Selection

if TYPE_CHECKING:
    from barfeed.history.market.migration import Migration, Misfit, Moved

EXIT_CODES = """\b
Exit codes:
  0   moved, or nothing to move
  2   wrong usage or configuration
  4   the store cannot be used, or a table does not fit: then nothing was moved
  70  a bug in barfeed
"""


@click.command(
    epilog=examples(
        "barfeed migrate --dry-run",
        "barfeed migrate --symbols ETHUSDT,SOLUSDT",
        "barfeed migrate --symbols ETHUSDT --apart",
        "barfeed migrate --store postgresql://owner@db.example.org/market",
    )
    + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--apart", is_flag=True, help="Out of the market's table, into tables of their own.")
@options_of(
    "duckdb", "lock_timeout_sec", "debug",
    store="Make the tables of this PostgreSQL database, or bring them to this version.",
    symbols="Which of the stored symbols: names and patterns.  [default: all]",
    intervals="At which intervals, as 1h,4h.  [default: all that are stored]",
    dry_run="Tell what would be moved, and what does not fit; leave the store as it is.",
    json="Print the summary as one line of JSON.",
)  # fmt: skip
def migrate(apart: bool, json: bool, **values: Any) -> None:
    """Move series from tables of their own into the market's table, where barfeed run --symbols feeds them, or back.

    Bars, created_at and revisions stay what they are. It is one transaction: all is moved, or nothing.

    With --store nothing is moved: the tables of a PostgreSQL database are made, or brought to this version.
    """
    settings = Settings(**values)
    log_to_stderr(settings)
    if address := meant_database(settings.store):
        _make_tables(settings, address, is_apart=apart, json=json)
        return
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.stores import open_store  # noqa: PLC0415
    from barfeed.history.market import migration  # noqa: PLC0415 - as above
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415 - as above

    asked = _asked(settings, is_apart=apart)
    moved, misfits = migration.migrate(open_store(settings, SystemClock()), asked)
    if json:
        say(json_text.dumps(_facts(asked, moved, misfits)))
    else:
        say(*_lines(asked, moved, misfits))
    if misfits:
        raise migration.refused(misfits)


def _make_tables(settings: Settings, address: str, *, is_apart: bool, json: bool) -> None:
    if is_apart or settings.symbols or settings.intervals:
        raise UsageError(
            "--apart, --symbols and --intervals do not go with --store: there all series are in one table",
            hint=f"make the tables: barfeed migrate --store {address}",
        )
    from barfeed.cli.stores import needs_postgres  # noqa: PLC0415 - as above
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415 - as above

    with needs_postgres():
        from barfeed.store.postgres.server import migrate as make_tables  # noqa: PLC0415 - as above
    done = make_tables(address, SystemClock(), settings.lock_timeout_sec, dry_run=settings.dry_run)
    facts = {"would_migrate" if settings.dry_run else "migrated": done.to - done.since, **done._asdict()}
    say(json_text.dumps(facts) if json else " ".join(f"{name}={value}" for name, value in facts.items()))


def _asked(settings: Settings, *, is_apart: bool) -> "Migration":
    from barfeed.cli.market.choice import intervals  # noqa: PLC0415 - as above
    from barfeed.history.market.migration import Migration  # noqa: PLC0415 - as above

    chosen = intervals(settings) if settings.intervals else ()
    return Migration(Selection.of(settings.symbols or EVERYTHING), chosen, is_apart, settings.dry_run)


def _facts(asked: "Migration", moved: "list[Moved]", misfits: "list[Misfit]") -> dict[str, object]:
    return {
        "would_migrate" if asked.dry_run or misfits else "migrated": len(moved),
        "bars": sum(each.bars for each in moved),
        "to": "own" if asked.is_apart else "market",
        "series": [{"symbol": each.symbol, "interval": str(each.interval), "bars": bars} for each, bars in moved],
        "misfits": [{"symbol": each.symbol, "interval": str(each.interval), "why": why} for each, why in misfits],
    }


def _lines(asked: "Migration", moved: "list[Moved]", misfits: "list[Misfit]") -> list[str]:
    facts = _facts(asked, moved, misfits) | {"series": None, "misfits": len(misfits)}
    told = [f"does not fit: {each.table}: {why}" for each, why in misfits]
    return [*told, " ".join(f"{name}={value}" for name, value in facts.items() if value is not None)]
