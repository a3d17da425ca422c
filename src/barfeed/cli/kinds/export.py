"""`barfeed export --kind`: the rows of one kind as a file."""

import json
from pathlib import Path

from barfeed.cli.market.choice import choice
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import say
from barfeed.domain import grid
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.selection import Selection
from barfeed.history.kinds.export import Exported, Wanted, export
from barfeed.machine.clock import SystemClock


def export_kind(settings: Settings, named: str, file: Path, from_ms: int | None, to_ms: int | None) -> None:
    """Write them, and say how many."""
    many = choice(settings)
    if many and len(many.intervals) > 1:
        raise UsageError("--intervals: a file holds one interval", hint="one export each: --intervals 1h")
    series = None if many else settings.series()
    interval = many.intervals[0] if many else settings.series().interval
    selection = many.selection if many else Selection((series.symbol,) if series else (), (), ())
    chosen = kinds(named, (interval,), "--kind")
    if len(chosen) != 1:
        raise UsageError(f"--kind {named[:60]!r}: one file holds one kind", hint="--wide has several beside the bars")
    wanted = Wanted(chosen[0], interval, selection, from_ms, to_ms, settings.plain_decimals)
    done = export(open_whole(settings, SystemClock()), wanted, file)
    say(json.dumps(_facts(done, wanted)) if settings.json else _line(done, wanted))


def _facts(done: Exported, wanted: Wanted) -> dict[str, object]:
    first, last = grid.timestamp(done.first_ms), grid.timestamp(done.last_ms)
    facts = {"exported": done.rows, "kind": wanted.kind.name, "series": done.series, "first": first, "last": last}
    return facts | {"file": str(done.file)}


def _line(done: Exported, wanted: Wanted) -> str:
    span = f"{grid.text(done.first_ms)}..{grid.text(done.last_ms)}"
    return f"exported={done.rows} kind={wanted.kind.name} series={done.series} span={span} file={done.file}"
