from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Bar
from barfeed.domain.errors import UsageError
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, DATA, HOURLY, World, at, needs_data

PLAIN = """timestamp,open,high,low,close,volume
2024-01-15 13:00:00,113.0,116.5,111.0,114.0,23.125
2024-01-15 14:00:00,114.0,117.5,112.0,115.0,24.125
"""
HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,"
    "taker_buy_volume,taker_buy_quote_volume,ignore\n"
)
ARCHIVED = (
    "1705323600000,113.0,116.5,111.0,114.0,23.125,1705327199999,2630.5,17,11.5,1300.25,0\n"
    "1705327200000,114.0,117.5,112.0,115.0,24.125,1705330799999,2770.0,18,12.5,1410.5,0\n"
)
IN_MICROSECONDS = ARCHIVED.replace("1705323600000", "1705323600000000").replace("1705327200000", "1705327200000000")

FORMS = {
    "timestamp and six columns": PLAIN,
    "archive with header": HEADER + ARCHIVED,
    "archive without header": ARCHIVED,
    "six columns without header": PLAIN.partition("\n")[2],
    "microseconds": IN_MICROSECONDS,
    "windows line ends": PLAIN.replace("\n", "\r\n"),
    "upper case header": PLAIN.replace("timestamp,open", "Timestamp,Open"),
    "descending": "\n".join([PLAIN.splitlines()[0], *PLAIN.splitlines()[:0:-1]]),
    "twice the same bar": PLAIN + PLAIN.splitlines()[1] + "\n",
    "another offset than UTC": PLAIN.replace("14:00:00", "15:00:00+01").replace("13:00:00", "13:00:00Z"),
}

BAD = [
    # the file's name and text, what the message must name
    ("bars.csv", PLAIN, ["bars.csv", "BTCUSDT-1h.parquet"]),
    ("BTCUSDT-7h.csv", PLAIN, ["BTCUSDT-7h.csv", "does not tell the series"]),
    ("BTCUSDT-1h.csv", "", ["BTCUSDT-1h.csv"]),
    ("BTCUSDT-1h.csv", HEADER, ["no bars", "at least one"]),
    ("BTCUSDT-1h.csv", "time,price\n1,2\n", ["no column open_time, open", "'time, price'", "volume"]),
    ("BTCUSDT-1h.csv", "1705323600000,1,2\n", ["3 columns", "12 or 6"]),
    ("BTCUSDT-1h.csv", PLAIN.replace("13:00:00", "13:30:00"), ["2024-01-15 13:30", "grid of 1h"]),
    ("BTCUSDT-1h.csv", PLAIN.replace("116.5", "n/a"), ["2024-01-15 13:00", "nan", "finite"]),
    ("BTCUSDT-1h.csv", PLAIN.replace("116.5", "inf"), ["2024-01-15 13:00", "inf", "finite"]),
    ("BTCUSDT-1h.csv", PLAIN.replace("2024-01-15 13:00:00", "yesterday"), ["open_time", "milliseconds"]),
    ("BTCUSDT-1h.parquet", "PAR1 and nothing more", ["BTCUSDT-1h.parquet", "expected a Parquet"]),
]


def _file(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, newline="")
    return str(path)


@pytest.mark.parametrize("form", FORMS)
def test_a_csv_is_read_in_any_of_its_forms(form: str, tmp_path: Path) -> None:
    [tape] = Tape.load([_file(tmp_path, "BTCUSDT-1h-2024-01.csv", FORMS[form])])
    assert (tape.series, list(tape.bars)) == (HOURLY, BARS[13:15])


def test_what_the_source_tells_is_served_and_not_made_up(tmp_path: Path) -> None:
    world = World(*Tape.load([_file(tmp_path, "BTCUSDT-1h.csv", ARCHIVED)]))
    assert world.rows("limit=2")[0][7:] == ["2630.5000", 17, "11.500", "1300.2500", "0"]


@pytest.mark.parametrize(("name", "text", "named"), BAD)
def test_a_file_that_cannot_be_used_is_refused_naming_it(
    name: str, text: str, named: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError) as caught:
        Tape.load([_file(tmp_path, name, text)])
    assert [part for part in [name, *named] if part not in str(caught.value)] == []


def test_a_path_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "BTCUSDT-1h.csv", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=reason) as caught:
            Tape.load([str(path)])
        assert str(path) in str(caught.value)


def test_the_series_may_be_said_before_the_path(tmp_path: Path) -> None:
    [tape] = Tape.load([f"btcusdt-1h={_file(tmp_path, 'ETHUSDT-5m.csv', PLAIN)}"])
    assert tape.series == HOURLY


def test_a_wrong_interval_before_the_path_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"BTCUSDT-7h=.*'7h' is no interval; expected one of 1m 3m"):
        Tape.load([f"BTCUSDT-7h={_file(tmp_path, 'bars.csv', PLAIN)}"])


def test_files_of_one_series_are_joined(tmp_path: Path) -> None:
    header, first, second = PLAIN.splitlines()
    files = [
        _file(tmp_path, "BTCUSDT-1h-2024-02.csv", "\n".join([header, second])),
        _file(tmp_path, "BTCUSDT-1h-2024-01.csv", "\n".join([header, first, second])),
    ]
    [tape] = Tape.load(files)
    assert list(tape.bars) == BARS[13:15]


