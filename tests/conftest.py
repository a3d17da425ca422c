"""What no test may leave to those after it, and a feed that many tests begin with."""

import gc
import logging
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from proof import sabotage
from proof.proof_world import Exchange, copy, exchange, make_disk
from sampling import sampled
from world import World, hours, made_up_tape, ms

TARGET_MS = ms(2024, 2, 10, 13)
# So long may a proof take: a market's four hundred passes need an hour of it.
PROOF_SEC = 4 * 3600

# How long an example takes is the machine's affair, and never a property's.
settings.register_profile("barfeed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("barfeed")

# Of a suite that was started in the background, or with nohup, every child would ignore what ends it.
for ending in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
    if signal.getsignal(ending) is signal.SIG_IGN:
        signal.signal(ending, signal.default_int_handler if ending is signal.SIGINT else signal.SIG_DFL)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--sample K --sample-seed TEXT`: K long tests of each file, by chance but for a seed always the same."""
    parser.addoption("--sample", type=int, default=0, help="so many long tests of each file, 0 for all")
    parser.addoption("--sample-seed", default="", help="which ones")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give proofs their hours, and leave out what takes long and is not in the sample.

    Last, so that of what `-m` leaves there is one. What has seen an old fault is in every sample: it would again.
    """
    for item in items:
        if item.get_closest_marker("proof"):
            item.add_marker(pytest.mark.timeout(PROOF_SEC))
    if count := config.getoption("--sample"):
        long = {item.nodeid for item in items if item.get_closest_marker("long")}
        always = {test for fault in sabotage.all_of_them() for test in fault.tests}
        left_out = long - sampled(long, count, config.getoption("--sample-seed"), always)
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]


def pytest_collection_finish() -> None:
    """No test that looks for garbage, and no interpreter that does by itself, looks at thousands of tests once more."""
    gc.freeze()


@pytest.fixture(autouse=True)
def _the_log_as_at_first() -> None:
    """In this process a command with `--debug`, or one that silences the log, does so for whatever comes after it."""
    logging.getLogger().setLevel(logging.WARNING)
    logging.getLogger("barfeed").setLevel(logging.NOTSET)


@pytest.fixture
def deaf() -> Iterator[str]:
    """An address at which nobody listens, and where nobody else can begin to: `127.0.0.1:PORT`."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture(scope="module")
def world() -> Iterator[Exchange]:
    """An exchange on a real socket, for the processes of a module."""
    with exchange() as one:
        yield one


@pytest.fixture(scope="module")
def start(world: Exchange, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A disk with a feed on it that is one hour behind: look at it, but harm only a `disk`."""
    return make_disk(world, tmp_path_factory.mktemp("start") / "disk")


@pytest.fixture
def disk(start: Path, tmp_path: Path) -> Path:
    """Such a disk for one test."""
    return copy(start, tmp_path / "disk")


@pytest.fixture
def started(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """A store that ends at 12:00, one hour behind an exchange with a thousand bars."""
    world = World(tmp_path, [made_up_tape(TARGET_MS + hours(10), 1010)], TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "started")
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    return world
