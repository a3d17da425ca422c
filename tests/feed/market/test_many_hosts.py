"""A market in a database that many hosts feed: one history, whoever is first; and no model waits while it is away."""

import json
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from barfeed.domain.bars import Bar, Series
from barfeed.feed.market.record import MarketRecord
from barfeed.machine.clock import SystemClock
from barfeed.replay.tapes.tape import Tape
from barfeed.store.postgres.server import Server, migrate
from market_world import MarketWorld, windows
from pg_server import PostgresServer, looked_at, new_market, own_server
from world import World, hours, made_up_bars, ms

pytestmark = pytest.mark.long

TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "币安人生USDT")
_STORED = """
SELECT symbol, (extract(epoch FROM timestamp) * 1000)::bigint, open, high, low, close, volume
FROM barfeed.ohlcv_1h ORDER BY symbol COLLATE "C", timestamp
"""


def taped() -> list[Tape]:
    return [
        Tape.of(Series.of(each, "1h"), made_up_bars(TARGET_MS + hours(40), 200, each if each.isascii() else "BTCUSDT"))
        for each in SYMBOLS
    ]


@contextmanager
def host(folder: Path, address: str, hour: int = 0) -> Iterator[MarketWorld]:
    """A host that feeds the database, some hours after the first bar closed."""
    folder.mkdir(exist_ok=True)
    market = MarketWorld(folder, taped(), TARGET_MS + hours(1 + hour) + 30_000)
    with closing(Server(address, SystemClock(), 0.0, folder / "servers.json")) as store:
        market.feed = market.feed._replace(store=store)
        yield market


def lived(market: MarketWorld, hour: int, **how: Any) -> MarketRecord:
    market.clock.go_to(TARGET_MS + hours(1 + hour) + 30_000)
    return market.run_pass(**({"catch_up": True} | how))


def stored(address: str) -> dict[str, list[Bar]]:
    """What the database holds, read by nobody's code but psycopg's."""
    bars: dict[str, list[Bar]] = {}
    with looked_at(address) as connection:
        for symbol, *bar in connection.execute(_STORED).fetchall():
            bars.setdefault(symbol, []).append(Bar(*bar))
    return bars


@pytest.fixture
def address() -> str:
    return new_market()


