"""The lines of docs/lake.md, run: every engine counts the same bars and the same sums, and sees no torn state."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from process import ROOT
from store.lake.lakes import StoreAndLake

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the lake's times have no zone

PAGE = (ROOT / "docs" / "lake.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
LIBRARIES = ("duckdb", "polars", "pandas", "pyarrow", "pyspark", "chdb")
# They are no part of the ordinary suite: one needs a JRE, both are of hundreds of megabytes.
HEAVY = {"pyspark", "chdb"}
TABLE = "data/lake/kind=ohlcv/interval=1h"

# Sums of whole numbers are the same in any order: prices and volumes in 1024ths, times in seconds.
SUMS = """
SELECT count(*) AS bars, count(DISTINCT symbol) AS symbols, sum({seconds}) AS seconds,
       sum(CAST(floor(close * 1024) AS BIGINT)) AS close, sum(CAST(floor(volume * 1024) AS BIGINT)) AS volume
FROM {bars}
"""


def of_library(name: str) -> str:
    blocks: list[str] = BLOCKS
    return next(block for block in blocks if re.search(rf"^(import|from) {name}\b", block, re.MULTILINE))


@pytest.fixture(scope="module")
def at_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a market's lake in it, `data/lake`."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "data").mkdir()
    both = StoreAndLake(folder / "data")
    both.append(62)
    both.export()
    return folder


def said(folder: Path, code: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=1200, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def named(libraries: Iterable[str]) -> list[Any]:
    return [pytest.param(name, marks=[pytest.mark.proof] * (name in HEAVY)) for name in libraries]


def require(library: str) -> None:
    pytest.importorskip(library, reason=f"{library} is not installed")
    if library == "pyspark" and not shutil.which("java"):
        pytest.skip("Spark wants a JRE, and there is none")


@pytest.mark.long
@pytest.mark.parametrize("library", named(LIBRARIES))
def test_the_lines_of_the_page_count_every_bar(at_home: Path, library: str) -> None:
    require(library)
    assert said(at_home, of_library(library))[-1] == "62"


def by_duckdb() -> tuple[int, ...]:
    bars = f"read_parquet('{TABLE}/**/*.parquet')"
    return tuple(map(int, duckdb.execute(SUMS.format(seconds="epoch(timestamp)::BIGINT", bars=bars)).fetchall()[0]))


def by_polars() -> tuple[int, ...]:
    polars = pytest.importorskip("polars")
    bars = polars.scan_parquet(f"{TABLE}/**/*.parquet").collect()
    floors = [int((bars[name] * 1024).floor().cast(polars.Int64).sum()) for name in ("close", "volume")]
    return (bars.height, bars["symbol"].n_unique(), int(bars["timestamp"].dt.epoch("s").sum()), *floors)


def by_pandas() -> tuple[int, ...]:
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    bars = pandas.read_parquet(TABLE)
    seconds = bars["timestamp"].astype("datetime64[s]").astype("int64").sum()
    floors = [int((bars[name] * 1024 // 1).astype("int64").sum()) for name in ("close", "volume")]
    return (len(bars), bars["symbol"].nunique(), int(seconds), *floors)


def by_pyarrow() -> tuple[int, ...]:
    dataset = pytest.importorskip("pyarrow.dataset")
    table = dataset.dataset(TABLE, partitioning="hive").to_table()
    columns = {name: table[name].to_pylist() for name in ("symbol", "timestamp", "close", "volume")}
    seconds = sum(round((each - EPOCH).total_seconds()) for each in columns["timestamp"])
    floors = [sum(int(each * 1024 // 1) for each in columns[name]) for name in ("close", "volume")]
    return (table.num_rows, len(set(columns["symbol"])), seconds, *floors)


def by_chdb() -> tuple[int, ...]:
    chdb = pytest.importorskip("chdb", reason="chdb is not installed")
    sums = SUMS.format(seconds="toUnixTimestamp(timestamp)", bars=f"file('{TABLE}/**/*.parquet', Parquet)")
    told = chdb.query(f"{sums} SETTINGS session_timezone = 'UTC'", "CSV")
    return tuple(map(int, str(told).strip().split(",")))


def by_spark() -> tuple[int, ...]:
    require("pyspark")
    sums = SUMS.format(seconds="timestampdiff(SECOND, TIMESTAMP_NTZ '1970-01-01 00:00:00', timestamp)", bars="bars")
    # A process of its own: it warns of the libraries that it finds, and leaves a JVM behind.
    return tuple(map(int, said(Path.cwd(), SPARK.format(table=TABLE, sums=sums))))


SPARK = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false").getOrCreate()
spark.read.parquet("{table}").createOrReplaceTempView("bars")
print(*spark.sql('''{sums}''').collect()[0])
"""
ENGINES = {"polars": by_polars, "pandas": by_pandas, "pyarrow": by_pyarrow, "chdb": by_chdb, "pyspark": by_spark}


@pytest.mark.parametrize("library", named(ENGINES))
def test_engines_agree_on_a_markets_checksum(at_home: Path, library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(at_home)
    sums = by_duckdb()
    assert sums[:2] == (186, 3)
    assert ENGINES[library]() == sums


def test_what_is_to_be_declared_elsewhere_are_the_columns_of_the_lake(at_home: Path) -> None:
    file = str(next((at_home / TABLE).rglob("*.parquet")))
    described = duckdb.execute("SELECT column_name FROM (DESCRIBE FROM read_parquet(?))", [file]).fetchall()
    columns = {name for (name,) in described} - {"kind", "interval"}
    declared = re.findall(r"```sql\n(CREATE (?:EXTERNAL )?TABLE \S+ \(.*?)```", PAGE, re.DOTALL)
    assert len(declared) == 2
    for each in declared:
        assert all(re.search(rf"\b{name}\b", each) for name in columns)
