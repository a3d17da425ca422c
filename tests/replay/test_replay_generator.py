from itertools import pairwise

import pytest

from barfeed.domain.bars import Interval
from barfeed.replay.tapes.generator import generate
from replay.replay_world import HOUR, World, at


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "PEPEUSDT", "FOOUSDT"])
@pytest.mark.parametrize("interval", ["1m", "1h", "1d"])
def test_every_bar_is_a_possible_one_and_opens_near_the_former_close(symbol: str, interval: str) -> None:
    tape = generate(symbol, interval, at(0), 1000, seed=7)
    step = Interval(interval).ms
    assert [bar.open_time_ms for bar in tape.bars] == [at(0) + n * step for n in range(1000)]
    for before, bar in pairwise(tape.bars):
        assert 0 < bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.volume > 0
        assert abs(bar.open - before.close) <= 2.5 * 10**-tape.decimals.price


def test_the_same_seed_gives_the_same_bars_and_another_one_others() -> None:
    first, again, other = (generate("BTCUSDT", "1h", at(0), 50, seed).bars for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_more_bars_begin_with_the_fewer() -> None:
    assert generate("BTCUSDT", "1h", at(0), 90, 1).bars[:50] == generate("BTCUSDT", "1h", at(0), 50, 1).bars


def test_wild_hours_come_in_spells() -> None:
    bars = generate("BTCUSDT", "1h", at(0), 5000, seed=3).bars
    moves = [abs(bar.close / bar.open - 1) for bar in bars]
    mean = sum(moves) / len(moves)
    after_wild = [later for move, later in pairwise(moves) if move > 2 * mean]
    assert sum(after_wild) / len(after_wild) > 1.2 * mean


def test_the_day_has_a_busy_and_a_quiet_time() -> None:
    bars = generate("BTCUSDT", "1h", at(0), 24 * 200, seed=3).bars
    by_hour = [sum(bar.volume for bar in bars if bar.open_time_ms // HOUR % 24 == hour) for hour in range(24)]
    assert by_hour[15] > 2 * by_hour[3]


def test_prices_stay_in_reach_of_where_they_began() -> None:
    bars = generate("BTCUSDT", "1h", at(0), 20_000, seed=5).bars
    assert 43_000 / 10 < min(bar.low for bar in bars) < max(bar.high for bar in bars) < 43_000 * 10


def test_a_generated_tape_is_played() -> None:
    world = World(generate("BTCUSDT", "1h", at(0), 24, seed=1))
    assert world.hours("limit=2") == [13, 14]
