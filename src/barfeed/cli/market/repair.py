"""`barfeed repair --symbols`: a whole market mended, after one look and one yes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from barfeed.cli.commands.history.repair import KINDS, check_span, facts, is_yes, left_hint, plan
from barfeed.cli.hints import sister
from barfeed.cli.market.asking import Asking, asking_market
from barfeed.cli.market.choice import Choice, each_interval
from barfeed.cli.settings import Settings
from barfeed.cli.stores import open_whole
from barfeed.cli.terminal import complain, say
from barfeed.domain import grid
from barfeed.domain.acceptance import Change, Difference
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError, StoreEmpty, Unrepaired
from barfeed.domain.market.selection import Selection
from barfeed.domain.market.telling import Word, of_all, rank, said_once
from barfeed.history.market.repair import MarketRepair
from barfeed.history.mending.repair import Mended, Survey, Wanted, expect, mend
from barfeed.machine.clock import SystemClock
from barfeed.store.port.whole import WholeHistory


class Asked(NamedTuple):
    """What is to be looked at, `[from_ms, to_ms)` in ms, and what may be done about it."""

    from_ms: int | None
    to_ms: int | None
    only: str | None
    reason: str
    is_sure: bool
    dry_run: bool


class _Job(NamedTuple):
    """What a repair of one interval works with."""

    settings: Settings
    store: WholeHistory
    asking: Asking
    work: MarketRepair
    asked: Asked


@dataclass
class _Market:
    """What was found of a market at one interval, and done about it."""

    interval: Interval
    selection: Selection
    surveys: dict[str, Survey]
    failed: dict[str, BarfeedError]
    quiet: dict[str, str] = field(default_factory=dict)
    done: dict[str, Mended] = field(default_factory=dict)
    is_done: bool = False

    @property
    def differing(self) -> dict[str, Survey]:
        """Those with something to repair, the worst first."""
        found = {symbol: each for symbol, each in self.surveys.items() if each.differences}
        return dict(sorted(found.items(), key=lambda each: -len(each[1].differences)))

    @property
    def left(self) -> dict[str, list[Difference]]:
        """What is as it was, of each."""
        kept = {symbol: self.done[symbol].left if symbol in self.done else each.differences
                for symbol, each in self.differing.items()}  # fmt: skip
        return {symbol: list(each) for symbol, each in kept.items() if each}

    @property
    def exit_code(self) -> int:
        """The worst series' one."""
        codes = [each.exit_code for each in self.failed.values()] + [Unrepaired.exit_code] * bool(self.left)
        return min(codes, key=rank, default=0)

    def count(self, *kinds: str) -> int:
        """How many bars differ so."""
        return sum(len(each.of_kind(*kinds)) for each in self.surveys.values())


def repair_market(settings: Settings, many: Choice, asked: Asked) -> int:
    """Look at each interval, ask, mend, say what was done; the worst exit code of all."""
    check_span(asked.from_ms, asked.to_ms)
    store = open_whole(settings, SystemClock(), writes=not asked.dry_run)

    def repair(interval: Interval) -> int:
        with asking_market(settings, interval) as asking:
            work = MarketRepair(store, interval, asking.talk, asking.ask, settings.max_wait_sec)
            job = _Job(settings, store, asking, work, asked)
            market = _looked_at(job, many.selection, interval)
            if not settings.json:
                say(*_plan(market))
            if not asked.dry_run and market.differing:
                _expect_yes(market, asked)
                _mend(job, market)
        return _told(settings, market, asked)

    return each_interval(many, repair)


def _looked_at(job: _Job, selection: Selection, interval: Interval) -> _Market:
    settings, asked = job.settings, job.asked
    window_bars = max(grid.inference_bars(settings.buffer_hours, interval.ms), settings.n_recent)
    found = job.work.survey(selection, Wanted(asked.from_ms, asked.to_ms, window_bars))
    if not found:
        raise StoreEmpty(
            f"market {interval}: the store holds no bar to repair", hint=f"start it: {sister('run', '--catch-up')}"
        )
    market = _Market(interval, selection, {}, {})
    for symbol, each in found.items():
        try:
            market.surveys[symbol] = _expected(job.store, Series(symbol, interval), each, asked.only)
        except BarfeedError as trouble:
            _note(market, Series(symbol, interval), trouble, job.asking)
    return market


def _expected(store: WholeHistory, series: Series, found: Survey | BarfeedError, only: str | None) -> Survey:
    """What differs, of the kinds that are meant; raises why it is not known, or cannot be stored."""
    if isinstance(found, BarfeedError):
        raise found
    if only:
        found = found._replace(differences=found.of_kind(*KINDS[only]))
    expect(store, series, found)
    return found


