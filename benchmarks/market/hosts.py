"""A market's pass on PostgreSQL: against the same pass on a DuckDB file, and against a bare loop on the same server.

A server of its own on this machine, by its socket, and a database for each. Hour by hour they take turns.
"""

import shutil
import sys
from contextlib import ExitStack
from pathlib import Path

from barfeed.history.copying.copy import copy
from barfeed.history.copying.database_side import DatabaseSide
from barfeed.history.copying.file_side import FileSide
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.postgres.server import Server, migrate
from benchmarks.exchange import Exchange
from benchmarks.ground import ROOT
from benchmarks.market.ground import GROUNDS, REAL, Ground
from benchmarks.market.warm import Contender, alternate, living
from benchmarks.report import Bound, Ratio, Section, Timing

# The server of the tests.
sys.path.append(str(ROOT / "tests"))
from pg_server import PostgresServer, looked_at

BARE_BOUND = Bound("at most", 1.5)
# No bound that anybody was promised: a server on the same two cores does what DuckDB does in the feed's own process.
FILE_BOUND = Bound("at most", 3.0)
ON_DATABASE, ON_FILE, BARE = "barfeed on PostgreSQL", "barfeed on DuckDB", "bare_postgres.py"
# As people run it.
SETTINGS = ("fsync=on", "shared_buffers=512MB", "max_wal_size=4GB")


def measure(work: Path, rounds: int) -> Section:
    market = "real" if REAL.exists() else "made-up"
    ground, server = GROUNDS[market], PostgresServer(SETTINGS)
    server.make()
    server.start()
    try:
        timings = _compared(market, ground, server, work, rounds)
    finally:
        server.stop()
    ours, file, bare = timings[:3]
    ours_cpu, _, bare_cpu = timings[3:]
    ratios = [Ratio(ours, bare, BARE_BOUND), Ratio(ours_cpu, bare_cpu, BARE_BOUND), Ratio(ours, file, FILE_BOUND)]
    return Section(f"A market's pass on PostgreSQL, {rounds} rounds", timings, ratios)


def _compared(market: str, ground: Ground, server: PostgresServer, work: Path, rounds: int) -> list[Timing]:
    made = ground.make_store(work / "made.duckdb")
    ours, bares = (_filled(server, made) for _ in range(2))
    file = str(shutil.copy(made, work / "file.duckdb"))
    with Exchange(market, 0.0) as exchange, ExitStack() as processes:
        words = {
            ON_DATABASE: ["-m", "benchmarks.market.passes", exchange.url, ours, str(work / "ours"), "1h", "0"],
            ON_FILE: ["-m", "benchmarks.market.passes", exchange.url, file, str(work / "file"), "1h", "0"],
            BARE: ["-m", "benchmarks.market.bare_postgres", exchange.url, bares, str(work / "bare")],
        }
        contenders = [Contender(name, processes.enter_context(living(each))) for name, each in words.items()]
        lived = alternate(exchange, ground, contenders, rounds)
    held = {_rows(ours), _rows(bares), ground.rows_in(Path(file))}
    if len(held) > 1:
        raise RuntimeError(f"not everybody stored the same: {sorted(held)}")
    walls = [Timing(name, [took.wall_sec for took in each]) for name, each in zip(words, lived, strict=True)]
    return walls + [
        Timing(f"{name}, CPU", [took.cpu_sec for took in each]) for name, each in zip(words, lived, strict=True)
    ]


def _filled(server: PostgresServer, made: Path) -> str:
    address, clock = server.address(server.new_database()), SystemClock()
    migrate(address, clock, 0.0)
    database = Server(address, clock, 0.0)
    copy(FileSide(Store(made, clock, 5.0)), DatabaseSide(database), lambda _: None)
    database.close()
    with looked_at(address) as connection:
        connection.execute("VACUUM ANALYZE")
    return address


def _rows(address: str) -> int:
    with looked_at(address) as connection:
        return int(connection.execute("SELECT count(*) FROM barfeed.ohlcv_1h").fetchall()[0][0])
