"""The lake after an export: everything stored, once, a day a file; what was written is not written again."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import LakeUnusable
from barfeed.machine.locks import locked
from barfeed.store.lake import exporter, folder
from barfeed.store.lake.exporter import Exported
from barfeed.store.lake.lake import Lake
from store.lake.lakes import BTCUSDT, END_MS, SYMBOLS, TABLE, StoreAndLake
from world import SteppingClock, hours, made_up_bars


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two days and fourteen hours of three symbols, exported once for all tests."""
    both = StoreAndLake(tmp_path_factory.mktemp("template"))
    both.append(62)
    assert both.export() == Exported(written=3, rows=186)
    return both.store.path.parent


@pytest.fixture
def filled(template: Path, tmp_path: Path) -> StoreAndLake:
    """A copy of its own."""
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return StoreAndLake(tmp_path)


def test_a_plain_glob_reads_every_stored_bar_once(filled: StoreAndLake) -> None:
    assert filled.read() == filled.stored()
    assert sorted(filled.versions()) == ["date=2026-03-08", "date=2026-03-09", "date=2026-03-10"]


def test_the_columns_are_the_stores_and_their_zone_is_told(filled: StoreAndLake) -> None:
    file = str(filled.table / "date=2026-03-10" / "bars.parquet")
    types = duckdb.execute("SELECT column_name, column_type FROM (DESCRIBE FROM read_parquet(?))", [file]).fetchall()
    assert types == [
        ("symbol", "VARCHAR"),
        ("timestamp", "TIMESTAMP"),
        *((name, "DOUBLE") for name in ("open", "high", "low", "close", "volume")),
        ("created_at", "TIMESTAMP"),
        # Of the folders' names.
        ("date", "DATE"),
        ("interval", "VARCHAR"),
        ("kind", "VARCHAR"),
    ]
    told = duckdb.execute("SELECT value FROM parquet_kv_metadata(?) WHERE key = 'barfeed'", [file]).fetchall()
    assert b"UTC, without a zone" in told[0][0]
    parts = "SELECT DISTINCT compression, stats_min_value IS NOT NULL FROM parquet_metadata(?)"
    assert duckdb.execute(parts, [file]).fetchall() == [("ZSTD", True)]
    rows = duckdb.execute("SELECT timestamp, symbol FROM read_parquet(?)", [file]).fetchall()
    assert rows == sorted(rows)


def test_the_manifest_tells_each_file(filled: StoreAndLake) -> None:
    files = filled.manifest["files"]
    assert list(files) == [f"date=2026-03-{day}/bars.parquet" for day in ("08", "09", "10")]
    last = files["date=2026-03-10/bars.parquet"]
    path = filled.table / "date=2026-03-10" / "bars.parquet"
    assert (last["rows"], last["first"], last["last"]) == (42, "2026-03-10 00:00:00", "2026-03-10 13:00:00")
    assert (last["sha256"], last["bytes"]) == (exporter.sha256_of(path), path.stat().st_size)
    assert last["schema_version"] == 1


def test_an_hour_later_only_its_day_is_written(filled: StoreAndLake) -> None:
    before = filled.versions()
    filled.grow(1)
    assert filled.export() == Exported(written=1, rows=189)
    after = filled.versions()
    assert [day for day in after if after[day] != before[day]] == ["date=2026-03-10"]
    assert filled.read() == filled.stored()


def test_where_nothing_came_nothing_is_written(filled: StoreAndLake) -> None:
    manifest, before = filled.manifest, filled.versions()
    assert filled.export() == Exported(rows=186)
    assert (filled.manifest, filled.versions()) == (manifest, before)


def test_what_a_killed_pass_left_beside_a_file_is_swept_by_the_next(filled: StoreAndLake) -> None:
    left = [
        filled.table / name for name in ("._manifest.json.77.unfinished", "date=2026-03-10/.bars.parquet.77.unfinished")
    ]
    for each in left:
        each.write_bytes(b"half")
    filled.grow(1)
    assert filled.export().written == 1
    assert not any(each.exists() for each in left)


@pytest.mark.long
def test_a_day_that_turns_has_a_file_of_its_own(filled: StoreAndLake) -> None:
    filled.grow(12)
    assert filled.export() == Exported(written=2, rows=222)
    assert filled.read() == filled.stored()


def test_what_a_backfill_puts_before_it_reaches_the_lake(filled: StoreAndLake) -> None:
    before = filled.versions()
    filled.append(24, END_MS - hours(62))
    filled.export()
    after = filled.versions()
    assert filled.read() == filled.stored()
    assert {day for day in after if after[day] != before.get(day)} == {"date=2026-03-07"}


