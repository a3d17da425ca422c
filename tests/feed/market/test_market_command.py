"""`barfeed run --symbols`: a pass as a process, over real sockets, and what a user can do wrong with it."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from barfeed.domain.bars import Series
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import BARFEED, Machine, Ran
from storage import opened
from waiting import in_time, until
from world import hours, made_up_bars, ms

TARGET_MS = ms(2026, 3, 10, 13)
SYMBOLS = ("ADAUSDT", "BTCUSDC", "BTCUSDT", "ETHUSDT", "币安人生USDT")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Machine]:
    """An exchange of five symbols, half a minute after 13:00 closed, and a machine that has no store yet."""
    clock = HandClock(TARGET_MS + hours(1) + 30_000)
    bars = made_up_bars(TARGET_MS + hours(40), 900)
    tapes = [Tape.of(Series.of(symbol, "1h"), bars) for symbol in SYMBOLS]
    exchange = ReplayExchange(tapes, clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        yield Machine(tmp_path, exchange, clock, server.url)


def run(market: Machine, *flags: str, symbols: str = "all", **environment: str) -> Ran:
    paths = ("--duckdb", str(market.duckdb), "--persist-dir", str(market.folder / "feed"))
    command = [str(BARFEED), "run", "--symbols", symbols, *paths, "--max-skew-sec", "1e10", *flags]
    return market.call(command, **environment)


def windows(market: Machine, folder: str = "BINANCE.P_1h") -> dict[str, int]:
    path = market.folder / "feed" / folder / "latest_for_inference.parquet"
    query = "SELECT symbol, count(*)::INTEGER FROM read_parquet(?) GROUP BY symbol ORDER BY symbol"
    return dict(duckdb.execute(query, [str(path)]).fetchall())


def test_a_market_is_fed_hour_by_hour(market: Machine) -> None:
    first = run(market, "--catch-up")
    assert first.code == 0
    assert first.out.startswith(
        "series=5 appended=5 bars=3630 interval=1h target=2026-03-10 13:00 windows=5"
        " inference=latest_for_inference.parquet "
    )
    assert first.err == f"INFO {market.duckdb} is a new store\n"
    market.clock.advance(hours(1))
    market.exchange.requests.clear()
    second = run(market, "--csv-for", "BTCUSDT")
    assert (second.code, second.err) == (0, "")
    assert "series=5 appended=5 bars=5 interval=1h target=2026-03-10 14:00 windows=5" in second.out
    assert market.exchange.requests == {"/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 5}
    assert windows(market) == dict.fromkeys(SYMBOLS, 726)
    csv = market.folder / "feed" / "BINANCE.P_1h" / "latest_for_inference_BTCUSDT.csv"
    assert len(csv.read_text().splitlines()) == 727
    again = run(market)
    assert (again.code, "appended=0 bars=0" in again.out) == (0, True)


@pytest.mark.long
def test_a_window_is_as_long_as_is_said(market: Machine) -> None:
    first = run(market, "--catch-up", "--window-hours", "48")
    assert (first.code, "bars=240 " in first.out) == (0, True)
    assert windows(market) == dict.fromkeys(SYMBOLS, 48)


@pytest.mark.long
def test_several_intervals_have_a_table_and_a_folder_each(tmp_path: Path) -> None:
    clock = HandClock(TARGET_MS + hours(3) + 30_000)
    tapes = [
        Tape.of(Series.of(symbol, interval), made_up_bars(ms(2026, 3, 12), 900, "BTCUSDT", interval))
        for symbol in ("BTCUSDT", "ETHUSDT")
        for interval in ("1h", "4h")
    ]
    exchange = ReplayExchange(tapes, clock.now_ms)
    with ReplayServer(exchange, streams=exchange) as server:
        market = Machine(tmp_path, exchange, clock, server.url)
        done = run(market, "--catch-up", "--intervals", "1h,4h")
    assert done.code == 0, done.err
    assert [line.split(" interval=")[1][:2] for line in done.out.splitlines()] == ["1h", "4h"]
    assert exchange.requests["/fapi/v1/time"] == 1
    assert windows(market, "BINANCE.P_4h") == {"BTCUSDT": 182, "ETHUSDT": 182}


REVISED = """
[[fault]]
kind = "revise"
bar = 2026-03-10T12:00:00
volume = 1.5
symbol = "ETHUSDT"

