"""All hours of 2024 on the bars that the exchange really published, to the last digit, in a file and in a database."""

import csv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Bar
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from barfeed.store.postgres.server import Server
from pg_server import looked_at, new_market
from process import FEED, Machine
from world import BTCUSDT_1H, World, hours, ms, shared

NEW_YEAR_MS = ms(2024, 1, 1)
HOURS_OF_2024 = 8784
COLD_HOURS = 48


def published(path: Path) -> list[Bar]:
    """What the exchange published, read by DuckDB alone."""
    query = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?) ORDER BY timestamp"
    return [Bar(*row) for row in duckdb.execute(query, [str(path)]).fetchall()]


def fill_up_to_2024(store: Path, path: Path) -> None:
    """A user's own store with all history before 2024, made by SQL alone."""
    with duckdb.connect(store) as connection:
        connection.execute(
            """
            CREATE TABLE ohlcv_btcusdt_1h (
              timestamp TIMESTAMP PRIMARY KEY,
              open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE,
              created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)
            """
        )
        connection.execute(
            "INSERT INTO ohlcv_btcusdt_1h BY NAME SELECT timestamp, open, high, low, close, volume"
            f" FROM read_parquet('{path}') WHERE timestamp < '2024-01-01' ORDER BY timestamp"
        )


def fill_database_up_to_2024(address: str, path: Path) -> None:
    """The same of a database."""
    names = "symbol, timestamp, open, high, low, close, volume"
    query = f"SELECT 'BTCUSDT' AS symbol, * FROM read_parquet('{path}') WHERE timestamp < '2024-01-01'"
    rows = duckdb.execute(f"SELECT {names} FROM ({query})").fetchall()
    statement = f"COPY barfeed.ohlcv_1h ({names}) FROM STDIN"
    with looked_at(address) as connection, connection.cursor().copy(statement) as into:
        for row in rows:
            into.write_row(row)


def fill(store: Path, path: Path, address: str) -> None:
    """The one or the other."""
    if address:
        fill_database_up_to_2024(address, path)
    else:
        fill_up_to_2024(store, path)


def stored(address: str) -> list[Bar]:
    """What a database holds, read by nobody's code but psycopg's."""
    at = "(extract(epoch FROM timestamp) * 1000)::bigint"
    with looked_at(address) as connection:
        query = f"SELECT {at}, open, high, low, close, volume FROM barfeed.ohlcv_1h ORDER BY timestamp"
        return [Bar(*row) for row in connection.execute(query).fetchall()]


@contextmanager
def begun(folder: Path, path: Path, address: str) -> Iterator[World]:
    """A feed on the eve of 2024; its store is a file, or the database at an `address`."""
    world = World(folder, Tape.load([str(path)]), NEW_YEAR_MS)
    fill(world.duckdb, path, address)
    if not address:
        yield world
        return
    with closing(Server(address, world.clock, 0.0, folder / "servers.json")) as store:
        world.feed = world.feed._replace(store=store)
        yield world


@pytest.fixture(params=["file", "database"])
def address(request: pytest.FixtureRequest) -> str:
    return new_market() if request.param == "database" else ""


def window(csv_path: Path) -> list[tuple[str, ...]]:
    with csv_path.open(newline="") as file:
        return [tuple(row) for row in csv.reader(file)][1:]


def expected_rows(bars: list[Bar]) -> list[tuple[str, ...]]:
    """Each bar as the CSV should write it: Python's shortest text of a double, and SQL's text of a timestamp."""
    query = "SELECT make_timestamp_ms(unnest(?::BIGINT[]))::VARCHAR"
    times = duckdb.execute(query, [[bar.open_time_ms for bar in bars]]).fetchall()
    return [(time[0], *(repr(value) for value in bar[1:])) for time, bar in zip(times, bars, strict=True)]


@pytest.mark.proof
def test_every_hour_of_2024_in_order_ends_in_the_very_file(tmp_path: Path, address: str) -> None:
    path = shared("rest/BTCUSDT-1h.parquet")
    bars = published(path)
    rows = expected_rows(bars)
    first = next(index for index, bar in enumerate(bars) if bar.open_time_ms == NEW_YEAR_MS)
    with begun(tmp_path, path, address) as world:
        for hour in range(HOURS_OF_2024):
            world.clock.go_to(NEW_YEAR_MS + hours(hour + 1) + 60_000)
            record = world.run()
            assert (record.exit_code, record.validated, record.appended) == (0, 5, 1), record.failure
            assert record.inference is not None
            csv_path = world.feed.folder / record.inference.file
            assert window(csv_path) == rows[first + hour - 725 : first + hour + 1]
            # Half a gigabyte otherwise.
            csv_path.unlink()
    assert (stored(address) if address else world.bars()) == bars
    assert record.exit_code == 0


@pytest.mark.proof
def test_forty_eight_hours_of_2024_as_cold_processes(tmp_path: Path, address: str) -> None:
    path = shared("rest/BTCUSDT-1h.parquet")
    bars = published(path)
    rows = expected_rows(bars)
    first = next(index for index, bar in enumerate(bars) if bar.open_time_ms == NEW_YEAR_MS)
    clock = HandClock(NEW_YEAR_MS + 60_000)
    with ReplayServer(ReplayExchange(Tape.load([str(path)]), clock.now_ms)) as server:
        feeding = Machine(tmp_path, ReplayExchange([], clock.now_ms), clock, server.url)
        fill(feeding.duckdb, path, address)
        store = ("--store", address) if address else ("--duckdb", str(feeding.duckdb))
        command = [*FEED, *store, "--persist-dir", str(tmp_path / "feed"), "--max-skew-sec", "1e10"]
        for hour in range(COLD_HOURS):
            clock.advance(hours(1))
            ran = feeding.call(command)
            assert ran.code == 0, ran.err
            assert window(feeding.artifacts / "latest_for_inference.csv") == rows[first + hour - 725 : first + hour + 1]
    if address:
        assert stored(address) == bars[: first + COLD_HOURS]
        return
    with duckdb.connect(feeding.duckdb, read_only=True) as connection:
        query = f"SELECT epoch_ms(timestamp), open, high, low, close, volume FROM {BTCUSDT_1H.table} ORDER BY timestamp"
        assert [Bar(*row) for row in connection.execute(query).fetchall()] == bars[: first + COLD_HOURS]
