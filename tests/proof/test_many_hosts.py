"""Many hosts, one server: forty feeders at once, SIGKILL in the middle of commits, a primary that is lost."""

import random
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

import psycopg
import pytest

import barfeed
from barfeed.cli.commands.operate.status import status
from barfeed.domain.bars import Bar, Interval
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store.postgres.server import Server, migrate
from commands import call
from market_world import SMALL_MARKET, market_machine, small_market
from pg_server import PostgresServer, looked_at, new_market, own_server
from process import BARFEED
from waiting import until
from world import hours, made_up_bars, ms

H1 = Interval.ONE_HOUR
FIRST_MS = ms(2024, 2, 10, 13)
SYMBOLS = tuple(f"S{number:03}USDT" for number in range(40))
BARS = {symbol: made_up_bars(FIRST_MS, 1, symbol)[0] for symbol in SYMBOLS}
# As people run it: each commit is on the disk.
SAFE = ("fsync=on", "max_connections=60", "shared_buffers=32MB", "max_wal_senders=4")
_AT = "SELECT (extract(epoch FROM timestamp) * 1000)::bigint AS at FROM barfeed.ohlcv_1h"
_ROWS = """
SELECT symbol, (extract(epoch FROM timestamp) * 1000)::bigint, open, high, low, close, volume FROM barfeed.ohlcv_1h
"""


def an_hour(number: int) -> dict[str, Sequence[Bar]]:
    """What the exchange has of every symbol in one hour: the same for whoever asks."""
    at_ms = FIRST_MS + hours(number)
    return {symbol: [BARS[symbol]._replace(open_time_ms=at_ms, volume=float(number))] for symbol in SYMBOLS}


class Writer(Thread):
    """A host that stores hour after hour, and notes which were acknowledged; it inserts again, and never looks."""

    def __init__(self, address: str, folder: Path, stop: Event) -> None:
        super().__init__()
        self.acknowledged: list[int] = []
        self._address = address
        self._folder = folder
        self._stop_now = stop

    def run(self) -> None:
        with closing(Server(self._address, SystemClock(), 30.0, self._folder / "servers.json")) as store:
            number = 0
            while not self._stop_now.is_set():
                with suppress(StoreUnusable):
                    with store.writing_market(H1) as table:
                        table.append(an_hour(number))
                    self.acknowledged.append(number)
                    number += 1


def wait_for(writer: Writer, more: int) -> None:
    """Until so many more hours are acknowledged."""
    goal = len(writer.acknowledged) + more
    until(lambda: len(writer.acknowledged) >= goal)


