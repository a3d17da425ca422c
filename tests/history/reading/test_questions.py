"""What of a store is told in Python beside its bars: the window, coverage, gaps, revisions, a market's symbols."""

import csv
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

import barfeed
from barfeed.domain.acceptance import Change
from barfeed.domain.bars import Bar, Interval, Series
from barfeed.domain.life import Listing
from barfeed.machine.clock import SystemClock
from barfeed.operate.status import look
from barfeed.store import market, revisions
from barfeed.store.duckdb import Store, transaction
from barfeed.store.revisions import Why
from commands import BARS, call, execute, make_store
from world import BTCUSDT_1H, made_up_bars

TARGET_MS = BARS[-1].open_time_ms
LATER = made_up_bars(TARGET_MS, 30)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return make_store(tmp_path / "ohlcv.duckdb")


def store_at(path: Path) -> Store:
    return Store(path, SystemClock(), 5)


@pytest.fixture
def mixed(path: Path) -> barfeed.Reader:
    """BTCUSDT in a table of its own, ETHUSDT and XRPUSDT in that of a market, with a hole in the latter."""
    with market.writing(store_at(path), Interval.ONE_HOUR) as table:
        table.append({"ETHUSDT": LATER, "XRPUSDT": [*LATER[:10], *LATER[12:]]})
        table.note_membership([listing("ETHUSDT"), listing("XRPUSDT")], TARGET_MS)
        table.note_membership([listing("XRPUSDT", status="SETTLING")], TARGET_MS + 3_600_000)
    return barfeed.open(path)


def listing(symbol: str, status: str = "TRADING") -> Listing:
    return Listing(symbol, status, "PERPETUAL", None, None, "USDT", 0.1)


def moment(open_time_ms: int) -> datetime:
    return datetime.fromtimestamp(open_time_ms / 1000, UTC).replace(tzinfo=None)


def rows(bars: Sequence[Bar], symbol: str) -> list[tuple[object, ...]]:
    return [(symbol, moment(bar.open_time_ms), *bar.values) for bar in bars]


def test_symbols_of_both_kinds_of_table_come_as_one_each_after_the_other(mixed: barfeed.Reader) -> None:
    both = mixed.bars(["ETHUSDT", "BTCUSDT"]).to_polars()
    assert both.rows() == rows(BARS, "BTCUSDT") + rows(LATER, "ETHUSDT")
    assert mixed.bars("ETHUSDT").to_polars().rows() == [row[1:] for row in rows(LATER, "ETHUSDT")]


def test_the_symbols_that_are_not_there_are_named_together(mixed: barfeed.Reader) -> None:
    with pytest.raises(barfeed.StoreEmpty, match="holds no bar of ADAUSDT, DOTUSDT 1h"):
        len(mixed.bars(["ADAUSDT", "BTCUSDT", "DOTUSDT", "ETHUSDT"]))
    with pytest.raises(barfeed.StoreEmpty, match="ETHUSDT 4h"):
        len(mixed.bars("ETHUSDT", "4h"))


def test_the_window_is_what_the_feed_gives_a_model(path: Path) -> None:
    window = barfeed.open(path).window("BTCUSDT")
    assert [tuple(row) for row in window] == [row[1:] for row in rows(BARS[-726:], "")]
    assert len(barfeed.open(path).window("BTCUSDT", buffer_hours=0)) == 720


def test_a_window_stays_what_it_was_while_the_store_goes_on(path: Path) -> None:
    window = barfeed.open(path).window("BTCUSDT")
    with store_at(path).appending(BTCUSDT_1H, create=False) as table:
        table.append(made_up_bars(TARGET_MS + 3_600_000, 1))
    assert window.to_polars()["timestamp"].max() == moment(TARGET_MS)


