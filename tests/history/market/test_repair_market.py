"""`barfeed repair --symbols`: a market mended as each of its series would be."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barfeed.cli.commands.history.repair import repair
from barfeed.cli.commands.history.verify import verify
from barfeed.domain.bars import Bar, Series
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import Ended, call, execute, make_store
from market_store import BARS, LAST_MS, make_market
from storage import opened
from world import hours

AT_NOON = "timestamp = '2026-03-10 12:00'"
TORN = "DELETE FROM ohlcv_1h WHERE symbol < 'BTCUSDT' AND timestamp = '2026-03-09 10:00'"
WRONG = f"UPDATE ohlcv_1h SET volume = 1.5 WHERE symbol = 'ETHUSDT' AND {AT_NOON}"
REFUSED = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "No."\nsymbol = "BTCUSDC"\n'


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_market(tmp_path_factory.mktemp("made") / "ohlcv.duckdb")
    execute(path, TORN, WRONG)
    return path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


@pytest.fixture(scope="module")
def tapes() -> list[Tape]:
    return [Tape.of(Series.of(each, "1h"), bars) for each, bars in BARS.items()]


@pytest.fixture
def exchange(tapes: list[Tape]) -> Iterator[tuple[ReplayExchange, str]]:
    clock = HandClock(LAST_MS + hours(1) + 40_000)
    replay = ReplayExchange(tapes, clock.now_ms)
    with ReplayServer(replay) as server:
        yield replay, server.url


def repaired(store: Path, url: str, *words: object, symbols: str = "all") -> Ended:
    quick = ("--pause-sec", "0", "--max-wait-sec", "5")
    return call(repair, "--duckdb", store, "--base-url", url, "--symbols", symbols, *quick, *words)


def stored(store: Path) -> dict[str, list[Bar]]:
    query = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_1h ORDER BY ALL"
    found: dict[str, list[Bar]] = {}
    with opened(store, read_only=True) as connection:
        for symbol, *bar in connection.execute(query).fetchall():
            found.setdefault(symbol, []).append(Bar(*bar))
    return found


def revisions(store: Path) -> list[tuple[Any, ...]]:
    with opened(store, read_only=True) as connection:
        return connection.execute("SELECT series, timestamp::VARCHAR, old_volume FROM ohlcv_revisions").fetchall()


def test_a_dry_run_shows_the_plan_and_changes_nothing(store: Path, exchange: tuple[ReplayExchange, str]) -> None:
    before = store.read_bytes()
    done = repaired(store, exchange[1], "--dry-run")
    assert (done.code, done.err, store.read_bytes()) == (1, "", before)
    lines = done.out.splitlines()
    assert lines[0] == "compared=3630 series=5 interval=1h differing=3 missing=2 mismatch=1"
    assert lines[1] == "ADAUSDT 1h: 726 bars compared, 2026-02-08 08:00..2026-03-10 13:00: 1 to repair"
    assert [line.split()[:3] for line in lines[2::2]] == [
        ["2026-03-09", "10:00", "missing"],
        ["2026-03-09", "10:00", "missing"],
        ["2026-03-10", "12:00", "mismatch"],
    ]
    # Two pages of each series, and one clock and one list for all.
    assert exchange[0].requests == {"/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 10}


@pytest.mark.long
def test_all_of_it_is_mended_after_one_yes(store: Path, exchange: tuple[ReplayExchange, str]) -> None:
    done = repaired(store, exchange[1], "--yes")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1].startswith("filled=2 revised=1 left=0 series=3 run='repair 2026-03-10 14:00:40'")
    assert stored(store) == {symbol: list(bars) for symbol, bars in BARS.items()}
    assert revisions(store) == [("ETHUSDT 1h", "2026-03-10 12:00:00", 1.5)]
    again = repaired(store, exchange[1], "--yes")
    assert (again.code, again.out) == (0, "compared=3630 series=5 interval=1h differing=0\n")


def test_a_series_that_stands_alone_is_mended_where_it_stands(
    store: Path, exchange: tuple[ReplayExchange, str]
) -> None:
    execute(store, "DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDT'")
    make_store(store, [bar for bar in BARS["BTCUSDT"] if bar.open_time_ms != LAST_MS - hours(5)])
    done = repaired(store, exchange[1], "--yes", symbols="BTCUSDT")
    assert (done.code, "filled=1 revised=0 left=0 series=1" in done.out) == (0, True)
    assert "BTCUSDT" not in stored(store)
    assert call(verify, "--duckdb", store, "--persist-dir", store.parent, "--symbol", "BTCUSDT").code == 0


@pytest.mark.long
def test_what_is_refused_of_one_keeps_no_other_from_being_mended(
    store: Path, exchange: tuple[ReplayExchange, str]
) -> None:
    exchange[0].faults = parse_faults(REFUSED, "the test")
    done = repaired(store, exchange[1], "--yes", "--json")
    assert (done.code, done.told["filled"], done.told["revised"]) == (5, 1, 1)
    assert [each["symbol"] for each in done.told["failed_series"]] == ["BTCUSDC"]
    assert "barfeed: BTCUSDC: the exchange refused: HTTP 400 -1100 'No.'" in done.err
    assert [len(each) for each in stored(store).values()] == [800, 799, 800, 800, 800]


@pytest.mark.long
def test_what_the_exchange_lacks_too_is_left_and_told(store: Path, exchange: tuple[ReplayExchange, str]) -> None:
    exchange[0].faults = parse_faults(
        '[[fault]]\nkind = "hide"\nbar = 2026-03-09T10:00:00\nsymbol = "ADAUSDT"\n', "the test"
    )
    done = repaired(store, exchange[1], "--yes")
    assert (done.code, "filled=1 revised=1 left=1 series=3" in done.out) == (1, True)
    assert "barfeed: market 1h: 1 bars were left as they are; first: ADAUSDT 2026-03-09 10:00  absent" in done.err
    assert "hint: what the exchange has not got cannot be filled" in done.err


@pytest.mark.long
def test_only_what_is_asked_for_is_mended(store: Path, exchange: tuple[ReplayExchange, str]) -> None:
    assert "filled=2 revised=0 left=0" in repaired(store, exchange[1], "--only", "gaps", "--yes").out
    span = ("--from", "2026-03-10 12:00", "--to", "2026-03-10 13:00")
    assert repaired(store, exchange[1], *span, "--dry-run").out.startswith(
        "compared=5 series=5 interval=1h differing=1"
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--let-pass", "2026-03-10 12:00", "--yes"), 2, "--let-pass is about one bar of one series"),
        (("--from", "2026-03-10", "--to", "2026-03-09", "--yes"), 2, "--from must be before --to"),
        ((), 2, "nobody can be asked here"),
        (("--intervals", "4h", "--yes"), 1, "market 4h: the store holds no bar to repair"),
    ],
)
def test_what_cannot_be_is_told(
    store: Path, exchange: tuple[ReplayExchange, str], words: tuple[str, ...], code: int, said: str
) -> None:
    done = repaired(store, exchange[1], *words)
    assert (done.code, said in done.err) == (code, True)


@pytest.mark.long
def test_each_series_is_repaired_as_it_would_be_alone(store: Path, exchange: tuple[ReplayExchange, str]) -> None:
    together = repaired(store, exchange[1], "--dry-run", "--json").told["repairs"]
    one = ("--duckdb", store, "--base-url", exchange[1], "--dry-run", "--json")
    for each in together:
        alone = call(repair, "--symbol", each["series"]["symbol"], *one).told
        assert each | {"run": ""} == alone | {"run": ""}
    assert [each["series"]["symbol"] for each in together] == ["ADAUSDT", "BTCUSDC", "ETHUSDT"]
