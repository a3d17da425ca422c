"""Every kind of series that is stored stands in the lake as bars do: a folder a table, a file a day, proven alike."""

import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import duckdb
import pytest

import barfeed
from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS, KLINES
from barfeed.store.kinds.revisions import Change, Why, revise
from barfeed.store.kinds.tables import types, writing
from barfeed.store.lake import exporter
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.lake import Lake
from barfeed.store.lake.proof import Proven, prove
from barfeed.store.lake.table import Table
from store.lake import noting
from store.lake.lakes import END_MS, StoreAndLake
from world import SteppingClock, hours, ms

ONE_HOUR = Interval.ONE_HOUR
FUNDING, INTEREST = KINDS["funding"], KINDS["open_interest"]
FED = (KLINES, FUNDING, INTEREST)
OF_FUNDING = Table(ONE_HOUR, FUNDING)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of bars, and three kinds beside them, exported once for all tests."""
    both = StoreAndLake(tmp_path_factory.mktemp("template"))
    both.append(30)
    for kind in FED:
        both.append_kind(kind, 30)
    assert both.export() == Exported(written=8, rows=360)
    return both.store.path.parent


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> StoreAndLake:
    """A copy of its own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return StoreAndLake(tmp_path)


def folder(both: StoreAndLake, table: Table) -> Path:
    return Path(both.address) / table.folder


def versions(both: StoreAndLake) -> dict[str, int]:
    root = Path(both.address)
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*.parquet")}


def written_since(both: StoreAndLake, before: dict[str, int]) -> list[str]:
    return sorted(name for name, at in versions(both).items() if before.get(name) != at)


def expect_as_stored(both: StoreAndLake) -> None:
    for table in (Table(ONE_HOUR, kind) for kind in FED):
        assert table.kind
        columns = ", ".join(table.types)
        assert both.read_kind(table) == both.sql(f"SELECT {columns} FROM {table.kind.table(ONE_HOUR)} ORDER BY ALL")
    assert both.read() == both.stored()
    assert found(both) == []


def proven(both: StoreAndLake) -> Proven:
    return prove(both.store, both.lake, ONE_HOUR)


def found(both: StoreAndLake) -> list[str]:
    return [str(each) for each in proven(both).findings]


def test_each_kind_has_its_folder_and_its_rows_are_the_stores(filled: StoreAndLake) -> None:
    expect_as_stored(filled)
    assert proven(filled) == Proven(files=8, rows=360, findings=[])
    assert sorted(versions(filled)) == [
        f"{table}/date=2026-03-{day}/{rows}.parquet"
        for table, rows in (
            ("kind=funding", "rows"),
            ("kind=klines/interval=1h", "rows"),
            ("kind=ohlcv/interval=1h", "bars"),
            ("kind=open_interest/interval=1h", "rows"),
        )
        for day in ("09", "10")
    ]


