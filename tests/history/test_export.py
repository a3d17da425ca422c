"""What `barfeed export` writes: any span, whole or absent, the very same doubles."""

import calendar
import csv
import gzip
import os
import resource
import shutil
import struct
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.cli.commands.history.export import export
from barfeed.domain.bars import Bar
from commands import BARS, Ended, call, execute, make_store
from world import hours, made_up_bars, ms

FIRST_MS = BARS[0].open_time_ms


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(tmp_path_factory.mktemp("made") / "ohlcv.duckdb")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def exported(store: Path, *words: object) -> Ended:
    return call(export, "--duckdb", store, *words)


def read_csv(path: Path) -> list[Bar]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    rows = list(csv.DictReader(content.decode().splitlines()))
    return [Bar(_open_time(row.pop("timestamp")), *map(float, row.values())) for row in rows]


def _open_time(text: str) -> int:
    return calendar.timegm(time.strptime(text, "%Y-%m-%d %H:%M:%S")) * 1000


def test_a_csv_holds_every_bar_ascending_and_reads_back_to_the_last_digit(store: Path, tmp_path: Path) -> None:
    done = exported(store, tmp_path / "all.csv")
    assert (done.code, done.out.split()[0]) == (0, "exported=800")
    assert read_csv(tmp_path / "all.csv") == list(BARS)
    lines = (tmp_path / "all.csv").read_bytes().split(b"\n")
    assert lines[0] == b"timestamp,open,high,low,close,volume"
    assert lines[-2].startswith(b"2024-02-10 13:00:00,")


SMALL = [Bar(FIRST_MS + hours(n), 1.57066e-05, 1.6e-05, 1.5e-05, 1.5e-05, 3e16 + n) for n in range(3)]


@pytest.mark.parametrize("name", ["small.csv", "small.csv.gz"])
def test_with_plain_decimals_no_number_has_an_exponent_and_each_is_the_same(tmp_path: Path, name: str) -> None:
    small = make_store(tmp_path / "small.duckdb", SMALL)
    assert exported(small, tmp_path / "as-ever.csv").code == 0
    assert "e-05" in (tmp_path / "as-ever.csv").read_text()
    assert exported(small, tmp_path / name, "--plain-decimals").code == 0
    content = (tmp_path / name).read_bytes()
    lines = (gzip.decompress(content) if name.endswith(".gz") else content).decode().split("\n")
    first = "2024-01-08 06:00:00,0.0000157066,0.000016,0.000015,0.000015,30000000000000000.0"
    assert lines[:2] == ["timestamp,open,high,low,close,volume", first]
    assert read_csv(tmp_path / name) == read_csv(tmp_path / "as-ever.csv") == SMALL


def test_plain_decimals_beside_an_ordinary_csv_differ_in_nothing_but_exponents(store: Path, tmp_path: Path) -> None:
    exported(store, tmp_path / "as-ever.csv")
    exported(store, tmp_path / "plain.csv", "--plain-decimals")
    assert (tmp_path / "plain.csv").read_bytes() == (tmp_path / "as-ever.csv").read_bytes()


def test_plain_decimals_of_a_parquet_are_wrong_usage(store: Path, tmp_path: Path) -> None:
    done = exported(store, tmp_path / "all.parquet", "--plain-decimals")
    assert (done.code, "--plain-decimals" in done.err) == (2, True)
    assert not (tmp_path / "all.parquet").exists()


def test_a_packed_csv_and_a_parquet_hold_the_same(store: Path, tmp_path: Path) -> None:
    exported(store, tmp_path / "all.csv.gz")
    exported(store, tmp_path / "all.parquet")
    assert read_csv(tmp_path / "all.csv.gz") == list(BARS)
    rows = duckdb.execute(
        f"SELECT epoch_ms(timestamp), open, high, low, close, volume FROM '{tmp_path}/all.parquet'"
    ).fetchall()
    assert [Bar(*row) for row in rows] == list(BARS)