def assert_each_once(address: str, acknowledged: Sequence[int]) -> None:
    """Every hour that was acknowledged is there, once, and to the bit; and of no hour is there a part."""
    found: dict[int, list[tuple[str, Bar]]] = {}
    with looked_at(address) as connection:
        for symbol, *bar in connection.execute(_ROWS).fetchall():
            found.setdefault((bar[0] - FIRST_MS) // hours(1), []).append((symbol, Bar(*bar)))
    assert set(acknowledged) <= found.keys()
    for number, rows in found.items():
        assert sorted(rows) == sorted((symbol, bar) for symbol, (bar,) in an_hour(number).items())


def kill_often(server: PostgresServer, kills: int, folder: Path) -> None:
    """SIGKILL for all processes of a server that two hosts write to, at any moment; then it comes back."""
    chance = random.Random(kills)
    address, stop = server.address(server.new_database()), Event()
    migrate(address, SystemClock(), 0.0)
    writers = [Writer(address, folder, stop) for _ in range(2)]
    for each in writers:
        each.start()
    try:
        for _ in range(kills):
            wait_for(writers[0], 2)
            # Somewhere in the next commits.
            stop.wait(chance.uniform(0.0, 0.03))
            server.stop(signal.SIGKILL)
            server.start()
    finally:
        stop.set()
        for each in writers:
            each.join()
    assert len(writers[0].acknowledged) > kills
    assert_each_once(address, [*writers[0].acknowledged, *writers[1].acknowledged])


def append_hours(store: Server, numbers: Iterable[int]) -> None:
    """Some hours of one symbol."""
    with store.writing_market(H1) as table:
        table.append({SYMBOLS[0]: [an_hour(number)[SYMBOLS[0]][0] for number in numbers]})


def newest_of(connection: psycopg.Connection[Any]) -> int | None:
    """The newest bar, by nobody's code but psycopg's."""
    newest: int | None = connection.execute(f"SELECT max(at) FROM ({_AT})").fetchall()[0][0]
    return newest


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    with own_server(SAFE) as made:
        yield made


@pytest.mark.long
def test_a_server_killed_in_the_middle_of_commits_five_times_loses_nothing(
    server: PostgresServer, tmp_path: Path
) -> None:
    kill_often(server, 5, tmp_path)


@pytest.mark.proof
def test_a_server_killed_in_the_middle_of_commits_a_hundred_times_loses_nothing(
    server: PostgresServer, tmp_path: Path
) -> None:
    kill_often(server, 100, tmp_path)


@pytest.mark.long
def test_a_standby_that_is_behind_gives_no_window_until_it_has_caught_up(server: PostgresServer) -> None:
    name = server.new_database()
    address = server.address(name)
    migrate(address, SystemClock(), 0.0)
    standby = server.standby()
    standby.start()
    with ExitStack() as ending, closing(Server(address, SystemClock(), 0.0)) as store:
        ending.callback(standby.stop, signal.SIGKILL)
        replica = ending.enter_context(standby.connected(name))
        append_hours(store, range(726))
        until(lambda: newest_of(replica) == FIRST_MS + hours(725))
        replica.execute("SELECT pg_wal_replay_pause()")
        append_hours(store, [726])
        reader = barfeed.open(address, read_from=standby.address(name))
        said = (
            r"behind .+: its newest bar of S000USDT 1h is 2024-03-11 18:00, not 2024-03-11 19:00; it lags by \d+\.\d s"
        )
        with pytest.raises(StoreUnusable, match=said) as told:
            list(reader.window("S000USDT"))
        assert (told.value.is_away, str(told.value).startswith(standby.address(name))) == (True, True)
        # What it has got, it gives; and so it does to the commands that read, for which it is a store as any.
        assert len(list(reader.bars("S000USDT", end="2024-03-11 19:00"))) == 726
        assert "2024-03-11 18:00" in call(status, "--store", standby.address(name)).out
        replica.execute("SELECT pg_wal_replay_resume()")
        until(lambda: newest_of(replica) == FIRST_MS + hours(726))
        assert list(reader.window("S000USDT")) == list(barfeed.open(address).window("S000USDT"))


@pytest.mark.long
def test_a_primary_that_is_lost_is_followed_by_its_standby_and_fenced_when_it_comes_back(
    server: PostgresServer, tmp_path: Path
) -> None:
    name = server.new_database()
    migrate(server.address(name), SystemClock(), 0.0)
    standby = server.standby()
    standby.start()
    with ExitStack() as ending, server.connected() as superuser:
        ending.callback(standby.stop, signal.SIGKILL)
        superuser.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        superuser.execute("SELECT pg_reload_conf()")
        until(lambda: superuser.execute("SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync'").fetchall())
        both = f"postgresql://postgres@/{name}?host={server.folder},{standby.folder}&port={server.port},{standby.port}"
        stop = Event()
        writer = Writer(both, tmp_path, stop)
        writer.start()
        wait_for(writer, 20)
        server.stop(signal.SIGKILL)
        standby.promote()
        wait_for(writer, 20)
        stop.set()
        writer.join()
        assert_each_once(standby.address(name), writer.acknowledged)
        # It comes back, alone, and does not know that there is another; who wrote to that one does.
        server.start()
        fence = tmp_path / "servers.json"
        fence.write_text(fence.read_text().replace(both, server.address(name)))
        old = Server(server.address(name), SystemClock(), 0.0, fence)
        with closing(old), pytest.raises(StoreUnusable, match="an old primary that came back: its timeline is 1"):
            old.held()
        with suppress(Exception):
            superuser.close()


def feed_at_once(folder: Path, feeders: int, day_hours: int) -> None:
    """So many hosts, each a process with artifacts of its own, in every hour on one database."""
    address = new_market()
    with market_machine(folder, small_market(FIRST_MS + hours(40), 800), FIRST_MS + hours(1) + 30_000) as machine:

        def start(number: int) -> "subprocess.Popen[str]":
            own = ("--persist-dir", str(folder / str(number)), "--window-hours", "48", "--catch-up")
            return subprocess.Popen(
                [BARFEED, "run", "--symbols", "all", "--store", address, "--max-skew-sec", "1e10", *own],
                env=machine.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

        for hour in range(day_hours):
            running = [start(number) for number in range(feeders)]
            told = [each.communicate(timeout=600) for each in running]
            assert {each.returncode for each in running} == {0}
            assert {err for _, err in told} == {""}
            appended = sum(int(bars) for out, _ in told for bars in re.findall(r" bars=(\d+)", out))
            assert appended == len(SMALL_MARKET) * (48 if hour == 0 else 1)
            machine.clock.advance(hours(1))
    with looked_at(address) as connection:
        counted = "SELECT count(*), count(DISTINCT (symbol, timestamp)) FROM barfeed.ohlcv_1h"
        assert connection.execute(counted).fetchall() == [(len(SMALL_MARKET) * (47 + day_hours),) * 2]
        assert connection.execute("SELECT count(DISTINCT feed) FROM barfeed.feeders").fetchall() == [(feeders,)]
        assert connection.execute("SELECT count(*) FROM barfeed.symbols").fetchall() == [(len(SMALL_MARKET),)]


@pytest.mark.long
def test_four_hosts_at_once_store_each_bar_once(tmp_path: Path) -> None:
    feed_at_once(tmp_path, 4, 2)


@pytest.mark.proof
def test_forty_hosts_at_once_store_each_bar_once(tmp_path: Path) -> None:
    feed_at_once(tmp_path, 40, 3)
