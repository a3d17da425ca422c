"""`barfeed revisions --kinds`: every row of other kinds that was ever changed."""

import json

from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import say
from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.selection import Selection
from barfeed.machine.clock import SystemClock
from barfeed.store.kinds.revisions import Revision


def revisions_of_kinds(settings: Settings, named: str, selection: Selection, interval: Interval) -> int:
    """List them: both versions, when, why and by which run."""
    names = {each.name for each in kinds(named, (interval,))}
    kept = open_whole(settings, SystemClock()).kinds
    found = [each for each in kept.revisions(interval) if each.kind in names and selection.includes(each.symbol)]
    if settings.json:
        say(json.dumps({"interval": str(interval), "revisions": [_facts(each) for each in found]}))
    else:
        say(*map(_line, found), f"revisions={len(found)} interval={interval}")
    return 0


def _facts(each: Revision) -> dict[str, object]:
    times = {"row": each.timestamp_ms, "seen_at": each.seen_at_ms, "accepted_at": each.accepted_at_ms}
    told = {name: grid.timestamp(at_ms) for name, at_ms in times.items()}
    facts = each._asdict()
    return {name: facts[name] for name in ("kind", "symbol", "name", "old", "new", "reason", "run")} | told


def _line(each: Revision) -> str:
    seen, accepted = grid.timestamp(each.seen_at_ms), grid.timestamp(each.accepted_at_ms)
    return (
        f"{each.symbol}  {each.kind}  {grid.text(each.timestamp_ms)}  {each.name} {each.old} -> {each.new}"
        f"  {seen=!s} {accepted=!s} reason={each.reason!r} run={each.run!r}"
    )
