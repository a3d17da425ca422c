"""A feed that is measured, on an exchange with a thousand hours behind and ten before it."""

from pathlib import Path

import pytest

from operate.metrics.metering_world import TARGET_MS, Metered
from world import World, hours, made_up_tape


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, [made_up_tape(TARGET_MS + hours(10), 1010)], TARGET_MS + 30_000)


@pytest.fixture
def metered(world: World) -> Metered:
    """Its store is absent; the exchange is half a minute past 13:00."""
    return Metered(world)
