"""`barfeed copy`: a whole history from one store into another."""

import json as json_text
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say
from barfeed.cli.values.stores import MeantStore
from barfeed.domain.errors import UsageError

if TYPE_CHECKING:
    from barfeed.history.copying.copy import Copied
    from barfeed.history.copying.sides import Side

EXIT_CODES = """\b
Exit codes:
  0   copied, and proven equal
  1   the source holds no bar, or the target something else than the source
  2   wrong usage or configuration
  4   one of the stores cannot be used
  70  a bug in barfeed
"""


@click.command(
    epilog=examples(
        "barfeed copy data/ohlcv.duckdb postgresql://owner@db.example.org/market",
        "barfeed copy postgresql://reader@db.example.org/market market.duckdb",
    )
    + EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("source", type=MeantStore(), metavar="FROM")
@click.argument("target", type=MeantStore(), metavar="TO")
@options_of("lock_timeout_sec", "debug", json="Print each month, and the summary, as a line of JSON.")
def copy(source: str, target: str, json: bool, **values: Any) -> None:
    """Copy all bars, kinds, revisions and listings from one store into another, a DuckDB file or a database.

    Month by month: each is read again where it was copied to, and proven equal by its sum. What is there already is
    not copied again, so a copy that was interrupted goes on where it was.
    """
    settings = Settings(**values)
    log_to_stderr(settings)
    if source == target:
        raise UsageError("FROM and TO are the same store")
    # Imported here: DuckDB alone takes longer to import than --help may take.
    from barfeed.cli.stores import needs_postgres  # noqa: PLC0415

    with needs_postgres():
        from barfeed.history.copying.copy import copy as copy_all  # noqa: PLC0415 - as above
    done: list[Copied] = []

    def tell(copied: "Copied") -> None:
        done.append(copied)
        say(json_text.dumps(copied._asdict()) if json else _line(copied))

    with ExitStack() as opened:
        copy_all(_side(source, settings, opened), _side(target, settings, opened), tell)
    facts = {
        "rows": sum(each.rows for each in done),
        "copied": sum(each.rows for each in done if each.is_new),
        "proven": len(done),
    }
    say(json_text.dumps(facts) if json else " ".join(f"{name}={value}" for name, value in facts.items()))


def _side(store: str, settings: Settings, opened: ExitStack) -> "Side":
    from barfeed.history.copying.database_side import DatabaseSide  # noqa: PLC0415 - as above
    from barfeed.history.copying.file_side import FileSide  # noqa: PLC0415 - as above
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415 - as above
    from barfeed.store.duckdb import Store  # noqa: PLC0415 - as above
    from barfeed.store.postgres.link.address import is_address  # noqa: PLC0415 - as above
    from barfeed.store.postgres.server import Server  # noqa: PLC0415 - as above

    clock, wait_sec = SystemClock(), settings.lock_timeout_sec
    if is_address(store):
        return DatabaseSide(opened.enter_context(closing(Server(store, clock, wait_sec))))
    return FileSide(Store(Path(store), clock, wait_sec))


def _line(copied: "Copied") -> str:
    name = f"{copied.table} {copied.month}".strip()
    return f"{name}: {copied.rows} rows, {'copied' if copied.is_new else 'there already'}, sha256 {copied.sha256}"