def test_an_hour_leaves_in_a_database_what_it_leaves_in_a_file(address: str, tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    file = MarketWorld(tmp_path / "file", taped(), TARGET_MS + hours(1) + 30_000)
    with host(tmp_path / "database", address) as market:
        for hour in range(3):
            ours, theirs = lived(market, hour, csv_for=("BTCUSDT",)), lived(file, hour, csv_for=("BTCUSDT",))
            assert (ours.exit_code, ours.counts) == (0, theirs.counts)
            assert stored(address) == file.stored()
            assert market.windows() == file.windows()
            latest = "latest_for_inference_BTCUSDT.csv"
            assert (market.feed.folder / latest).read_bytes() == (file.feed.folder / latest).read_bytes()


def test_who_comes_second_compares_and_publishes_all_the_same(address: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", address) as first, host(tmp_path / "b", address) as second:
        assert [lived(each, 0).counts["appended"] for each in (first, second)] == [4, 0]
        record = lived(second, 1)
        assert (record.status, record.counts["appended"]) == ("appended", 4)
        record = lived(first, 1)
        assert (record.status, record.exit_code, record.counts["appended"]) == ("up_to_date", 0, 0)
        assert first.windows() == second.windows()


def test_six_hosts_that_race_leave_each_bar_once(address: str, tmp_path: Path) -> None:
    def feed(number: int) -> int:
        with host(tmp_path / str(number), address) as market:
            return sum(lived(market, hour).counts["bars"] for hour in (0, 1))

    with ThreadPoolExecutor(6) as hosts:
        appended = list(hosts.map(feed, range(6)))
    rows = stored(address)
    assert sum(appended) == sum(map(len, rows.values())) == 4 * 49
    assert all(len({bar.open_time_ms for bar in bars}) == 49 for bars in rows.values())
    assert all(windows(tmp_path / str(each) / "feed" / "BINANCE.P_1h") for each in range(6))
    with looked_at(address) as connection:
        # What was listed is noted by one of them.
        assert connection.execute("SELECT count(*), count(DISTINCT symbol) FROM barfeed.symbols").fetchall() == [(4, 4)]


def test_who_listens_hears_of_each_pass_that_appended_something(address: str, tmp_path: Path) -> None:
    with looked_at(address) as listener, host(tmp_path / "a", address) as market:
        listener.execute("LISTEN barfeed")
        for hour in (0, 0, 1):
            lived(market, hour)
        heard = [json.loads(each.payload) for each in listener.notifies(timeout=30, stop_after=2)]
    assert heard == [{"interval": "1h", "bars": 4 * 48}, {"interval": "1h", "bars": 4}]


class Quicker(Server):
    """Another feeder has stored a bar of this pass while it asked the exchange; with its own values."""

    close_of_theirs = 0.0

    @contextmanager
    def writing_market(self, interval: Any) -> Iterator[Any]:
        with super().writing_market(interval) as table:
            append = table.append

            def second(bars: Any) -> dict[str, int]:
                quicker = Server(self.name, SystemClock(), 0.0)
                with closing(quicker), quicker.writing_market(interval) as theirs:
                    last = bars["BTCUSDT"][-1]
                    theirs.append({"BTCUSDT": [last._replace(volume=self.close_of_theirs)]})
                return append(bars)

            table.append = second  # type: ignore[method-assign] # between what it read and what it writes
            yield table


@pytest.mark.parametrize("theirs", [-0.0, 0.5])
def test_another_value_of_a_quicker_feeder_is_a_mismatch_to_the_bit(
    address: str, tmp_path: Path, theirs: float
) -> None:
    with host(tmp_path / "a", address) as market:
        lived(market, 0)
        with closing(Quicker(address, SystemClock(), 0.0, tmp_path / "servers.json")) as store:
            store.close_of_theirs = theirs
            market.feed = market.feed._replace(store=store)
            record = lived(market, 1)
    assert record.exit_code == 1
    failure = record.outcomes["BTCUSDT"].failure
    assert failure
    assert "another feeder stored 2026-03-10 14:00 meanwhile with other values" in failure.message
    assert [record.outcomes[each].status for each in ("ADAUSDT", "ETHUSDT")] == ["appended", "appended"]
    assert sorted(market.windows()) == sorted({*SYMBOLS} - {"BTCUSDT"})


@pytest.fixture(scope="module")
def mortal() -> Iterator[PostgresServer]:
    """A server of its own, to be away."""
    with own_server() as server:
        yield server


@pytest.fixture
def market(mortal: PostgresServer, tmp_path: Path) -> Iterator[MarketWorld]:
    """A host that has lived its first hour with a database that is away now."""
    address = mortal.address(mortal.new_database())
    migrate(address, SystemClock(), 0.0)
    with host(tmp_path / "a", address) as fed:
        assert lived(fed, 0, csv_for=("BTCUSDT",)).exit_code == 0
        mortal.stop(signal.SIGKILL)
        yield fed
    if not mortal.answers():
        mortal.start()


def test_a_database_that_is_away_for_hours_stops_no_model_and_loses_nothing(
    market: MarketWorld, mortal: PostgresServer, tmp_path: Path
) -> None:
    (tmp_path / "free").mkdir()
    free = MarketWorld(tmp_path / "free", taped(), TARGET_MS + hours(1) + 30_000)
    lived(free, 0)
    for hour in range(1, 4):
        record = lived(market, hour, csv_for=("BTCUSDT",))
        lived(free, hour, csv_for=("BTCUSDT",))
        assert (record.status, record.exit_code) == ("pending", 0)
        # How far each series is stored, nobody knows meanwhile.
        assert (record.measured.newest_ms, record.measured.newest_of) == (None, None)
        again = lived(market, hour)
        # What it was given stands in for the database, and that is told.
        told = json.loads(Path(again.manifest_path or "").read_text())
        assert (told["status"], told["inference_from"]) == ("up_to_date", "db,api")
        assert again.warnings[0].endswith("nothing is new, and what was last given is given again")
        assert market.windows() == free.windows()
        latest = "latest_for_inference_BTCUSDT.csv"
        assert (market.feed.folder / latest).read_bytes() == (free.feed.folder / latest).read_bytes()
    (warning,) = record.warnings
    assert warning.endswith("not stored yet; the next cycle that reaches the database appends them")
    told = json.loads(Path(record.manifest_path or "").read_text())
    assert (told["status"], told["inference_from"]) == ("pending", "db,api")
    mortal.start()
    record = lived(market, 4)
    lived(free, 4)
    assert [each.appended for each in record.outcomes.values()] == [4] * 4
    assert stored(market.feed.store.name) == free.stored()
    assert market.windows() == free.windows()


def test_without_catch_up_or_a_window_to_go_on_with_it_is_refused_with_what_helps(market: MarketWorld) -> None:
    record = lived(market, 1, catch_up=False)
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert record.failure
    assert record.failure.hint.endswith("windows meanwhile: barfeed run --symbols all --catch-up")
    (market.feed.folder / "latest_for_inference.parquet").unlink()
    record = lived(market, 1)
    assert (record.status, record.exit_code) == ("store_unusable", 4)


def test_who_was_in_no_window_when_the_database_went_is_in_none_until_it_is_back(
    market: MarketWorld, mortal: PostgresServer
) -> None:
    record = lived(market, 1, fault='[[fault]]\nkind = "status"\nstatus = 503\nsymbol = "BTCUSDT"\n', max_wait_sec=20.0)
    assert (record.exit_code, sorted(market.windows())) == (3, sorted({*SYMBOLS} - {"BTCUSDT"}))
    record = lived(market, 2)
    # Of its whole window there is nobody's word but the exchange's.
    assert (record.outcomes["BTCUSDT"].status, record.exit_code) == ("store_unusable", 4)
    assert sorted(market.windows()) == sorted({*SYMBOLS} - {"BTCUSDT"})
    mortal.start()
    record = lived(market, 3)
    assert ([each.appended for each in record.outcomes.values()], len(market.windows())) == ([3] * 4, 4)


class Leaving(Server):
    """The server is gone once it has appended."""

    def __init__(self, running: PostgresServer, *args: Any) -> None:
        super().__init__(*args)
        self._running = running

    @contextmanager
    def writing_market(self, interval: Any) -> Iterator[Any]:
        with super().writing_market(interval) as table:
            yield table
        self._running.stop(signal.SIGKILL)


def test_what_was_appended_is_in_the_windows_of_a_pass_that_the_database_leaves_then(
    mortal: PostgresServer, tmp_path: Path
) -> None:
    address = mortal.address(mortal.new_database())
    migrate(address, SystemClock(), 0.0)
    with host(tmp_path / "a", address) as market:
        lived(market, 0)
        with closing(Leaving(mortal, address, SystemClock(), 0.0, tmp_path / "servers.json")) as store:
            market.feed = market.feed._replace(store=store)
            record = lived(market, 1)
    mortal.start()
    assert (record.status, record.exit_code) == ("appended", 0)
    assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS + hours(1)}
    assert {len(bars) for bars in market.windows().values()} == {48}
    assert {len(bars) for bars in stored(address).values()} == {49}


class Dying(Server):
    """One COMMIT is made, and the answer does not come."""

    is_dying = True

    def _commit(self, connection: Any) -> None:
        super()._commit(connection)
        if self.is_dying:
            self.is_dying = False
            connection.close()
            raise psycopg.OperationalError("server closed the connection unexpectedly")


def test_a_commit_whose_outcome_is_unknown_is_made_again_and_compared(address: str, tmp_path: Path) -> None:
    with host(tmp_path / "a", address) as market:
        lived(market, 0)
        with closing(Dying(address, SystemClock(), 0.0, tmp_path / "servers.json")) as store:
            market.feed = market.feed._replace(store=store)
            record = lived(market, 1)
    assert (record.status, record.exit_code, store.is_dying) == ("up_to_date", 0, False)
    assert {len(bars) for bars in stored(address).values()} == {49}
    assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS + hours(1)}


