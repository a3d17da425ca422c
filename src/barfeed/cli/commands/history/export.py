"""`barfeed export`: any span of the store as one file."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples, sister
from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, remark, say
from barfeed.cli.values.moments import MOMENT
from barfeed.cli.values.paths import MeantPath
from barfeed.domain import grid
from barfeed.domain.errors import StoreEmpty, UsageError

if TYPE_CHECKING:
    from barfeed.history.export import Exported


@click.command(
    epilog=examples(
        "barfeed export btc.parquet",
        "barfeed export january.csv.gz --from 2024-01-01 --to 2024-02-01",
        "barfeed export as-it-was.csv --as-of '2025-01-14 20:00'",
        "barfeed export market.parquet --symbols all --as-of '2026-03-01'",
        "barfeed export interest.parquet --kind open_interest --symbols all",
        "barfeed export train.parquet --wide --kinds open_interest,funding --symbols all --from 2026-01-01",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.argument("file", type=MeantPath(path_type=Path, readable=False))
@click.option("--from", "from_ms", type=MOMENT, help="First open time, UTC.  [default: the store's first bar]")
@click.option("--to", "to_ms", type=MOMENT, help="Open time to end before, UTC.  [default: after the store's last bar]")
@click.option("--as-of", "as_of_ms", type=MOMENT, help="The store as it stood at this moment, UTC.")
@click.option("--kind", "of_kind", default="", help="The rows of this kind of series instead of bars.")
@click.option("--wide", is_flag=True, help="Beside each bar, what was known of other kinds when it closed.")
@options_of(
    "duckdb", "store", "symbol", "interval", "intervals", "lock_timeout_sec", "debug", "plain_decimals",
    symbols="Many series in one file: all, or names and patterns; with --as-of, what was listed then.",
    kinds="With --wide: which kinds, as klines,open_interest.  [default: all that are stored]",
    json="Print the summary as one line of JSON.",
)  # fmt: skip
def export(
    file: Path,
    from_ms: int | None,
    to_ms: int | None,
    as_of_ms: int | None,
    *,
    of_kind: str,
    wide: bool,
    **values: Any,
) -> None:
    """Write bars of the store to FILE, a .csv, .csv.gz or .parquet: whole, or not at all."""
    settings = Settings(**values)
    log_to_stderr(settings)
    if of_kind:
        if wide or as_of_ms is not None:
            raise UsageError("--kind is the rows as they are stored: it goes without --wide and --as-of")
        from barfeed.cli.kinds.export import export_kind  # noqa: PLC0415 - as below

        export_kind(settings, of_kind, file, from_ms, to_ms)
        return
    if many := choice(settings):
        from barfeed.cli.market.export import export_market  # noqa: PLC0415

        export_market(settings, many, file, from_ms=from_ms, to_ms=to_ms, as_of_ms=as_of_ms, wide=wide)
        return
    series = settings.series()
    from barfeed.cli.stores import open_whole  # noqa: PLC0415
    from barfeed.cli.values.beside import beside  # noqa: PLC0415
    from barfeed.history.export import Wanted  # noqa: PLC0415
    from barfeed.history.export import export as write  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    try:
        kinds = beside(settings.kinds, series.interval, wide=wide)
        store = open_whole(settings, SystemClock())
        done = write(store, Wanted(series, from_ms, to_ms, as_of_ms, settings.plain_decimals, kinds), file)
    except StoreEmpty as problem:
        raise StoreEmpty(str(problem), hint=problem.hint or f"see what it holds: {sister('status')}") from problem
    say(json.dumps(_facts(done)) if settings.json else _line(done))
    if done.unknown:
        remark(
            f"{series}: when {done.unknown} of the {done.bars} bars were appended is not known, for the table does not"
            " hold it (created_at): they are taken as there since they closed"
        )
    if done.absent:
        remark(f"{', '.join(done.absent)}: nothing is stored of it at {series.interval}, and its columns are empty")


def _facts(done: "Exported") -> dict[str, object]:
    first, last = grid.text(done.first_ms), grid.text(done.last_ms)
    unknown = {} if done.unknown is None else {"unknown": done.unknown}
    facts = {"exported": done.bars, "first": first, "last": last, "gaps": done.gaps}
    return facts | unknown | {"file": str(done.file)}


def _line(done: "Exported") -> str:
    span = f"{grid.text(done.first_ms)}..{grid.text(done.last_ms)}"
    return f"exported={done.bars} span={span} gaps={done.gaps} file={done.file}"
