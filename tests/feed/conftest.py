"""A feed that has lived up to 13:00 and is about to live the hour that closed at 14:00."""

from pathlib import Path

import pytest

from barfeed.replay.tapes.tape import Tape
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """An exchange with a thousand hours behind and ten before it; the store is absent."""
    bars = made_up_bars(TARGET_MS + hours(10), 1010)
    return World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + hours(1) + 30_000)


@pytest.fixture
def started(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, with a store that ends at 12:00: one hour behind."""
    world.clock.go_to(TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "hour")
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    return world


@pytest.fixture
def lived(world: World, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The same, with a store that ends at 13:00: there is nothing to do."""
    world.live_first_hour(tmp_path_factory.getbasetemp() / "lived")
    world.exchange.requests.clear()
    return world
