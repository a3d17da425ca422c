"""How a database is: what it holds, and which hosts feed it."""

import json as json_text
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import NamedTuple

from barfeed.cli.settings import Settings
from barfeed.cli.terminal import say
from barfeed.cli.wiring import needs_postgres
from barfeed.domain import grid
from barfeed.domain.bars import Interval
from barfeed.machine.clock import SystemClock

with needs_postgres():
    from barfeed.store.postgres.server import Held, Server
    from barfeed.store.postgres.tables.feeders import Feeder

_WAIT_SEC = 3.0
_SECOND_MS = 1000
# A bar is stored within seconds; who has not done so for as long is behind.
_GRACE_MS = 10 * 60 * _SECOND_MS


class _Seen(NamedTuple):
    """What there is to tell, at a moment by the machine's clock."""

    address: str
    held: Mapping[Interval, Held]
    feeders: Sequence[Feeder]
    now_ms: int

    def is_behind(self, interval: Interval) -> bool:
        """Whether the newest bar of all closed longer ago than one interval, and then some."""
        newest_ms = self.held[interval].newest_ms
        return newest_ms + 2 * interval.ms + _GRACE_MS < self.now_ms

    @property
    def is_well(self) -> bool:
        return bool(self.held) and not any(map(self.is_behind, self.held))


def say_database(settings: Settings, address: str) -> int:
    """Tell it; 0 where every interval is up to date, 1 where one is behind, or nothing is stored."""
    clock = SystemClock()
    with closing(Server(address, clock, _WAIT_SEC)) as server:
        seen = _Seen(address, server.held(), server.feeders(), clock.utc_ms())
    say(*([json_text.dumps(_facts(seen))] if settings.json else _lines(seen)))
    return int(not seen.is_well)


def _lines(seen: _Seen) -> list[str]:
    lines = [
        f"{interval}: {held.bars} bars of {held.symbols} symbols, newest {grid.text(held.newest_ms)}"
        + (", behind" if seen.is_behind(interval) else "")
        for interval, held in seen.held.items()
    ]
    lines += [_feeder(each, seen.now_ms) for each in seen.feeders] or ["nobody has fed it yet"]
    return [*lines, f"store {seen.address}", "healthy" if seen.is_well else "not healthy"]


def _feeder(each: Feeder, now_ms: int) -> str:
    ago_sec = max(0, now_ms - each.last_pass_ms) // _SECOND_MS
    lag = "" if each.lag_sec is None else f", lag {each.lag_sec:.0f} s"
    told = f"feeder {each.host} {each.feed}: {each.status} {grid.timestamp(each.last_pass_ms // 1000 * 1000)}"
    return f"{told}, {ago_sec} s ago{lag}, barfeed {each.version}"


def _facts(seen: _Seen) -> dict[str, object]:
    return {
        "store": seen.address,
        "healthy": seen.is_well,
        "held": [
            {"interval": str(interval), "bars": held.bars, "symbols": held.symbols, "newest": grid.text(held.newest_ms)}
            for interval, held in seen.held.items()
        ],
        "feeders": [each._asdict() for each in seen.feeders],
    }
