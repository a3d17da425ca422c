from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

import pytest

from barfeed.domain.bars import Bar, Interval, Series
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, DATA, HOUR, HOURLY, MINUTE, SEC, World, at, needs_data

MINUTES = Series("BTCUSDT", Interval.ONE_MINUTE)

# The minutes of 14:00: open 114.0, up to 117.5 in minute 1, down to 112.0 in minute 2, then 115.0.
# Together they trade 30.0, more than the 24.125 that the 1h bar has.
FIRST = [
    Bar(at(14, 0), 114.0, 115.0, 114.0, 115.0, 0.5),
    Bar(at(14, 1), 115.0, 117.5, 115.0, 116.0, 0.5),
    Bar(at(14, 2), 116.0, 116.0, 112.0, 115.0, 0.5),
]
REST = [Bar(at(14, minute), 115.0, 115.0, 115.0, 115.0, 0.5) for minute in range(3, 60)]


def _numbers(row: Sequence[str]) -> list[Decimal]:
    return [Decimal(row[column]) for column in (1, 2, 3, 4, 5, 7, 8, 9, 10)]


def _watch(world: World, every_ms: int) -> list[list[Decimal]]:
    """The row of 14:00 from its first millisecond to its last."""
    seen = []
    for now_ms in [*range(at(14), at(15) - 1, every_ms), at(15) - 1, at(15)]:
        world.clock.set(now_ms)
        seen.append(_numbers(world.rows(f"startTime={at(14)}&limit=1")[0]))
    return seen


WORLDS = {
    "a path of its own": lambda: World(weight_limit=10**9),
    "its minutes": lambda: World(Tape.of(HOURLY, BARS), Tape.of(MINUTES, FIRST + REST), weight_limit=10**9),
    "few units": lambda: World(Tape.of(HOURLY, [Bar(at(14), 1.001, 1.009, 1.0, 1.002, 3.0)]), weight_limit=10**9),
    "no trade": lambda: World(Tape.of(HOURLY, [Bar(at(14), 5.5, 5.5, 5.5, 5.5, 0.0)]), weight_limit=10**9),
}


@pytest.mark.parametrize("name", WORLDS)
def test_a_forming_bar_only_grows_and_is_a_possible_bar_at_every_moment(name: str) -> None:
    seen = _watch(WORLDS[name](), 7 * SEC)
    for before, after in pairwise(seen):
        assert after[0] == before[0], "the open stays"
        assert after[1] >= before[1], "the high never retreats"
        assert after[2] <= before[2], "the low never retreats"
        assert after[4] >= before[4], "the volume never shrinks"
        assert after[6] >= before[6], "the trade count never shrinks"
    for opened, high, low, close, volume, quote, trades, taker, taker_quote in seen:
        assert low <= min(opened, close) <= max(opened, close) <= high
        assert low * volume <= quote <= high * volume
        assert taker <= volume
        assert taker_quote <= quote
        assert (trades == 0) == (volume == 0)


@pytest.mark.parametrize("name", WORLDS)
def test_the_last_millisecond_shows_the_recorded_bar(name: str) -> None:
    *_, last, closed = _watch(WORLDS[name](), 20 * MINUTE)
    assert last == closed


def test_it_really_grows() -> None:
    seen = _watch(World(), 10 * MINUTE)
    assert len({tuple(numbers) for numbers in seen[:-1]}) == len(seen) - 1


def test_it_ends_in_exactly_what_was_recorded() -> None:
    world = World(now_ms=at(15) - 1)
    row = world.rows("limit=1")[0]
    assert row[:6] == [at(14), "114.0", "117.5", "112.0", "115.0", "24.125"]


def test_it_is_the_sum_of_its_minutes_so_far() -> None:
    world = World(Tape.of(HOURLY, BARS), Tape.of(MINUTES, FIRST + REST))
    world.clock.set(at(14, 2))
    # Of minute 2 one millisecond has passed.
    assert world.rows("limit=1")[0][1:6] == ["114.0", "117.5", "114.0", "116.0", "1.000"]
    world.clock.set(at(14, 3) - 1)
    assert world.rows("limit=1")[0][1:6] == ["114.0", "117.5", "112.0", "115.0", "1.500"]


def test_minutes_that_trade_more_than_the_hour_stop_at_the_hours_volume() -> None:
    world = World(Tape.of(HOURLY, BARS), Tape.of(MINUTES, FIRST + REST))
    world.clock.set(at(14, 59))
    assert world.rows("limit=1")[0][5] == "24.125"


def test_the_same_moment_shows_the_same_row() -> None:
    assert World().klines("limit=1").body == World().klines("limit=1").body


@pytest.mark.long
@needs_data
def test_a_real_hour_grows_from_its_real_minutes() -> None:
    files = [DATA / "rest" / name for name in ("BTCUSDT-1h.parquet", "BTCUSDT-1m-2023-07.parquet")]
    hour = 1692198000000  # 2023-08-16 15:00
    world = World(*Tape.load([str(file) for file in files]), weight_limit=10**9)
    volumes = []
    for now_ms in [*range(hour + MINUTE, hour + HOUR, 5 * MINUTE), hour + HOUR]:
        world.clock.set(now_ms)
        volumes.append(float(world.rows(f"startTime={hour}&limit=1")[0][5]))
    assert volumes == sorted(volumes)
    # Its minutes add up to 8853.46.
    assert volumes[-1] == 8853.323
