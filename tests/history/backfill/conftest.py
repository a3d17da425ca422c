"""What the tests of own files begin with, and none of them changes."""

import pytest

from barfeed.store.duckdb import in_memory
from barfeed.store.incoming.staging import Staging
from history.backfill.backfill_world import History


@pytest.fixture(scope="module")
def staging() -> Staging:
    """Where a file's bars go before they are stored: each file that is staged begins by emptying it."""
    return Staging(in_memory())


@pytest.fixture(scope="module")
def nothing_stored(tmp_path_factory: pytest.TempPathFactory) -> History:
    """A history without a store, for those who are refused: they leave it so."""
    return History(tmp_path_factory.mktemp("nothing"))
