"""`barfeed prune`: take old files of runs out of the artifact folder."""

import json as json_text
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from barfeed.cli.hints import examples
from barfeed.cli.market.choice import choice, folder
from barfeed.cli.settings import Settings, options_of
from barfeed.cli.terminal import log_to_stderr, say

if TYPE_CHECKING:
    from barfeed.artifacts.retention import Pruned


@click.command(
    epilog=examples(
        "barfeed prune --keep-days 90 --dry-run",
        "barfeed prune --keep-days 90",
        "barfeed prune --symbols all --intervals 1h,4h",
    ),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--keep-days",
    type=click.IntRange(1, 36500),
    default=90,
    show_default=True,
    help="Leave the runs of as many days before the newest.",
)
@click.option("--discard", is_flag=True, help="Delete what is older instead of folding it into a zip a month.")
@options_of(
    "persist_dir", "dataset", "symbol", "interval", "intervals", "debug",
    symbols="The folders of a market instead, whole: the files of a pass hold every symbol.",
    dry_run="Tell what would go; leave everything as it is.",
    json="Print the summary as one line of JSON.",
)  # fmt: skip
def prune(keep_days: int, discard: bool, json: bool, **values: Any) -> None:
    """Fold old runs into one zip a month; the newest good inference file always stays."""
    settings = Settings(**values)
    log_to_stderr(settings)
    folders = _folders(settings)
    from barfeed.artifacts import retention  # noqa: PLC0415
    from barfeed.machine.clock import SystemClock  # noqa: PLC0415

    keep = retention.Keep(keep_days, discard, settings.dry_run)
    for interval, path in folders.items():
        done = retention.prune(path, SystemClock().utc_ms(), keep)
        facts = _facts(done, settings.dry_run) | ({"interval": interval} if interval else {})
        say(*([json_text.dumps(facts)] if json else _lines(done, facts)))


def _folders(settings: Settings) -> dict[str, Path]:
    """The artifact folder of one series, or those of a market by their interval."""
    from barfeed.artifacts.writing import slug  # noqa: PLC0415

    if many := choice(settings):
        return {str(each): folder(settings, each) for each in many.intervals}
    return {"": settings.persist_dir / slug(settings.dataset or settings.series().dataset)}


def _facts(done: "Pruned", dry_run: bool) -> dict[str, object]:
    return {
        "would_prune" if dry_run else "pruned": done.runs,
        "files": done.files,
        "bytes": done.bytes,
        "zips": list(done.zips),
        "kept": done.kept,
        "left": list(done.left),
    }


def _lines(done: "Pruned", facts: dict[str, object]) -> list[str]:
    told = facts | {"zips": ",".join(done.zips) or "none", "kept": done.kept or "none", "left": len(done.left)}
    return [*(f"left: {each}" for each in done.left), " ".join(f"{name}={value}" for name, value in told.items())]
