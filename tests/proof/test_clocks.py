"""Clocks that are wrong, on either side: nothing forming gets in, no hour is lost or doubled."""

import csv
import json
import logging
import random
import shutil
import sys
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.domain.errors import ContractBroken
from barfeed.feed.record import Record
from barfeed.feed.watch import Pace, watch
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.tape import Tape
from history.backfill.backfill_world import History
from process import Machine, machine
from world import BTCUSDT_1H, HourIsOver, SteppingClock, World, ends_after, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
BARS = made_up_bars(TARGET_MS + hours(200), 1400)
LATEST = "latest_for_inference.csv"

# What a machine's clock may say instead of the time, in ms; the argument is the time and how often it was asked.
WRONG_CLOCKS: dict[str, Callable[[int, int], int]] = {
    "1970": lambda now, _: now % 1000,
    "2038": lambda now, _: now + ms(2038, 1, 19, 3) - TARGET_MS,
    "ten minutes fast": lambda now, _: now + 600_000,
    "ten minutes slow": lambda now, _: now - 600_000,
    "an hour fast": lambda now, _: now + hours(1),
    "an hour slow": lambda now, _: now - hours(1),
    "back an hour at every second look": lambda now, asked: now - hours(asked % 2),
    "on an hour at every second look": lambda now, asked: now + hours(asked % 2),
    "anywhere within two days at every look": lambda now, asked: (
        now + random.Random(asked).randint(-hours(48), hours(48))
    ),
}


def some_long(cases: Mapping[str, object], *ordinary: str) -> list[Any]:
    """The cases as pytest takes them: but for some, they are of the long suite."""
    return [
        pytest.param(case, id=name, marks=[] if name in ordinary else pytest.mark.long) for name, case in cases.items()
    ]


class WrongClock(SteppingClock):
    """A wall clock that is somebody's lie; the steady one cannot be set."""

    def __init__(self, now_ms: int, lie: Callable[[int, int], int]) -> None:
        super().__init__(now_ms)
        self._lie = lie
        self._asked = 0

    def utc_ms(self) -> int:
        self._asked += 1
        return self._lie(self.now_ms, self._asked)


def world_with(folder: Path, lie: Callable[[int, int], int]) -> World:
    world = World(folder, [Tape.of(BTCUSDT_1H, BARS)], TARGET_MS + hours(1) + 30_000)
    clock = WrongClock(world.clock.now_ms, lie)
    world.clock = world.rest.clock = clock
    world.exchange._now_ms = clock.exchange_ms
    world.feed = world.feed._replace(clock=clock)
    world.order = world.order._replace(window_bars=30)
    return world


def assert_continuous_and_true(world: World, end_ms: int) -> None:
    stored = world.bars()
    taped = world.taped()
    assert stored == [taped[bar.open_time_ms] for bar in stored]
    assert all(later.open_time_ms - bar.open_time_ms == hours(1) for bar, later in pairwise(stored))
    assert stored[-1].open_time_ms == end_ms


@pytest.mark.long
@pytest.mark.parametrize("lie", some_long(WRONG_CLOCKS, "back an hour at every second look"))
def test_a_machine_clock_that_is_wrong_costs_no_hour_and_warns(tmp_path: Path, lie: Callable[[int, int], int]) -> None:
    world = world_with(tmp_path, lie)
    assert world.run(catch_up=True).exit_code == 0
    for hour in range(1, 7):
        # From before the close until long after: at no moment may the next bar look closed.
        for past_sec in (-30, 1, 15, 3000):
            world.clock.go_to(TARGET_MS + hours(hour + 1) + past_sec * 1000)
            record = world.run()
            assert record.exit_code == 0, record.failure
            assert world.bars()[-1].open_time_ms + hours(1) <= world.clock.now_ms
    assert_continuous_and_true(world, TARGET_MS + hours(6))
    warned = [json.loads(path.read_text())["warnings"] for path in world.feed.folder.glob("*_run.json")]
    assert any("the machine's clock is" in each for warnings in warned for each in warnings)


@pytest.mark.parametrize("lie", some_long(WRONG_CLOCKS, "back an hour at every second look"))
def test_a_watch_lives_every_hour_once_whatever_the_machine_believes(
    tmp_path: Path, lie: Callable[[int, int], int]
) -> None:
    world = world_with(tmp_path, lie)
    assert world.run(catch_up=True).exit_code == 0
    records: list[Record] = []
    with pytest.raises(HourIsOver):
        watch(world.feed, world.order, world.rest, Pace(300.0, 120.0), ends_after(records, 7))
    assert [record.target_ms for record in records] == [TARGET_MS + hours(each) for each in range(7)]
    assert_continuous_and_true(world, TARGET_MS + hours(6))