def test_a_revision_of_an_old_bar_reaches_the_lake_and_no_other_day_is_written(filled: StoreAndLake) -> None:
    before = filled.versions()
    filled.sql("""
        CREATE TABLE ohlcv_revisions (
          series VARCHAR, timestamp TIMESTAMP, old_open DOUBLE, old_high DOUBLE, old_low DOUBLE, old_close DOUBLE,
          old_volume DOUBLE, new_open DOUBLE, new_high DOUBLE, new_low DOUBLE, new_close DOUBLE, new_volume DOUBLE,
          seen_at TIMESTAMP, accepted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, reason VARCHAR, run VARCHAR);
        INSERT INTO ohlcv_revisions (series, timestamp, run) VALUES ('ETHUSDT 1h', '2026-03-08 05:00:00', 'repair 1');
        UPDATE ohlcv_1h SET volume = volume + 1 WHERE symbol = 'ETHUSDT' AND timestamp = '2026-03-08 05:00:00';
    """)
    assert filled.export() == Exported(written=1, rows=186)
    after = filled.versions()
    assert [day for day in after if after[day] != before[day]] == ["date=2026-03-08"]
    assert filled.read() == filled.stored()
    assert filled.export() == Exported(rows=186)


def test_a_gap_that_is_filled_by_a_clock_that_runs_behind_reaches_the_lake(filled: StoreAndLake) -> None:
    filled.sql("""
        INSERT INTO ohlcv_1h SELECT 'NEWUSDT', timestamp, 1, 1, 1, 1, 1, '2001-01-01' FROM ohlcv_1h
        WHERE symbol = 'BTCUSDT' AND timestamp < '2026-03-09'
    """)
    assert filled.export().written == 1
    assert filled.read() == filled.stored()


def test_a_bar_that_its_owner_took_out_goes_from_the_lake(filled: StoreAndLake) -> None:
    filled.sql("DELETE FROM ohlcv_1h WHERE symbol = 'ETHUSDT' AND timestamp = '2026-03-09 05:00:00'")
    assert filled.export() == Exported(written=1, rows=185)
    assert filled.read() == filled.stored()


def test_a_day_that_its_owner_took_out_goes_from_the_lake(filled: StoreAndLake) -> None:
    filled.sql("DELETE FROM ohlcv_1h WHERE timestamp < '2026-03-09'")
    filled.export()
    assert sorted(filled.versions()) == ["date=2026-03-09", "date=2026-03-10"]
    assert filled.read() == filled.stored()


def test_a_table_written_anew_writes_nothing_anew(filled: StoreAndLake) -> None:
    before = filled.versions()
    filled.sql("""
        CREATE TABLE other AS FROM ohlcv_1h ORDER BY symbol, timestamp;
        DROP TABLE ohlcv_1h;
        CREATE TABLE ohlcv_1h (symbol VARCHAR, timestamp TIMESTAMP, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE,
          volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, PRIMARY KEY (symbol, timestamp));
        INSERT INTO ohlcv_1h FROM other;
        DROP TABLE other;
    """)
    assert filled.export() == Exported(rows=186)
    assert filled.versions() == before
    filled.grow(1)
    assert filled.export() == Exported(written=1, rows=189)


