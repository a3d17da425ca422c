"""A store for tests of what stands in a user's own table: one DuckDB for all tests of a module, a new file for each."""

from collections.abc import Iterator

import pytest

from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """One for all tests: between two uses it holds no file, and a DuckDB for each test takes as long as the test."""
    return Store(tmp_path_factory.mktemp("kept") / "ohlcv.duckdb", SystemClock(), 0.0)


@pytest.fixture
def store(kept: Store) -> Iterator[Store]:
    """Its file is not there yet."""
    yield kept
    for left in kept.path.parent.iterdir():
        left.unlink()
