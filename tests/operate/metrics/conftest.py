"""A feed that is measured, on an exchange with a thousand hours behind and ten before it."""

from pathlib import Path

import pytest

from barfeed.replay.tapes.tape import Tape
from operate.metrics.metering_world import TARGET_MS, Metered
from world import BTCUSDT_1H, World, hours, made_up_bars


@pytest.fixture
def world(tmp_path: Path) -> World:
    bars = made_up_bars(TARGET_MS + hours(10), 1010)
    return World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + 30_000)


@pytest.fixture
def metered(world: World) -> Metered:
    """Its store is absent; the exchange is half a minute past 13:00."""
    return Metered(world)
