"""The world most replay tests live in: one symbol, one day of 1h bars, 2024-01-15, seen at 14:23:45."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange, Reply, Request
from barfeed.replay.faults.script import Fault, parse_faults
from barfeed.replay.stream.session import Message, Out, Session
from barfeed.replay.tapes.tape import Tape

DATA = Path(__file__).parents[3] / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason=f"the real data is not here: {DATA}")

SEC = 1000
MINUTE = 60 * SEC
HOUR = 60 * MINUTE
MIDNIGHT = 1_705_276_800_000  # 2024-01-15 00:00 UTC
KLINES = "/fapi/v1/klines"
HOURLY = Series("BTCUSDT", Interval.ONE_HOUR)


def at(hour: int, minute: int = 0, second: int = 0) -> int:
    return MIDNIGHT + hour * HOUR + minute * MINUTE + second * SEC


NOW = at(14, 23, 45)

# 13:00 is 113.0 116.5 111.0 114.0 23.125
BARS = [Bar(at(n), 100.0 + n, 103.5 + n, 98.0 + n, 101.0 + n, 10.125 + n) for n in range(24)]


class World:
    """An exchange, its clock, and a client that is handed its answers."""

    def __init__(self, *tapes: Tape, faults: str = "", now_ms: int = NOW, weight_limit: int = 2400) -> None:
        self.clock = HandClock(now_ms)
        script: Sequence[Fault] = parse_faults(faults, "test.toml")
        self.exchange = ReplayExchange(tapes or [Tape.of(HOURLY, BARS)], self.clock.now_ms, script, weight_limit)

    def get(self, path: str = KLINES, query: str = "", headers: Mapping[str, str] | None = None) -> Reply:
        return self.exchange.handle(Request("GET", path, query, headers or {}))

    def klines(self, more: str = "limit=5") -> Reply:
        return self.get(KLINES, f"symbol=BTCUSDT&interval=1h&{more}")

    def rows(self, more: str = "limit=5") -> list[list[Any]]:
        answer = self.klines(more)
        assert answer.status == 200, answer
        rows: list[list[Any]] = json.loads(answer.body)
        return rows

    def hours(self, more: str = "limit=5") -> list[float]:
        """The open_times of the answer, as hours of the day."""
        return [(row[0] - MIDNIGHT) / HOUR for row in self.rows(more)]


def header(answer: Reply, name: str) -> str | None:
    return next((value for key, value in answer.headers if key.lower() == name.lower()), None)


def connection(world: World, path: str = "/market/ws/btcusdt@kline_1h", query: str = "") -> Session | Reply:
    """A request for the stream, and what comes of it."""
    return world.exchange.open(Request("GET", path, query, {}))


def stream(world: World, path: str = "/market/ws/btcusdt@kline_1h", query: str = "") -> Session:
    opened = connection(world, path, query)
    assert isinstance(opened, Session)
    return opened


def kline(said: Out) -> tuple[float, bool]:
    """A frame's bar, as an hour of the day, and whether it is closed."""
    assert isinstance(said, Message)
    told = json.loads(said.data)["k"]
    return (told["t"] - MIDNIGHT) / HOUR, told["x"]
