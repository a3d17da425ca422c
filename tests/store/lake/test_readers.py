"""Readers in a loop while passes write: each look is the store as it stood after one pass, never anything between."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from barfeed.domain.bars import HOUR_MS
from store.lake.lakes import END_MS, SYMBOLS, StoreAndLake
from waiting import LONGEST_SEC, until
from world import hours

pytestmark = pytest.mark.long

# A reader says what it sees whenever it is told to look: how many bars, how many different ones, the newest hour.
READER = """
import sys
import duckdb
# To DuckDB a script without a file is a person's prompt: it draws how far a long look is.
duckdb.execute("SET enable_progress_bar = false")
glob = sys.argv[1] + "/kind=ohlcv/**/*.parquet"
for _ in sys.stdin:
    try:
        {look}
    except Exception as problem:
        # A day was replaced between two openings of one query: said aloud, and no bar is made of it.
        print("again", type(problem).__name__, *str(problem).split()[:12], flush=True)
    else:
        print(*seen, flush=True)
"""
LOOKS = {
    "duckdb": """seen = duckdb.execute(
            "SELECT count(*), count(DISTINCT (symbol, timestamp)), epoch_ms(max(timestamp)) FROM read_parquet(?)",
            [glob],
        ).fetchall()[0]""",
    "polars": """import polars
        bars = polars.scan_parquet(glob).select("symbol", "timestamp").collect()
        seen = bars.height, bars.unique().height, int(bars["timestamp"].max().timestamp() * 1000)""",
    "pyarrow": """import pyarrow.dataset as ds
        there = ds.dataset(sys.argv[1] + "/kind=ohlcv/interval=1h", partitioning="hive")
        bars = there.to_table(["symbol", "timestamp"])
        keys = list(zip(*bars.to_pydict().values()))
        seen = len(keys), len(set(keys)), int(max(keys, key=lambda key: key[1])[1].timestamp() * 1000)""",
    "pandas": """import pandas
        bars = pandas.read_parquet(sys.argv[1] + "/kind=ohlcv/interval=1h", columns=["symbol", "timestamp"])
        seen = len(bars), len(bars.drop_duplicates()), bars["timestamp"].max().value // 10**6""",
    "barfeed": """import barfeed
        bars = list(barfeed.open(sys.argv[1]).bars(["BTCUSDT", "ETHUSDT", "DOGEUSDC"]))
        seen = len(bars), len({bar[:2] for bar in bars}), int(bars[-1].timestamp.timestamp() * 1000)""",
}


class Reader:
    """A process of its own that looks again as soon as it has looked, and all that it saw."""

    def __init__(self, engine: str, address: str) -> None:
        self.engine = engine
        self.seen: list[tuple[int, ...]] = []
        self.again: list[str] = []
        self.process = subprocess.Popen(
            [sys.executable, "-c", READER.format(look=LOOKS[engine]), address],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={"TZ": "UTC", "POLARS_MAX_THREADS": "1"},
        )  # fmt: skip
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._is_over = threading.Event()
        self._thread.start()

    def _look(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        while not self._is_over.is_set():
            self.process.stdin.write("look\n")
            self.process.stdin.flush()
            if not (line := self.process.stdout.readline()):
                return
            if line.startswith("again"):
                self.again.append(line)
            else:
                self.seen.append(tuple(map(int, line.split())))
        self.process.stdin.close()

    def end(self) -> int:
        """Its exit code, after one more look."""
        self._is_over.set()
        self._thread.join(LONGEST_SEC)
        assert self.process.stdout
        self.process.stdout.close()
        return self.process.wait(LONGEST_SEC)


@pytest.fixture
def both(tmp_path: Path) -> StoreAndLake:
    one = StoreAndLake(tmp_path)
    one.append(48)
    one.export()
    return one


def prove_never_torn(both: StoreAndLake, engines: list[str], passes: int) -> int:
    """Every look of every reader is whole, and none goes back; how many looks there were."""
    readers = []
    for each in engines:
        # One after another: so many that begin at once take their time.
        readers.append(reader := Reader(each, both.address))
        until(lambda reader=reader: reader.seen or reader.process.poll() is not None)  # type: ignore[misc] # bound now
    for hour in range(1, passes + 1):
        both.append(1, END_MS + hours(hour))
        assert both.export().written == 1
    assert [reader.end() for reader in readers] == [0] * len(readers)
    for reader in readers:
        # An error of an engine's own, where a day is replaced while it opens the file a second time, is no bar.
        assert len(reader.again) < len(reader.seen), (reader.engine, reader.again[:3])
        for bars, different, newest_ms in reader.seen:
            assert bars == different
            assert bars == len(SYMBOLS) * (48 + (newest_ms - END_MS) // HOUR_MS)
        assert reader.seen == sorted(reader.seen)
    assert both.read() == both.stored()
    for reader in readers:
        sys.stdout.write(f"{reader.engine}: {len(reader.seen)} looks, {len(reader.again)} again {reader.again[:1]}\n")
    return sum(len(reader.seen) for reader in readers)


def test_readers_never_see_a_torn_state(both: StoreAndLake) -> None:
    assert prove_never_torn(both, ["duckdb"], 5) > 1


@pytest.mark.proof
def test_twenty_readers_through_five_hundred_passes_never_see_a_torn_state(both: StoreAndLake) -> None:
    engines = [each for each in LOOKS if each == "duckdb" or pytest.importorskip(each)]
    assert prove_never_torn(both, (engines * 20)[:20], 500) > 20
