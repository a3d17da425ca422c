"""A feed that has lived up to 13:00, and what can be done to its store and its exchange behind its back."""

from collections.abc import Callable
from pathlib import Path

import pytest

from barfeed.history.mending.repair import Repair
from barfeed.replay.tapes.tape import Tape
from process import BARFEED, Machine, Ran
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)

Barfeed = Callable[..., Ran]


@pytest.fixture
def lived(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store of 726 bars that ends at 13:00; it is 14:00:30 on the exchange."""
    bars = made_up_bars(TARGET_MS + hours(10), 2010)
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + hours(1) + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "repair")
    return world


@pytest.fixture
def work(lived: World) -> Repair:
    """A repair of that store."""
    return Repair(lived.store, lived.rest, BTCUSDT_1H, 60.0)


@pytest.fixture
def barfeed() -> Barfeed:
    """Run `barfeed NAME ...` as a process of its own on a machine."""

    def run(machine: Machine, name: str, *flags: str, **environment: str) -> Ran:
        return machine.call([str(BARFEED), name, *flags], BARFEED_DUCKDB=str(machine.duckdb), **environment)

    return run
