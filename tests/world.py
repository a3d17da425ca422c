"""A whole world for one feed, in process: an exchange, a machine's clock, a disk. Everything in it works."""

import calendar
import shutil
import time
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from barfeed.domain.bars import HOUR_MS, Bar, Series
from barfeed.domain.verdict import Remedies
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Rest
from barfeed.feed.cycle import run_cycle
from barfeed.feed.order import Feed, Order
from barfeed.feed.record import Lived, Record
from barfeed.operate.alerts.hearing import heard
from barfeed.replay.exchange import ReplayExchange, Request
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Drip, Hang, Reply
from barfeed.replay.tapes.generator import generate
from barfeed.replay.tapes.tape import Tape
from barfeed.store.port.embedded import Embedded
from storage import opened

BTCUSDT_1H = Series.of("BTCUSDT", "1h")
SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
CATCH_UP_COMMAND = "barfeed run --catch-up"


def ms(*moment: int) -> int:
    """`ms(2024, 2, 10, 13)`, UTC, in milliseconds since 1970."""
    return calendar.timegm((*moment, 0, 0, 0)[:6]) * 1000


def written(at_ms: int) -> str:
    """A moment as a file of faults has it, `2024-02-10T13:00:00`."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at_ms // 1000))


def shared(name: str) -> Path:
    """A file of real data; the test is skipped where it is absent."""
    path = SHARED_DATA / name
    if not path.exists():
        pytest.skip(f"real data is absent: {path}")
    return path


@lru_cache(maxsize=64)
def made_up_bars(end_ms: int, bars: int, symbol: str = "BTCUSDT", interval: str = "1h") -> tuple[Bar, ...]:
    """`bars` generated bars, the last of which opens at `end_ms`."""
    series = Series.of(symbol, interval)
    first_ms = end_ms - (bars - 1) * series.interval.ms
    return generate(series.symbol, series.interval, first_ms, bars, seed=7).bars


@lru_cache(maxsize=32)
def made_up_tape(end_ms: int, bars: int, symbol: str = "BTCUSDT", interval: str = "1h") -> Tape:
    """What an exchange plays of `made_up_bars`: nobody changes a tape, so that one is enough for all tests."""
    return Tape.of(Series.of(symbol, interval), made_up_bars(end_ms, bars, symbol, interval))


class SteppingClock:
    """A machine's clock that moves only when slept on; `off_sec` is how wrong its wall clock is."""

    def __init__(self, now_ms: int, off_sec: float = 0.0) -> None:
        self.now_ms = now_ms
        self.off_sec = off_sec
        self._slept_sec = 1000.0

    def steady_sec(self) -> float:
        return self._slept_sec

    def utc_ms(self) -> int:
        return self.now_ms + int(self.off_sec * 1000)

    def exchange_ms(self) -> int:
        return self.now_ms

    def sleep(self, sec: float) -> None:
        if sec > 0:
            self._slept_sec += sec
            self.now_ms += round(sec * 1000)

    def go_to(self, now_ms: int) -> None:
        """Live on to a moment; to an earlier one, as if nothing had happened since."""
        self._slept_sec += max(0, now_ms - self.now_ms) / 1000
        self.now_ms = now_ms


class World:
    """One feed with everything around it."""

    def __init__(self, folder: Path, tapes: Sequence[Tape], now_ms: int) -> None:
        self.tapes = list(tapes)
        self.clock = SteppingClock(now_ms)
        self.exchange = ReplayExchange(self.tapes, self.clock.exchange_ms)
        self.rest = Rest("http://replay", self._transport, self.clock, jitter=lambda: 0.5)
        self.duckdb = folder / "ohlcv.duckdb"
        self.store = Embedded(self.duckdb, self.clock, 0.0)
        self.feed = Feed(self.store, folder / "feed", self.clock)
        self.order = Order(
            series=BTCUSDT_1H,
            dataset="BINANCE_BTCUSDT.P, 60",
            n_recent=6,
            window_bars=726,
            inference_source="db",
            catch_up=False,
            remedies=Remedies(CATCH_UP_COMMAND),
            dry_run=False,
            settle_sec=10.0,
            max_skew_sec=5.0,
            then="",
            then_timeout_sec=600.0,
        )

    def run(self, fault: str = "", max_wait_sec: float = 120.0, **changes: Any) -> Record:
        """One cycle, with faults given as TOML and changes to the order."""
        self.exchange.faults = parse_faults(fault, "the test")
        order = self.order._replace(**changes)
        return run_cycle(self.feed, order, self.rest.conversation(max_wait_sec))

    def matters(self, record: Lived) -> dict[str, str]:
        """What people are told of a cycle or a pass: how each matter is, empty where it is well."""
        talk = self.rest.conversation(1.0)
        talk.ask_time()
        return {each.matter: each.status for each in heard(record, talk, self.order.max_skew_sec)}

    def begin(self) -> Lived:
        """The hour that starts the store."""
        return self.run(catch_up=True)

    def live_first_hour(self, template: Path) -> None:
        """Start the store; what that leaves is kept in `template`, and copied from there the next time."""
        folder = self.duckdb.parent
        if template.exists():
            shutil.copytree(template, folder, dirs_exist_ok=True)
            return
        assert self.begin().exit_code == 0
        shutil.copytree(folder, template)

    def bars(self, table: str = "ohlcv_btcusdt_1h") -> list[Bar]:
        """What the store holds, read by nobody's code but DuckDB's."""
        query = f"SELECT epoch_ms(timestamp), open, high, low, close, volume FROM {table} ORDER BY timestamp"
        with opened(self.duckdb, read_only=True) as connection:
            return [Bar(*row) for row in connection.execute(query).fetchall()]

    def taped(self) -> dict[int, Bar]:
        """What the exchange has on record of its first series, by open_time."""
        return {bar.open_time_ms: bar for bar in self.tapes[0].bars}

    def execute(self, statement: str) -> None:
        """Change the store behind the feed's back."""
        with opened(self.duckdb) as connection:
            connection.execute(statement)

    def files(self) -> list[str]:
        """The names in the artifact folder, without the hidden ones."""
        return sorted(path.name for path in self.feed.folder.iterdir() if not path.name.startswith("."))

    def _transport(self, url: str, left_sec: float) -> Answer:
        parts = urlsplit(url)
        reply = self.exchange.handle(Request("GET", parts.path, parts.query, {}))
        self._suffer(reply, left_sec)
        return Answer(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)

    def _suffer(self, reply: Reply, left_sec: float) -> None:
        """What the real transport makes of what the wire does; the wire itself is tested on sockets."""
        if reply.effect is None:
            return
        if isinstance(reply.effect, Hang | Drip):
            takes_sec = (
                reply.effect.sec if isinstance(reply.effect, Hang) else len(reply.body) / reply.effect.bytes_per_sec
            )
            allowed_sec = min(left_sec, 10.0)
            self.clock.sleep(min(takes_sec, allowed_sec))
            if takes_sec > allowed_sec:
                raise TryAgain("timeout", "ReadTimeoutError")
            return
        raise TryAgain("connection", type(reply.effect).__name__)


class HourIsOver(BaseException):
    """Ends a watch in a test."""


def ends_after(records: list[Any], count: int) -> Any:
    """A `tell` that collects records and ends the watch after `count` of them."""

    def tell(record: Lived, _talk: object) -> None:
        records.append(record)
        if len(records) == count:
            raise HourIsOver

    return tell


def hours(count: float) -> int:
    """In ms."""
    return int(count * HOUR_MS)