@pytest.mark.long
def test_the_columns_of_every_kind_are_the_stores(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    for kind in KINDS.values():
        both.append_kind(kind, 1)
    assert both.export() == Exported(written=len(KINDS), rows=3 * len(KINDS))
    for kind in KINDS.values():
        table = Table(ONE_HOUR, kind)
        [file] = map(str, folder(both, table).rglob("*.parquet"))
        described = "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?, hive_partitioning = false))"
        assert list(duckdb.execute(described, [file]).fetchall()) == list(types(kind).items())
        assert list(table.columns) == list(types(kind))
        told = duckdb.execute("SELECT value FROM parquet_kv_metadata(?) WHERE key = 'barfeed'", [file]).fetchall()
        assert b"timestamp, known_at and created_at are UTC, without a zone" in told[0][0]


@pytest.mark.long
def test_a_pass_writes_what_it_adds_and_nothing_else(filled: StoreAndLake) -> None:
    before = versions(filled)
    assert filled.export() == Exported(rows=360)
    assert written_since(filled, before) == []
    filled.append_kind(INTEREST, 1, END_MS + hours(1), ["BTCUSDT"])
    assert filled.export() == Exported(written=1, rows=361)
    assert written_since(filled, before) == ["kind=open_interest/interval=1h/date=2026-03-10/rows.parquet"]
    expect_as_stored(filled)


@pytest.mark.long
def test_what_comes_late_or_by_a_backfill_writes_its_day_again(filled: StoreAndLake) -> None:
    before = versions(filled)
    filled.append_kind(FUNDING, 1, ms(2026, 1, 5, 8))
    filled.append_kind(INTEREST, 1, END_MS - hours(20), ["LATEUSDT"])
    assert filled.export() == Exported(written=2, rows=364)
    assert written_since(filled, before) == [
        "kind=funding/date=2026-01-05/rows.parquet",
        "kind=open_interest/interval=1h/date=2026-03-09/rows.parquet",
    ]
    expect_as_stored(filled)


@pytest.mark.long
@pytest.mark.parametrize("kind", [FUNDING, INTEREST], ids=["funding", "open_interest"])
def test_a_revision_writes_its_day_again_once(filled: StoreAndLake, kind: Kind) -> None:
    before, at_ms, table = versions(filled), ms(2026, 3, 9, 20), Table(ONE_HOUR, kind)
    old, new = (Row(at_ms, 0, tuple(float(at_ms + n + more) for n in range(2))) for more in (0, 1))
    with writing(filled.store, kind, ONE_HOUR) as rows:
        change = Change("ETHUSDT", old, new)
        assert revise(rows.connection, kind, ONE_HOUR, [change], Why(at_ms, "the exchange", "repair 1")) == [change]
    assert filled.export() == Exported(written=1, rows=360)
    day, changes = written_since(filled, before)
    assert day == f"{table.folder}/date=2026-03-09/rows.parquet"
    assert changes.startswith("table=kinds_revisions/month=")
    assert filled.export() == Exported(rows=360)
    expect_as_stored(filled)


@pytest.mark.long
def test_what_its_owner_took_out_goes_from_the_lake(filled: StoreAndLake) -> None:
    filled.sql("DELETE FROM funding WHERE timestamp < '2026-03-10'")
    filled.export()
    expect_as_stored(filled)
    assert [path.parent.name for path in folder(filled, OF_FUNDING).rglob("*.parquet")] == ["date=2026-03-10"]


@pytest.mark.long
def test_each_table_gets_its_newest_day_in_whatever_time_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = StoreAndLake(tmp_path)
    both.append(48)
    both.append_kind(INTEREST, 48)
    monkeypatch.setattr(exporter, "_LONGEST_SEC", 0.0)
    stepping = Lake(both.address, SteppingClock(END_MS))
    assert stepping.export(both.store, ONE_HOUR) == Exported(written=2, left=4, rows=84)
    assert {name.split("/")[-2] for name in versions(both)} == {"date=2026-03-10"}
    while both.export().left:
        pass
    assert found(both) == []


def test_a_users_own_table_of_a_kinds_name_is_left_alone(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    both.sql("CREATE TABLE funding (mine VARCHAR)")
    assert both.export() == Exported(written=1, rows=3)
    assert not folder(both, OF_FUNDING).exists()
    assert found(both) == []


def test_bars_are_there_though_a_kinds_folder_cannot_be_written(filled: StoreAndLake) -> None:
    (folder(filled, OF_FUNDING) / "date=1999-01-01").mkdir()
    filled.grow(1)
    with pytest.raises(LakeUnusable, match="kind=funding holds date=1999-01-01, which is not in its manifest"):
        filled.export()
    assert filled.read() == filled.stored()


@pytest.mark.long
def test_what_is_wrong_with_a_kind_is_found_under_its_name(filled: StoreAndLake) -> None:
    filled.sql("UPDATE open_interest_1h SET open_interest = 0 WHERE timestamp = '2026-03-09 20:00:00'")
    filled.append_kind(FUNDING, 1, END_MS + hours(24), ["BTCUSDT"])
    whole = folder(filled, Table(ONE_HOUR, KLINES)) / "date=2026-03-09/rows.parquet"
    whole.write_bytes(whole.read_bytes()[:-100])
    cut, never_came, differs = found(filled)
    assert cut.startswith("kind=klines/interval=1h: date=2026-03-09/rows.parquet is another file than the manifest")
    assert never_came == "kind=funding: 2026-03-11: the store has rows of it, the lake has none"
    of_day, _, said = differs.partition("rows.parquet: ")
    assert of_day == "kind=open_interest/interval=1h: date=2026-03-09/"
    assert said == "3 rows differ from the store's; first: BTCUSDT 2026-03-09 20:00:00"


def test_a_kind_that_the_store_has_lost_is_found(filled: StoreAndLake) -> None:
    filled.sql("DROP TABLE funding CASCADE")
    assert [each.partition(":")[0] for each in found(filled)] == ["kind=funding"] * 2


@pytest.mark.long
def test_it_gives_the_wide_table_of_the_store(filled: StoreAndLake) -> None:
    filled.append_kind(FUNDING, 1, ms(2026, 1, 5, 8), ["OLDUSDT"])
    filled.append(30, symbols=["OLDUSDT", "BAREUSDT"])
    filled.export()
    lake, store = barfeed.open(filled.address), barfeed.open(filled.store.path)
    ours, theirs = (each.wide(["BTCUSDT", "OLDUSDT", "BAREUSDT"]).to_polars() for each in (lake, store))
    assert ours.equals(theirs)
    assert ours["funding_rate"].null_count() < len(ours)
    asked = {"start": "2026-03-10", "end": "2026-03-10 03:00", "kinds": ["funding", "taker_volume"]}
    ours, theirs = (each.wide("OLDUSDT", **asked).to_polars() for each in (lake, store))  # type: ignore[arg-type]
    assert ours.equals(theirs)
    assert (len(ours), ours["funding_rate"].null_count()) == (3, 0)


# Killed before the nth file takes its name: a day's, or a manifest's.
_KILLED = """
import os, signal, sys
from pathlib import Path
from barfeed.domain.bars import Interval
from barfeed.machine import atomic
from barfeed.machine.clock import SystemClock
from barfeed.store.duckdb import Store
from barfeed.store.lake.lake import Lake

left, renamed = int(sys.argv[3]), Path.replace

def killed(self, target):
    global left
    left -= 1
    if not left:
        os.kill(os.getpid(), signal.SIGKILL)
    return renamed(self, target)

Path.replace = killed
Lake(sys.argv[2], SystemClock()).export(Store(Path(sys.argv[1]), SystemClock(), 5.0), Interval.ONE_HOUR)
"""


@pytest.mark.long
def test_killed_before_any_file_has_its_name_the_next_pass_heals_it(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(30)
    both.append_kind(FUNDING, 30)
    for nth in count(1):
        both.append_kind(INTEREST, 1, END_MS + hours(nth))
        both.grow(nth)
        noting.revise(both, "BTCUSDT", nth)
        arguments = [str(both.store.path), both.address, str(nth)]
        done = subprocess.run([sys.executable, "-c", _KILLED, *arguments], capture_output=True, text=True, check=False)
        if not done.returncode:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        both.export()
        assert found(both) == []
    assert nth > 3
    assert found(both) == []
