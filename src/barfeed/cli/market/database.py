"""How a database is: what it holds, and which hosts feed it."""

import json as json_text
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, NamedTuple

from barfeed.cli.kinds.status import LastBars, Told
from barfeed.cli.stores import needs_postgres
from barfeed.cli.terminal import say
from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.domain.kinds.holes import Holes
from barfeed.machine.clock import SystemClock
from barfeed.operate.feeders import Condition, conditions
from barfeed.operate.kinds import kept
from barfeed.operate.status import GRACE_MS

with needs_postgres():
    from barfeed.store.postgres.server import Held, Server

if TYPE_CHECKING:
    from barfeed.cli.commands.operate.status import Now

_WAIT_SEC = 3.0
_SECOND_MS = 1000


class _Seen(NamedTuple):
    """What there is to tell; with `everything` each host that feeds it must be well, too."""

    address: str
    held: Mapping[Interval, Held]
    feeders: Sequence[Condition]
    now: "Now"
    everything: bool
    # The kinds beside the bars of each interval, and what is missing of those that the exchange forgets.
    kinds: Mapping[Interval, "_Kinds"]
    missing: Sequence[Holes]

    def is_behind(self, interval: Interval) -> bool:
        """Whether the newest bar of all closed longer ago than one interval, and then some."""
        newest_ms = self.held[interval].newest_ms
        return newest_ms + 2 * interval.ms + GRACE_MS <= self.now.ms

    @property
    def is_well(self) -> bool:
        is_whole = bool(self.held) and not any(map(self.is_behind, self.held)) and not self.missing
        return is_whole and not (self.everything and any(each.trouble for each in self.feeders))

    @property
    def troubles(self) -> list[str]:
        """What is missing, with what fills it."""
        return [f"{each.told(self.now.ms)}; {each.hint}" for each in self.missing]


class _Kinds(NamedTuple):
    """What stands beside the bars of an interval, and when the newest bar of each symbol opens (ms)."""

    told: Told
    last_bar_ms: LastBars


def _kinds(server: Server, interval: Interval, now_ms: int) -> _Kinds:
    with server.reading_market(interval) as table:
        last_bar_ms = table.newest_of(sorted(table.symbols()))
    return _Kinds(Told(kept(server.kinds, interval, last_bar_ms.keys()), now_ms), last_bar_ms)


def say_database(address: str, now: "Now", *, everything: bool, json: bool) -> int:
    """Tell it; 0 where every interval is up to date, 1 where one is behind, lacks kinds, or nothing is stored.

    With `everything` 1, too, where a host that feeds it is behind or failed.
    """
    with closing(Server(address, SystemClock(), _WAIT_SEC)) as server:
        held = server.held()
        kinds = {interval: _kinds(server, interval, now.ms) for interval in held}
        missing = [holes for interval in held for holes in server.kinds.holes(interval, now.ms)]
        seen = _Seen(address, held, conditions(server.feeders(), now.ms), now, everything, kinds, missing)
    say(*([json_text.dumps(_facts(seen))] if json else _lines(seen)))
    return int(not seen.is_well)


def _lines(seen: _Seen) -> list[str]:
    lines = [line for interval in seen.held for line in _of_interval(seen, interval)]
    lines += [f"  trouble     {each}" for each in seen.troubles]
    lines += [line for each in seen.feeders for line in _feeder(each)] or ["nobody has fed it yet"]
    return [*lines, f"store {seen.address}", *seen.now.lines, "healthy" if seen.is_well else "not healthy"]


def _of_interval(seen: _Seen, interval: Interval) -> list[str]:
    held, (told, last_bar_ms) = seen.held[interval], seen.kinds[interval]
    behind = ", behind" if seen.is_behind(interval) else ""
    bars = f"{interval}: {held.bars} bars of {held.symbols} symbols, newest {grid.text(held.newest_ms)}{behind}"
    return [bars, *told.line(last_bar_ms)]


def _feeder(condition: Condition) -> list[str]:
    each = condition.feeder
    lag = "" if condition.lag_ms is None else f", lag {condition.lag_ms // _SECOND_MS} s"
    told = f"feeder {each.host} {each.feed}: {each.status} {grid.timestamp(each.last_pass_ms // 1000 * 1000)}"
    trouble = [f"  trouble     {condition.trouble}; {condition.hint}"] if condition.trouble else []
    return [f"{told}, {condition.ago_ms // _SECOND_MS} s ago{lag}, barfeed {each.version}", *trouble]


def _facts(seen: _Seen) -> dict[str, object]:
    return {
        "store": seen.address,
        "healthy": seen.is_well,
        **seen.now.facts,
        "held": [
            {
                "interval": str(interval),
                "bars": held.bars,
                "symbols": held.symbols,
                "newest": grid.text(held.newest_ms),
                "kinds": seen.kinds[interval].told.facts(seen.kinds[interval].last_bar_ms),
            }
            for interval, held in seen.held.items()
        ],
        **({"troubles": seen.troubles} if seen.missing else {}),
        "feeders": [
            each.feeder._asdict() | {"ago_sec": each.ago_ms / 1000, "trouble": each.trouble, "hint": each.hint}
            for each in seen.feeders
        ],
    }
