"""Which DuckDB can read a store: what contracts and doctor promise, tried with the very versions.

Needs a package index, and is skipped without one.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Series
from barfeed.domain.errors import StoreUnusable
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.own.readers import oldest_reader
from barfeed.store.revisions import Why, revised

pytestmark = pytest.mark.proof

SERIES = Series.of("BTCUSDT", "1h")
BARS = [Bar(1_705_323_600_000 + hour * 3_600_000, 100.1, 110.0, 90.0, 105.0, 7.5) for hour in range(2000)]
READ = (
    "import sys, duckdb; c = duckdb.connect(sys.argv[1], read_only=True);"
    " print(duckdb.__version__, *c.execute('SELECT count(*), max(volume) FROM ohlcv_btcusdt_1h').fetchone())"
)
MINE = "CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE)"  # noqa: E501 - SQL
INDEX = "CREATE UNIQUE INDEX mine ON ohlcv_btcusdt_1h (timestamp)"


class Old:
    """Other DuckDBs beside the one that is installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, version: str, code: str, *words: object) -> "subprocess.CompletedProcess[str]":
        """Run a piece of Python with DuckDB `version`."""
        place = self._folder / version
        if not place.exists():
            install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(place)]
            done = subprocess.run([*install, f"duckdb=={version}"], capture_output=True, check=False)
            if done.returncode:
                pytest.skip(f"duckdb {version} cannot be had here")
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, words)],
            env=os.environ | {"PYTHONPATH": str(place)},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def make(self, version: str, path: Path, *statements: str) -> None:
        """A file of that DuckDB's."""
        code = (
            "import sys, duckdb; c = duckdb.connect(sys.argv[1]); [c.execute(each) for each in sys.argv[2:]]; c.close()"
        )
        done = self.run(version, code, path, *statements)
        assert done.returncode == 0, done.stderr

    def reads(self, version: str, path: Path) -> bool:
        """Whether it can read every bar."""
        done = self.run(version, READ, path)
        return done.stdout.split() == [version, "2001", "9.5"]


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Old:
    return Old(tmp_path_factory.mktemp("duckdbs"))


def live(path: Path) -> str:
    """What a feed does to a store: start it, append, change a bar. The oldest DuckDB that doctor then names."""
    store = Store(path, SystemClock(), 0.0)
    with store.appending(SERIES, create=True) as table:
        table.append(BARS)
    with store.appending(SERIES, create=False) as table:
        table.append([BARS[-1]._replace(open_time_ms=BARS[-1].open_time_ms + 3_600_000)])
    with revised(store, SERIES, [Change(BARS[7], BARS[7]._replace(volume=9.5))], Why(0, "a test", "a run")):
        pass
    with store.session(write=False) as connection:
        return oldest_reader(connection)


def made_by(version: str, *statements: str) -> Callable[[Old, Path], None]:
    return lambda old, path: old.make(version, path, *statements)


def by_hand(*statements: str, storage: str) -> Callable[[Old, Path], None]:
    def make(_old: Old, path: Path) -> None:
        with duckdb.connect() as connection:
            connection.execute(f"ATTACH '{path}' AS mine (STORAGE_VERSION '{storage}')")
            connection.execute("USE mine")
            for statement in statements:
                connection.execute(statement)

    return make


# A store as it begins, the oldest DuckDB that doctor names in the end, and one that cannot read it any more.
STORES: dict[str, tuple[Callable[[Old, Path], None], str, str]] = {
    "barfeed's own": (lambda _old, _path: None, "1.1.0", "1.0.0"),
    "a file of 1.0.0": (made_by("1.0.0", "CREATE TABLE notes AS SELECT 1"), "1.1.0", "1.0.0"),
    "a file of 1.1.0": (made_by("1.1.0", "CREATE TABLE notes AS SELECT 1"), "1.1.0", "1.0.0"),
    "a table of 1.1.0 with an index": (made_by("1.1.0", MINE, INDEX), "1.2.0", "1.1.0"),
    "a table with an index": (by_hand(MINE, INDEX, storage="v1.0.0"), "1.2.0", "1.1.0"),
    "a table that was given its key": (
        by_hand(MINE, "ALTER TABLE ohlcv_btcusdt_1h ADD PRIMARY KEY (timestamp)", storage="v1.0.0"), "1.1.0", "1.0.0"
    ),
    "a newer storage version": (by_hand("CREATE TABLE notes AS SELECT 1", storage="v1.2.0"), "1.2.0", "1.1.0"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "oldest", "too_old"), STORES.values(), ids=STORES)
def test_the_oldest_duckdb_that_is_promised_reads_a_store_and_the_one_before_does_not(
    old: Old, tmp_path: Path, make: Callable[[Old, Path], None], oldest: str, too_old: str
) -> None:
    path = tmp_path / "ohlcv.duckdb"
    make(old, path)
    assert live(path) == oldest
    assert old.reads(oldest, path)
    assert old.reads("1.4.0", path)
    assert not old.reads(too_old, path)


def test_a_file_of_duckdb_0_8_is_told_as_older(old: Old, tmp_path: Path) -> None:
    path = tmp_path / "ohlcv.duckdb"
    old.make("0.8.1", path, MINE)
    with pytest.raises(StoreUnusable, match="was written by a DuckDB so old that") as told:
        live(path)
    assert "EXPORT DATABASE with that DuckDB (pip install duckdb==0.8" in told.value.hint
