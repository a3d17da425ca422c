"""`barfeed repair --kinds`: rows of other kinds that are missing or contradicted, mended after a look and a yes."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from barfeed.cli.commands.history.repair import is_yes
from barfeed.cli.market.choice import Choice
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.cli.wiring import open_rest
from barfeed.domain import grid
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import Unrepaired
from barfeed.domain.kinds.kind import Host, Kind
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.telling import Word, rank, said_once
from barfeed.exchange.kinds.asking import Hosts, Limits, spot_talk
from barfeed.exchange.rest import Rest
from barfeed.exchange.steps import AskAll, OneByOne
from barfeed.exchange.transport.single import open_transport
from barfeed.feed.market.order import SERIES_WAIT_SEC
from barfeed.history.mending.kinds import Difference, KindsRepair, Mended, Span, Survey
from barfeed.machine.clock import SystemClock
from barfeed.store.kinds.revisions import Why
from barfeed.store.port.kinds import KeptKinds

_SHOWN_MAX = 50
_WEIGHT_LIMIT = 2400


class Asked(NamedTuple):
    """What is to be looked at, `[from_ms, to_ms)` in ms, and what may be done about it."""

    from_ms: int | None
    to_ms: int | None
    reason: str
    is_sure: bool
    dry_run: bool


def repair_kinds(settings: Settings, named: str, many: Choice | None, asked: Asked) -> int:
    """Look at what is stored of these kinds, show what differs, and mend it."""
    clock = SystemClock()
    store = open_whole(settings, clock, writes=not asked.dry_run)
    store.expect_there()
    intervals = many.intervals if many else (settings.series().interval,)
    chosen = kinds(named, intervals)
    with _asking(settings, many) as (ask, rest):
        talk = rest.conversation(settings.max_wait_sec)
        talk.ask_time()
        talk.keep_within(settings.weight_budget or _WEIGHT_LIMIT // 2)
        spot = Rest(settings.spot_url, open_transport(settings.spot_url, clock), clock)
        hosts = Hosts({Host.FUTURES: talk, Host.SPOT: spot_talk(spot, talk)}, Limits(clock))
        work = KindsRepair(store.kinds, hosts, ask, talk.now_ms, SERIES_WAIT_SEC)
        series = [settings.series()] if many is None else _stored(store.kinds, many, chosen)
        window = grid.inference_bars(settings.buffer_hours, min(each.ms for each in intervals))
        found = work.survey(chosen, series, Span(asked.from_ms, asked.to_ms, window))
        if not settings.json:
            say(*_plan(found))
        for message, hint in said_once(Word(symbol, str(why), why.hint) for symbol, why in found.unknown):
            complain(message, hint)
        if asked.dry_run or not found.differences:
            return _told(settings, found, None)
        if not (asked.is_sure or is_yes(_question(found))):
            raise Unrepaired("nothing was repaired: that was no yes", hint="run it again, or with --yes")
        seen_at_ms = clock.utc_ms()
        clock.sleep(settings.pause_sec)
        run = f"repair {grid.timestamp(talk.now_ms)}Z"
        done = work.apply(work.again(found.differences), found, Why(seen_at_ms, asked.reason, run))
    return _told(settings, found, done)


@contextmanager
def _asking(settings: Settings, many: Choice | None) -> Iterator[tuple[AskAll, Rest]]:
    rest = open_rest(settings, SystemClock())
    if many is None:
        yield OneByOne(rest.transport, rest.clock), rest
        return
    from barfeed.cli.market.wiring import asking  # noqa: PLC0415 - one series goes by without its library

    with asking(settings, rest) as ask:
        yield ask, rest


def _stored(kept: KeptKinds, many: Choice, chosen: Sequence[Kind]) -> list[Series]:
    """Every series that is meant and of which any of these kinds is stored."""
    return [
        Series(symbol, interval)
        for interval in many.intervals
        for symbol in sorted(set().union(*(_symbols(kept, kind, interval) for kind in chosen)))
        if many.selection.includes(symbol)
    ]


def _symbols(kept: KeptKinds, kind: Kind, interval: Interval) -> list[str]:
    with kept.reading(kind, interval) as table:
        return table.symbols()


def _plan(found: Survey) -> list[str]:
    head = f"{found.compared} rows compared: {len(found.differences)} to repair"
    shown = [f"  {each}" for each in found.differences[:_SHOWN_MAX]]
    left = len(found.differences) - len(shown)
    return [head, *shown, *([f"  and {left} more; --json has all"] if left else [])]


def _question(found: Survey) -> str:
    missing = sum(each.what == "missing" for each in found.differences)
    return f"fill {missing} and change {len(found.differences) - missing} stored rows?"


def _told(settings: Settings, found: Survey, done: Mended | None) -> int:
    left = done.left if done else found.differences
    if settings.json:
        say(json.dumps(_facts(found, done)))
    elif done:
        say(f"filled={done.filled} revised={done.revised} left={len(left)}")
    codes = [why.exit_code for _, why in found.unknown] + [Unrepaired.exit_code] * bool(left)
    if done and left:
        complain(
            f"{len(left)} of {len(found.differences)} rows were left as they are; first: {left[0]}",
            "where the exchange did not say the same twice, run it again later",
        )
    return min(codes, key=rank, default=0)


def _facts(found: Survey, done: Mended | None) -> dict[str, object]:
    left = done.left if done else found.differences
    return {
        "compared": found.compared,
        "filled": done.filled if done else 0,
        "revised": done.revised if done else 0,
        "rows": [_row(each, is_mended=each not in left) for each in found.differences],
        "unknown": [{"symbol": symbol, "message": str(why), "hint": why.hint} for symbol, why in found.unknown],
    }


def _row(each: Difference, *, is_mended: bool) -> dict[str, object]:
    names = each.kind.names
    return {
        "kind": each.kind.name,
        "symbol": each.series.symbol,
        "interval": str(each.series.interval),
        "row": grid.timestamp(each.told.timestamp_ms),
        "what": each.what,
        "stored": each.stored and dict(zip(names, each.stored.values, strict=True)),
        "exchange": dict(zip(names, each.told.values, strict=True)),
        "mended": is_mended,
    }