@pytest.mark.parametrize("lie", some_long(WRONG_CLOCKS, "back an hour at every second look"))
def test_files_are_named_by_the_exchanges_time_and_a_wrong_clock_prunes_only_what_is_old(
    tmp_path: Path, lie: Callable[[int, int], int]
) -> None:
    world = world_with(tmp_path, lie)
    for day in range(4):
        world.clock.go_to(TARGET_MS + hours(1 + 24 * day) + 30_000)
        assert world.run(catch_up=True).exit_code == 0
    runs = sorted(name for name in world.files() if name.endswith("_run.json"))
    assert [name[:8] for name in runs] == ["20240210", "20240211", "20240212", "20240213"]
    prune(world.feed.folder, world.feed.clock.utc_ms(), Keep(days=2, discard=True))
    # By the newest run's own time two stay; a clock that is behind takes fewer.
    assert {*runs[1:]} <= {name for name in world.files() if name.endswith("_run.json")}


# /time is wrong by so many ms while every answer's Date is right, at so many seconds after the close.
WRONG_EXCHANGES = {
    f"{ms_off / 1000:g} s at {past_sec} s past": (ms_off, past_sec)
    for ms_off in (
        -86_400_000,
        -7_200_000,
        -3_600_000,
        -3_580_000,
        -600_000,
        -4_000,
        4_000,
        600_000,
        3_580_000,
        3_600_000,
    )
    for past_sec in (15, 3590)
}


@pytest.mark.parametrize(
    "off", some_long(WRONG_EXCHANGES, "-3600 s at 15 s past", "-4 s at 3590 s past", "3580 s at 3590 s past")
)
@pytest.mark.parametrize("source", ["db", "api"])
def test_an_exchange_clock_that_is_wrong_lets_nothing_forming_in_and_publishes_no_old_window(
    tmp_path: Path, off: tuple[int, int], source: str
) -> None:
    ms_off, past_sec = off
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, BARS)], TARGET_MS - hours(2) + 30_000)
    assert world.run(catch_up=True, window_bars=30).exit_code == 0
    before = (world.feed.folder / LATEST).read_bytes()
    world.clock.go_to(TARGET_MS + hours(1) + past_sec * 1000)
    fault = f'[[fault]]\nkind = "skew"\nms = {ms_off}'
    record = world.run(fault, catch_up=True, window_bars=30, inference_source=source, max_wait_sec=5.0)
    taped = world.taped()
    assert all(bar == taped[bar.open_time_ms] for bar in world.bars())
    assert world.bars()[-1].open_time_ms + hours(1) <= world.clock.now_ms
    after = (world.feed.folder / LATEST).read_bytes()
    if record.exit_code == 0:
        newest_ms = world.clock.now_ms - world.clock.now_ms % hours(1) - hours(1)
        assert record.target_ms == newest_ms
        assert abs(ms_off) < hours(1)
    else:
        assert (record.exit_code, record.inference) in {(3, None), (5, None)}
        assert after == before
    assert world.run(catch_up=True, window_bars=30).exit_code == 0
    assert_continuous_and_true(world, world.clock.now_ms - world.clock.now_ms % hours(1) - hours(1))


@pytest.mark.parametrize("ms_off", [600_000, 3_580_000, 7_200_000])
def test_a_backfill_by_an_exchange_clock_that_is_ahead_stores_no_forming_bar(tmp_path: Path, ms_off: int) -> None:
    history = History(tmp_path)
    history.clock.go_to(ms(2024, 2, 10, 14, 55))
    with pytest.raises(ContractBroken, match="clocks disagree"):
        history.run(fault=f'[[fault]]\nkind = "skew"\nms = {ms_off}', from_ms=ms(2024, 2, 10))
    assert not history.duckdb.exists()


