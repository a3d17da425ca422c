"""What no test may leave to those after it."""

import logging
import signal
from collections.abc import Iterator

import pytest

# Of a suite that a shell has started in the background every child would ignore Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _the_log_as_it_was() -> Iterator[None]:
    """In this process `barfeed doctor` silences the log of whatever comes after it."""
    log = logging.getLogger("barfeed")
    level = log.level
    yield
    log.setLevel(level)
