"""`barfeed export --symbols`: many series as one file."""

import json
from pathlib import Path

from barfeed.cli.hints import sister
from barfeed.cli.market.choice import Choice
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import remark, say
from barfeed.cli.values.beside import beside
from barfeed.domain import grid
from barfeed.domain.errors import StoreEmpty, UsageError
from barfeed.domain.market.telling import of_all
from barfeed.history.market.export import Exported, Wanted, export
from barfeed.machine.clock import SystemClock


def export_market(
    settings: Settings,
    many: Choice,
    file: Path,
    *,
    from_ms: int | None,
    to_ms: int | None,
    as_of_ms: int | None,
    wide: bool,
) -> None:
    """Write the file and say what is in it; raises as the export itself."""
    if len(many.intervals) > 1:
        raise UsageError("--intervals: a file holds one interval", hint="one export each: --intervals 1h")
    [interval] = many.intervals
    kinds = beside(settings.kinds, interval, wide=wide)
    wanted = Wanted(many.selection, interval, from_ms, to_ms, as_of_ms, settings.plain_decimals, kinds)
    try:
        done = export(open_whole(settings, SystemClock()), wanted, file)
    except StoreEmpty as problem:
        raise StoreEmpty(str(problem), hint=problem.hint or f"see what it holds: {sister('status')}") from problem
    facts = _facts(done, wanted)
    say(json.dumps(facts) if settings.json else _line(facts))
    if done.without:
        remark(of_all(done.without, "no such bar is stored"))
    if done.unknown:
        remark(
            f"market {wanted.interval}: when {done.unknown} of the {done.bars} bars were appended is not known, for a"
            " table does not hold it (created_at): they are taken as there since they closed"
        )
    if done.absent:
        remark(f"{', '.join(done.absent)}: nothing is stored of it at {interval}, and its columns are empty")


def _facts(done: Exported, wanted: Wanted) -> dict[str, object]:
    unknown = {} if done.unknown is None else {"unknown": done.unknown}
    return {
        "exported": done.bars,
        "series": done.series,
        "interval": str(wanted.interval),
        "first": grid.text(done.first_ms),
        "last": grid.text(done.last_ms),
        "gaps": done.gaps,
        "without": list(done.without),
        **unknown,
        "file": str(done.file),
    }


def _line(facts: dict[str, object]) -> str:
    return (
        "exported={exported} series={series} interval={interval} span={first}..{last} gaps={gaps} file={file}"
    ).format(**facts)
