"""One pass over a market: every promise of one series, for each; and one series' trouble is no other's."""

import json
import zipfile
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.domain.bars import Bar, Series
from barfeed.domain.market import members
from barfeed.domain.market.selection import Selection
from barfeed.feed.market.record import MarketRecord
from barfeed.history.verification import Proven, check_runs
from barfeed.replay.tapes.tape import Tape
from market_world import MarketWorld
from world import hours, made_up_bars, ms

# It is 14:00:30 on the exchange: the target is the bar of 13:00.
TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "SOLUSDT", "币安人生USDT")


def taped(symbol: str, bars: int = 200, end_ms: int = TARGET_MS + hours(40)) -> tuple[Bar, ...]:
    return made_up_bars(end_ms, bars, "BTCUSDT" if not symbol.isascii() else symbol)


@pytest.fixture
def market(tmp_path: Path) -> MarketWorld:
    tapes = [Tape.of(Series.of(symbol, "1h"), taped(symbol)) for symbol in SYMBOLS]
    return MarketWorld(tmp_path, tapes, TARGET_MS + hours(1) + 30_000)


@pytest.fixture
def lived(market: MarketWorld, tmp_path_factory: pytest.TempPathFactory) -> MarketWorld:
    """A store of 48 hours up to 13:00; it is an hour later."""
    market.live_first_hour(tmp_path_factory.getbasetemp() / "market_pass")
    market.clock.go_to(TARGET_MS + hours(2) + 30_000)
    market.exchange.requests.clear()
    return market


def expected(symbol: str, first_ms: int, last_ms: int) -> list[Bar]:
    return [bar for bar in taped(symbol) if first_ms <= bar.open_time_ms <= last_ms]


def manifest(record: MarketRecord) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text())
    return told


