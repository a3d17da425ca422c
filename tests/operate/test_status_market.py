"""`barfeed status --symbols`: a market in one line an interval, and what is wrong with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.cli.commands.operate.status import status
from barfeed.domain.bars import Interval, Series
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import Ended, call, execute, make_store
from market_store import BARS, LAST_MS, SYMBOLS, list_symbols, make_market
from market_world import MarketWorld
from waiting import LONGEST_SEC
from world import hours, made_up_bars

NOW_MS = LAST_MS + hours(1) + 40_000


@pytest.fixture
def clock() -> HandClock:
    return HandClock(NOW_MS)


@pytest.fixture
def url(clock: HandClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr("barfeed.cli.commands.operate.status._WAIT_SEC", LONGEST_SEC)
    exchange = ReplayExchange([Tape.of(Series("BTCUSDT", Interval.ONE_HOUR), BARS["BTCUSDT"])], clock.now_ms)
    with ReplayServer(exchange) as server:
        yield server.url


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = make_market(tmp_path / "ohlcv.duckdb")
    list_symbols(path, "2026-02-01 00:00:10", *((symbol, "TRADING") for symbol in SYMBOLS))
    return path


def told(store: Path, url: str, *words: object) -> Ended:
    return call(status, "--duckdb", store, "--persist-dir", store.parent / "feed", "--base-url", url, *words)


def test_a_market_that_is_well_is_one_line(store: Path, url: str) -> None:
    done = told(store, url, "--symbols", "all")
    assert (done.code, done.out.splitlines()[:3]) == (
        0,
        [
            (
                "market 1h: series=5 well=5 trouble=0 quiet=0 short=0 bars=4000 gaps=0 revisions=0"
                " span=2026-02-05 06:00..2026-03-10 13:00"
            ),
            "  last pass   none",
            "  inference   none",
        ],
    )
    assert done.out.endswith("time 2026-03-10 14:00:40 by the exchange's clock\nhealthy\n")


def test_what_is_the_same_of_many_is_told_once_and_what_is_of_most_first(
    store: Path, url: str, clock: HandClock
) -> None:
    execute(store, "DELETE FROM ohlcv_1h WHERE symbol < 'BTCUSDT' AND timestamp = '2026-03-09 10:00'")
    clock.advance(hours(2))
    done = told(store, url, "--symbols", "all")
    assert (done.code, done.out.splitlines()[3:5], done.out.splitlines()[-1]) == (
        1,
        [
            (
                "  trouble     5 series (ADAUSDT, BTCUSDC, BTCUSDT, ETHUSDT, 币安人生USDT): the store is 2 bars behind"
                " 2026-03-10 15:00"
            ),
            "  trouble     2 series (ADAUSDT, BTCUSDC): the newest 726 bars have a gap: 2026-03-09 10:00",
        ],
        "not healthy",
    )
    told_of = told(store, url, "--symbols", "all", "--json").told["markets"][0]
    assert (told_of["trouble"], told_of["gaps"], len(told_of["troubles"])) == (5, 2, 2)
    assert [len(each["troubles"]) for each in told_of["symbols"]] == [2, 2, 1, 1, 1]
    assert {each["lag_sec"] for each in told_of["symbols"]} == {3640.0}


def test_of_what_is_settled_halted_or_gone_nothing_is_due(store: Path, url: str, clock: HandClock) -> None:
    list_symbols(store, "2026-03-10 12:30:00", ("ADAUSDT", "SETTLING"), delivery="2026-03-10 13:30:00")
    list_symbols(store, "2026-03-10 14:30:00", ("BTCUSDC", "HALT"), ("ETHUSDT", "UNLISTED"))
    clock.advance(hours(2))
    done = told(store, url, "--symbols", "ADAUSDT,BTCUSDC,ETHUSDT")
    assert (done.code, done.out.split("market 1h: ")[1].split()[:4]) == (
        0, ["series=3", "well=3", "trouble=0", "quiet=3"],
    )  # fmt: skip


def test_what_is_listed_and_not_stored_is_a_trouble_unless_it_has_yet_to_begin(store: Path, url: str) -> None:
    list_symbols(store, "2026-03-10 12:00:10", ("NEWUSDT", "TRADING"), ("NEXTUSDT", "PENDING_TRADING"))
    done = told(store, url, "--symbols", "all")
    assert (done.code, "  trouble     NEWUSDT: the store holds no bar" in done.out) == (1, True)
    assert "NEXTUSDT" not in done.out


def test_a_hole_that_is_known_is_no_trouble(store: Path, url: str) -> None:
    execute(
        store,
        "DELETE FROM ohlcv_1h WHERE symbol < 'BTCUSDT' AND timestamp = '2026-03-09 10:00'",
        (
            "CREATE TABLE exchange_gaps (symbol VARCHAR, interval VARCHAR, first TIMESTAMP, last TIMESTAMP,"
            " seen_at TIMESTAMP)"
        ),
        "INSERT INTO exchange_gaps VALUES ('ADAUSDT', '1h', '2026-03-09 10:00', '2026-03-09 10:00', '2026-03-09')",
    )
    list_symbols(store, "2026-03-09 09:30:00", ("BTCUSDC", "HALT"))
    list_symbols(store, "2026-03-09 11:30:00", ("BTCUSDC", "TRADING"))
    done = told(store, url, "--symbols", "all")
    assert (done.code, " short=2 " in done.out, " gaps=2 " in done.out) == (0, True, True)


def test_without_a_name_every_market_of_the_store_is_told_and_what_stands_alone(store: Path, url: str) -> None:
    make_market(store, {"BTCUSDT": made_up_bars(LAST_MS - hours(5), 800, "BTCUSDT", "4h")}, "ohlcv_4h")
    make_store(store, made_up_bars(LAST_MS, 800, "SOLUSDT"), "ohlcv_solusdt_1h")
    lines = told(store, url).out.splitlines()
    assert [line for line in lines if not line.startswith(" ")][:3] == [
        "SOLUSDT 1h",
        (
            "market 1h: series=6 well=6 trouble=0 quiet=0 short=0 bars=4800 gaps=0 revisions=0"
            " span=2026-02-05 06:00..2026-03-10 13:00"
        ),
        (
            "market 4h: series=5 well=1 trouble=4 quiet=0 short=0 bars=800 gaps=0 revisions=0"
            " span=2025-10-28 04:00..2026-03-10 08:00"
        ),
    ]


def test_a_store_that_is_not_there_is_told_with_what_starts_it(tmp_path: Path, url: str) -> None:
    done = told(tmp_path / "none.duckdb", url, "--symbols", "all", "--intervals", "1h,4h")
    assert (done.code, done.out.count("none.duckdb does not exist; start it: barfeed run")) == (1, 2)
    assert " --symbols all --intervals 1h,4h --base-url " in done.out


@pytest.mark.long
def test_a_pass_that_failed_is_told_by_series(tmp_path: Path, url: str, clock: HandClock) -> None:
    tapes = [Tape.of(Series.of(each, "1h"), made_up_bars(LAST_MS + hours(9), 900, each)) for each in SYMBOLS[:3]]
    world = MarketWorld(tmp_path, tapes, NOW_MS)
    assert world.run_pass(catch_up=True).exit_code == 0
    assert told(world.duckdb, url, "--symbols", "all").code == 0
    world.clock.go_to(NOW_MS + hours(1))
    clock.advance(hours(1))
    fault = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "No."\nsymbol = ["ADAUSDT", "BTCUSDC"]\n'
    assert world.run_pass(fault).exit_code == 5
    done = told(world.duckdb, url, "--symbols", "all", "--buffer-hours", "0")
    assert done.code == 1
    assert (
        "  trouble     2 series (ADAUSDT, BTCUSDC): the last pass failed: the exchange refused: HTTP 400 -1100 'No.'"
        in done.out
    )
    assert "  inference   latest_for_inference.parquet\n" in done.out
