"""What `barfeed.open` gives: the very bars that are stored, as any library's table, and never the store for long."""

import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import duckdb
import numpy
import pandas
import polars
import pyarrow
import pytest

import barfeed
from barfeed.domain.bars import Bar
from commands import BARS, execute, make_store

FIRST, LAST = datetime.fromisoformat("2024-01-08 06:00"), datetime.fromisoformat("2024-02-10 13:00")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "ohlcv.duckdb")


@pytest.fixture
def feed(path: Path) -> barfeed.Reader:
    return barfeed.open(path, lock_timeout_sec=0.2)


def moment(bar: Bar) -> datetime:
    return datetime.fromtimestamp(bar.open_time_ms / 1000, UTC).replace(tzinfo=None)


ROWS = [(moment(bar), *bar.values) for bar in BARS]


def test_each_library_is_given_the_very_bars_ascending(feed: barfeed.Reader) -> None:
    bars = feed.bars("BTCUSDT", "1h")
    assert bars.to_polars().rows() == ROWS
    assert list(bars.to_pandas().itertuples(index=False, name=None)) == ROWS
    assert [tuple(row.values()) for row in bars.to_arrow().to_pylist()] == ROWS
    assert bars.to_numpy().tolist() == ROWS
    assert [tuple(row) for row in bars] == ROWS


def test_columns_and_types_are_those_that_are_documented(feed: barfeed.Reader) -> None:
    bars = feed.bars("btcusdt")
    names = ["timestamp", "open", "high", "low", "close", "volume"]
    assert bars.columns == names
    assert bars.to_polars().schema == {"timestamp": polars.Datetime("us")} | dict.fromkeys(names[1:], polars.Float64)
    assert bars.to_pandas().dtypes.astype(str).tolist() == ["datetime64[us]", *["float64"] * 5]
    assert bars.to_arrow().schema.types == [pyarrow.timestamp("us"), *[pyarrow.float64()] * 5]
    made = bars.to_numpy()
    assert (made.shape, made.dtype.names) == ((800,), tuple(names))
    assert [made.dtype[name].str for name in names] == ["<M8[us]", *["<f8"] * 5]


def test_whatever_takes_arrow_takes_the_table_itself(feed: barfeed.Reader) -> None:
    bars = feed.bars("BTCUSDT")
    assert polars.DataFrame(bars).rows() == ROWS
    assert pyarrow.table(bars).equals(bars.to_arrow())
    # On a connection of its own: of everybody's, another's answer may be read to half.
    with duckdb.connect() as connection:
        counted = connection.sql("SELECT count(*), min(timestamp), max(timestamp) FROM bars")
        assert counted.fetchall() == [(800, FIRST, LAST)]


def test_a_row_tells_its_columns_by_name(feed: barfeed.Reader) -> None:
    first, *_ = feed.bars("BTCUSDT")
    assert (first.timestamp, first.close) == (FIRST, BARS[0].close)


def test_it_has_a_length_and_shows_its_ends(feed: barfeed.Reader) -> None:
    bars = feed.bars("BTCUSDT")
    assert len(bars) == 800
    lines = repr(bars).splitlines()
    assert lines[0] == "BTCUSDT 1h: 800 rows"
    assert lines[1].split() == bars.columns
    assert [len(lines), lines[2].split()[:2], lines[7].split()] == [13, ["2024-01-08", "06:00:00"], ["..."] * 6]
    assert lines[-1].split()[:2] == ["2024-02-10", "13:00:00"]
    assert len({len(line) for line in lines[1:]}) == 1


@pytest.mark.parametrize("rows", [0, 1, 5, 6, 10, 11])
def test_a_short_table_is_shown_whole_and_no_row_twice(tmp_path: Path, rows: int) -> None:
    shown = repr(barfeed.open(make_store(tmp_path / "short.duckdb", BARS[:rows])).bars("BTCUSDT")).splitlines()
    assert len(shown) == 2 + min(rows, 11)
    assert len(set(shown)) == len(shown)