def test_a_first_pass_starts_every_series_with_its_window(market: MarketWorld) -> None:
    record = market.run_pass(catch_up=True)
    assert (record.status, record.exit_code) == ("appended", 0)
    window = {symbol: expected(symbol, TARGET_MS - hours(47), TARGET_MS) for symbol in SYMBOLS}
    assert market.stored() == window
    assert market.windows() == window
    # One question for the time, one for the list, one for each series.
    assert market.exchange.requests == {"/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 5}


def test_what_is_too_much_for_memory_is_pulled_in_blocks_and_kept_as_one(
    market: MarketWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(members, "BLOCK_BARS", 100)
    record = market.run_pass('[[fault]]\nkind = "duplicate"\nsymbol = "ETHUSDT"\n', catch_up=True)
    assert {symbol: each.appended for symbol, each in record.outcomes.items()} == {
        "ADAUSDT": 48, "BTCUSDT": 48, "ETHUSDT": 0, "SOLUSDT": 48, "币安人生USDT": 48,
    }  # fmt: skip
    assert record.outcomes["ETHUSDT"].status == "contract_broken"
    # One transaction, one file of evidence, in the order of the symbols.
    [pull] = market.feed.folder.glob("*_api_pull.parquet")
    query = "SELECT symbol, count(*) FROM read_parquet(?) GROUP BY symbol ORDER BY min(file_row_number)"
    pulled = duckdb.execute(query, [str(pull)]).fetchall()
    assert pulled == [(symbol, 49 if symbol == "ETHUSDT" else 48) for symbol in SYMBOLS]
    with duckdb.connect(market.duckdb, read_only=True) as connection:
        assert connection.execute("SELECT count(DISTINCT created_at) FROM ohlcv_1h").fetchall() == [(1,)]


def test_an_empty_store_is_started_only_where_that_is_said(market: MarketWorld) -> None:
    record = market.run_pass()
    assert (record.status, record.exit_code) == ("store_empty", 1)
    assert record.failure is not None
    assert record.failure.hint == "start it: barfeed run --symbols all --catch-up"
    assert not market.duckdb.exists()


@pytest.mark.long
def test_each_hour_appends_one_bar_a_series_and_goes_on_to_the_byte(lived: MarketWorld) -> None:
    for hour in range(2, 6):
        lived.clock.go_to(TARGET_MS + hours(hour) + 30_000)
        record = lived.run_pass()
        assert (record.exit_code, [each.appended for each in record.outcomes.values()]) == (0, [1] * 5)
        assert [each.validated for each in record.outcomes.values()] == [5] * 5
    end_ms = TARGET_MS + hours(4)
    assert lived.stored() == {symbol: expected(symbol, TARGET_MS - hours(47), end_ms) for symbol in SYMBOLS}
    assert lived.windows() == {symbol: expected(symbol, end_ms - hours(47), end_ms) for symbol in SYMBOLS}
    assert record.line().startswith(
        "series=5 appended=5 bars=5 interval=1h target=2026-03-10 17:00 windows=5 inference="
    )


def test_a_second_pass_in_an_hour_changes_nothing(lived: MarketWorld) -> None:
    assert lived.run_pass().status == "appended"
    before = lived.duckdb.read_bytes()
    record = lived.run_pass()
    assert (record.status, record.exit_code) == ("up_to_date", 0)
    assert lived.stored()["BTCUSDT"][-1] == expected("BTCUSDT", TARGET_MS + hours(1), TARGET_MS + hours(1))[0]
    assert len(before) == lived.duckdb.stat().st_size


TROUBLES = {
    "mismatch": ('kind = "revise"\nbar = 2026-03-10T12:00:00\nvolume = 1.0', 1),
    "contract_broken": ('kind = "duplicate"', 5),
    "bar_late": ('kind = "late"\nsec = 3599\nrows = 2', 3),
    "exchange_unavailable": ('kind = "status"\nstatus = 503', 3),
    "exchange_refused": ('kind = "status"\nstatus = 400\ncode = -1100\nmsg = "Illegal characters."', 5),
}


@pytest.mark.parametrize("status", TROUBLES)
def test_one_series_trouble_is_no_others(lived: MarketWorld, status: str) -> None:
    fault, exit_code = TROUBLES[status]
    record = lived.run_pass(f'[[fault]]\n{fault}\nsymbol = "ETHUSDT"\n', max_wait_sec=20.0)
    assert (record.outcomes["ETHUSDT"].status, record.status, record.exit_code) == (status, status, exit_code)
    assert [symbol for symbol, each in record.outcomes.items() if each.appended] == [
        "ADAUSDT", "BTCUSDT", "SOLUSDT", "币安人生USDT",
    ]  # fmt: skip
    # What failed is as it was, and no old window is given for a new one.
    assert lived.stored()["ETHUSDT"] == expected("ETHUSDT", TARGET_MS - hours(47), TARGET_MS)
    assert "ETHUSDT" not in lived.windows()
    assert record.missing == ["ETHUSDT"]
    assert f"failed={status} exit={exit_code} series=5 appended=4 bars=4 {status}=1" in record.line()
    [told] = [each for each in manifest(record)["outcomes"] if each["symbol"] == "ETHUSDT"]
    assert (told["status"], told["published"]) == (status, False)
    assert told["message"]
    # The hour after is good again, once what was missed may be caught up with.
    lived.clock.go_to(TARGET_MS + hours(3) + 30_000)
    assert lived.run_pass(catch_up=True).exit_code == 0
    assert lived.stored()["ETHUSDT"] == expected("ETHUSDT", TARGET_MS - hours(47), TARGET_MS + hours(2))


def test_a_forming_bar_is_never_appended(lived: MarketWorld) -> None:
    lived.run_pass()
    assert max(bar.open_time_ms for bars in lived.stored().values() for bar in bars) == TARGET_MS + hours(1)


def test_the_evidence_is_there_whatever_comes_of_it(lived: MarketWorld) -> None:
    record = lived.run_pass(f"[[fault]]\n{TROUBLES['mismatch'][0]}\n")
    assert record.exit_code == 1
    assert record.pull is not None
    path = lived.feed.folder / record.pull.file
    rows = duckdb.execute("SELECT count(*), count(DISTINCT symbol) FROM read_parquet(?)", [str(path)]).fetchall()
    assert rows == [(30, 5)]
    assert record.pull.rows == 30
    assert [each.status for each in record.troubles] == ["mismatch"] * 5
    assert lived.stored() == {symbol: expected(symbol, TARGET_MS - hours(47), TARGET_MS) for symbol in SYMBOLS}


def test_a_dry_run_decides_and_leaves_everything_as_it_is(lived: MarketWorld) -> None:
    before, windows = lived.duckdb.read_bytes(), lived.windows()
    record = lived.run_pass(dry_run=True)
    assert (record.status, record.exit_code) == ("dry_run", 0)
    assert "would_append=5" in record.line()
    assert (lived.duckdb.read_bytes(), lived.windows()) == (before, windows)


def test_the_csvs_of_some_are_written_beside_the_table(lived: MarketWorld) -> None:
    record = lived.run_pass(csv_for=("BTCUSDT", "币安人生USDT"))
    lines = (lived.feed.folder / "latest_for_inference_BTCUSDT.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("timestamp,open,high,low,close,volume", 49)
    assert {symbol: each.rows for symbol, each in record.csvs.items()} == {"BTCUSDT": 48, "币安人生USDT": 48}
    assert (lived.feed.folder / "latest_for_inference_币安人生USDT.csv").exists()
    assert record.warnings == []


def test_a_csv_that_never_comes_is_warned_of(lived: MarketWorld) -> None:
    record = lived.run_pass(csv_for=("NEVERUSDT",))
    assert record.warnings == ["--csv-for: NEVERUSDT is none of the symbols that are fed; it gets no CSV"]
    assert (record.exit_code, record.csvs) == (0, {})


def test_symbols_that_fit_nothing_are_no_good_hour(lived: MarketWorld) -> None:
    record = lived.run_pass(selection=Selection.of("LUNA*"))
    assert (record.status, record.exit_code) == ("usage_error", 2)
    assert record.failure
    assert record.failure.message == "--symbols 'LUNA*' fits none of the 5 perpetuals that trade"


def test_then_is_run_once_with_what_is_fresh_and_what_is_missing(lived: MarketWorld, tmp_path: Path) -> None:
    fault = '[[fault]]\nkind = "late"\nsec = 3599\nrows = 2\nsymbol = "ETHUSDT"\n'
    command = f'test -f "$BARFEED_INFERENCE_PARQUET" && echo "$BARFEED_FRESH|$BARFEED_MISSING" > {tmp_path}/told'
    record = lived.run_pass(fault, 20.0, then=command)
    assert (tmp_path / "told").read_text() == "ADAUSDT,BTCUSDT,SOLUSDT,币安人生USDT|ETHUSDT\n"
    assert record.then is not None
    assert record.then.exit_code == 0


def test_who_is_late_keeps_the_others_for_some_seconds_and_no_longer(lived: MarketWorld) -> None:
    begin_ms = lived.clock.utc_ms()
    record = lived.run_pass('[[fault]]\nkind = "late"\nsec = 3599\nrows = 2\nsymbol = "ETHUSDT"\n', max_wait_sec=3000.0)
    assert record.outcomes["ETHUSDT"].status == "bar_late"
    assert 10_000 < lived.clock.utc_ms() - begin_ms <= 16_000
    # One that comes within them is not missed.
    lived.clock.go_to(TARGET_MS + hours(3) + 20_000)
    record = lived.run_pass('[[fault]]\nkind = "late"\nsec = 28\nrows = 2\nsymbol = "BTCUSDT"\n', catch_up=True)
    assert (record.exit_code, record.outcomes["BTCUSDT"].appended) == (0, 1)


@pytest.mark.long
def test_the_files_of_a_pass_are_proven_folded_away_and_kept_like_any_other(lived: MarketWorld) -> None:
    for later in range(2, 5):
        lived.clock.go_to(TARGET_MS + hours(later) + 30_000)
        assert lived.run_pass(csv_for=("BTCUSDT", "币安人生USDT")).exit_code == 0
    folder = lived.feed.folder
    # Four pulls, three passes with two CSVs each.
    assert check_runs(folder) == Proven(4, 10, [])
    done = prune(folder, lived.clock.now_ms, Keep(days=0))
    assert (done.runs, done.left) == (3, ())
    names = zipfile.ZipFile(folder / "2026-03_runs.zip").namelist()
    assert "20260310_150030Z_for_inference_币安人生USDT.csv" in names
    assert "20260310_140030Z_api_pull.parquet" in names
    assert check_runs(folder).findings == []
    assert (folder / "latest_for_inference.parquet").exists()
    (folder / "20260310_170030Z_api_pull.parquet").write_bytes(b"changed")
    assert {each.rule for each in check_runs(folder).findings} == {"file"}


def test_no_series_is_kept_twice_in_one_file(lived: MarketWorld) -> None:
    lived.execute("CREATE TABLE ohlcv_ethusdt_1h (timestamp TIMESTAMP PRIMARY KEY)")
    lived.execute("CREATE TABLE ohlcv_btcusdt_15m (timestamp TIMESTAMP PRIMARY KEY)")
    record = lived.run_pass()
    assert (record.status, record.exit_code) == ("store_unusable", 4)
    assert record.complaints == [
        (
            "ETHUSDT 1h: the store has a table of its own for it, ohlcv_ethusdt_1h: no series is kept twice",
            "move it to the others: barfeed migrate --symbols ETHUSDT; or leave it out: --symbols 'all,!ETHUSDT'",
        )
    ]
    assert [each.appended for each in record.outcomes.values()] == [1, 1, 0, 1, 1]
    # It is not even asked for.
    assert lived.exchange.requests["/fapi/v1/klines"] == 4


def test_a_hole_in_a_first_pull_is_refused_and_the_others_are_started(market: MarketWorld) -> None:
    hole = '[[fault]]\nkind = "hide"\nbar = 2026-03-10T09:00:00\nsymbol = "ETHUSDT"\n'
    record = market.run_pass(hole, catch_up=True)
    assert [(each.symbol, each.status) for each in record.troubles] == [("ETHUSDT", "contract_broken")]
    assert sorted(market.stored()) == ["ADAUSDT", "BTCUSDT", "SOLUSDT", "币安人生USDT"]
    # The hour after it is as it should be, and the series begins.
    market.clock.go_to(TARGET_MS + hours(2) + 30_000)
    assert market.run_pass().exit_code == 0
    assert market.stored()["ETHUSDT"] == expected("ETHUSDT", TARGET_MS - hours(46), TARGET_MS + hours(1))
