"""A feed with a past, lived once."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from operate.web.browser import browser
from operate.web.serving import Page
from page_world import HOURS, NOW_MS, PageWorld
from world import hours


@pytest.fixture(scope="session")
def past(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a feed's past, never touched: each test has a copy."""
    folder = tmp_path_factory.mktemp("past")
    PageWorld(folder).live()
    return folder


@pytest.fixture
def page(past: Path, tmp_path: Path) -> Iterator[Page]:
    """The page of a feed that lives on from there."""
    with served(past, tmp_path / "its") as one:
        yield one


@pytest.fixture(scope="module")
def shown(past: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Such a page for all tests that only look."""
    with served(past, tmp_path_factory.mktemp("shown") / "its") as one:
        yield one


@pytest.fixture(scope="module")
def chrome() -> Iterator[Any]:
    """A browser for all tests of a file."""
    with browser() as made:
        yield made


@contextmanager
def served(past: Path, folder: Path) -> Iterator[Page]:
    """The page of a copy."""
    shutil.copytree(past, folder)
    world = PageWorld(folder)
    world.one.clock.go_to(NOW_MS + hours(HOURS - 1))
    with Page(world).served() as one:
        yield one


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A port that somebody listens at."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]