def _note(market: _Market, series: Series, trouble: BarfeedError, asking: Asking) -> None:
    why = asking.explained(series, trouble, None, sister("backfill", "--symbol", series.symbol))
    if asking.is_nobodys(series, trouble, market.selection):
        market.quiet[series.symbol] = str(why)
    else:
        market.failed[series.symbol] = why


def _plan(market: _Market) -> list[str]:
    """What there is in one line; then each series with something to repair, bar by bar."""
    surveys = market.surveys.values()
    counted = {kind: market.count(kind) for kind in ("missing", "mismatch", "absent", "unknown")}
    told: dict[str, object] = {
        "compared": sum(len(each.opens) for each in surveys),
        "series": len(surveys),
        **({"failed": len(market.failed)} if market.failed else {}),
        "interval": market.interval,
        "differing": len(market.differing),
        **{kind: count for kind, count in counted.items() if count},
    }
    head = " ".join(f"{name}={value}" for name, value in told.items())
    of_each = [line for symbol, each in market.differing.items() for line in plan(_series(market, symbol), each)]
    quiet = said_once(Word(symbol, f"{why}; not compared") for symbol, why in market.quiet.items())
    return [head, *of_each, *(f"note: {said}" for said, _ in quiet)]


def _expect_yes(market: _Market, asked: Asked) -> None:
    """Return once somebody said yes; raises `Unrepaired` for a no."""
    fills, changes = market.count("missing"), market.count("mismatch")
    if asked.is_sure or not (fills or changes):
        return
    if not is_yes(f"fill {fills} and change {changes} stored bars of {len(market.differing)} series?"):
        raise Unrepaired(
            f"market {market.interval}: nothing was repaired: that was no yes", hint="run it again, or with --yes"
        )


def _mend(job: _Job, market: _Market) -> None:
    """Mend each series by itself: what cannot be keeps no other as it is."""
    changes = job.work.confirmed(market.differing, job.settings.pause_sec)
    for symbol, survey in market.differing.items():
        try:
            done = mend(job.store, _series(market, symbol), survey, _confirmed(changes, symbol), job.asked.reason)
        except BarfeedError as trouble:
            market.failed[symbol] = trouble
        else:
            market.done[symbol] = done
    market.is_done = True


def _confirmed(changes: Mapping[str, list[Change] | BarfeedError], symbol: str) -> list[Change]:
    told = changes[symbol]
    if isinstance(told, BarfeedError):
        raise told
    return told


def _told(settings: Settings, market: _Market, asked: Asked) -> int:
    if settings.json:
        say(json.dumps(_facts(market)))
    elif market.is_done:
        done = market.done.values()
        filled, revised = (sum(len(getattr(each, name)) for each in done) for name in ("filled", "revised"))
        left = sum(map(len, market.left.values()))
        say(f"filled={filled} revised={revised} left={left} series={len(market.done)} run={_run(market)!r}")
    if not asked.dry_run:
        _complain_of_left(market)
    worst_first = sorted(market.failed.items(), key=lambda each: rank(each[1].exit_code))
    for message, hint in said_once(Word(symbol, str(why), why.hint) for symbol, why in worst_first):
        complain(message, hint)
    return market.exit_code


def _complain_of_left(market: _Market) -> None:
    if left := market.left:
        symbol, bars = next(iter(left.items()))
        kinds = {each.kind for own in left.values() for each in own}
        message = f"{sum(map(len, left.values()))} bars were left as they are; first: {symbol} {bars[0]}"
        complain(f"market {market.interval}: {of_all(list(left), message)}", left_hint(set(kinds)))


def _run(market: _Market) -> str:
    return next(iter(market.surveys.values())).run if market.surveys else ""


def _facts(market: _Market) -> dict[str, object]:
    return {
        "series": {"symbols": str(market.selection), "interval": str(market.interval)},
        "run": _run(market),
        "compared": sum(len(each.opens) for each in market.surveys.values()),
        "filled": sum(len(each.filled) for each in market.done.values()),
        "revised": sum(len(each.revised) for each in market.done.values()),
        "repairs": [
            facts(_series(market, symbol), each, market.done.get(symbol)) for symbol, each in market.differing.items()
        ],
        "failed_series": [
            {"symbol": symbol, "status": each.status, "message": str(each), "hint": each.hint}
            for symbol, each in market.failed.items()
        ],
        "quiet": market.quiet,
    }


def _series(market: _Market, symbol: str) -> Series:
    return Series(symbol, market.interval)
