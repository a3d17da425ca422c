"""Parquet, .feather, zips of several, and tables of other DuckDB files: by their columns' names, under the rules."""

import importlib
import resource
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from barfeed.domain.errors import UsageError
from barfeed.history import own_files
from barfeed.history.backfill import Backfill
from barfeed.history.export import Wanted, export
from barfeed.history.own_files import OwnFile
from barfeed.machine.clock import SystemClock
from barfeed.store.incoming.foreign import SourceUnreadable
from barfeed.store.incoming.staging import Staging
from barfeed.store.port.embedded import Embedded
from history.backfill.backfill_world import History
from history.backfill.own_files_world import DAY, HEADER, lines, refusal, staged, taken, written
from history.backfill.test_backfill_process import Shop, small
from storage import opened
from world import BTCUSDT_1H, ms, shared

__all__ = ["small"]
VALUES = ("open", "high", "low", "close", "volume")
FRAME = pd.DataFrame(
    {"timestamp": pd.to_datetime([bar.open_time_ms for bar in DAY], unit="ms")}
    | {name: [getattr(bar, name) for bar in DAY] for name in VALUES}
)
IN_UTC = FRAME.assign(timestamp=FRAME["timestamp"].dt.tz_localize("UTC"))
# As freqtrade's own handler writes it.
FREQTRADE = IN_UTC.rename(columns={"timestamp": "date"})

FRAMES = {
    "as pandas has it": FRAME,
    "in another zone": IN_UTC.assign(timestamp=IN_UTC["timestamp"].dt.tz_convert("Asia/Tokyo")),
    "an index": FRAME.set_index("timestamp"),
    "an index without a name": FRAME.set_index("timestamp").rename_axis(None),
    "milliseconds": FRAME.assign(timestamp=[bar.open_time_ms for bar in DAY]),
    "seconds as floats": FRAME.assign(timestamp=[bar.open_time_ms / 1000 for bar in DAY]),
    "text": FRAME.assign(timestamp=FRAME["timestamp"].astype(str)),
    "another order and more": FRAME[["volume", "low", "high", "close", "open", "timestamp"]].assign(vwap=1.0),
    "last instants": FRAME.assign(close_time=FRAME["timestamp"] + pd.Timedelta(milliseconds=3_599_999)).drop(
        columns="timestamp"
    ),
}


@pytest.mark.parametrize("form", FRAMES)
def test_a_parquet_file_is_read_by_its_columns_names(form: str, staging: Staging, tmp_path: Path) -> None:
    FRAMES[form].to_parquet(tmp_path / "bars.parquet")
    assert staged(staging, tmp_path / "bars.parquet") == list(DAY)


