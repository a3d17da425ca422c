"""Twenty feeds, readers, every other command at once on one store: no error, and every hour is stored once."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import duckdb
import pytest

from market_world import SMALL_MARKET
from process import Machine, lived_machine
from proof.twenty import live, of_a_market, of_one_series
from world import hours, ms

TARGET_MS = ms(2024, 2, 10, 13)

Opening = Callable[[Path], AbstractContextManager[Machine]]


def assert_a_good_day(opening: Opening, series: int, folder: Path, feeds: int, day_hours: int) -> None:
    with opening(folder) as feeding:
        day = live(feeding, feeds, day_hours)
    assert day.codes == {0}
    assert day.complaints == set()
    assert day.appended == [series] * day_hours
    assert day.manifests == [feeds] * day_hours
    with duckdb.connect(feeding.duckdb, read_only=True) as connection:
        query = f"SELECT count(*), count(DISTINCT timestamp) FROM {feeding.table}"
        bars = 726 + day_hours
        assert connection.execute(query).fetchall() == [(series * bars, bars)]


# What is fed, and how many series each feed appends a bar to.
both = pytest.mark.parametrize(
    ("opening", "series"),
    [pytest.param(of_one_series, 1, id="series"), pytest.param(of_a_market, len(SMALL_MARKET), id="market")],
)


@pytest.mark.long
@both
def test_four_feeds_for_an_hour_append_each_bar_once(opening: Opening, series: int, tmp_path: Path) -> None:
    assert_a_good_day(opening, series, tmp_path, 4, 1)


@pytest.mark.proof
@both
def test_twenty_feeds_for_six_hours_append_each_bar_once(opening: Opening, series: int, tmp_path: Path) -> None:
    assert_a_good_day(opening, series, tmp_path, 20, 6)


COMMANDS = {
    "feed": ("run", "--max-skew-sec", "1e10"),
    "watching feed's catch-up": ("run", "--catch-up", "--max-skew-sec", "1e10"),
    "repair": ("repair", "--yes", "--pause-sec", "0"),
    "backfill": ("backfill", "--from", "2023-12-20", "--source", "rest"),
    "verify": ("verify",),
    "prune": ("prune", "--keep-days", "1"),
    "export": ("export",),
}
HOURS = 2


def start(feeding: Machine, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "barfeed", *words]
    given = {"BARFEED_DUCKDB": str(feeding.duckdb), "BARFEED_PERSIST_DIR": str(feeding.folder / "feed")}
    given["BARFEED_LOCK_TIMEOUT_SEC"] = "600"
    return subprocess.Popen(
        command, env=feeding.environment(**given), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.long
def test_every_command_at_once_on_one_store_ends_well(tmp_path: Path) -> None:
    with lived_machine(tmp_path, TARGET_MS) as feeding:
        for hour in range(1, HOURS + 1):
            feeding.clock.advance(hours(1))
            words = {"export": ("export", str(tmp_path / f"{hour}.csv"))}
            running = {name: start(feeding, *words.get(name, said)) for name, said in COMMANDS.items()}
            for name, process in running.items():
                out, err = process.communicate(timeout=600)
                assert process.returncode == 0, (name, out, err)
        with duckdb.connect(feeding.duckdb, read_only=True) as connection:
            query = "SELECT count(*), count(DISTINCT timestamp), epoch_ms(max(timestamp)) FROM ohlcv_btcusdt_1h"
            ((rows, times, newest_ms),) = connection.execute(query).fetchall()
        assert rows == times
        assert newest_ms == TARGET_MS + hours(HOURS)
