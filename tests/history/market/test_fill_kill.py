"""A market's backfill as a process: killed anywhere, the same command goes on, and asks for nothing twice."""

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

import fork_server
from barfeed.domain import grid, sources
from barfeed.domain.bars import Bar, Series
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from process import BARFEED, Machine, Ran
from storage import opened
from world import made_up_bars, ms

KILLED_COMMAND = str(Path(__file__).parents[2] / "killed.py")
END_MS = ms(2024, 2, 10, 13)
SYMBOLS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")


@pytest.fixture
def market(tmp_path: Path) -> Iterator[Machine]:
    with served(tmp_path, made_up_bars(END_MS + 60_000 * 90, 2_000, "BTCUSDT", "1m")) as machine:
        yield machine


@contextmanager
def served(folder: Path, bars: Sequence[Bar]) -> Iterator[Machine]:
    """A machine beside an exchange with these bars of each symbol, the last of which have not closed."""
    clock = HandClock(END_MS + 60_000 + 30_000)
    tapes = [Tape.of(Series.of(symbol, "1m"), bars) for symbol in SYMBOLS]
    exchange = ReplayExchange(tapes, clock.now_ms, (), 100_000)
    with ReplayServer(WithArchive(exchange, ReplayArchive(tapes, clock.now_ms))) as server:
        yield Machine(folder, exchange, clock, server.url)


def words(market: Machine, store: Path, *flags: str) -> list[str]:
    return [
        "--symbols", "all", "--interval", "1m", "--source", "rest", "--duckdb", str(store), "--archive-url", market.url,
        "--connections", "8", *flags,
    ]  # fmt: skip


def fill(market: Machine, *flags: str) -> Ran:
    return market.call([str(BARFEED), "backfill", *words(market, market.duckdb, *flags)])


def killed_at(market: Machine, step: int, store: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, KILLED_COMMAND, "backfill", str(step), *words(market, store)]
    return fork_server.run(command, market.environment())


def held(store: Path) -> dict[str, list[Bar]]:
    """What is stored, each bar as often as it is; nothing where no table is."""
    found: dict[str, list[Bar]] = {}
    if not store.exists():
        return found
    with opened(store, read_only=True) as connection:
        if not connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = 'ohlcv_1m'").fetchall():
            return found
        query = "SELECT symbol, epoch_ms(timestamp), open, high, low, close, volume FROM ohlcv_1m ORDER BY ALL"
        for symbol, *bar in connection.execute(query).fetchall():
            found.setdefault(symbol, []).append(Bar(*bar))
    return found


def pages_of_what_lacks(bars: Sequence[Bar], closed: Sequence[Bar]) -> int:
    """How many requests the rest takes."""
    opens_ms = grid.missing([bar.open_time_ms for bar in closed], [bar.open_time_ms for bar in bars])
    return len(list(sources.pages(grid.gaps(opens_ms, 60_000), 499, 60_000)))


def live_killed_fills(folder: Path, parts: Sequence[float]) -> int:
    """How many kills were in the middle, each behind that part of all effects."""
    # More than a block, of bars that are cheap to make.
    bars = made_up_bars(END_MS + 60_000 * 90, 40_000, "BTCUSDT", "1m")
    with served(folder, bars) as market:
        return _killed(market, [bar for bar in bars if bar.open_time_ms <= END_MS], parts)


def _killed(market: Machine, closed: list[Bar], parts: Sequence[float]) -> int:
    whole = killed_at(market, 0, market.folder / "whole.duckdb")
    effects = int(re.findall(r"effects=(\d+)", whole.stderr)[0])
    assert held(market.folder / "whole.duckdb") == dict.fromkeys(SYMBOLS, closed)
    middle = 0
    for part in parts:
        shutil.rmtree(market.folder / "one", ignore_errors=True)
        store = market.folder / "one" / "ohlcv.duckdb"
        killed = killed_at(market, 1 + int(part * effects), store)
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        before = held(store)
        # Whole pages of each symbol, and nothing twice.
        assert all(bars == sorted(set(bars) & set(closed)) for bars in before.values())
        stored = sum(map(len, before.values()))
        middle += 0 < stored < len(closed) * len(SYMBOLS)
        market.exchange.requests.clear()
        done = market.call([str(BARFEED), "backfill", *words(market, store)])
        assert done.code == 0, done
        assert held(store) == dict.fromkeys(SYMBOLS, closed)
        lacked = sum(pages_of_what_lacks(before.get(symbol, []), closed) for symbol in SYMBOLS)
        # The first bars are asked for once more where the kill came before they were noted.
        assert lacked <= market.exchange.requests["/fapi/v1/klines"] <= lacked + len(SYMBOLS)
    return middle


@pytest.mark.long
def test_a_backfill_killed_half_way_is_gone_on_with(tmp_path: Path) -> None:
    # Most effects are those of the pages; then a block is stored, and the rest behind it.
    assert live_killed_fills(tmp_path, [0.88]) == 1


@pytest.mark.proof
def test_a_backfill_killed_at_many_steps_is_gone_on_with(tmp_path: Path) -> None:
    assert live_killed_fills(tmp_path, [(2 * number + 1) / 120 for number in range(60)]) > 5


def test_a_market_is_filled_by_a_process_and_told(market: Machine) -> None:
    done = fill(market, "--from", "2024-02-10")
    assert (done.code, done.err.splitlines()[-1:]) == (0, [f"INFO {market.duckdb} is a new store"]), done
    assert done.out.startswith(
        "series=3 source=rest appended=2343 compared=0 mismatches=0 holes=0 notes=0 interval=1m "
    )
    told = json.loads(fill(market, "--json", "--from", "2024-02-10").out)
    assert (told["exit_code"], told["error"], [each["missing"] for each in told["series"]]) == (0, "", [0, 0, 0])


@pytest.mark.long
def test_a_trouble_of_one_series_is_told_with_its_hint(market: Machine) -> None:
    market.exchange.faults = parse_faults(
        '[[fault]]\nkind = "revise"\nbar = 2024-02-10T05:00:00\nlow = 999999.0\nsymbol = "ETHUSDT"\n', "the test"
    )
    done = fill(market, "--from", "2024-02-10")
    assert done.code == 5
    assert done.out.startswith("failed=contract_broken exit=5 series=3 source=rest appended=1562 ")
    assert "barfeed: ETHUSDT 1m: 1 rule broken by the exchange's answer; first: 2024-02-10 05:00" in done.err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--source", "csv", "bars.csv"), "--source csv does not go with --symbols: a FILE is of one series"),
        (("--from", "2024-02-10", "--to", "2024-02-09"), "--from 2024-02-10 00:00 is not before --to 2024-02-09 00:00"),
        (("--symbol", "BTCUSDT"), "--symbol does not go with --symbols"),
    ],
)
def test_what_cannot_be_is_wrong_usage(market: Machine, flags: tuple[str, ...], said: str) -> None:
    (market.folder / "bars.csv").touch()
    done = fill(market, *(str(market.folder / each) if each == "bars.csv" else each for each in flags))
    assert (done.code, said in done.err) == (2, True), done.err
    assert not market.exchange.requests