@pytest.mark.long
def test_what_export_writes_comes_in_again_to_the_bit(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.run("rest")
    held = history.held()
    for name in ("all.parquet", "all.csv", "all.csv.gz"):
        export(Embedded(history.duckdb, SystemClock(), 0.0), Wanted(BTCUSDT_1H), tmp_path / name)
        again = History(tmp_path / name.replace(".", "-"))
        taken(again, tmp_path / name)
        assert again.held() == held


@pytest.mark.long
def test_real_hours_of_another_symbol_are_refused_by_name_by_overlap_and_told_by_level(tmp_path: Path) -> None:
    bitcoin, ether = shared("rest/BTCUSDT-1h.parquet"), shared("rest/ETHUSDT-1h.parquet")
    history = History(tmp_path)
    day = {"from_ms": ms(2023, 7, 1), "to_ms": ms(2023, 7, 2)}
    taken(history, bitcoin, **day)
    assert "its name says ETHUSDT, expected BTCUSDT 1h" in str(refusal(history, ether))
    refused = refusal(history, ether, force_name=True, from_ms=ms(2023, 7, 1), to_ms=ms(2023, 7, 3))
    assert "24 of its 24 bars that are stored too differ there" in str(refused)
    assert len(history.held()) == 24
    told = taken(history, ether, force_name=True, from_ms=ms(2023, 7, 2), to_ms=ms(2023, 7, 3)).report.notes
    assert [note.rule for note in told] == ["outside", "level"]


@pytest.mark.parametrize("compression", ["lz4", "zstd", "uncompressed"])
def test_freqtrades_feather_is_read(compression: Any, staging: Staging, tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT_USDT-1h-futures.feather"
    FREQTRADE.to_feather(path, compression=compression)
    assert staged(staging, path) == list(DAY)


def test_freqtrades_mark_prices_are_no_bars(nothing_stored: History, tmp_path: Path) -> None:
    path = tmp_path / "BTC_USDT_USDT-1h-mark.feather"
    FREQTRADE.to_feather(path)
    assert "its name says mark, expected BTCUSDT 1h" in str(refusal(nothing_stored, path))


def test_a_feather_without_its_library_is_told_with_the_line_that_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FREQTRADE.to_feather(tmp_path / "bars.feather")
    for name in [name for name in sys.modules if name.split(".")[0] == "pyarrow"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    refused = refusal(History(tmp_path), tmp_path / "bars.feather")
    assert "bars.feather: a .feather file needs a library that is not installed: pyarrow" in str(refused)
    assert refused.hint == "pip install 'barfeed[feather]'"


def test_the_feed_does_not_import_what_only_a_feather_needs() -> None:
    importlib.import_module("barfeed.history.own_files")
    source = Path(sys.modules["barfeed.history.own_files"].__file__ or "").read_text("utf-8")
    assert "\nimport pyarrow" not in source
    assert "\nfrom pyarrow" not in source


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_file_that_is_cut_or_of_other_types_is_refused(suffix: str, nothing_stored: History, tmp_path: Path) -> None:
    def saved(frame: pd.DataFrame) -> bytes:
        path = tmp_path / f"made.{suffix}"
        frame.to_parquet(path) if suffix == "parquet" else frame.to_feather(path)
        return path.read_bytes()

    whole = saved(FRAME)
    for content, says in [
        (whole[:-100], "it is no whole .feather file" if suffix == "feather" else "it cannot be read: it is broken"),
        (saved(FRAME.astype({"close": "float32"})), "'close' is FLOAT: 32 bits hold seven digits, too few for a close"),
        (saved(FRAME.astype({"open": "float32"})), "'open' is FLOAT: 32 bits hold seven digits, too few for an open"),
        (saved(FRAME.assign(open=True)), "'open' is BOOLEAN, expected a number"),
        (saved(FRAME.assign(timestamp=True)), "'timestamp' is BOOLEAN, expected a time"),
        (saved(FRAME.drop(columns="volume")), "it has no column volume"),
        (saved(FRAME.assign(close=[None] * 24)), ""),
        (saved(FRAME[:0]), "it holds no bar"),
    ]:
        assert says in str(refusal(nothing_stored, written(tmp_path / f"bars.{suffix}", content)))


def zipped(path: Path, members: dict[str, str | bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in members.items():
            packed.writestr(name, content)
    return path


def test_several_files_in_a_zip_are_one_and_what_a_mac_puts_beside_is_none(tmp_path: Path) -> None:
    FRAME[16:].to_parquet(tmp_path / "third.parquet")
    path = zipped(
        tmp_path / "bars.zip",
        {
            "year/BTCUSDT-1h-2024-01-a.csv": f"{HEADER}\n{lines(DAY[:9])}",
            "year/BTCUSDT-1h-2024-01-b.csv": lines(DAY[8:16], str),
            "year/third.parquet": (tmp_path / "third.parquet").read_bytes(),
            "year/": "",
            "year/notes.md": "mine",
            "year/.DS_Store": "x",
            "__MACOSX/year/._BTCUSDT-1h-2024-01-a.csv": "x",
        },
    )
    history = History(tmp_path)
    notes = taken(history, path).report.notes
    assert history.held() == list(DAY)
    assert [note.message for note in notes] == ["1 bar came twice, the same both times"]


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ({"ETHUSDT-1h-2024-01.csv": lines()}, "the name of ETHUSDT-1h-2024-01.csv in it says ETHUSDT"),
        ({"a.csv": lines(), "x/BTCUSDT-4h-2024-01.csv": lines()}, "the name of x/BTCUSDT-4h-2024-01.csv in it says 4h"),
        (
            {"a.csv": lines(), "b.csv": lines([DAY[0]._replace(volume=1.5)])},
            "2024-01-15 00:00 comes twice, volume once",
        ),
        ({"a.csv": lines(), "b.csv": "a,b\n"}, "b.csv in {zip}: it has no column"),
        ({"a.csv": lines(), "b.csv": "SQLite format 3\0"}, "b.csv in {zip}: it is a SQLite file"),
        (
            {"readme.md": "Nothing of bars."},
            "readme.md in {zip}: it is no table of bars: its only column is 'Nothing of",
        ),
        (
            {"notes.md": "x", "data.json": "{}"},
            "{zip}: it holds no file of bars, only 'notes.md, data.json'; expected CSVs",
        ),
        ({f"{n}.md": "x" for n in range(9)}, "only '0.md, 1.md, 2.md, ...'; expected CSVs"),
        ({"__MACOSX/._a.csv": "x"}, "{zip}: it holds no file of bars; expected CSVs"),
        ({}, "{zip}: it holds no file of bars; expected CSVs"),
        ({"[Content_Types].xml": "x", "xl/workbook.xml": "x"}, "it is an Excel workbook; save it as CSV"),
        ({"a.zip": b"PK\3\4 and more"}, "it holds another zip, 'a.zip'; unpack that"),
        ({"a.csv": lines(), "b.zip": b"PK\3\4 and more"}, "it holds another zip, 'b.zip'; unpack that"),
        ({"/etc/a.csv": lines()}, "it holds '/etc/a.csv', which leads out of it"),
        ({"..\\a.csv": lines()}, "which leads out of it"),
        ({"a.csv": "0" * 50_000_000}, "far more than a CSV of bars"),
        ({f"{n}.csv": "0" * 20_000_000 for n in range(3)}, "far more than a CSV of bars"),
    ],
)
def test_a_zip_is_refused_whole_for_what_is_wrong_in_it(
    members: dict[str, str | bytes], says: str, nothing_stored: History, tmp_path: Path
) -> None:
    path = zipped(tmp_path / "bars.zip", members)
    assert says.replace("{zip}", str(path)) in str(refusal(nothing_stored, path))


def test_a_zip_that_cannot_be_unpacked_is_told_why(nothing_stored: History, tmp_path: Path) -> None:
    path = zipped(tmp_path / "bars.zip", {"bars.csv": lines()})
    whole, entry = path.read_bytes(), path.read_bytes().index(b"PK\1\2")
    flags, method = entry + 8, entry + 10
    broken = {
        whole[:-40]: "it is no whole zip: it is cut, broken, or none",
        b"PK and nothing else": "it is no whole zip: it is cut, broken, or none",
        whole[:flags] + b"\1" + whole[flags + 1 :]: "it is encrypted; unpack it",
        whole[:method] + b"\x63" + whole[method + 1 :]: "it is packed in a way that is not read here",
    }
    for content, says in broken.items():
        assert f"{path}: {says}" in str(refusal(nothing_stored, written(path, content)))


def test_a_disk_without_room_is_no_broken_zip(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bars.zip", {"bars.csv": "0" * 10_000})
    with (
        no_file_over(1000),
        pytest.raises(SourceUnreadable, match="it cannot be unpacked: File too large"),
        own_files.opened(path),
    ):
        raise AssertionError


@contextmanager
def no_file_over(size: int) -> Iterator[None]:
    """A limit of the system's, which it tells like a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def from_table(history: History, path: Path, table: str = "", **order: Any) -> Backfill:
    return history.run("table", files=(OwnFile(path, table),), **order)


def table_refusal(history: History, path: Path, table: str = "") -> str:
    """How a table is refused, by which no store is made."""
    with pytest.raises(UsageError) as caught:
        from_table(history, path, table)
    assert not history.duckdb.exists()
    return str(caught.value)


def other(folder: Path, *statements: str) -> Path:
    """Another program's DuckDB file; `bars` in it is the day as a query may name it."""
    FRAME.to_parquet(folder / "day.parquet")
    with opened(folder / "other.duckdb") as connection:
        connection.execute(f"CREATE TEMP VIEW bars AS SELECT * FROM '{folder / 'day.parquet'}'")
        for statement in statements:
            connection.execute(statement)
    return folder / "other.duckdb"


TABLES = {
    "the series' own": ("CREATE TABLE ohlcv_btcusdt_1h AS SELECT * FROM bars", ""),
    "any other": ("CREATE TABLE candles AS SELECT * FROM bars", "candles"),
    "in a schema": ("CREATE SCHEMA old; CREATE TABLE old.candles AS SELECT * FROM bars", "old.candles"),
    "by upper case": ("CREATE TABLE Candles AS SELECT * FROM bars", "CANDLES"),
    "with a point in its name": ('CREATE TABLE "a.b" AS SELECT * FROM bars', "a.b"),
    "a view": ("CREATE TABLE raw AS SELECT * FROM bars; CREATE VIEW v AS SELECT * FROM raw", "v"),
    "TIMESTAMP_NS": ("CREATE TABLE t AS SELECT * REPLACE (timestamp::TIMESTAMP_NS AS timestamp) FROM bars", "t"),
    "TIMESTAMPTZ": (
        "CREATE TABLE t AS SELECT * REPLACE (timezone('UTC', timestamp) AS timestamp) FROM bars",
        "t",
    ),
    "DECIMAL": (
        "CREATE TABLE t AS SELECT * REPLACE (open::DECIMAL(38, 3) AS open, close::DECIMAL(9, 1) AS close) FROM bars",
        "t",
    ),
    "numbers as text": ("CREATE TABLE t AS SELECT COLUMNS(*)::VARCHAR FROM bars", "t"),
    "milliseconds": ("CREATE TABLE t AS SELECT * REPLACE (epoch_ms(timestamp) AS timestamp) FROM bars", "t"),
    "columns of any type beside": ("CREATE TABLE t AS SELECT *, [1] AS x, {'a': 1} AS y, uuid() AS z FROM bars", "t"),
}


@pytest.mark.parametrize("form", TABLES)
def test_a_table_of_another_file_is_read_by_its_columns_names(form: str, staging: Staging, tmp_path: Path) -> None:
    statements, name = TABLES[form]
    path = other(tmp_path, *statements.split("; "))
    before = path.read_bytes()
    assert staged(staging, path, name) == list(DAY)
    assert path.read_bytes() == before


@pytest.mark.parametrize("form", ["the series' own", "TIMESTAMPTZ"])
def test_what_is_read_of_a_table_is_stored(form: str, tmp_path: Path) -> None:
    history = History(tmp_path)
    statements, name = TABLES[form]
    from_table(history, other(tmp_path, *statements.split("; ")), name)
    assert history.held() == list(DAY)


def test_a_table_beside_the_store_in_its_own_file_is_read(tmp_path: Path) -> None:
    history = History(tmp_path)
    history.fill(DAY[:3])
    with opened(history.duckdb) as connection:
        connection.execute(f"CREATE TABLE mine AS SELECT * FROM '{other(tmp_path).parent / 'day.parquet'}'")
    from_table(history, history.duckdb, "mine")
    assert history.held() == list(DAY)


@pytest.mark.parametrize(
    ("statement", "name", "says"),
    [
        ("CREATE TABLE candles AS SELECT * FROM bars", "", "it has no table 'ohlcv_btcusdt_1h', only 'main.candles'"),
        ("CREATE TABLE candles AS SELECT * FROM bars", "candle", "it has no table 'candle', only 'main.candles'"),
        ("SELECT 1", "candles", "it has no table 'candles', nor any other"),
        ("CREATE TABLE ohlcv_ethusdt_1h AS SELECT * FROM bars", "ohlcv_ethusdt_1h", "its name says ETHUSDT"),
        ("CREATE SCHEMA s; CREATE TABLE s.c AS SELECT * FROM bars; CREATE TABLE c AS FROM s.c", "c", "'main.c, s.c'"),
        ("CREATE TABLE t AS SELECT *, 'ETHUSDT' AS symbol FROM bars", "t", "its column symbol says 'ETHUSDT'"),
        ("CREATE TABLE t AS SELECT * REPLACE (0 AS low) FROM bars", "t", "rules broken; first: 2024-01-15 00:00"),
        ("CREATE TABLE t AS SELECT * REPLACE (NULL::DOUBLE AS low) FROM bars", "t", "low is empty"),
        ("CREATE TABLE t AS SELECT * REPLACE ('infinity'::TIMESTAMP AS timestamp) FROM bars", "t", "a row is no bar"),
        ("CREATE TABLE t AS SELECT * REPLACE (low::FLOAT AS low) FROM bars", "t", "'low' is FLOAT"),
        ("CREATE TABLE g AS FROM bars; CREATE VIEW v AS FROM g; DROP TABLE g", "v", "it cannot be read"),
    ],
)
def test_a_table_is_refused_for_what_is_wrong_with_it(
    statement: str, name: str, says: str, nothing_stored: History, tmp_path: Path
) -> None:
    path = other(tmp_path, *statement.split("; "))
    assert says in table_refusal(nothing_stored, path, name)


def broken_by(change: Callable[[Path], object], folder: Path) -> Path:
    path = other(folder, "CREATE TABLE ohlcv_btcusdt_1h AS SELECT * FROM bars")
    change(path)
    return path


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda path: path.write_text(lines()), "it is no DuckDB file; --source csv reads"),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "it is no DuckDB file, or a broken one"),
        (lambda path: path.write_bytes(b""), "it is no DuckDB file"),
    ],
)
def test_a_file_that_is_no_duckdb_file_is_told_as_that(
    change: Callable[[Path], object], says: str, nothing_stored: History, tmp_path: Path
) -> None:
    assert says in table_refusal(nothing_stored, broken_by(change, tmp_path))