@pytest.mark.parametrize(
    ("change", "said", "helps"),
    [
        ("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-01 05:00'", "2024-02-01 05:00.*missing", "repair"),
        ("UPDATE ohlcv_btcusdt_1h SET close = NULL WHERE timestamp = '2024-02-01 05:00'", "holds NULL", "repair"),
        ("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < '2024-02-01'", "are missing", "backfill"),
    ],
)
def test_a_window_that_is_not_whole_is_refused_with_the_command_that_fills_it(
    path: Path, change: str, said: str, helps: str
) -> None:
    execute(path, change)
    with pytest.raises(barfeed.WindowGap, match=said) as told:
        barfeed.open(path).window("BTCUSDT")
    assert f"barfeed {helps} --duckdb {path} --symbol BTCUSDT" in told.value.__notes__[0]


def test_coverage_tells_every_series(mixed: barfeed.Reader) -> None:
    assert [tuple(row) for row in mixed.coverage()] == [
        ("BTCUSDT", "1h", 800, moment(BARS[0].open_time_ms), moment(TARGET_MS)),
        ("ETHUSDT", "1h", 30, moment(LATER[0].open_time_ms), moment(TARGET_MS)),
        ("XRPUSDT", "1h", 28, moment(LATER[0].open_time_ms), moment(TARGET_MS)),
    ]


def test_gaps_are_those_that_status_tells(path: Path, mixed: barfeed.Reader) -> None:
    execute(path, "DELETE FROM ohlcv_btcusdt_1h WHERE epoch_ms(timestamp) // 3600000 % 50 < 3")
    told = look(store_at(path), [BTCUSDT_1H, Series.of("XRPUSDT", "1h"), Series.of("ETHUSDT", "1h")])
    expected = [
        (series.symbol, "1h", moment(gap.first_ms), moment(gap.last_ms), gap.bars)
        for series, held in told.items()
        for gap in held.gaps
    ]
    assert len(expected) > 10
    assert [tuple(row) for row in mixed.gaps()] == expected
    assert [tuple(row) for row in mixed.gaps("xrpusdt")] == expected[-1:]
    assert len(mixed.gaps(interval="4h")) == 0


def test_bars_that_lie_off_the_grid_are_no_gaps(path: Path) -> None:
    execute(path, "INSERT INTO ohlcv_btcusdt_1h (timestamp, open) VALUES ('2024-02-01 05:30', 1), ('infinity', 1)")
    assert list(barfeed.open(path).gaps()) == []


@pytest.mark.long
def test_as_of_a_moment_the_bars_are_what_they_were_then_in_both_kinds_of_table(
    path: Path, mixed: barfeed.Reader
) -> None:
    clock = SystemClock()
    clock.sleep(0.005)
    before_ms = clock.utc_ms()
    clock.sleep(0.005)
    for series, bar in ((BTCUSDT_1H, BARS[-1]), (Series.of("ETHUSDT", "1h"), LATER[-1])):
        with store_at(path).session(write=True) as connection, transaction(connection):
            why = Why(before_ms, "it said so", "run 7")
            assert revisions.revise(connection, series, [Change(bar, bar._replace(volume=9.5))], why) == 1
    both = ["BTCUSDT", "ETHUSDT"]
    then = mixed.bars(both, as_of=datetime.fromtimestamp(before_ms / 1000, UTC)).to_polars()
    assert then.rows() == rows(BARS, "BTCUSDT") + rows(LATER, "ETHUSDT")
    now = mixed.bars(both, start=moment(TARGET_MS)).to_polars()
    assert now["volume"].to_list() == [9.5, 9.5]
    told = list(mixed.revisions())
    assert [(row.symbol, row.interval, row.old_volume, row.new_volume, row.reason, row.run) for row in told] == [
        ("BTCUSDT", "1h", BARS[-1].volume, 9.5, "it said so", "run 7"),
        ("ETHUSDT", "1h", LATER[-1].volume, 9.5, "it said so", "run 7"),
    ]
    assert list(mixed.revisions("ETHUSDT")) == told[1:]


