"""A history of kinds with everything around it in process: exchange, archive, clocks, a disk. All of it works."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from barfeed.domain.bars import HOUR_MS, Interval, Series
from barfeed.domain.kinds.kind import Host, Kind, Stamp
from barfeed.domain.kinds.table import KINDS, METRICS_CHANGED_MS, kinds
from barfeed.domain.market.selection import Selection
from barfeed.exchange.archive import Files
from barfeed.exchange.kinds.asking import Hosts, Limits, spot_talk
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Rest
from barfeed.history.kinds.asking import Asking
from barfeed.history.kinds.fill import KindsBackfill, KindsTools
from barfeed.history.kinds.jobs import Filled, KindsOrder
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Request
from barfeed.replay.rest.routes import limiters
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from barfeed.store.duckdb import Store
from barfeed.store.kinds.kept import FileKinds
from in_turn import EachInTurn
from storage import opened
from world import SteppingClock

DAY_MS = 24 * HOUR_MS
# The day from whose file on a label of `metrics` means another moment.
CHANGED_MS = METRICS_CHANGED_MS
NOW_MS = CHANGED_MS + 40 * DAY_MS + 10 * 60_000
FIRST_MS = CHANGED_MS - 20 * DAY_MS
HOURLY = Interval("1h")
SYMBOLS = ("BTCUSDT", "1000PEPEUSDT")

# Of each row: the symbol, its timestamp in ms, and what it tells.
Held = list[tuple[str, int, tuple[float | None, ...]]]


@lru_cache
def tapes() -> tuple[Tape, ...]:
    """Two symbols' hours, from before the change to after now."""
    return tuple(generate(symbol, "1h", FIRST_MS, 62 * 24, seed=3) for symbol in SYMBOLS)


class KindsWorld:
    """Two symbols as exchange and archive have them, forty days after the change."""

    def __init__(self, folder: Path, now_ms: int = NOW_MS) -> None:
        self.clock = SteppingClock(now_ms)
        self.exchange = ReplayExchange(tapes(), self.clock.exchange_ms)
        self.archive = ReplayArchive(tapes(), self.clock.exchange_ms)
        self.duckdb = folder / "ohlcv.duckdb"
        self.store = Store(self.duckdb, self.clock, 0.0)
        self.refused = 0
        self._limits = Limits(self.clock)

    def fill(
        self, names: str, source: Any = "auto", *, fault: str = "", archive_fault: str = "", **order: Any
    ) -> KindsBackfill:
        """One backfill to its end, with faults given as TOML."""
        work = self.backfill(names, source, fault=fault, archive_fault=archive_fault, **order)
        work.run()
        return work

    def backfill(
        self,
        names: str,
        source: Any = "auto",
        *,
        fault: str = "",
        archive_fault: str = "",
        symbols: str = "all",
        **order: Any,
    ) -> KindsBackfill:
        """A backfill that has not begun."""
        self.exchange.faults = parse_faults(fault, "the test")
        self.archive.faults = parse_archive_faults(archive_fault, "the test")
        interval = order.pop("interval", HOURLY)
        asked = KindsOrder(kinds(names, (interval,)), interval, source, FIRST_MS)._replace(**order)
        return KindsBackfill(asked, Selection.of(symbols), self.tools())

    def tools(self) -> KindsTools:
        """The store, the exchange and the archive."""
        rest = Rest("http://replay", self._transport, self.clock, jitter=lambda: 0.5)
        talk, archive = rest.conversation(100), rest.conversation(100)
        hosts = Hosts({Host.FUTURES: talk, Host.SPOT: spot_talk(rest, talk)}, self._limits)
        asking = Asking(hosts, archive, Files(lambda: talk.now_ms), 100)
        return KindsTools(FileKinds(self.store), asking, EachInTurn(self._transport, self.clock), self.clock, 4)

    def held(self, name: str, interval: Interval = HOURLY) -> Held:
        """What the store holds of a kind, read by DuckDB alone."""
        kind = KINDS[name]
        query = f"SELECT symbol, epoch_ms(timestamp), {', '.join(kind.names)} FROM {kind.table(interval)} ORDER BY ALL"
        with opened(self.duckdb, read_only=True) as connection:
            return [(symbol, at_ms, tuple(told)) for symbol, at_ms, *told in connection.execute(query).fetchall()]

    def execute(self, *statements: str) -> None:
        """Change the store behind everybody's back."""
        with opened(self.duckdb) as connection:
            for statement in statements:
                connection.execute(statement)

    def _transport(self, url: str, _left_sec: float) -> Answer:
        parts = urlsplit(url)
        reply = WithArchive(self.exchange, self.archive).handle(Request("GET", parts.path, parts.query, {}))
        self.refused += reply.status in {400, 418, 429}
        if reply.effect is not None:
            raise TryAgain("connection", type(reply.effect).__name__)
        return Answer(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)


_CLOCK = HandClock(NOW_MS)


@lru_cache
def _witness() -> ReplayExchange:
    return ReplayExchange(tapes(), _CLOCK.now_ms)


def told(name: str, symbol: str, first_ms: int, last_ms: int, interval: Interval = HOURLY) -> Held:
    """What REST tells of a kind's rows, asked while it remembered each: a day at a time, two days after it."""
    kind = KINDS[name]
    found: Held = []
    for begin_ms in range(first_ms, last_ms + 1, DAY_MS):
        end_ms = min(last_ms, begin_ms + DAY_MS - 1)
        query = kind.query(symbol, interval, begin_ms, end_ms, 500)
        _CLOCK.set(end_ms + 2 * DAY_MS)
        _witness().limits = limiters(2400)
        sent = "&".join(f"{key}={value}" for key, value in query.items())
        found += _rows(kind, symbol, interval, _witness().handle(Request("GET", kind.path, sent, {})).body)
    return found


def _rows(kind: Kind, symbol: str, interval: Interval, body: bytes) -> Held:
    time: Any = 0 if kind.length == "interval" else "timestamp" if kind.length else "fundingTime"
    step_ms = 0 if kind.stamp is Stamp.MOMENT else interval.ms
    return [
        (symbol, kind.stamp.start_ms(row[time], step_ms), tuple(float(row[each.field]) for each in kind.columns))
        for row in json.loads(body)
    ]


def of(work: KindsBackfill, name: str, symbol: str = "BTCUSDT") -> Filled:
    """What was done of one kind of one symbol."""
    return next(each for each in work.report.filled if (each.kind.name, each.series.symbol) == (name, symbol))


def notes(work: KindsBackfill) -> list[str]:
    """What was told, by rule."""
    return [f"{each.rule}: {each}" for each in work.report.notes]


def series(symbol: str = "BTCUSDT", interval: Interval = HOURLY) -> Series:
    return Series(symbol, interval)