def test_one_series_alone_is_in_the_lake_like_any_other(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append_alone(BTCUSDT, made_up_bars(END_MS, 30))
    assert both.export() == Exported(written=2, rows=30)
    assert both.read() == both.stored("ohlcv_btcusdt_1h", "'BTCUSDT'")


def test_series_alone_and_a_market_are_one_table(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(30, symbols=SYMBOLS[1:])
    both.append_alone(BTCUSDT, made_up_bars(END_MS, 30))
    both.export()
    both.append(1, END_MS + hours(1), SYMBOLS[1:])
    both.append_alone(BTCUSDT, made_up_bars(END_MS + hours(1), 1))
    both.export()
    assert both.read() == sorted(both.stored("ohlcv_btcusdt_1h", "'BTCUSDT'") + both.stored())


def test_a_table_of_a_users_own_without_created_at_is_there_too(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    both.sql("""
        CREATE TABLE ohlcv_adausdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE,
          close DOUBLE, volume DOUBLE, mine VARCHAR);
        INSERT INTO ohlcv_adausdt_1h VALUES ('2026-03-01 05:00:00', 1, 1, 1, 1, 1, 'x');
        CREATE TABLE ohlcv_oddusdt_1h (what VARCHAR);
    """)
    both.export()
    assert [row[0] for row in both.read()] == ["ADAUSDT", *sorted(SYMBOLS)]
    both.sql("INSERT INTO ohlcv_adausdt_1h VALUES ('2026-03-01 06:00:00', 1, 1, 1, 1, 1, 'x')")
    assert both.export() == Exported(written=1, rows=5)


def test_an_empty_store_makes_an_empty_lake(tmp_path: Path) -> None:
    both = StoreAndLake(tmp_path)
    both.append(1)
    both.sql("DELETE FROM ohlcv_1h")
    assert both.export() == Exported()
    assert both.manifest["files"] == {}


@pytest.mark.long
def test_what_time_does_not_suffice_for_is_left_to_the_next_newest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = StoreAndLake(tmp_path)
    both.append(24 * 5)
    monkeypatch.setattr(exporter, "_LONGEST_SEC", 0.0)
    stepping = Lake(both.address, SteppingClock(END_MS))
    assert stepping.export(both.store, Interval.ONE_HOUR).left == 5
    assert sorted(both.versions()) == ["date=2026-03-10"]
    assert len(both.manifest["due"]) == 5
    while both.export().left:
        pass
    assert both.read() == both.stored()


def test_a_lake_of_which_a_folder_was_taken_away_gets_it_again(filled: StoreAndLake) -> None:
    day = filled.table / "date=2026-03-08"
    (day / "bars.parquet").unlink()
    day.rmdir()
    assert filled.export() == Exported(written=1, rows=186)
    assert filled.read() == filled.stored()


def test_whoever_comes_while_another_writes_waits_and_leaves_it(
    filled: StoreAndLake, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.grow(1)
    monkeypatch.setattr("barfeed.machine.locks.WAIT_SEC", 0.0)
    with locked(filled.table / ".lock", wait=False):
        assert filled.export() == Exported(is_busy=True)
    assert filled.export().written == 1


def test_a_disk_that_fails_as_its_lock_is_let_go(filled: StoreAndLake, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def failing(path: Path, *, wait: bool) -> Iterator[bool]:
        with locked(path, wait=wait) as is_ours:
            yield is_ours
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(folder, "locked", failing)
    with pytest.raises(LakeUnusable, match=rf"{TABLE} cannot be used: Input/output error"):
        filled.export()


class TestRefused:
    def test_another_stores_lake_is_left_alone(self, filled: StoreAndLake, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = StoreAndLake(tmp_path / "other", filled.address)
        other.append(70, END_MS + hours(3))
        before = filled.versions()
        with pytest.raises(LakeUnusable, match="is another store's: DOGEUSDC 2026-03-10 13:00:00 was stored") as told:
            other.export()
        assert "give each store a lake of its own" in told.value.hint
        assert filled.versions() == before

    def test_so_is_one_that_is_ahead(self, filled: StoreAndLake, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        other = StoreAndLake(tmp_path / "other", filled.address)
        other.append(24, END_MS - hours(24))
        with pytest.raises(LakeUnusable, match=r"is ahead of the store, or another store's: it has DOGEUSDC"):
            other.export()
        assert filled.read() == filled.stored()

    def test_so_is_a_folder_that_holds_something_else(self, tmp_path: Path) -> None:
        both = StoreAndLake(tmp_path)
        both.append(1)
        (both.table / "symbol=BTCUSDT").mkdir(parents=True)
        with pytest.raises(LakeUnusable, match="holds symbol=BTCUSDT, and no manifest") as told:
            both.export()
        assert "point --lake at an empty folder" in told.value.hint

    def test_so_is_a_lake_to_which_somebody_has_put_a_day(self, filled: StoreAndLake) -> None:
        (filled.table / "date=1999-01-01").mkdir()
        with pytest.raises(LakeUnusable, match="holds date=1999-01-01, which is not in its manifest") as told:
            filled.export()
        assert told.value.hint == f"take {filled.table}/date=1999-01-01 away"

    def test_what_other_engines_leave_beside_is_nothing(self, filled: StoreAndLake) -> None:
        (filled.table / "_temporary").mkdir()
        (filled.table / ".hidden").mkdir()
        assert filled.export() == Exported(rows=186)

    @pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"kind": "ohlcv"}', b"\xff\xfe", b"PAR1"])
    def test_a_manifest_that_is_cut_or_no_manifest(self, filled: StoreAndLake, content: bytes) -> None:
        (filled.table / "_manifest.json").write_bytes(content)
        with pytest.raises(LakeUnusable, match=r"is no manifest of a lake: it (is empty|begins)") as told:
            filled.export()
        assert f"take {filled.table} away" in told.value.hint

    def test_a_manifest_of_a_newer_barfeed(self, filled: StoreAndLake) -> None:
        path = filled.table / "_manifest.json"
        path.write_text(path.read_text().replace('"manifest_version": 1', '"manifest_version": 2'))
        with pytest.raises(LakeUnusable, match="written by a newer barfeed"):
            filled.export()

    def test_a_manifest_of_another_interval(self, filled: StoreAndLake) -> None:
        path = filled.table / "_manifest.json"
        path.write_text(path.read_text().replace('"interval": "1h"', '"interval": "4h"'))
        with pytest.raises(LakeUnusable, match="is of kind 'ohlcv', interval '4h', expected 'ohlcv', '1h'"):
            filled.export()

    def test_a_file_in_its_place(self, tmp_path: Path) -> None:
        both = StoreAndLake(tmp_path)
        both.append(1)
        (tmp_path / "lake").write_text("")
        with pytest.raises(LakeUnusable, match=rf"{TABLE} cannot be used: Not a directory") as told:
            both.export()
        assert "point --lake elsewhere, or move that file away" in told.value.hint
        (tmp_path / "lake").unlink()
        both.table.parent.mkdir(parents=True)
        both.table.write_text("")
        with pytest.raises(LakeUnusable, match=rf"{TABLE} cannot be used: File exists") as told:
            both.export()
        assert "point --lake elsewhere, or move that file away" in told.value.hint
