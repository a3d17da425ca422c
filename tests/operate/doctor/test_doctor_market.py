"""`barfeed doctor --symbols`: what a feed of many series stands on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.cli.commands.operate.doctor import doctor
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.server import ReplayServer
from commands import call, execute
from market_store import LAST_MS, SYMBOLS, list_symbols, make_market
from storage import break_column
from world import hours, made_up_tape

Told = list[tuple[str, str, str]]
TAPES = [made_up_tape(LAST_MS + hours(24), 900, symbol) for symbol in SYMBOLS]


@pytest.fixture
def clock() -> HandClock:
    return HandClock(LAST_MS + hours(1) + 40_000)


@pytest.fixture
def url(clock: HandClock) -> Iterator[str]:
    exchange = ReplayExchange(TAPES, clock.now_ms)
    with ReplayServer(exchange) as server:
        yield server.url


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = make_market(tmp_path / "ohlcv.duckdb")
    list_symbols(path, "2026-02-01 00:00:10", *((symbol, "TRADING") for symbol in SYMBOLS))
    return path


def told(store: Path, url: str, *words: object) -> tuple[int, Told]:
    paths = ("--duckdb", store, "--persist-dir", store.parent / "feed", "--base-url", url, "--max-skew-sec", "1e10")
    done = call(doctor, *paths, "--symbols", "all", "--json", *words)
    return done.code, [(each["name"], each["state"], f"{each['seen']}; {each['fix']}") for each in done.told["checks"]]


def of_market(checks: Told) -> Told:
    return [each for each in checks if each[0].startswith(("market", "table"))]


def test_a_market_that_is_well(store: Path, url: str) -> None:
    code, checks = told(store, url)
    assert (code, of_market(checks)[:2]) == (
        0,
        [
            ("table 1h", "good", "5 series, 4000 bars, whole; "),
            ("market 1h", "good", "5 series, 0 of which no bar is due; newest 2026-03-10 13:00; "),
        ],
    )
    assert of_market(checks)[2][:2] == ("market 1h pass", "note")
    assert not {"symbol", "store", "last cycle"} & {name for name, _, _ in checks}


def test_what_is_the_same_of_many_is_one_line_with_its_fix(store: Path, url: str, clock: HandClock) -> None:
    execute(store, "DELETE FROM ohlcv_1h WHERE symbol < 'BTCUSDT' AND timestamp = '2026-03-09 10:00'")
    clock.advance(hours(2))
    code, checks = told(store, url)
    behind, torn = (each for each in of_market(checks) if each[1] == "bad")
    assert code == 1
    assert behind[2].startswith("5 series (ADAUSDT, ")
    assert "the store is 2 bars behind 2026-03-10 15:00; catch up: barfeed run --duckdb" in behind[2]
    assert torn[2].startswith("2 series (ADAUSDT, BTCUSDC): the newest 726 bars have a gap: 2026-03-09 10:00; see the")
    assert "barfeed repair --duckdb" in torn[2]


def test_the_exchanges_own_list_outweighs_what_was_noted(store: Path, url: str, clock: HandClock) -> None:
    list_symbols(store, "2026-03-10 13:30:00", ("ADAUSDT", "HALT"))
    clock.advance(hours(2))
    assert "5 series (" in of_market(told(store, url)[1])[1][2]


@pytest.mark.long
def test_a_block_that_is_broken_is_seen(store: Path, url: str) -> None:
    execute(
        store,
        "INSERT INTO ohlcv_1h SELECT 'NOISEUSDT', TIMESTAMP '2010-01-01' + to_hours(i), random(), random(), random(),"
        " random(), random(), '2010-01-01' FROM range(140000) AS hours(i)",
        "CHECKPOINT",
    )
    assert ("table 1h", "good") in [each[:2] for each in told(store, url)[1]]
    break_column(store, "ohlcv_1h", "volume")
    code, checks = told(store, url)
    [(name, _, said)] = [each for each in of_market(checks) if each[1] == "bad"]
    assert (code, name, "checksum" in said) == (1, "market", True)


def test_several_intervals_are_looked_at_one_after_the_other(store: Path, url: str) -> None:
    code, checks = told(store, url, "--intervals", "1h,4h")
    assert (code, [each[:2] for each in of_market(checks)]) == (
        1,
        [
            ("table 1h", "good"), ("market 1h", "good"), ("market 1h pass", "note"), ("table 4h", "good"),
            ("market 4h", "bad"), ("market 4h pass", "note"),
        ],
    )  # fmt: skip


def test_a_store_that_is_not_there_is_told_with_what_starts_it(tmp_path: Path, url: str) -> None:
    code, checks = told(tmp_path / "none.duckdb", url)
    assert (code, of_market(checks)[0][:2]) == (1, ("market 1h", "bad"))
    assert "none.duckdb does not exist; start it: barfeed run" in of_market(checks)[0][2]
