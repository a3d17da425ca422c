"""`barfeed backfill --symbols`: history of many series at once."""

import json
from collections.abc import Callable
from typing import Any

from barfeed.cli.hints import sister
from barfeed.cli.market.choice import Choice
from barfeed.cli.market.wiring import asking_each
from barfeed.cli.progress import followed, shown
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.cli.values.addresses import check_address
from barfeed.cli.wiring import open_rest
from barfeed.domain.bars import Interval
from barfeed.domain.errors import UsageError
from barfeed.domain.market.telling import rank, said_once
from barfeed.exchange.archive import Files
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import AskEach
from barfeed.exchange.transport.single import open_transport
from barfeed.history.market.asking import Asking
from barfeed.history.market.fill import MarketBackfill, MarketTools
from barfeed.history.market.fill_report import FillReport
from barfeed.history.market.jobs import MarketFill
from barfeed.machine.clock import SystemClock

_SOURCES = ("auto", "rest", "archive")
# As many as pay, of one market as of a pass.
_AT_ONCE = 64
_TOLD_MAX = 20


def backfill_market(settings: Settings, many: Choice, own: dict[str, Any]) -> int:
    """Fill each interval, one after the other; the worst of them is the exit code."""
    if own["source"] not in _SOURCES or own["files"]:
        source = own["source"] if own["source"] not in _SOURCES else "csv"
        raise UsageError(
            f"--source {source} does not go with --symbols: a FILE is of one series", hint="--symbol ETHUSDT"
        )
    check_address("--archive-url", own["archive_url"])
    with asking_each((settings.base_url, own["archive_url"]), own["connections"] or _AT_ONCE) as ask:
        return min([_fill(settings, many, each, own, ask) for each in many.intervals], key=rank)


def _fill(settings: Settings, many: Choice, interval: Interval, own: dict[str, Any], ask: AskEach) -> int:
    clock = SystemClock()
    order = MarketFill(
        many.selection, interval, own["source"], own["begin"], own["end"], own["weight_budget"],
        _command("repair", interval), _command("backfill", interval),
    )  # fmt: skip
    work = MarketBackfill(order, _tools(settings, own, ask, clock))
    meter = shown(f"market {interval}", clock)
    work.watch(meter)
    followed(meter, work.run, lambda error: _tell(settings, work.report, error))
    for message, hint in said_once(work.report.words):
        complain(message, hint)
    return work.report.exit_code


def _command(name: str, interval: Interval) -> Callable[[str], str]:
    """The command for one symbol of the market."""
    return lambda symbol: sister(name, "--symbol", symbol, "--interval", str(interval))


def _tools(settings: Settings, own: dict[str, Any], ask: AskEach, clock: SystemClock) -> MarketTools:
    url = own["archive_url"]
    talk = open_rest(settings, clock).conversation(settings.max_wait_sec)
    archive = Rest(url, open_transport(url, clock), clock).conversation(settings.max_wait_sec)
    files = Files(lambda: talk.now_ms, own["cache_dir"])
    asking = Asking(talk, archive, files, settings.max_wait_sec)
    return MarketTools(open_whole(settings, clock, writes=True), asking, ask, clock, own["connections"] or _AT_ONCE)


def _tell(settings: Settings, report: FillReport, error: str) -> None:
    if settings.json:
        say(json.dumps(report.as_json(error)))
        return
    for each in report.series:
        for hole in each.report.holes:
            say(f"hole: {each.series}: {hole}: the source has no such bar; nothing was made up")
    found = [f"mismatch: {each.series}: {finding}" for each in report.series for finding in each.report.mismatches]
    if found:
        say(*found[:_TOLD_MAX], err=True)
    if len(found) > _TOLD_MAX:
        say(f"... and {len(found) - _TOLD_MAX} more; --json tells all", err=True)
    say(report.line())
