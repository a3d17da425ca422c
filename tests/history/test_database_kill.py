"""Backfills of one database as processes: two at once, and one that is killed in the middle of its insert."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from barfeed.domain.bars import Series
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from market_store import BARS, LAST_MS
from pg_server import looked_at, new_market, user_of
from process import BARFEED, Machine
from waiting import LONGEST_SEC, until
from world import hours

TOTAL = sum(map(len, BARS.values()))
ODD = "INSERT INTO barfeed.ohlcv_1h VALUES ('BTCUSDT', '2026-03-01 00:00', 1, 2, 0.5, 1.5, 3)"
INSERTING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
AND query LIKE '%INSERT INTO barfeed.ohlcv_1h%'
"""


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    clock = HandClock(LAST_MS + hours(1) + 40_000)
    tapes = [Tape.of(Series.of(symbol, "1h"), bars) for symbol, bars in BARS.items()]
    exchange = ReplayExchange(tapes, clock.now_ms, (), 100_000)
    with ReplayServer(WithArchive(exchange, ReplayArchive(tapes, clock.now_ms))) as server:
        yield Machine(tmp_path, exchange, clock, server.url)


def filling(machine: Machine, address: str) -> "subprocess.Popen[str]":
    words = ("--symbols", "all", "--source", "rest", "--persist-dir", str(machine.folder / "feed"))
    return subprocess.Popen(
        [str(BARFEED), "backfill", *words, "--store", user_of(address, "barfeed_feeder")],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=machine.environment(),
    )  # fmt: skip


def held(address: str) -> int:
    with looked_at(address) as connection:
        return int(connection.execute("SELECT count(*) FROM barfeed.ohlcv_1h").fetchall()[0][0])


def is_waiting(connection: "psycopg.Connection[tuple[int]]", backfills: int) -> bool:
    return connection.execute(INSERTING).fetchall() == [(backfills,)]


@pytest.mark.long
def test_two_that_fill_at_once_append_each_bar_once_and_tell_whose_it_was(machine: Machine) -> None:
    address = new_market()
    with psycopg.connect(address) as other, looked_at(address) as looking:
        # Both come to the same key, and wait there for the one who has it.
        other.execute(ODD)
        both = [filling(machine, address) for _ in range(2)]
        until(lambda: is_waiting(looking, 2))
        other.commit()
    told = [each.communicate(timeout=LONGEST_SEC) for each in both]
    assert [each.returncode for each in both] == [1, 1], told
    counts = [[int(re.findall(rf"{name}=(\d+)", out)[0]) for name in ("appended", "compared")] for out, _ in told]
    # What the third had stored both compare, and it stays; all else is of the one, and compared by the other.
    assert sorted(counts) == [[0, TOTAL], [TOTAL - 1, 1]]
    assert all("mismatch: BTCUSDT 1h: 2026-03-01 00:00 open stored 1.0" in err for _, err in told)
    assert held(address) == TOTAL


@pytest.mark.long
def test_one_that_is_killed_while_it_inserts_leaves_nothing_and_is_gone_on_with(machine: Machine) -> None:
    address = new_market()
    with psycopg.connect(address) as other, looked_at(address) as looking:
        other.execute(ODD)
        killed = filling(machine, address)
        until(lambda: is_waiting(looking, 1))
        killed.send_signal(signal.SIGKILL)
        killed.communicate(timeout=LONGEST_SEC)
        other.rollback()
        until(lambda: is_waiting(looking, 0))
    assert held(address) == 0
    again = filling(machine, address)
    told = again.communicate(timeout=LONGEST_SEC)
    assert (again.returncode, held(address)) == (0, TOTAL), told