[[fault]]
kind = "status"
status = 400
code = -1100
msg = "Illegal characters."
symbol = ["ADAUSDT", "BTCUSDC"]
"""


@pytest.mark.long
def test_each_trouble_is_told_worst_first_and_what_is_the_same_of_many_once(market: Machine) -> None:
    assert run(market, "--catch-up").code == 0
    market.clock.advance(hours(1))
    market.exchange.faults = parse_faults(REVISED, "the test")
    done = run(market)
    assert done.code == 1
    assert done.out.startswith("failed=mismatch exit=1 series=5 appended=2 bars=2 mismatch=1 exchange_refused=2 ")
    told = [line for line in done.err.splitlines() if line.startswith("barfeed: ")]
    assert [line.partition(";")[0] for line in told] == [
        "barfeed: ETHUSDT 1h: 1 of 5 stored bars differ from the exchange",
        "barfeed: 2 series (ADAUSDT, BTCUSDC): the exchange refused: HTTP 400 -1100 'Illegal characters.'",
    ]
    whole = run(market, "--json", "--dry-run")
    assert [each["status"] for each in json.loads(whole.out)["outcomes"]] == [
        "exchange_refused", "exchange_refused", "up_to_date", "mismatch", "up_to_date",
    ]  # fmt: skip


def test_a_pattern_and_the_file_of_settings_choose(market: Machine) -> None:
    (market.folder / "feed.toml").write_text('symbols = "*USDT,!ADA*"\nintervals = "1h"\ncatch_up = true\n')
    paths = ("--duckdb", str(market.duckdb), "--persist-dir", str(market.folder / "feed"), "--max-skew-sec", "1e10")
    done = market.call([str(BARFEED), "run", "--config", str(market.folder / "feed.toml"), *paths])
    assert (done.code, done.out.split()[0]) == (0, "series=3")
    assert set(windows(market)) == {"BTCUSDT", "ETHUSDT", "币安人生USDT"}


@pytest.mark.parametrize(
    ("flags", "symbols", "said"),
    [
        ((), "BTC-USDT", "--symbols: 'BTC-USDT' is no symbol and no pattern"),
        ((), ",", "--symbols ',' names no symbol"),
        (("--intervals", "1h,7h"), "all", "--symbol or --interval: interval '7h' is not one of"),
        (("--intervals", ","), "all", "--intervals ',' names no interval"),
        (("--csv-for", "BTC USDT"), "all", "--csv-for: symbol 'BTC USDT' cannot be one"),
        (("--csv-for", "ETHUSDT"), "BTC*", "--csv-for: ETHUSDT is none of --symbols BTC*"),
        (
            ("--inference-source", "api"),
            "all",
            "--inference-source does not go with --symbols: a window of the",
        ),
    ],
)
def test_what_cannot_be_is_wrong_usage(market: Machine, flags: tuple[str, ...], symbols: str, said: str) -> None:
    done = run(market, *flags, symbols=symbols)
    assert (done.code, said in done.err) == (2, True), done.err
    assert not market.exchange.requests


@pytest.mark.long
def test_a_symbol_that_nobody_lists_is_told_and_the_others_are_fed(market: Machine) -> None:
    done = run(market, "--catch-up", symbols="BTCUSDT,NEVERUSDT")
    assert done.code == 5
    assert "NEVERUSDT 1h: not in the exchange's list of symbols: delisted, or never there" in done.err
    assert windows(market) == {"BTCUSDT": 726}


def test_an_exchange_that_is_away_is_one_trouble(market: Machine, deaf: str) -> None:
    done = run(market, "--catch-up", "--max-wait-sec", "1", BARFEED_BASE_URL=f"http://{deaf}")
    assert (done.code, done.out.split()[:2]) == (3, ["failed=exchange_unavailable", "exit=3"])
    assert len([line for line in done.err.splitlines() if line.startswith("barfeed: ")]) == 1
    assert not market.duckdb.exists()


@pytest.mark.long
def test_a_store_that_is_held_is_told_and_the_evidence_is_there(market: Machine) -> None:
    assert run(market, "--catch-up").code == 0
    market.clock.advance(hours(1))
    with duckdb.connect(market.duckdb):
        done = run(market, "--lock-timeout-sec", "0.1")
    assert (done.code, done.out.split()[0]) == (4, "failed=store_unusable")
    assert "is held by" in done.err


def tool(market: Machine, name: str, *flags: str) -> Ran:
    return market.call([str(BARFEED), name, "--duckdb", str(market.duckdb), *flags])


def asked(market: Machine, query: str) -> list[tuple[object, ...]]:
    with opened(market.duckdb, read_only=True) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.long
def test_a_revised_bar_is_repaired_as_the_hint_says(market: Machine) -> None:
    assert run(market, "--catch-up").code == 0
    market.clock.advance(hours(1))
    market.exchange.faults = parse_faults(REVISED.partition('[[fault]]\nkind = "status"')[0], "the test")
    hint = run(market).err.rpartition("take the exchange's if it is right: ")[2]
    assert hint == f"{BARFEED} repair --duckdb {market.duckdb} --symbol ETHUSDT\n"
    done = market.call([*shlex.split(hint), "--yes", "--pause-sec", "0"])
    assert (done.code, "revised=1" in done.out) == (0, True), done
    again = run(market)
    assert (again.code, again.out.split()[1]) == (0, "appended=1")
    kept = asked(market, "SELECT series, timestamp::VARCHAR, new_volume FROM ohlcv_revisions")
    assert kept == [("ETHUSDT 1h", "2026-03-10 12:00:00", 1.5)]
    changed = asked(market, "SELECT symbol, timestamp::VARCHAR FROM ohlcv_1h WHERE volume = 1.5")
    assert changed == [("ETHUSDT", "2026-03-10 12:00:00")]


@pytest.mark.long
def test_the_commands_of_one_series_read_it_in_the_market(market: Machine, tmp_path: Path) -> None:
    assert run(market, "--catch-up").code == 0
    assert "verified=726" in tool(market, "verify", "--symbol", "ETHUSDT").out
    csv = tmp_path / "eth.csv"
    assert tool(market, "export", "--symbol", "ETHUSDT", str(csv)).code == 0
    assert len(csv.read_text().splitlines()) == 727
    status = tool(market, "status", "--symbol", "ETHUSDT", "--persist-dir", str(tmp_path / "feed"))
    assert "726" in status.out, status
    filled = tool(market, "backfill", "--symbol", "ETHUSDT", "--source", "rest", "--from", "2026-02-05")
    assert filled.code == 0, filled
    query = "SELECT symbol FROM ohlcv_1h GROUP BY symbol HAVING count(*) > 726"
    assert asked(market, query) == [("ETHUSDT",)]


@pytest.mark.long
def test_one_series_of_a_market_goes_on_in_the_markets_table(market: Machine) -> None:
    assert run(market, "--catch-up").code == 0
    market.clock.advance(hours(1))
    one = market.feed("--symbol", "ETHUSDT")
    assert (one.code, "validated=5 appended=1" in one.out) == (0, True), one
    assert "series=5 appended=4 bars=4" in run(market).out
    tables = asked(market, "SELECT table_name FROM duckdb_tables() WHERE table_name LIKE 'ohlcv%'")
    assert ("ohlcv_ethusdt_1h",) not in tables


@pytest.mark.long
def test_a_watch_feeds_hour_by_hour_and_ends_well_when_it_is_told_to(market: Machine) -> None:
    paths = ("--duckdb", str(market.duckdb), "--persist-dir", str(market.folder / "feed"))
    flags = ("--watch", "--catch-up", "--sleep-sec", "0.1", "--settle-sec", "0", "--max-skew-sec", "1e10")
    watch = subprocess.Popen(
        [str(BARFEED), "run", "--symbols", "all", *paths, *flags],
        env=market.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdout is not None
    try:
        for hour in (13, 14, 15):
            line = in_time(watch.stdout.readline)
            assert (line.split()[0:2], f"target=2026-03-10 {hour}:00 windows=5" in line) == (
                ["series=5", "appended=5"],
                True,
            )
            market.clock.advance(hours(1))
    finally:
        watch.terminate()
        _, err = watch.communicate(timeout=60)
    assert (watch.returncode, "Traceback" in err) == (0, False)


@pytest.mark.long
def test_a_watch_that_listens_feeds_who_is_heard_and_the_rest_by_the_clock(market: Machine) -> None:
    market.exchange.faults = parse_faults('[[fault]]\nkind = "no_close"\nsymbol = "ADAUSDT"\n', "the test")
    stream = market.url.replace("http", "ws", 1) + "/market"
    paths = ("--duckdb", str(market.duckdb), "--persist-dir", str(market.folder / "feed"))
    flags = f"--watch --stream --stream-url {stream} --catch-up --sleep-sec 0.2 --max-skew-sec 1e10".split()
    watch = subprocess.Popen(
        [str(BARFEED), "run", "--symbols", "all", *paths, *flags, "--max-skew-sec", "1e10"],
        env=market.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert watch.stdout is not None
    try:
        assert "appended=5" in in_time(watch.stdout.readline)
        until(lambda: market.exchange.streams == 6)
        market.clock.set(TARGET_MS + hours(2) + 5)
        line = in_time(watch.stdout.readline)
        assert "series=4 appended=4 bars=4 awaited=1 interval=1h target=2026-03-10 14:00 windows=4" in line
        market.clock.set(TARGET_MS + hours(2) + 11_000)
        assert "series=5 appended=1 bars=1 interval=1h target=2026-03-10 14:00 windows=5" in in_time(
            watch.stdout.readline
        )
    finally:
        watch.terminate()
        _, err = watch.communicate(timeout=60)
    assert (watch.returncode, "Traceback" in err) == (0, False)


def test_a_single_pass_has_no_use_for_the_stream(market: Machine) -> None:
    done = run(market, "--stream", "--stream-url", "ws://127.0.0.1:1/market")
    assert (done.code, "--stream is of no use without --watch" in done.err) == (2, True)