def test_bars_stored_out_of_order_come_ascending(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb", BARS[400:] + BARS[:400])
    exported(store, tmp_path / "all.csv")
    assert read_csv(tmp_path / "all.csv") == list(BARS)


@pytest.mark.parametrize(
    ("words", "bars"),
    [
        (("--from", "2024-02-10"), BARS[-14:]),
        (("--from", "2024-02-10 12:00"), BARS[-2:]),
        (("--from", "2024-02-10T12:30:00Z"), BARS[-1:]),
        (("--to", "2024-02-10 13:00"), BARS[:-1]),
        (("--from", "2024-02-09", "--to", "2024-02-10"), BARS[-38:-14]),
    ],
)
def test_from_is_included_and_to_is_not(store: Path, tmp_path: Path, words: list[str], bars: list[Bar]) -> None:
    exported(store, tmp_path / "span.csv", *words)
    assert read_csv(tmp_path / "span.csv") == list(bars)


def test_a_hole_is_exported_as_it_is_and_told(store: Path, tmp_path: Path) -> None:
    execute(store, "DELETE FROM ohlcv_btcusdt_1h WHERE timestamp IN ('2024-02-01 05:00', '2024-02-01 06:00')")
    told = exported(store, tmp_path / "all.csv", "--json").told
    assert told == {
        "exported": 798,
        "first": "2024-01-08 06:00",
        "last": "2024-02-10 13:00",
        "gaps": 1,
        "file": str(tmp_path / "all.csv"),
    }


DOUBLES = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.long
@given(st.lists(st.tuples(DOUBLES, DOUBLES, DOUBLES, DOUBLES, DOUBLES), min_size=1, max_size=50))
@settings(max_examples=15)
def test_every_double_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, values: list[tuple[float, ...]]
) -> None:
    folder = tmp_path_factory.mktemp("doubles")
    bars = [Bar(FIRST_MS + hours(at), *each) for at, each in enumerate(values)]
    exported(make_store(folder / "ohlcv.duckdb", bars), folder / "all.csv")
    back = [bar.values for bar in read_csv(folder / "all.csv")]
    assert [struct.pack("5d", *each) for each in back] == [struct.pack("5d", *each) for each in values]


def test_as_of_leaves_out_what_was_appended_later(store: Path, tmp_path: Path) -> None:
    execute(
        store,
        "UPDATE ohlcv_btcusdt_1h SET created_at = timestamp + INTERVAL 61 MINUTE",
    )
    exported(store, tmp_path / "then.csv", "--as-of", "2024-02-10 12:00")
    assert read_csv(tmp_path / "then.csv") == list(BARS[:-3])


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE ohlcv_btcusdt_1h DROP created_at",
        "UPDATE ohlcv_btcusdt_1h SET created_at = NULL",
        "ALTER TABLE ohlcv_btcusdt_1h RENAME created_at TO is_known",
        "ALTER TABLE ohlcv_btcusdt_1h ALTER created_at TYPE VARCHAR USING 'long ago'",
    ],
)
def test_as_of_of_a_table_that_does_not_know_gives_no_bar_that_had_not_closed_and_says_so(
    store: Path, tmp_path: Path, change: str
) -> None:
    execute(store, change)
    at_once = exported(store, tmp_path / "then.csv", "--as-of", "2024-02-10 12:30")
    assert at_once.code == 0
    # The bar of 11:00 closed at 12:00, that of 12:00 had not closed yet.
    assert read_csv(tmp_path / "then.csv") == list(BARS[:-2])
    assert "when 798 of the 798 bars were appended is not known" in at_once.err
    exported(store, tmp_path / "then.csv", "--as-of", "2024-02-10 13:00")
    assert read_csv(tmp_path / "then.csv") == list(BARS[:-1])
    told = exported(store, tmp_path / "then.csv", "--as-of", "2024-02-10 13:00", "--json").told
    assert (told["exported"], told["unknown"]) == (799, 799)
    assert "unknown" not in exported(store, tmp_path / "then.csv", "--json").told


def test_as_of_never_gives_what_a_wrong_clock_stamped_before_it_closed(store: Path, tmp_path: Path) -> None:
    execute(store, "UPDATE ohlcv_btcusdt_1h SET created_at = '2000-01-01'")
    done = exported(store, tmp_path / "then.csv", "--as-of", "2024-02-10 12:30")
    assert read_csv(tmp_path / "then.csv") == list(BARS[:-2])
    assert "not known" not in done.err