def test_a_store_without_revisions_or_a_market_tells_none(path: Path) -> None:
    feed = barfeed.open(path)
    assert (list(feed.revisions()), list(feed.symbols())) == ([], [])
    assert feed.symbols().to_polars().columns[0] == "symbol"
    assert feed.revisions("BTCUSDT").to_pandas().empty


def test_an_empty_file_tells_nothing(tmp_path: Path) -> None:
    feed = barfeed.open(make_store(tmp_path / "x.duckdb", table="mine"))
    assert (list(feed.coverage()), list(feed.gaps())) == ([], [])


def test_symbols_are_told_as_they_were_last_seen_or_at_a_moment(mixed: barfeed.Reader) -> None:
    assert [(row.symbol, row.status) for row in mixed.symbols()] == [("ETHUSDT", "TRADING"), ("XRPUSDT", "SETTLING")]
    assert [row.status for row in mixed.symbols(as_of=moment(TARGET_MS))] == ["TRADING", "TRADING"]
    assert list(mixed.symbols(as_of="2020-01-01")) == []


def test_an_export_is_the_same_piece_of_code(path: Path, tmp_path: Path) -> None:
    from barfeed.cli.commands.history.export import export  # noqa: PLC0415

    assert call(export, "--duckdb", path, tmp_path / "all.csv", "--from", "2024-02-01").code == 0
    exported = list(csv.DictReader((tmp_path / "all.csv").read_text().splitlines()))
    bars = barfeed.open(path).bars("BTCUSDT", start="2024-02-01")
    assert [(row["timestamp"], float(row["close"])) for row in exported] == [
        (str(row.timestamp), row.close) for row in bars
    ]


@pytest.mark.long
def test_threads_of_one_process_read_in_turn(mixed: barfeed.Reader, path: Path) -> None:
    readers = [mixed, barfeed.open(path)]
    with ThreadPoolExecutor(8) as threads:
        read = threads.map(lambda n: len(readers[n % 2].bars("BTCUSDT").to_polars()), range(40))
    assert set(read) == {800}


WRITE = "import sys, duckdb; duckdb.connect(sys.argv[1]).execute('CREATE TABLE IF NOT EXISTS mine (n INTEGER)')"


@pytest.mark.long
def test_no_second_reader_of_a_process_gives_back_the_lock_that_the_first_relies_on(path: Path) -> None:
    one, other = barfeed.open(path), barfeed.open(path)
    with ThreadPoolExecutor(1) as threads:
        with one._source.session():
            reading = threads.submit(len, other.bars("BTCUSDT"))
            writing = subprocess.run([sys.executable, "-c", WRITE, path], capture_output=True, text=True, check=False)
            assert "Could not set lock" in writing.stderr
            assert not reading.done()
        assert reading.result(60) == 800
    assert subprocess.run([sys.executable, "-c", WRITE, path], check=False).returncode == 0


def test_to_import_barfeed_imports_nothing_else() -> None:
    look = "import sys, barfeed; print(*sorted(name for name in sys.modules if name.startswith('barfeed')))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["barfeed"]


@pytest.mark.long
def test_what_reads_is_imported_and_no_library_that_was_not_asked_for(path: Path) -> None:
    look = f"""
import sys, barfeed
feed = barfeed.open({str(path)!r})
len(feed.bars("BTCUSDT")), repr(feed.gaps()), list(feed.coverage())
print(*({{"numpy", "pandas", "polars", "pyarrow", "click", "urllib3", "aiohttp"}} & set(sys.modules)))
feed.bars("BTCUSDT").to_polars()
print(*({{"numpy", "pandas", "polars", "pyarrow"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "polars"]


def test_a_library_that_is_not_installed_is_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(barfeed.UsageError, match="not installed: polars") as told:
        barfeed.open(path).bars("BTCUSDT").to_polars()
    assert told.value.hint == "pip install polars"
