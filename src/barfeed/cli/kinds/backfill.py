"""`barfeed backfill --kinds`: the history of other kinds of series than bars."""

import json
from typing import Any

from barfeed.cli.kinds.wiring import Meant, Whom, kinds_tools, meant
from barfeed.cli.progress import followed, shown
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.domain.bars import Interval
from barfeed.domain.errors import UsageError
from barfeed.domain.market.telling import rank, said_once
from barfeed.history.kinds.fill import KindsBackfill, KindsTools
from barfeed.history.kinds.jobs import KindsOrder
from barfeed.history.kinds.report import FillReport
from barfeed.machine.clock import SystemClock

_SOURCES = ("auto", "rest", "archive")
_TOLD_MAX = 20


def backfill_kinds(settings: Settings, text: str, own: dict[str, Any]) -> int:
    """Fill the kinds at each interval, one after the other; the worst of them is the exit code."""
    chosen = meant(settings, text)
    if own["source"] == "table":
        return _import(settings, chosen, own)
    if own["source"] not in _SOURCES or own["files"]:
        raise UsageError(
            "--kinds takes no FILE but tables of DuckDB files",
            hint="--source table OTHER.duckdb, rest, archive or auto",
        )
    for_ever = [each.name for each in chosen.kinds if each.remembered_ms is None]
    if own["begin"] is None and for_ever:
        raise UsageError(f"{for_ever[0]} needs --from: the exchange keeps it for ever", hint="--from 2026-01-01")
    whom = Whom(own["archive_url"], own["cache_dir"], own["connections"], own["weight_budget"], chosen.one)
    with kinds_tools(settings, whom, writes=True) as tools:
        return min([_fill(settings, chosen, each, own, tools) for each in chosen.intervals], key=rank)


def _import(settings: Settings, chosen: Meant, own: dict[str, Any]) -> int:
    """Take the kinds out of others' tables."""
    # Imported here: few do.
    from barfeed.history.kinds.imports import Import  # noqa: PLC0415

    if chosen.one is None:
        raise UsageError("--source table does not go with --symbols: a table is of one series", hint="--symbol ETHUSDT")
    if not own["files"]:
        raise UsageError("--source table needs a FILE", hint="--source table OTHER.duckdb[:schema.table]")
    clock = SystemClock()
    kept = open_whole(settings, clock, writes=True).kinds
    taking = Import(kept, chosen.one, own["begin"], own["end"], clock.utc_ms())
    report = FillReport(str(chosen.selection), chosen.one.interval, own["source"])
    with report.measured(clock):
        for kind in chosen.kinds:
            report.filled.append(taking.take(kind, own["files"]))
    _tell(settings, report, "")
    _complain(report)
    return report.exit_code


def _complain(report: FillReport) -> None:
    """What failed, and what differs from what is stored."""
    for message, hint in said_once(report.words):
        complain(message, hint)
    found = [f"mismatch: {each}: {finding}" for each in report.filled for finding in each.differences]
    if found:
        say(*found[:_TOLD_MAX], err=True)
        complain(
            f"{len(found)} stored rows differ from the source; they stay as they are",
            "find out which is right: barfeed verify --kinds --against rest, then barfeed repair --kinds",
        )


def _fill(settings: Settings, chosen: Meant, interval: Interval, own: dict[str, Any], tools: KindsTools) -> int:
    order = KindsOrder(chosen.kinds, interval, own["source"], own["begin"], own["end"])
    work = KindsBackfill(order, chosen.selection, tools)
    meter = shown(f"kinds {interval}", tools.clock, "rows")
    work.watch(meter)
    followed(meter, work.run, lambda error: _tell(settings, work.report, error))
    _complain(work.report)
    return work.report.exit_code


def _tell(settings: Settings, report: FillReport, error: str) -> None:
    if settings.json:
        say(json.dumps(report.as_json(error)))
        return
    notes = report.notes
    more = [f"... and {len(notes) - _TOLD_MAX} more; --json tells all"] if len(notes) > _TOLD_MAX else []
    say(*(f"{each.rule}: {each}" for each in notes[:_TOLD_MAX]), *more, *report.lines())
