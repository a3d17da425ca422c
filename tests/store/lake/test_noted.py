"""What was noted beside bars and kinds stands in the lake, too: a folder a table, a file a month, proven alike."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.domain.kinds.table import KINDS
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.folder import Folder
from barfeed.store.lake.proof import Proven, prove
from barfeed.store.lake.table import NOTED
from store.lake.lakes import BTCUSDT, END_MS, StoreAndLake
from store.lake.noting import FUNDING, INTEREST, TABLES, let_pass, note_others, revise, revise_kind
from world import hours, made_up_bars, ms

ONE_HOUR = Interval.ONE_HOUR
# Changes are noted in two months.
_IN_FEBRUARY = "UPDATE ohlcv_revisions SET accepted_at = '2026-02-27 05:00:00', seen_at = '2026-02-27 05:00:00'"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days of bars and two kinds, and of whatever is noted something, exported once for all tests."""
    both = StoreAndLake(tmp_path_factory.mktemp("template"))
    both.append(30)
    for kind in (FUNDING, INTEREST):
        both.append_kind(kind, 30)
    revise(both, "ETHUSDT", 20)
    both.sql(_IN_FEBRUARY)
    revise(both, "ETHUSDT", 20)
    revise(both, "BTCUSDT", 1)
    revise_kind(both, INTEREST, "BTCUSDT", 3)
    note_others(both)
    assert both.export() == Exported(written=6, rows=270)
    return both.store.path.parent


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> StoreAndLake:
    """A copy of its own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return StoreAndLake(tmp_path)


def folder(both: StoreAndLake, table: str) -> Path:
    return Path(both.address) / f"table={table}"


def months(both: StoreAndLake, table: str) -> list[str]:
    return sorted(path.relative_to(folder(both, table)).as_posix() for path in folder(both, table).rglob("*.parquet"))


def versions(both: StoreAndLake) -> dict[str, int]:
    root = Path(both.address)
    return {path.relative_to(root).as_posix(): path.stat().st_mtime_ns for path in root.rglob("*.parquet")}


def written_since(both: StoreAndLake, before: dict[str, int]) -> list[str]:
    return sorted(name for name, at in versions(both).items() if before.get(name) != at)


def proven(both: StoreAndLake) -> Proven:
    return prove(both.store, both.lake, ONE_HOUR)


def found(both: StoreAndLake) -> list[str]:
    return [str(each) for each in proven(both).findings]


def expect_as_stored(both: StoreAndLake) -> None:
    for table in TABLES:
        columns = ", ".join(NOTED[table].types)
        glob = f"{both.address}/table={table}/**/*.parquet"
        read = duckdb.execute(f"SELECT {columns} FROM read_parquet(?) ORDER BY ALL", [glob]).fetchall()
        assert read == both.sql(f"SELECT {columns} FROM {table} ORDER BY ALL"), table
    assert both.read() == both.stored()
    assert found(both) == []


def test_each_table_has_its_folder_and_its_rows_are_the_stores(filled: StoreAndLake) -> None:
    expect_as_stored(filled)
    assert months(filled, "symbols") == ["month=2026-03/rows.parquet", "month=2026-04/rows.parquet"]
    [february, now] = months(filled, "ohlcv_revisions")
    assert february == "month=2026-02/rows.parquet"
    assert now > "month=2026-03"
    noted = sum(len(months(filled, table)) for table in TABLES)
    assert proven(filled) == Proven(files=6 + noted, rows=270 + 3 + 1 + 1 + 2 + 1, findings=[])


def test_the_columns_are_the_stores_and_the_manifest_tells_each_file(filled: StoreAndLake) -> None:
    for table in TABLES:
        [file, *_] = sorted(folder(filled, table).rglob("*.parquet"))
        described = "SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?, hive_partitioning = false))"
        assert duckdb.execute(described, [str(file)]).fetchall() == list(NOTED[table].types.items())
        told = duckdb.execute("SELECT value FROM parquet_kv_metadata(?) WHERE key = 'barfeed'", [str(file)]).fetchall()
        assert b"are UTC, without a zone" in told[0][0]
        manifest = json.loads((folder(filled, table) / "_manifest.json").read_text())
        assert (manifest["kind"], manifest["interval"], manifest["due"]) == (table, "", [])
        assert manifest["files"][f"{file.parent.name}/rows.parquet"]["bytes"] == file.stat().st_size
    revised = json.loads((folder(filled, "ohlcv_revisions") / "_manifest.json").read_text())["files"]
    assert revised["month=2026-02/rows.parquet"] | {"sha256": "", "bytes": 0} == {
        "rows": 1, "first": "2026-02-27 05:00:00", "last": "2026-02-27 05:00:00", "bytes": 0, "sha256": "",
        "created_at": "2026-02-27 05:00:00", "revisions": 0, "schema_version": 1,
    }  # fmt: skip


def test_where_nothing_came_nothing_is_written(filled: StoreAndLake) -> None:
    before = {path: path.stat().st_mtime_ns for path in Path(filled.address).rglob("[_r]*.*")}
    assert filled.export() == Exported(rows=270)
    assert {path: path.stat().st_mtime_ns for path in Path(filled.address).rglob("[_r]*.*")} == before


def test_a_pass_writes_the_month_that_it_adds_to_and_no_other(filled: StoreAndLake) -> None:
    before = versions(filled)
    revise(filled, "DOGEUSDC", 25)
    note_others(filled, END_MS)
    assert filled.export() == Exported(written=1, rows=270)
    [_, now] = months(filled, "ohlcv_revisions")
    assert written_since(filled, before) == [
        "kind=ohlcv/interval=1h/date=2026-03-09/bars.parquet",
        "table=exchange_gaps/month=2026-05/rows.parquet",
        "table=kinds_late/month=2026-05/rows.parquet",
        f"table=ohlcv_revisions/{now}",
        "table=symbols/month=2026-03/rows.parquet",
        "table=symbols/month=2026-04/rows.parquet",
    ]
    expect_as_stored(filled)


def test_of_a_store_without_them_the_lake_tells_that_there_are_none(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append_alone(BTCUSDT, made_up_bars(END_MS, 2))
    assert both.export() == Exported(written=1, rows=2)
    assert [months(both, table) for table in TABLES] == [[]] * len(TABLES)
    assert json.loads((folder(both, "symbols") / "_manifest.json").read_text())["files"] == {}
    assert proven(both) == Proven(files=1, rows=2, findings=[])


def test_a_bar_that_was_let_pass_and_a_row_without_a_moment_are_there(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    let_pass(both, made_up_bars(END_MS, 1)[0])
    both.sql("""
        INSERT INTO ohlcv_revisions (series, timestamp, accepted_at)
        VALUES ('ETHUSDT 1h', '2026-03-10 13:00', NULL), (NULL, NULL, 'infinity')
    """)
    both.export()
    assert months(both, "ohlcv_revisions")[0] == "month=1970-01/rows.parquet"
    assert found(both) == []
    both.export()
    assert found(both) == []


def test_a_users_own_table_of_the_name_is_left_alone(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    both.sql("CREATE TABLE symbols (mine VARCHAR); CREATE VIEW exchange_gaps AS FROM symbols")
    assert both.export() == Exported(written=1, rows=3)
    assert not folder(both, "symbols").exists()
    assert not folder(both, "exchange_gaps").exists()
    assert folder(both, "ohlcv_revisions").exists()
    assert found(both) == []


def test_a_lake_of_an_older_barfeed_is_told_so_and_caught_up_by_the_next_pass(filled: StoreAndLake) -> None:
    for table in TABLES:
        shutil.rmtree(folder(filled, table))
    assert "table=symbols: 2026-03: the store has rows of it, the lake has none" in found(filled)
    assert len(found(filled)) == 7
    before = versions(filled)
    assert filled.export() == Exported(rows=270)
    assert not set(written_since(filled, before)) & set(before)
    expect_as_stored(filled)


def test_what_is_wrong_with_one_is_found_under_its_name(filled: StoreAndLake) -> None:
    cut = folder(filled, "symbols") / "month=2026-03/rows.parquet"
    cut.write_bytes(cut.read_bytes()[:-100])
    (folder(filled, "exchange_gaps") / "month=2026-05/rows.parquet").unlink()
    (folder(filled, "kinds_late") / "month=2026-05/mine.parquet").write_bytes(b"PAR1")
    filled.sql("UPDATE ohlcv_revisions SET new_volume = 0 WHERE accepted_at < '2026-03-01'")
    differs = "1 rows differ from the store's; first: ETHUSDT 1h 2026-03-09 17:00:00"
    assert sorted(found(filled)) == [
        "table=exchange_gaps: month=2026-05/rows.parquet is not there",
        "table=kinds_late: month=2026-05/mine.parquet is not in the manifest: whoever reads the lake reads that, too",
        f"table=ohlcv_revisions: month=2026-02/rows.parquet: {differs}",
        "table=symbols: month=2026-03/rows.parquet is another file than the manifest tells of: cut, or changed",
    ]


def test_with_kinds_those_that_tell_of_kinds_are_proven(filled: StoreAndLake) -> None:
    for table in TABLES:
        for file in folder(filled, table).rglob("*.parquet"):
            file.write_bytes(file.read_bytes()[:-100])
    of_kinds = prove(filled.store, filled.lake, ONE_HOUR, [KINDS["funding"]])
    assert {str(each).partition(":")[0] for each in of_kinds.findings} == {"table=kinds_revisions", "table=kinds_late"}


def test_what_its_owner_took_out_goes_from_the_lake(filled: StoreAndLake) -> None:
    filled.sql("DELETE FROM ohlcv_revisions WHERE accepted_at < '2026-03-01'")
    filled.export()
    expect_as_stored(filled)
    assert len(months(filled, "ohlcv_revisions")) == 1


def test_a_month_that_is_gone_comes_again_once_its_folder_is(filled: StoreAndLake) -> None:
    shutil.rmtree(folder(filled, "symbols") / "month=2026-03")
    assert found(filled) == ["table=symbols: month=2026-03/rows.parquet is not there"]
    filled.export()
    expect_as_stored(filled)


def test_a_lake_that_is_ahead_is_left_alone(filled: StoreAndLake) -> None:
    filled.sql("DELETE FROM symbols WHERE status = 'SETTLING'")
    with pytest.raises(LakeUnusable, match="table=symbols is ahead of the store, or another store's: it has") as told:
        filled.export()
    assert f"take {folder(filled, 'symbols')} away: the next pass writes it anew" in told.value.hint


def test_another_stores_lake_is_left_alone_before_anything_is_noted_in_it(filled: StoreAndLake, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = StoreAndLake(tmp_path / "other", filled.address)
    other.append(70, END_MS + hours(3))
    revise(other, "ETHUSDT", 20)
    before = versions(filled)
    with pytest.raises(LakeUnusable, match="is another store's: DOGEUSDC"):
        other.export()
    assert versions(filled) == before


def test_a_change_is_there_before_the_bar_that_it_changed(
    filled: StoreAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever a day takes its name, the lake tells every change that is in it; here one comes at the last moment."""
    placing = Folder.placing
    seen: list[int] = []

    @contextmanager
    def late(files: Folder, name: str) -> Iterator[Path]:
        is_bars = name.endswith("bars.parquet")
        if is_bars and not seen:
            revise(filled, "ETHUSDT", 20, by=2.0)
        with placing(files, name) as path:
            yield path
            if is_bars:
                glob = f"{filled.address}/table=ohlcv_revisions/**/*.parquet"
                seen.append(duckdb.execute("SELECT count(*) FROM read_parquet(?)", [glob]).fetchall()[0][0])

    monkeypatch.setattr(Folder, "placing", late)
    filled.append(1, ms(2026, 3, 9, 5), ["NEWUSDT"])
    assert filled.export().written == 1
    assert seen == [4]
    expect_as_stored(filled)