@pytest.mark.long
def test_an_exchange_clock_that_jumps_back_in_a_watch_is_told_and_skips_and_doubles_no_hour(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, BARS)], TARGET_MS + hours(1) + 30_000)
    world.run(catch_up=True)
    records: list[Record] = []

    def tell(record: Record, talk: object) -> None:
        # Right after the fourth hour the exchange's clock falls back by two, and comes right behind two closes.
        if len(records) == 3:
            text = '[[fault]]\nkind = "skew"\nms = -7200000\nuntil = 2024-02-10T19:30:00'
            world.exchange.faults = parse_faults(text, "the test")
        ends_after(records, 6)(record, talk)

    with pytest.raises(HourIsOver):
        watch(world.feed, world.order._replace(catch_up=True), world.rest, Pace(300.0, 120.0), tell)
    lived = [(record.status, ((record.target_ms or 0) - TARGET_MS) // hours(1), record.appended) for record in records]
    assert lived == [
        ("up_to_date", 0, 0),
        *[("appended", hour, 1) for hour in (1, 2, 3)],
        ("appended", 5, 2),
        ("appended", 6, 1),
    ]
    assert_continuous_and_true(world, records[-1].target_ms or 0)
    (told,) = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert told == "the machine's clock is 7200.0 s ahead of the exchange's; by the exchange's no bar is due"


ZONES = {
    # An hour that comes twice, one that never comes, odd minutes, and a zone that moved over the date line.
    "America/New_York": ms(2024, 11, 3, 4),
    "Europe/Berlin": ms(2024, 3, 30, 23),
    "Asia/Kathmandu": ms(2024, 2, 10, 13),
    "Pacific/Apia": ms(2024, 4, 6, 12),
}


@pytest.mark.long
@pytest.mark.parametrize("zone", ZONES)
def test_no_hour_is_lost_or_doubled_where_local_clocks_change(tmp_path: Path, zone: str) -> None:
    begin_ms = ZONES[zone]
    with machine(tmp_path, begin_ms) as feeding:
        assert feeding.feed("--catch-up", TZ=zone).code == 0
        for _ in range(4):
            feeding.clock.advance(hours(1))
            ran = feeding.feed(TZ=zone)
            assert (ran.code, "appended=1" in ran.out) == (0, True), ran.err
        assert_hours(feeding, begin_ms, begin_ms + hours(4))


def assert_hours(feeding: Machine, begin_ms: int, end_ms: int) -> None:
    with duckdb.connect(feeding.duckdb, read_only=True) as connection:
        query = "SELECT epoch_ms(timestamp) FROM ohlcv_btcusdt_1h ORDER BY 1"
        stored = [row[0] for row in connection.execute(query).fetchall()]
        query = "SELECT max(abs(epoch_ms(created_at) - epoch_ms(now()::TIMESTAMPTZ))) < 600000 FROM ohlcv_btcusdt_1h"
        assert connection.execute(query.replace("created_at", "created_at::TIMESTAMP")).fetchall() == [(True,)]
    assert stored == list(range(begin_ms - hours(725), end_ms + 1, hours(1)))
    with (feeding.artifacts / LATEST).open(newline="") as file:
        assert len(list(csv.reader(file))) == 727


faked = pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not on this machine")


@faked
@pytest.mark.long
@pytest.mark.parametrize("moment", ["1970-01-02 00:00:00", "2038-01-20 00:00:00", "2099-12-31 23:59:59"])
def test_a_process_on_a_machine_that_lives_in_another_year_feeds_all_the_same(tmp_path: Path, moment: str) -> None:
    with machine(tmp_path, TARGET_MS) as feeding:
        command = ["faketime", "-f", f"@{moment}", *feeding.command("--catch-up", "--max-skew-sec", "5")]
        assert feeding.call(command).code == 0
        feeding.clock.advance(hours(1))
        ran = feeding.call(["faketime", "-f", f"@{moment}", *feeding.command("--max-skew-sec", "5")])
        assert (ran.code, "appended=1" in ran.out) == (0, True), ran.err
        assert "the machine's clock is" in ran.err
        names = sorted(path.name for path in feeding.artifacts.glob("*_run.json"))
        assert all(name.startswith("20240210_") for name in names)
        for tool in ("status", "prune"):
            flags = ["--persist-dir", str(feeding.folder / "feed")]
            flags += ["--duckdb", str(feeding.duckdb)] if tool == "status" else []
            ran = feeding.call(["faketime", "-f", f"@{moment}", sys.executable, "-m", "barfeed", tool, *flags])
            assert "Traceback" not in ran.err
            assert ran.code in {0, 1}, ran.err
        assert sorted(path.name for path in feeding.artifacts.glob("*_run.json")) == names