def test_as_of_tells_the_version_that_stood_then(store: Path, tmp_path: Path) -> None:
    execute(
        store,
        "UPDATE ohlcv_btcusdt_1h SET created_at = '2024-02-10 14:00'",
        """CREATE TABLE ohlcv_revisions (series VARCHAR, timestamp TIMESTAMP,
             old_open DOUBLE, old_high DOUBLE, old_low DOUBLE, old_close DOUBLE, old_volume DOUBLE,
             new_open DOUBLE, new_high DOUBLE, new_low DOUBLE, new_close DOUBLE, new_volume DOUBLE,
             seen_at TIMESTAMP, accepted_at TIMESTAMP, reason VARCHAR, run VARCHAR)""",
        """INSERT INTO ohlcv_revisions SELECT 'BTCUSDT 1h', timestamp, open, high, low, close, volume,
             open, high, low, close, 7.5, '2024-02-11', '2024-02-11 10:00', 'test', 'run'
           FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-10 13:00'""",
        "UPDATE ohlcv_btcusdt_1h SET volume = 7.5 WHERE timestamp = '2024-02-10 13:00'",
    )
    exported(store, tmp_path / "before.csv", "--as-of", "2024-02-11 09:00")
    exported(store, tmp_path / "after.csv", "--as-of", "2024-02-11 11:00")
    assert read_csv(tmp_path / "before.csv") == list(BARS)
    assert read_csv(tmp_path / "after.csv")[-1] == BARS[-1]._replace(volume=7.5)


def test_a_file_that_is_there_is_replaced(store: Path, tmp_path: Path) -> None:
    (tmp_path / "all.csv").write_text("old")
    assert exported(store, tmp_path / "all.csv").code == 0
    assert len(read_csv(tmp_path / "all.csv")) == 800


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("all.txt",), 2, "expected a name that ends in .csv, .csv.gz, .parquet"),
        ((".csv",), 2, "expected a name that ends in"),
        (("all.csv", "--from", "2024-02-10", "--to", "2024-02-10"), 2, "must be before --to"),
        (("all.csv", "--from", "yesterday"), 2, "'yesterday' is no moment like 2024-01-15"),
        (("all.csv", "--from", "2030-01-01"), 1, "holds no bar from 2030-01-01 00:00 to before its end"),
        (("all.csv", "--symbol", "ETHUSDT"), 1, "ETHUSDT 1h: "),
        (("nowhere/all.csv",), 4, "cannot be written: No such file or directory"),
        (("all.csv", "--as-of", "2001-01-01"), 1, "as of 2001-01-01 00:00; nothing was written"),
    ],
)
def test_what_cannot_be_exported_is_told_and_leaves_nothing(
    store: Path, tmp_path: Path, words: tuple[str, ...], code: int, says: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    name, *others = words
    done = exported(store, tmp_path / name, *others)
    assert done.code == code
    assert says in done.err
    assert sorted(tmp_path.rglob("*")) == before


def test_a_store_that_is_not_there_stays_absent(tmp_path: Path) -> None:
    done = exported(tmp_path / "none.duckdb", tmp_path / "all.csv")
    assert (done.code, done.err) == (4, f"{tmp_path / 'none.duckdb'} does not exist")
    assert done.hint == "point --duckdb at the store"
    assert list(tmp_path.iterdir()) == []


COMMAND = "from barfeed.cli.main import main; from barfeed.cli.commands.history.export import export; main(export)"


@pytest.mark.skipif(os.name != "posix", reason="limits of POSIX")
@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
def test_a_full_disk_is_told_of_the_file_and_leaves_what_was_there(store: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")

    def small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

    done = subprocess.run(
        [sys.executable, "-c", COMMAND, path, "--duckdb", store],
        preexec_fn=small_files,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 4, done.stderr
    assert done.stderr.startswith(f"barfeed: {path} cannot be written: ")
    assert path.read_text() == "old"
    assert sorted(each.name for each in tmp_path.iterdir()) == [name, "ohlcv.duckdb"]


def test_a_killed_exports_file_is_swept_a_day_later(store: Path, tmp_path: Path) -> None:
    left, young = tmp_path / ".all.csv.99999.unfinished", tmp_path / ".all.csv.99998.unfinished"
    for each in (left, young):
        each.write_text("half")
    os.utime(left, (0, 0))
    exported(store, tmp_path / "all.csv")
    assert (left.exists(), young.exists()) == (False, True)


@pytest.mark.long
def test_a_million_bars_leave_nothing_but_the_summary_on_stdout(tmp_path: Path) -> None:
    store = tmp_path / "ohlcv.duckdb"
    make_store(store, made_up_bars(ms(2024, 2, 10, 13), 2))
    execute(
        store,
        """INSERT INTO ohlcv_btcusdt_1h SELECT make_timestamp_ms((500000 + i) * 3600000), 1.5, 3, 1, 2, 0.1 * i, now()
           FROM range(999998) t(i)""",
    )
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, tmp_path / "all.csv.gz", "--duckdb", store, "--json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.startswith('{"exported": 1000000, ')
    assert done.stdout.count("\n") == 1