def test_a_join_keeps_the_columns_that_one_of_two_files_knows(tmp_path: Path) -> None:
    files = [_file(tmp_path, "BTCUSDT-1h-a.csv", PLAIN), _file(tmp_path, "BTCUSDT-1h-b.csv", ARCHIVED)]
    assert World(*Tape.load(files)).rows("limit=2")[0][8] == 17


def test_two_versions_of_a_bar_are_refused_naming_both_files(tmp_path: Path) -> None:
    files = [
        _file(tmp_path, "BTCUSDT-1h-a.csv", PLAIN),
        _file(tmp_path, "BTCUSDT-1h-b.csv", PLAIN.replace("24.125", "24.5")),
    ]
    with pytest.raises(UsageError) as caught:
        Tape.load(files)
    message = str(caught.value)
    assert [part for part in (*files, "2024-01-15 14:00", "24.125", "24.5") if part not in message] == []


def test_of_three_files_the_two_that_differ_are_named(tmp_path: Path) -> None:
    odd = PLAIN.replace("24.125", "24.5")
    files = [_file(tmp_path, f"BTCUSDT-1h-{name}.csv", odd if name == "b" else PLAIN) for name in "abc"]
    with pytest.raises(UsageError, match=r"1h-b\.csv"):
        Tape.load(files)


def _store(path: Path, *tables: str) -> str:
    with duckdb.connect(str(path)) as database:
        for table in tables:
            database.execute(
                f"CREATE TABLE {table} (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE, "
                "close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
            )
            database.execute(
                f"INSERT INTO {table} (timestamp, open, high, low, close, volume) "
                "VALUES ('2024-01-15 13:00:00', 113.0, 116.5, 111.0, 114.0, 23.125)"
            )
    return str(path)


def test_every_series_of_a_store_is_played(tmp_path: Path) -> None:
    tapes = Tape.load([_store(tmp_path / "feed.duckdb", "ohlcv_btcusdt_1h", "ohlcv_ethusdt_5m", "notes")])
    assert [str(tape.series) for tape in tapes] == ["BTCUSDT 1h", "ETHUSDT 5m"]
    assert tapes[0].bars == (BARS[13],)


def test_one_series_of_a_store_can_be_chosen(tmp_path: Path) -> None:
    store = _store(tmp_path / "feed.duckdb", "ohlcv_btcusdt_1h", "ohlcv_ethusdt_5m")
    assert [str(tape.series) for tape in Tape.load([f"ETHUSDT-5m={store}"])] == ["ETHUSDT 5m"]


def test_a_store_without_the_series_is_refused_naming_its_tables(tmp_path: Path) -> None:
    store = _store(tmp_path / "feed.duckdb", "ohlcv_btcusdt_1h")
    with pytest.raises(UsageError, match=r"feed\.duckdb: no table ohlcv_ethusdt_1h; it has 'ohlcv_btcusdt_1h'"):
        Tape.load([f"ETHUSDT-1h={store}"])


def test_a_path_with_quotes_is_no_trap(tmp_path: Path) -> None:
    folder = tmp_path / 'it\'s "odd"'
    folder.mkdir()
    store = _store(folder / "feed.duckdb", "ohlcv_btcusdt_1h")
    [tape] = Tape.load([store, _file(folder, "BTCUSDT-1h.csv", PLAIN)])
    assert len(tape) == 2


def test_timestamps_do_not_depend_on_the_machines_zone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    [tape] = Tape.load([_file(tmp_path, "BTCUSDT-1h.csv", PLAIN)])
    assert list(tape.bars) == BARS[13:15]


def test_a_parquet_file_may_have_aware_timestamps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    path = tmp_path / "BTCUSDT-1h.parquet"
    with duckdb.connect() as database:
        database.execute(
            "COPY (SELECT TIMESTAMPTZ '2024-01-15 13:00:00+00' AS timestamp, 113.0 AS open, 116.5 AS high, "
            f"111.0 AS low, 114.0 AS close, 23.125 AS volume) TO '{path}' (FORMAT parquet)"
        )
    [tape] = Tape.load([str(path)])
    assert tape.bars == (Bar(at(13), 113.0, 116.5, 111.0, 114.0, 23.125),)


@needs_data
def test_rest_and_archive_of_2024_are_two_versions() -> None:
    files = [str(DATA / "rest" / "BTCUSDT-1h.parquet"), str(DATA / "archive" / "BTCUSDT-1h-2024.parquet")]
    with pytest.raises(UsageError, match="2024-03-27 12:00") as caught:
        Tape.load(files)
    assert [part for part in (*files, "6420.832", "6892.046") if part not in str(caught.value)] == []


@pytest.mark.long
@needs_data
def test_the_archives_months_and_a_day_of_them_are_joined() -> None:
    names = ["-09.parquet", "-10.parquet", "-11.parquet", "-10-01.csv"]
    [tape] = Tape.load([str(DATA / "archive" / f"FILUSDT-1m-2024{name}") for name in names])
    assert len(tape) == 43_200 + 44_640 + 43_200
