"""Hours of two hosts and one database, with an exchange that fails and a server that dies, beside one feed without.

Whatever happened, in the end the database holds what that feed's file holds, once; and no window was ever another.
"""

import random
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from threading import Timer

import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.feed.market.record import MarketRecord
from barfeed.machine.clock import SystemClock
from barfeed.replay.tapes.tape import Tape
from barfeed.store.postgres.server import Server, migrate
from market_world import SMALL_MARKET, MarketWorld, stored
from pg_server import PostgresServer, looked_at, own_server
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
# What an exchange does in an hour; the feed beside it has a good one.
FAULTS = (
    "", "", "",
    '[[fault]]\nkind = "status"\nstatus = 503\nshare = 0.5\nseed = 3\n',
    '[[fault]]\nkind = "status"\nstatus = 503\nsymbol = "ETHUSDT"\n',
    '[[fault]]\nkind = "late"\nsymbol = "BTCUSDT"\nsec = 600\nrows = 2\n',
    '[[fault]]\nkind = "hang"\nsec = 600\nsymbol = "DOGEUSDC"\n',
)  # fmt: skip
_STORED = """
SELECT symbol, (extract(epoch FROM timestamp) * 1000)::bigint, open, high, low, close, volume FROM barfeed.ohlcv_1h
ORDER BY symbol COLLATE "C", timestamp
"""


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with own_server(("fsync=on", "max_connections=40", "shared_buffers=32MB")) as made:
        yield made


def tapes(hours_ahead: int) -> list[Tape]:
    end_ms = TARGET_MS + hours(hours_ahead)
    return [Tape.of(Series.of(each, "1h"), made_up_bars(end_ms, hours_ahead + 200, each)) for each in SMALL_MARKET]


def world(folder: Path, hours_ahead: int) -> MarketWorld:
    folder.mkdir()
    return MarketWorld(folder, tapes(hours_ahead), TARGET_MS + hours(1) + 30_000)


def lived(market: MarketWorld, hour: int, fault: str = "") -> MarketRecord:
    market.clock.go_to(TARGET_MS + hours(1 + hour) + 30_000)
    return market.run_pass(fault, max_wait_sec=20.0, catch_up=True)


class Mortal:
    """A server that may be killed in an hour, and may come back in a later one."""

    def __init__(self, server: PostgresServer, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self._dying: Timer | None = None
        self.is_away = False

    def hour(self) -> None:
        """Come back, or be killed in a moment, or neither."""
        if self.is_away and self._chance.random() < 0.5:
            self.back()
        elif not self.is_away and self._chance.random() < 0.3:
            self.is_away = True
            self._dying = Timer(self._chance.uniform(0.0, 0.3), self._server.stop, [signal.SIGKILL])
            self._dying.start()

    def back(self) -> None:
        """Be there."""
        if self._dying:
            self._dying.join()
        if self.is_away:
            self._server.start()
        self._dying, self.is_away = None, False


def assert_windows_are_true(host: MarketWorld, truth: dict[str, list[Bar]]) -> None:
    """A window is the one of this hour, or of an earlier one where this hour failed."""
    for symbol, bars in host.windows().items():
        assert bars == truth[symbol] or bars[-1].open_time_ms < truth[symbol][-1].open_time_ms


def soak(server: PostgresServer, folder: Path, hours_long: int) -> None:
    chance = random.Random(hours_long)
    address = server.address(server.new_database())
    migrate(address, SystemClock(), 0.0)
    mortal = Mortal(server, chance)
    free, *hosts = (world(folder / name, hours_long + 2) for name in ("free", "a", "b"))
    with ExitStack() as ending:
        for each in hosts:
            store = Server(address, SystemClock(), 0.0, folder / "servers.json")
            ending.enter_context(closing(store))
            each.feed = each.feed._replace(store=store)
        for hour in range(hours_long):
            lived(free, hour)
            if hour:
                mortal.hour()
            for each in chance.sample(hosts, 2):
                # A symbol's history begins with the window of its first good hour.
                record = lived(each, hour, chance.choice(FAULTS) if hour else "")
                # Who had no window when the server died has none to go on with.
                assert record.exit_code in {0, 3} | ({4} if mortal.is_away else set()), record.complaints
                assert_windows_are_true(each, free.windows())
        mortal.back()
        assert [lived(each, hours_long).exit_code for each in (free, *hosts)] == [0, 0, 0]
    assert hosts[0].windows() == hosts[1].windows() == free.windows()
    with looked_at(address) as connection:
        rows = connection.execute(_STORED).fetchall()
    assert rows == [(symbol, *bar) for symbol, bars in sorted(stored(free.duckdb).items()) for bar in bars]


@pytest.mark.long
def test_some_hours_of_two_hosts_lose_nothing(server: PostgresServer, tmp_path: Path) -> None:
    # With these dice the server is killed three times.
    soak(server, tmp_path, 11)


@pytest.mark.proof
def test_eight_days_of_two_hosts_lose_nothing(server: PostgresServer, tmp_path: Path) -> None:
    soak(server, tmp_path, 200)
