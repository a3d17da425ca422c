"""`barfeed verify --symbols`: the findings of one series, of many at once."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.cli.commands.history.verify import verify
from barfeed.domain.bars import Series
from barfeed.replay.archive.service import ReplayArchive, WithArchive
from barfeed.replay.clocks import HandClock
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.server import ReplayServer
from barfeed.replay.tapes.tape import Tape
from commands import Ended, add_run, call, execute, make_store
from market_store import BARS, LAST_MS, SYMBOLS, make_market
from market_world import MarketWorld, small_market
from world import hours, made_up_bars, ms

AT_NOON = "timestamp = '2026-03-10 12:00'"
# What breaks a rule, each in some symbols.
BROKEN = (
    (
        "INSERT INTO ohlcv_1h SELECT * REPLACE (timestamp + INTERVAL 30 MINUTE AS timestamp) FROM ohlcv_1h"
        f" WHERE symbol < 'BTCUSDT' AND {AT_NOON}"
    ),
    (
        "INSERT INTO ohlcv_1h SELECT * REPLACE ('infinity'::TIMESTAMP AS timestamp) FROM ohlcv_1h"
        f" WHERE symbol = 'ADAUSDT' AND {AT_NOON}"
    ),
    f"UPDATE ohlcv_1h SET high = 1 WHERE symbol = 'ETHUSDT' AND {AT_NOON}",
    f"UPDATE ohlcv_1h SET low = 0 WHERE symbol = 'BTCUSDT' AND {AT_NOON}",
    f"UPDATE ohlcv_1h SET volume = -1 WHERE symbol = 'BTCUSDC' AND {AT_NOON}",
    f"UPDATE ohlcv_1h SET close = NULL WHERE symbol = '币安人生USDT' AND {AT_NOON}",
    "DELETE FROM ohlcv_1h WHERE symbol IN ('ADAUSDT', 'BTCUSDT', 'ETHUSDT') AND timestamp = '2026-03-09 10:00'",
    "DELETE FROM ohlcv_1h WHERE symbol = 'BTCUSDC' AND timestamp BETWEEN '2026-03-01' AND '2026-03-01 07:00'",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_market(tmp_path_factory.mktemp("made") / "ohlcv.duckdb")


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(made, tmp_path))


def verified(store: Path, *words: object) -> Ended:
    return call(verify, "--duckdb", store, "--persist-dir", store.parent / "feed", *words)


def test_a_good_market_has_no_finding_and_ends_with_0(store: Path) -> None:
    done = verified(store, "--symbols", "all")
    assert (done.code, done.err, done.out) == (
        0,
        "",
        "verified=4000 series=5 interval=1h span=2026-02-05 06:00..2026-03-10 13:00 manifests=0 files=0 findings=0\n",
    )


@pytest.mark.long
def test_what_is_found_of_many_is_what_is_found_of_each(store: Path) -> None:
    execute(store, *BROKEN)
    make_store(store, made_up_bars(LAST_MS, 30, "SOLUSDT")[::2], "ohlcv_solusdt_1h")
    together = verified(store, "--symbols", "all", "--json")
    found: dict[str, list[Any]] = {symbol: [] for symbol in (*SYMBOLS, "SOLUSDT")}
    for each in together.told["findings"]:
        found[each.pop("symbol")].append(each)
    assert sum(map(len, found.values())) == 25
    for symbol, own in found.items():
        alone = verified(store, "--symbol", symbol, "--json")
        assert own == alone.told["findings"]
        assert (alone.code, together.code) == (1, 1)


def test_the_worst_is_told_first_and_what_is_the_same_of_many_once(store: Path) -> None:
    execute(store, *BROKEN)
    lines = verified(store, "--symbols", "all").out.splitlines()
    assert lines[0].startswith("verified=3992 series=5 interval=1h span=2026-02-05 06:00..2026-03-10 13:00 ")
    assert [line.partition(": open ")[0] for line in lines[1:]] == [
        "on_grid: 2 series (ADAUSDT, BTCUSDC): 2026-03-10 12:30 is not on the grid",
        "on_grid: ADAUSDT: is not on the grid",
        "finite: 币安人生USDT: 2026-03-10 12:00 holds NULL, NaN or infinity",
        "not_negative: BTCUSDC: 2026-03-10 12:00 holds a negative value",
        "above_zero: BTCUSDT: 2026-03-10 12:00 holds a price of zero",
        "high_low: ETHUSDT: 2026-03-10 12:00 low and high do not enclose open and close",
        "gap: 3 series (ADAUSDT, BTCUSDT, ETHUSDT): 2026-03-09 10:00 is missing",
        "gap: BTCUSDC: 2026-03-01 00:00 to 2026-03-01 07:00 are missing, 8 bars",
    ]


def test_the_hint_is_the_plan_for_those_that_need_it(store: Path) -> None:
    execute(store, *BROKEN[-2:])
    done = verified(store, "--symbols", "all,!BTCUSDC")
    assert done.code == 1
    assert done.err == (
        "barfeed: market 1h: 3 findings in 3 series; worst: gap: 3 series (ADAUSDT, BTCUSDT, ETHUSDT):"
        " 2026-03-09 10:00 is missing\n"
        f"  hint: see the plan to fill what is missing: barfeed repair --duckdb {store}"
        " --symbols ADAUSDT,BTCUSDT,ETHUSDT --interval 1h --from '2026-03-09 10:00' --to '2026-03-09 11:00' --dry-run"
        " --only gaps\n"
    )


def test_a_name_that_is_not_stored_is_told_and_the_others_are_proven(store: Path) -> None:
    done = verified(store, "--symbols", "BTCUSDT,NEVERUSDT")
    assert (done.code, done.out.split()[:3]) == (1, ["verified=800", "series=1", "failed=1"])
    assert f"barfeed: NEVERUSDT 1h: {store} holds no bar to verify" in done.err


def test_several_intervals_each_have_a_line_and_the_worst_exit_code_counts(store: Path) -> None:
    done = verified(store, "--symbols", "all", "--intervals", "1h,4h")
    assert (done.code, done.out.count("\n")) == (1, 1)
    assert f"barfeed: market 4h: {store} holds no bar to verify" in done.err
    make_market(store, {"BTCUSDT": made_up_bars(LAST_MS - hours(1), 9, "BTCUSDT", "4h")}, "ohlcv_4h")
    assert verified(store, "--symbols", "all", "--intervals", "1h,4h").code == 0


def test_the_files_of_the_passes_are_proven(store: Path) -> None:
    folder = store.parent / "feed" / "BINANCE.P_1h"
    run = add_run(folder, LAST_MS + hours(1))
    assert " manifests=1 files=2 findings=0\n" in verified(store, "--symbols", "all").out
    (folder / f"{run}_api_pull.csv").write_text("changed")
    done = verified(store, "--symbols", "all")
    assert (done.code, "_api_pull.csv was changed: its sha256 is" in done.out) == (1, True)
    assert "1 findings in 0 series; worst: file: " in done.err


@pytest.mark.long
def test_the_windows_that_models_read_are_those_of_a_pass(tmp_path: Path) -> None:
    first_ms = ms(2026, 3, 10, 14)
    world = MarketWorld(tmp_path, small_market(first_ms + hours(50), 150), first_ms)
    latest = tmp_path / "feed" / "BINANCE.P_1h" / "latest_for_inference.parquet"
    windows = []
    for later in (0, 48):
        world.clock.go_to(first_ms + hours(later) + 30_000)
        assert world.run_pass(catch_up=True).exit_code == 0
        windows.append(latest.read_bytes())
    assert prune(latest.parent, world.clock.now_ms, Keep(1)).runs == 1
    told = f"file: {latest} is not what any pass published"
    # The first one's manifest is in a zip by now.
    for content, is_told in ((windows[1], False), (windows[0], False), (windows[1][:-1], True)):
        latest.write_bytes(content)
        assert (told in verified(world.duckdb, "--symbols", "all").out) == is_told
    # A pass that was killed has published what no manifest tells yet.
    (latest.parent / "20260501_000100Z_api_pull.parquet").write_bytes(b"")
    assert told not in verified(world.duckdb, "--symbols", "all").out


@pytest.fixture
def exchange() -> Iterator[tuple[ReplayExchange, str]]:
    clock = HandClock(LAST_MS + hours(24 * 40))
    tapes = [Tape.of(Series.of(each, "1h"), bars) for each, bars in BARS.items()]
    exchange = ReplayExchange(tapes, clock.now_ms)
    archived = WithArchive(exchange, ReplayArchive(tapes, clock.now_ms))
    with ReplayServer(archived) as server:
        yield exchange, server.url


def against(store: Path, url: str, source: str, *words: object) -> Ended:
    return verified(
        store, "--symbols", "all", "--against", source, "--base-url", url, "--archive-url", url, "--json", *words
    )


@pytest.mark.long
def test_every_bar_is_compared_with_the_exchange_in_one_conversation(
    store: Path, exchange: tuple[ReplayExchange, str]
) -> None:
    execute(store, f"UPDATE ohlcv_1h SET volume = 1.5 WHERE symbol = 'ETHUSDT' AND {AT_NOON}", BROKEN[-1])
    replay, url = exchange
    done = against(store, url, "rest")
    assert (done.code, done.told["compared"]) == (1, 3992)
    assert [(each["symbol"], each["rule"], each["bar"]) for each in done.told["findings"]] == [
        ("BTCUSDC", "gap", "2026-03-01 00:00"),
        ("ETHUSDT", "mismatch", "2026-03-10 12:00"),
    ]
    assert "--symbols ETHUSDT --interval 1h --from '2026-03-10 12:00'" in done.err
    # Two pages of each, and one for what is missing.
    assert replay.requests == {"/fapi/v1/time": 1, "/fapi/v1/exchangeInfo": 1, "/fapi/v1/klines": 11}
    alone = verified(store, "--symbol", "ETHUSDT", "--against", "rest", "--base-url", url, "--json")
    assert [each["values"] for each in alone.told["findings"]] == [done.told["findings"][1]["values"]]


@pytest.mark.long
def test_one_series_that_is_refused_keeps_no_other_from_being_compared(
    store: Path, exchange: tuple[ReplayExchange, str]
) -> None:
    replay, url = exchange
    fault = '[[fault]]\nkind = "status"\nstatus = 400\ncode = -1100\nmsg = "No."\nsymbol = ["ADAUSDT", "BTCUSDC"]\n'
    replay.faults = parse_faults(fault, "the test")
    done = against(store, url, "rest")
    assert (done.code, done.told["compared"], done.told["failed"]) == (5, 2400, 2)
    assert "barfeed: 2 series (ADAUSDT, BTCUSDC): the exchange refused: HTTP 400 -1100 'No.'" in done.err


def test_every_bar_is_compared_with_the_archive_and_the_exchange_has_the_last_word(
    store: Path, exchange: tuple[ReplayExchange, str]
) -> None:
    execute(store, f"UPDATE ohlcv_1h SET volume = 1.5 WHERE symbol = 'ETHUSDT' AND {AT_NOON}")
    done = against(store, exchange[1], "archive", "--from", "2026-03-09")
    assert (done.code, done.told["compared"]) == (1, 190)
    [found] = done.told["findings"]
    assert (found["symbol"], found["rule"], set(found["values"])) == (
        "ETHUSDT", "mismatch", {"stored", "archive", "exchange"},
    )  # fmt: skip


@pytest.mark.long
def test_a_market_of_540_is_proven_set_by_set(tmp_path: Path) -> None:
    path = make_market(tmp_path / "large.duckdb", {"BTCUSDT": BARS["BTCUSDT"][-726:]})
    execute(
        path,
        "INSERT INTO ohlcv_1h SELECT 'S' || s || 'USDT', b.* EXCLUDE (symbol) FROM ohlcv_1h AS b, range(539) each(s)",
        f"DELETE FROM ohlcv_1h WHERE symbol = 'S7USDT' AND {AT_NOON}",
    )
    done = verified(path, "--symbols", "all", "--json")
    assert (done.told["verified"], done.told["series"]) == (540 * 726 - 1, 540)
    assert [(each["symbol"], each["rule"]) for each in done.told["findings"]] == [("S7USDT", "gap")]
    assert json.loads(done.out)["failed_series"] == []
