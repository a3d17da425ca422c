"""The lake behind an hour: brought up to the store each time, and no trouble with it is the hour's."""

import json
import logging
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.domain.errors import LakeUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store.lake.lake import Lake
from market_world import MarketWorld, small_market
from storage import opened
from world import World, hours, ms

END_MS = ms(2026, 3, 10, 13)


@pytest.fixture
def started(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store of two days that ends at 12:00, one hour behind."""
    world.order = world.order._replace(window_bars=48)
    world.clock.go_to(ms(2024, 2, 10, 13) + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "lake")
    world.clock.go_to(world.clock.now_ms + hours(1))
    return world


def with_lake(world: World, path: Path) -> None:
    world.feed = world.feed._replace(lake=Lake(str(path), SystemClock()))


def manifest(record: Any) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path).read_text())
    return told


def stored(world: World) -> int:
    with opened(world.duckdb, read_only=True) as connection:
        return int(connection.execute("SELECT count(*) FROM ohlcv_btcusdt_1h").fetchall()[0][0])


def in_lake(path: Path) -> int:
    return int(
        duckdb.execute("SELECT count(*) FROM read_parquet(?)", [f"{path}/kind=ohlcv/**/*.parquet"]).fetchall()[0][0]
    )


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    return tmp_path / "lake"


def test_each_hour_is_in_the_lake(started: World, lake: Path) -> None:
    with_lake(started, lake)
    record = started.run()
    assert record.status == "appended"
    assert in_lake(lake) == stored(started) == manifest(record)["lake"]["rows"]
    told = manifest(record)
    assert told["lake"] == {
        "address": str(lake), "status": "written", "written": 3, "left": 0, "rows": stored(started), "message": "",
        "hint": "",
    }  # fmt: skip
    assert "lake" in told["durations_sec"]
    started.clock.go_to(started.clock.now_ms + hours(1))
    assert manifest(started.run())["lake"]["written"] == 1


@pytest.mark.long
def test_each_pass_over_a_market_is_in_the_lake(tmp_path: Path, lake: Path) -> None:
    world = MarketWorld(tmp_path, small_market(END_MS + hours(5), 60), END_MS + hours(1) + 30_000)
    with_lake(world, lake)
    world.run_pass(catch_up=True)
    world.clock.go_to(END_MS + hours(2) + 30_000)
    record = world.run_pass()
    assert record.exit_code == 0
    assert record.lake
    assert (record.lake.status, record.lake.written) == ("written", 1)
    assert in_lake(lake) == sum(map(len, world.stored().values())) == manifest(record)["lake"]["rows"]


def test_a_lake_that_fails_fails_no_hour_and_the_next_one_catches_up(
    started: World, lake: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with_lake(started, lake)
    lake.write_text("a file in its place")
    with caplog.at_level(logging.DEBUG, "barfeed.feed.hour"):
        record = started.run()
    assert (record.status, record.exit_code) == ("appended", 0)
    assert record.inference
    assert record.lake
    assert (record.lake.address, record.lake.status) == (str(lake), "lake_unusable")
    assert record.lake.failure
    warning = f"the lake was not written: {record.lake.failure.message}"
    assert record.warnings == [warning]
    why, told = [each for each in caplog.records if each.name == "barfeed.feed.hour"]
    assert told.getMessage() == f"{warning}; {record.lake.failure.hint}"
    assert why.getMessage() == "the lake failed"
    assert why.exc_info
    assert why.exc_info[0] is LakeUnusable
    assert manifest(record)["lake"]["message"].endswith("cannot be used: Not a directory")
    lake.unlink()
    started.clock.go_to(started.clock.now_ms + hours(1))
    started.run()
    assert in_lake(lake) == stored(started)


def test_it_is_told_by_an_alert_of_its_own_while_the_hour_is_well(started: World, lake: Path) -> None:
    with_lake(started, lake)
    lake.write_text("a file in its place")
    expected = {"cycle": "", "store": "", "clock": "", "market": "", "lake": "lake_unusable"}
    assert started.matters(started.run()) == expected
    lake.unlink()
    assert started.matters(started.run())["lake"] == ""


def test_a_bug_in_it_is_told_and_fails_no_hour(
    started: World, lake: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with_lake(started, lake)

    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(Lake, "export", broken)
    record = started.run()
    assert (record.status, record.exit_code) == ("appended", 0)
    assert "this is a bug in barfeed; report it" in caplog.messages
    assert record.lake
    assert record.lake.failure
    assert (record.lake.address, record.lake.failure.message) == (str(lake), "ZeroDivisionError: ")


def test_a_dry_run_leaves_it_alone(started: World, lake: Path) -> None:
    with_lake(started, lake)
    record = started.run(dry_run=True)
    assert record.lake is None
    assert not lake.exists()


def test_an_hour_that_fails_leaves_it_alone(started: World, lake: Path) -> None:
    with_lake(started, lake)
    record = started.run('[[fault]]\nkind = "status"\nstatus = 400\ncode = -1121\nmsg = "Invalid symbol."')
    assert record.exit_code == 5
    assert not lake.exists()