class Lost(Server):
    """The connection is lost in the middle of each nth look."""

    left = 0

    @contextmanager
    def session(self, *, write: bool) -> Iterator[Any]:
        with super().session(write=write) as connection:
            self.left -= 1
            if self.left == 0:
                connection.close()
            yield connection


@pytest.mark.parametrize("nth", [1, 2, 3, 4], ids=["looking", "appending", "counting", "publishing"])
def test_a_connection_that_is_lost_in_the_middle_costs_nothing(address: str, tmp_path: Path, nth: int) -> None:
    with host(tmp_path / "a", address) as market:
        lived(market, 0)
        with closing(Lost(address, SystemClock(), 0.0, tmp_path / "servers.json")) as store:
            store.left = nth
            market.feed = market.feed._replace(store=store)
            record = lived(market, 1)
    assert (record.status, record.exit_code, store.left < 0) == ("appended", 0, True)
    assert {len(bars) for bars in stored(address).values()} == {49}
    assert {bars[-1].open_time_ms for bars in market.windows().values()} == {TARGET_MS + hours(1)}


@contextmanager
def one_series(folder: Path, address: str) -> Iterator[World]:
    world = World(folder, [Tape.of(Series.of("BTCUSDT", "1h"), made_up_bars(TARGET_MS + hours(40), 1000))], 0)
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    with closing(Server(address, SystemClock(), 0.0, folder / "servers.json")) as store:
        world.feed = world.feed._replace(store=store)
        yield world


def test_one_series_is_a_market_of_one(mortal: PostgresServer, tmp_path: Path) -> None:
    address = mortal.address(mortal.new_database())
    migrate(address, SystemClock(), 0.0)
    (tmp_path / "file").mkdir()
    with one_series(tmp_path, address) as ours:
        file = World(tmp_path / "file", [], 0)
        file.exchange, file.rest = ours.exchange, ours.rest
        for hour in range(3):
            ours.clock.go_to(TARGET_MS + hours(1 + hour) + 30_000)
            if hour == 1:
                mortal.stop(signal.SIGKILL)
            record, theirs = ours.run(catch_up=True), file.run(catch_up=True)
            if hour == 1:
                assert (record.status, record.exit_code, record.pending) == ("pending", 0, 1)
                mortal.start()
            latest = "latest_for_inference.csv"
            assert (ours.feed.folder / latest).read_bytes() == (file.feed.folder / latest).read_bytes()
            assert theirs.exit_code == 0
        assert record.appended == 2
        assert stored(address)["BTCUSDT"] == file.bars()
