"""A backfill with everything around it in process: exchange, archive, clocks and a disk, all of which work."""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from barfeed.domain.bars import Bar
from barfeed.exchange.archive import Archive
from barfeed.exchange.paging import RestHistory
from barfeed.exchange.refusals import Answer, TryAgain
from barfeed.exchange.rest import Rest
from barfeed.history.backfill import Backfill, Order, Tools
from barfeed.replay.archive.service import Far, ReplayArchive, WithArchive
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Request
from barfeed.replay.tapes.tape import Tape
from barfeed.store.port.embedded import Embedded
from storage import opened
from world import BTCUSDT_1H, SteppingClock, made_up_bars, ms

__all__ = ["Far", "History", "WithArchive", "hourly", "stored_bars"]

CREATE = """
CREATE TABLE ohlcv_btcusdt_1h (
  timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
  created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)
"""


def hourly(first: int, last: int) -> list[Bar]:
    """Made-up hours of BTCUSDT, both ends included."""
    return list(made_up_bars(last, (last - first) // 3_600_000 + 1))


@cache
def _all_hours() -> Tape:
    """What exchange and archive have, of which no test changes anything."""
    return Tape.of(BTCUSDT_1H, hourly(ms(2023, 11, 20), ms(2024, 2, 10, 20)))


def stored_bars(path: Path) -> list[Bar]:
    """What a store holds, read by DuckDB alone."""
    query = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_btcusdt_1h ORDER BY timestamp"
    with opened(path, read_only=True) as connection:
        return [Bar(*row) for row in connection.execute(query).fetchall()]


class History:
    """BTCUSDT 1h from 2023-11-20 to 2024-02-10 13:00 as exchange and archive have it, seen at 14:00:30."""

    def __init__(
        self,
        folder: Path,
        bars: Sequence[Bar] | None = None,
        archived: Sequence[Bar] | None = None,
        weight_limit: int = 2400,
    ) -> None:
        self.now_ms = ms(2024, 2, 10, 14) + 30_000
        self.clock = SteppingClock(self.now_ms)
        tape = _all_hours() if bars is None else Tape.of(BTCUSDT_1H, bars)
        self.bars = list(tape.bars)
        self.exchange = ReplayExchange([tape], self.clock.exchange_ms, (), weight_limit)
        self.archive = ReplayArchive(
            [tape if archived is None else Tape.of(BTCUSDT_1H, archived)], self.clock.exchange_ms
        )
        self.duckdb = folder / "ohlcv.duckdb"
        self.store = Embedded(self.duckdb, self.clock, 0.0)
        self.cache_dir: Path | None = None
        self.asked: list[str] = []
        self.refused = 0

    def run(
        self, source: Any = "rest", fault: str = "", archive_fault: str = "", max_wait_sec: float = 100, **order: Any
    ) -> Backfill:
        """One backfill to its end, with faults given as TOML."""
        work = self.backfill(source, fault, archive_fault, max_wait_sec, **order)
        work.run()
        return work

    def backfill(
        self, source: Any = "rest", fault: str = "", archive_fault: str = "", max_wait_sec: float = 100, **order: Any
    ) -> Backfill:
        self.exchange.faults = parse_faults(fault, "the test")
        self.archive.faults = parse_archive_faults(archive_fault, "the test")
        rest = RestHistory(BTCUSDT_1H, self._rest, max_wait_sec, 2)
        archive = Archive(
            BTCUSDT_1H, self._rest, max_wait_sec, lambda: rest.now_ms, cache_dir=self.cache_dir, connections=2
        )
        tools = Tools(self.store, rest, archive, self.clock)
        return Backfill(Order(BTCUSDT_1H, source, **order), tools)

    def closed(self) -> list[Bar]:
        """Every bar that a store may hold."""
        return [bar for bar in self.bars if bar.open_time_ms + 3_600_000 <= self.now_ms]

    def held(self) -> list[Bar]:
        return stored_bars(self.duckdb)

    def fill(self, bars: Sequence[Bar]) -> None:
        """A store that somebody else has filled."""
        with opened(self.duckdb) as connection:
            connection.execute(CREATE)
            columns = ", ".join(["unnest(?::DOUBLE[])"] * 5)
            connection.execute(
                f"INSERT INTO ohlcv_btcusdt_1h SELECT make_timestamp_ms(unnest(?::BIGINT[])), {columns}, '2020-01-01'",
                [list(column) for column in zip(*bars, strict=True)],
            )

    def zips(self) -> list[str]:
        """The zips that were asked for, by name."""
        paths = (url.rpartition("/")[2] for url in self.asked)
        return [name for name in paths if name.endswith(".zip")]

    def _rest(self) -> Rest:
        return Rest("http://replay", self._transport, self.clock, jitter=lambda: 0.5)

    def _transport(self, url: str, _left_sec: float) -> Answer:
        self.asked.append(url)
        parts = urlsplit(url)
        reply = WithArchive(self.exchange, self.archive).handle(Request("GET", parts.path, parts.query, {}))
        self.refused += reply.status in {418, 429}
        if reply.effect:
            raise TryAgain("connection", type(reply.effect).__name__)
        return Answer(reply.status, {name.lower(): value for name, value in reply.headers}, reply.body)
