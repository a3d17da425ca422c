"""`barfeed export --symbols`: many series in one file, as the market and the store are, or once were."""

import csv
import shutil
from pathlib import Path

import duckdb
import pytest

from barfeed.cli.commands.history.export import export
from commands import Ended, call, execute, make_store
from market_store import BARS, LAST_MS, SYMBOLS, list_symbols, make_market
from world import hours, made_up_bars

READ = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM '{}'"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_market(tmp_path / "ohlcv.duckdb")


def exported(store: Path, *words: object) -> Ended:
    return call(export, "--duckdb", store, *words)


def read(path: Path) -> list[tuple[object, ...]]:
    return duckdb.execute(READ.format(path)).fetchall()


def rows(*symbols: str) -> list[tuple[object, ...]]:
    return [(symbol, *bar) for symbol in symbols for bar in BARS[symbol]]


@pytest.mark.parametrize("name", ["all.parquet", "all.csv", "all.csv.gz"])
def test_one_file_holds_every_series_sorted_by_symbol_then_time(store: Path, tmp_path: Path, name: str) -> None:
    done = exported(store, tmp_path / name, "--symbols", "all")
    assert (done.code, done.err) == (0, "")
    assert done.out == (
        f"exported=4000 series=5 interval=1h span=2026-02-05 06:00..2026-03-10 13:00 gaps=0 file={tmp_path / name}\n"
    )
    assert read(tmp_path / name) == rows(*SYMBOLS)


def test_plain_decimals_go_with_many_too(store: Path, tmp_path: Path) -> None:
    execute(store, "UPDATE ohlcv_1h SET volume = 1e-7 WHERE symbol = 'BTCUSDC'")
    assert exported(store, tmp_path / "all.csv", "--symbols", "BTC*", "--plain-decimals").code == 0
    with (tmp_path / "all.csv").open() as file:
        told = list(csv.DictReader(file))
    assert {each["volume"] for each in told if each["symbol"] == "BTCUSDC"} == {"0.0000001"}
    assert [tuple(each)[:2] for each in told[:1]] == [("symbol", "timestamp")]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("BTC*", ("BTCUSDC", "BTCUSDT")),
        ("all,!*USDT", ("BTCUSDC",)),
        ("ethusdt,币安人生usdt", ("ETHUSDT", "币安人生USDT")),
    ],
)
def test_symbols_mean_what_they_mean_to_a_pass(
    store: Path, tmp_path: Path, wanted: str, meant: tuple[str, ...]
) -> None:
    done = exported(store, tmp_path / "some.parquet", "--symbols", wanted, "--json")
    assert (done.told["series"], done.told["without"]) == (len(meant), [])
    assert read(tmp_path / "some.parquet") == rows(*meant)


def test_a_series_that_has_a_table_of_its_own_is_among_them(store: Path, tmp_path: Path) -> None:
    make_store(store, made_up_bars(LAST_MS, 10, "SOLUSDT"), "ohlcv_solusdt_1h")
    done = exported(store, tmp_path / "all.parquet", "--symbols", "all", "--json")
    assert (done.told["series"], done.told["exported"]) == (6, 4010)
    assert [row[0] for row in read(tmp_path / "all.parquet")[-810:-800]] == ["SOLUSDT"] * 10


def test_a_span_and_what_is_missing_in_it_are_told(store: Path, tmp_path: Path) -> None:
    execute(store, "DELETE FROM ohlcv_1h WHERE symbol <= 'BTCUSDC' AND timestamp = '2026-03-10 10:00'")
    span = ("--from", "2026-03-10", "--to", "2026-03-10 12:00")
    done = exported(store, tmp_path / "day.csv", "--symbols", "all", *span)
    assert done.out.startswith("exported=58 series=5 interval=1h span=2026-03-10 00:00..2026-03-10 11:00 gaps=2 ")


def test_a_name_that_is_not_stored_is_told_and_the_others_are_written(store: Path, tmp_path: Path) -> None:
    done = exported(store, tmp_path / "two.parquet", "--symbols", "BTCUSDT,NEVERUSDT")
    assert (done.code, done.err) == (0, "NEVERUSDT: no such bar is stored\n")
    assert read(tmp_path / "two.parquet") == rows("BTCUSDT")


def test_as_of_a_moment_is_the_market_as_it_was_listed_then_with_those_that_are_gone(
    store: Path, tmp_path: Path
) -> None:
    list_symbols(store, "2026-03-01 00:00:10", *((symbol, "TRADING") for symbol in SYMBOLS[:3]))
    list_symbols(store, "2026-03-05 00:00:10", ("ADAUSDT", "SETTLING"), ("ETHUSDT", "TRADING"))
    list_symbols(store, "2026-03-07 00:00:10", ("ADAUSDT", "UNLISTED"), ("币安人生USDT", "TRADING"))
    done = exported(store, tmp_path / "then.parquet", "--symbols", "all", "--as-of", "2026-03-03 12:00:40")
    assert done.code == 0, done
    ends_ms = LAST_MS - hours(24 * 7 + 2)
    assert read(tmp_path / "then.parquet") == [row for row in rows(*SYMBOLS[:3]) if int(str(row[1])) <= ends_ms]
    exported(store, tmp_path / "later.parquet", "--symbols", "all", "--as-of", "2026-03-06")
    assert {row[0] for row in read(tmp_path / "later.parquet")} == {"BTCUSDC", "BTCUSDT", "ETHUSDT"}