@pytest.mark.parametrize(
    ("start", "end", "bars"),
    [
        ("2024-02-10", None, BARS[-14:]),
        ("2024-02-10 12:00", None, BARS[-2:]),
        ("2024-02-10T12:30:00Z", None, BARS[-1:]),
        (None, "2024-02-10 13:00", BARS[:-1]),
        (date(2024, 2, 9), datetime.fromisoformat("2024-02-10"), BARS[-38:-14]),
        (datetime(2024, 2, 10, 14, tzinfo=timezone(timedelta(hours=2))), None, BARS[-2:]),
        (pandas.Timestamp("2024-02-10 12:00"), None, BARS[-2:]),
        (pandas.Timestamp("2024-02-10 12:00", tz="UTC"), None, BARS[-2:]),
        ("2025-01-01", None, []),
    ],
)
def test_the_start_is_included_and_the_end_is_not(
    feed: barfeed.Reader, start: str | date | None, end: str | date | None, bars: list[Bar]
) -> None:
    assert feed.bars("BTCUSDT", start=start, end=end).to_polars().rows() == [(moment(bar), *bar.values) for bar in bars]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"symbol": "BTC/USDT"}, "symbol 'BTC/USDT' cannot be one"),
        ({"symbol": []}, "no symbol was named"),
        ({"interval": "7h"}, "interval '7h' is not one of"),
        ({"start": "yesterday"}, "'yesterday' is no moment"),
        ({"end": 1704067200}, "'1704067200' is no moment"),
        ({"start": "2024-01-02", "end": "2024-01-01"}, "start 2024-01-02 00:00 must be before end 2024-01-01 00:00"),
    ],
)
def test_wrong_usage_is_told_before_anything_is_read(feed: barfeed.Reader, wrong: dict[str, object], said: str) -> None:
    with pytest.raises(barfeed.UsageError, match=said):
        feed.bars(**{"symbol": "BTCUSDT", **wrong})  # type: ignore[call-overload]


def test_a_symbol_that_is_not_stored_is_named_with_what_helps(feed: barfeed.Reader) -> None:
    with pytest.raises(barfeed.StoreEmpty, match="holds no bar of BTCUSTD 1h") as told:
        feed.bars("BTCUSTD").to_polars()
    assert "coverage()" in "".join(told.value.__notes__)
    assert "holds no bar of BTCUSTD 1h" in repr(feed.bars("BTCUSTD"))


def test_a_missing_file_is_refused_at_once_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(barfeed.StoreUnusable, match="does not exist") as told:
        barfeed.open(tmp_path / "none.duckdb")
    assert told.value.__notes__ == ["hint: open the store"]
    assert list(tmp_path.iterdir()) == []


def test_a_null_is_nothing_in_every_library(path: Path, feed: barfeed.Reader) -> None:
    execute(path, "UPDATE ohlcv_btcusdt_1h SET open = NULL WHERE timestamp = '2024-02-10 13:00'")
    last = feed.bars("BTCUSDT", start="2024-02-10 13:00")
    assert last.to_polars()["open"].to_list() == [row.open for row in last] == [None]
    assert last.to_pandas()["open"].isna().tolist() == [True]
    assert numpy.isnan(last.to_numpy()["open"]).tolist() == [True]


# Whoever has the file open meanwhile is another process, as a notebook or the feed is.
HOLD = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.read()
"""


def test_a_store_that_the_feed_has_is_waited_for_and_told(path: Path, feed: barfeed.Reader) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=-1, stdout=-1) as holder:
        assert holder.stdin
        assert holder.stdout
        holder.stdout.readline()
        with pytest.raises(barfeed.StoreUnusable, match=f"is held by .*{holder.pid}") as told:
            len(feed.bars("BTCUSDT"))
        assert "wait longer with lock_timeout_sec=" in told.value.__notes__[0]
        holder.stdin.close()
        holder.wait()
        assert len(barfeed.open(path).bars("BTCUSDT")) == 800


def test_between_two_calls_and_while_what_they_gave_is_kept_the_file_is_free(path: Path, feed: barfeed.Reader) -> None:
    bars = feed.bars("BTCUSDT")
    kept = [bars.to_polars(), bars.to_pandas(), bars.to_arrow(), bars.to_numpy(), iter(bars), repr(bars)]
    write = "import sys, duckdb; duckdb.connect(sys.argv[1]).execute('CREATE TABLE mine (n INTEGER)')"
    subprocess.run([sys.executable, "-c", write, path], check=True)
    assert len(kept) == 6
    assert len(bars) == 800
