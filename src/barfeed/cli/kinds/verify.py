"""`barfeed verify --kinds`: stored rows of other kinds than bars, by their rules and against a source."""

import json
from collections.abc import Sequence
from typing import Any

from barfeed.cli.commands.history.verify import LAKE_HINT, lake_counts, proven_lake
from barfeed.cli.hints import sister
from barfeed.cli.kinds.wiring import Meant, Whom, kinds_tools, meant, names
from barfeed.cli.market.verify import Against
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.errors import StoreEmpty
from barfeed.domain.grid import Gap
from barfeed.domain.market.telling import Word, rank, said_once
from barfeed.history.kinds.answers import once_each
from barfeed.history.kinds.fill import KindsTools
from barfeed.history.kinds.jobs import named, step_ms
from barfeed.history.kinds.verification import Comparison, Proven, by_rules
from barfeed.store.lake.proof import Proven as ProvenLake

_TOLD_MAX = 50


def verify_kinds(settings: Settings, text: str, whom: Against) -> int:
    """Prove the kinds at each interval; 1 where something was found."""
    chosen = meant(settings, text)
    asked = Whom(whom.archive_url, weight_budget=settings.weight_budget or None)
    with kinds_tools(settings, asked, writes=False) as tools:
        return min([_verify(settings, chosen, each, whom, tools) for each in chosen.intervals], key=rank)


def _verify(settings: Settings, chosen: Meant, interval: Interval, whom: Against, tools: KindsTools) -> int:
    proven = by_rules(tools.kept, chosen.kinds, chosen.selection, interval)
    if not proven:
        fill = sister("backfill", "--kinds", names(chosen.kinds))
        raise StoreEmpty(f"no row of {names(chosen.kinds)} at {interval} is stored", hint=f"fill them: {fill}")
    if whom.source:
        Comparison(tools, interval, "rest" if whom.source == "rest" else "archive", whom.bounds).run(proven)
    lake = proven_lake(settings, open_whole(settings, tools.clock), interval, chosen.kinds)
    say(*([json.dumps(_facts(proven, whom, lake))] if settings.json else _lines(proven, whom, lake)))
    return min([_end(proven), _end_of_lake(lake)], key=rank)


def _end_of_lake(lake: ProvenLake | None) -> int:
    """Say what was found of the lake; the exit code."""
    if not lake or not lake.findings:
        return 0
    complain(f"{len(lake.findings)} findings in the lake; first: {lake.findings[0]}", LAKE_HINT)
    return 1


def _end(proven: Sequence[Proven]) -> int:
    """Say what was found, and what could not be asked; the exit code."""
    failed = [each for each in proven if each.failure]
    words = [Word(each.series.symbol, f"{each.kind.name}: {each.failure}") for each in failed]
    for message, _ in said_once(words):
        complain(message, "what else was found is told; run it again")
    found = [(each, finding) for each in proven for finding in each.findings]
    if found:
        each, first = found[0]
        complain(f"{len(found)} findings; first: {each}: {first.rule} {first}", _hint(proven))
    codes = [each.failure.exit_code for each in failed if each.failure] + [1] * bool(found)
    return min(codes, key=rank, default=0)


def _hint(proven: Sequence[Proven]) -> str:
    kinds = {each.kind.name: each.kind for each in proven if each.findings}
    return f"see the plan to mend them: {sister('repair', '--kinds', names(list(kinds.values())), '--dry-run')}"


def _lines(proven: Sequence[Proven], whom: Against, lake: ProvenLake | None) -> list[str]:
    found = [f"{finding.rule}: {each}: {finding}" for each in proven for finding in each.findings]
    found += [f"{finding.rule}: {finding}" for finding in lake.findings] if lake else []
    more = [f"... and {len(found) - _TOLD_MAX} more; --json tells all"] if len(found) > _TOLD_MAX else []
    notes = once_each([note for each in proven for note in each.notes])
    alone = [each for each in proven if each.not_compared]
    lacking = [f"note: {each}: the archive has not got {named(each.kind, _runs(each))}" for each in alone]
    return [*found[:_TOLD_MAX], *more, *(f"note: {note}" for note in notes), *lacking, _summary(proven, whom, lake)]


def _summary(proven: Sequence[Proven], whom: Against, lake: ProvenLake | None) -> str:
    facts: dict[str, object] = {"verified": sum(each.rows for each in proven), "series": len(proven)}
    facts |= {"compared": sum(each.compared for each in proven)} if whom.source else {}
    facts |= lake_counts(lake)
    facts |= {"findings": sum(len(each.findings) for each in proven) + (len(lake.findings) if lake else 0)}
    return " ".join(f"{name}={value}" for name, value in facts.items())


def _runs(each: Proven) -> list[Gap]:
    own_ms = step_ms(each.kind, each.series.interval)
    return grid.gaps(sorted({grid.floor(at, own_ms) for at in each.not_compared}), own_ms)


def _facts(proven: Sequence[Proven], whom: Against, lake: ProvenLake | None) -> dict[str, Any]:
    return {
        "against": whom.source,
        "lake": _of_lake(lake) if lake else None,
        "series": [
            {
                "kind": each.kind.name,
                "symbol": each.series.symbol,
                "rows": each.rows,
                "compared": each.compared,
                "findings": [
                    {
                        "rule": finding.rule,
                        "timestamp": None if finding.open_time_ms is None else grid.text(finding.open_time_ms),
                        "message": finding.message,
                        "stored": finding.stored,
                        "source": finding.exchange,
                    }
                    for finding in each.findings
                ],
                "notes": [note._asdict() for note in each.notes],
                "error": str(each.failure or ""),
            }
            for each in proven
        ],
    }


def _of_lake(lake: ProvenLake) -> dict[str, Any]:
    return {"files": lake.files, "rows": lake.rows, "findings": [str(each) for each in lake.findings]}