@pytest.mark.long
def test_as_of_gives_the_values_that_stood_then(store: Path, tmp_path: Path) -> None:
    list_symbols(store, "2026-03-01 00:00:10", *((symbol, "TRADING") for symbol in SYMBOLS))
    before = BARS["ETHUSDT"][-30]
    execute(
        store,
        "CREATE TABLE ohlcv_revisions (series VARCHAR, timestamp TIMESTAMP, old_open DOUBLE, old_high DOUBLE,"
        " old_low DOUBLE, old_close DOUBLE, old_volume DOUBLE, new_open DOUBLE, new_high DOUBLE, new_low DOUBLE,"
        " new_close DOUBLE, new_volume DOUBLE, seen_at TIMESTAMP, accepted_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP,"
        " reason VARCHAR, run VARCHAR)",
        "INSERT INTO ohlcv_revisions SELECT 'ETHUSDT 1h', timestamp, open, high, low, close, volume, open, high, low,"
        " close, 99.5, '2026-03-10 12:00', '2026-03-10 12:00', 'repair', 'a run' FROM ohlcv_1h"
        f" WHERE symbol = 'ETHUSDT' AND timestamp = make_timestamp_ms({before.open_time_ms})",
        "UPDATE ohlcv_1h SET volume = 99.5 WHERE symbol = 'ETHUSDT'"
        f" AND timestamp = make_timestamp_ms({before.open_time_ms})",
    )
    for moment, volume in (("2026-03-10 11:59", before.volume), ("2026-03-10 12:00", 99.5)):
        path = tmp_path / f"{volume}.parquet"
        assert exported(store, path, "--symbols", "all", "--as-of", moment).code == 0
        assert [row[-1] for row in read(path) if row[:2] == ("ETHUSDT", before.open_time_ms)] == [volume]


def test_what_nobody_knows_of_is_not_guessed(store: Path, tmp_path: Path) -> None:
    unknown = exported(store, tmp_path / "then.csv", "--symbols", "all", "--as-of", "2026-03-01")
    assert (unknown.code, unknown.err) == (
        1, "market 1h: what was listed at 2026-03-01 00:00 is not known: no list was noted yet",
    )  # fmt: skip
    list_symbols(store, "2026-03-05 00:00:10", ("BTCUSDT", "TRADING"))
    early = exported(store, tmp_path / "then.csv", "--symbols", "all", "--as-of", "2026-03-01")
    assert early.err.endswith("no list was noted before 2026-03-05 00:00:10")
    assert early.hint == "name the symbols, or take a later moment"
    named = exported(store, tmp_path / "then.csv", "--symbols", "BTCUSDT", "--as-of", "2026-03-01")
    assert named.code == 0
    assert not (tmp_path / "early.csv").exists()


def test_a_symbol_that_was_listed_and_has_no_bar_is_told(store: Path, tmp_path: Path) -> None:
    list_symbols(store, "2026-03-05 00:00:10", ("BTCUSDT", "TRADING"), ("NEWUSDT", "TRADING"))
    done = exported(store, tmp_path / "then.csv", "--symbols", "all", "--as-of", "2026-03-06")
    assert (done.code, done.err) == (0, "NEWUSDT: no such bar is stored\n")


def test_nothing_is_written_where_there_is_nothing(store: Path, tmp_path: Path) -> None:
    done = exported(store, tmp_path / "none.csv", "--symbols", "all", "--from", "2027-01-01")
    assert (done.code, done.err) == (
        1,
        f"market 1h: {store} holds no bar from 2027-01-01 00:00 to before its end; nothing was written",
    )
    assert not list(tmp_path.glob("*none*"))


def test_several_intervals_are_several_files(store: Path, tmp_path: Path) -> None:
    done = exported(store, tmp_path / "all.csv", "--symbols", "all", "--intervals", "1h,4h")
    assert (done.code, done.err) == (2, "--intervals: a file holds one interval")


@pytest.mark.long
def test_what_is_too_large_for_its_memory_goes_by_way_of_the_disk_and_leaves_nothing_there(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barfeed.store.troubles.disk._MEMORY", "12MB")
    spilled, rmtree = [], shutil.rmtree

    def take_away(folder: Path, *, ignore_errors: bool) -> None:
        spilled.append(folder.is_dir())
        rmtree(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr("barfeed.store.troubles.disk.shutil.rmtree", take_away)
    execute(
        store,
        "INSERT INTO ohlcv_1h SELECT 'S' || s || 'USDT', TIMESTAMP '2020-01-01' + to_hours(h::BIGINT), 1, 1, 1, 1, h,"
        " '2020-01-01' FROM range(10000) hours(h), range(8) symbols(s)",
    )
    path = tmp_path / "all.csv"
    done = exported(store, path, "--symbols", "S*", "--json")
    assert (done.told["exported"], done.told["series"]) == (80_000, 8)
    keys = [row[:2] for row in read(path)]
    assert (keys == sorted(keys), spilled) == (True, [True])
    assert {each.name for each in tmp_path.iterdir()} == {"ohlcv.duckdb", "all.csv"}
