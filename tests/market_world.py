"""One feed of a market with everything around it, in process or as a process of its own: an exchange of many symbols,
clocks, a store, files.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.bars import Bar, Interval
from barfeed.domain.market.members import Reach
from barfeed.domain.market.selection import Selection
from barfeed.domain.verdict import Remedies
from barfeed.exchange.rest import Conversation
from barfeed.feed.market.one_pass import run_pass
from barfeed.feed.market.order import WATCHED_WAIT_SEC, Market, MarketOrder
from barfeed.feed.market.record import MarketRecord
from barfeed.feed.market.watch import Streams, watch_market
from barfeed.feed.order import Feed
from barfeed.feed.watch import Pace
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from in_turn import InTurn
from process import BARFEED, Machine
from storage import opened
from world import HourIsOver, World, ends_after, made_up_tape

PACE = Pace(sleep_sec=300.0, max_wait_sec=120.0)
SMALL_MARKET = ("ADAUSDT", "BTCUSDT", "DOGEUSDC", "ETHUSDT", "币安人生USDT")


def remedies(symbol: str) -> Remedies:
    """The commands as a user would type them."""
    of_symbol = f" --symbol {symbol}" if symbol else ""
    return Remedies(
        "barfeed run --symbols all --catch-up", f"barfeed repair{of_symbol}", f"barfeed backfill{of_symbol}"
    )


class MarketWorld(World):
    """The feed of all perpetuals at one interval, with a window of 48 hours so that tests are quick."""

    def __init__(self, folder: Path, tapes: Sequence[Tape], now_ms: int, interval: str = "1h") -> None:
        super().__init__(folder, tapes, now_ms)
        self.feed = Feed(self.feed.store, folder / "feed" / f"BINANCE.P_{interval}", self.clock)
        self.market = MarketOrder(
            selection=Selection.of("all"),
            reach=Reach(Interval(interval), 6, 48, catch_up=False),
            window_bars_min=0,
            dataset=f"BINANCE.P, {interval}",
            dry_run=False,
            settle_sec=10.0,
            max_skew_sec=5.0,
            csv_for=(),
            weight_budget=0,
            plain_decimals=False,
            then="",
            then_timeout_sec=600.0,
            remedies=remedies,
        )

    def run_pass(
        self, fault: str = "", max_wait_sec: float = 120.0, *, catch_up: bool = False, **changes: Any
    ) -> MarketRecord:
        """One pass, with faults given as TOML and changes to the order."""
        self.exchange.faults = parse_faults(fault, "the test")
        order = self.market._replace(reach=self.market.reach._replace(catch_up=catch_up), **changes)
        return run_pass(self.feed, order, self.rest.conversation(max_wait_sec), InTurn(self._transport, self.clock))

    def begin(self) -> MarketRecord:
        """The pass that starts the store."""
        return self.run_pass(catch_up=True)

    @contextmanager
    def served(self) -> Iterator["MarketMachine"]:
        """The same store and files for processes, with the same exchange on a socket; the clock stays this world's."""
        with ReplayServer(self.exchange) as server:
            yield MarketMachine(self.duckdb.parent, self.exchange, HandClock(self.clock.now_ms), server.url)

    def watch(
        self,
        passes: int,
        fault: str = "",
        markets: Sequence[Market] = (),
        hear: Callable[[MarketRecord, Conversation], None] = lambda _record, _talk: None,
        streams: Streams | None = None,
        **changes: Any,
    ) -> list[MarketRecord]:
        """What a watch told of its first passes; over this market, or over several intervals."""
        records: list[MarketRecord] = []
        collect = ends_after(records, passes)
        self.exchange.faults = parse_faults(fault, "the test")
        watched = markets or [Market(self.feed, self.watched(**changes))]
        ask = InTurn(self._transport, self.clock)

        def tell(_: Market, record: MarketRecord, talk: Conversation) -> None:
            hear(record, talk)
            collect(record, talk)

        with pytest.raises(HourIsOver):
            watch_market(watched, self.rest, ask, PACE, tell, streams=streams)
        return records

    def watched(self, **changes: Any) -> MarketOrder:
        """What a watch that catches up asks of each pass."""
        reach = self.market.reach._replace(catch_up=True)
        return self.market._replace(reach=reach, series_wait_sec=WATCHED_WAIT_SEC)._replace(**changes)

    def stored(self, table: str = "ohlcv_1h") -> dict[str, list[Bar]]:
        """What the store holds."""
        return stored(self.duckdb, table)

    def windows(self) -> dict[str, list[Bar]]:
        """What the models are given."""
        return windows(self.feed.folder)


class MarketMachine(Machine):
    """A machine on which all perpetuals are fed; its store is `duckdb`, the windows are in `artifacts`."""

    def __init__(self, folder: Path, exchange: ReplayExchange, clock: HandClock, url: str) -> None:
        super().__init__(folder, exchange, clock, url)
        self.artifacts = folder / "feed" / "BINANCE.P_1h"
        self.table = "ohlcv_1h"

    def command(self, *flags: str, symbols: str = "all") -> list[str]:
        paths = ("--duckdb", str(self.duckdb), "--persist-dir", str(self.folder / "feed"))
        return [str(BARFEED), "run", "--symbols", symbols, *paths, "--max-skew-sec", "1e10", *flags]


def small_market(end_ms: int, bars: int) -> list[Tape]:
    """Five symbols, one in Chinese, whose bars are others' and the last of which opens at `end_ms`."""
    return [made_up_tape(end_ms, bars, each) for each in SMALL_MARKET]


@contextmanager
def market_machine(folder: Path, tapes: Sequence[Tape], now_ms: int) -> Iterator[MarketMachine]:
    """An exchange at that moment, and a machine that has no store yet."""
    clock = HandClock(now_ms)
    exchange = ReplayExchange(tapes, clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        yield MarketMachine(folder, exchange, clock, server.url)


def stored(store: Path, table: str = "ohlcv_1h") -> dict[str, list[Bar]]:
    """The bars of each symbol, read by nobody's code but DuckDB's."""
    query = f"SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM {table} ORDER BY ALL"
    with opened(store, read_only=True) as connection:
        return _by_symbol(connection.execute(query).fetchall())


def windows(folder: Path) -> dict[str, list[Bar]]:
    """The bars of each symbol that a feed's folder has for the models."""
    query = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?)"
    return _by_symbol(duckdb.execute(query, [str(folder / "latest_for_inference.parquet")]).fetchall())


def _by_symbol(rows: Sequence[Sequence[Any]]) -> dict[str, list[Bar]]:
    bars: dict[str, list[Bar]] = {}
    for symbol, *bar in rows:
        bars.setdefault(symbol, []).append(Bar(*bar))
    return bars
