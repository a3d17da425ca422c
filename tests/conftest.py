"""What no test may leave to those after it."""

import logging
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Iterator[None]:
    """In this process `barfeed doctor` silences the log of whatever comes after it."""
    log = logging.getLogger("barfeed")
    level = log.level
    yield
    log.setLevel(level)
