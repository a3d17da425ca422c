"""A machine at an exchange that has every kind, and its archive."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from history.kinds.kinds_world import NOW_MS, tapes
from process import Machine


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Machine]:
    clock = HandClock(NOW_MS)
    exchange = ReplayExchange(tapes(), clock.now_ms)
    with ReplayServer(WithArchive(exchange, ReplayArchive(tapes(), clock.now_ms))) as server:
        yield Machine(tmp_path, exchange, clock, server.url)