def test_a_duckdb_file_given_as_a_csv_names_the_way(tmp_path: Path) -> None:
    path = other(tmp_path, "CREATE TABLE candles AS SELECT * FROM bars")
    assert "it is a DuckDB file; --source table reads its tables" in str(refusal(History(tmp_path), path))


@pytest.mark.long
def test_the_command_takes_files_tables_and_insists(small: Shop, tmp_path: Path) -> None:
    path = other(tmp_path, "CREATE TABLE ohlcv_ethusdt_1h AS SELECT * FROM bars")
    refused = small.run("--source", "table", f"{path}:ohlcv_ethusdt_1h")
    assert (refused.code, small.duckdb.exists()) == (2, False)
    assert "--force-name" in refused.err
    ran = small.run("--source", "table", f"{path}:main.ohlcv_ethusdt_1h", "--force-name")
    assert (ran.code, "appended=24" in ran.out) == (0, True)
    again = small.run("--source", "csv", str(tmp_path / "day.parquet"))
    assert (again.code, "appended=0 compared=24" in again.out) == (0, True)


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--source", "table"], "--source table needs a FILE"),
        (["bars.csv"], "bars.csv: --source auto takes no FILE"),
        (["--source", "table", "gone.duckdb:t"], "gone.duckdb does not exist"),
        (["--source", "csv", "."], ". is a folder"),
        (["--source", "csv", "/dev/null"], "/dev/null is no regular file"),
        (["--source", "csv", "x" * 5000], "does not exist"),
        (["--source", "table", ":t"], ":t does not exist"),
        (["--force-name"], "--force-name is about a FILE's name"),
    ],
)
def test_wrong_usage_of_own_files_is_exit_2(small: Shop, flags: list[str], says: str) -> None:
    ran = small.run(*flags)
    assert (ran.code, says in ran.err) == (2, True)
