"""What `barfeed status` tells, and when it calls a feed healthy."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from barfeed.artifacts.reading import Manifest
from barfeed.cli.commands.operate.status import status
from barfeed.domain.bars import Series
from barfeed.domain.grid import Gap
from barfeed.machine.clock import SystemClock
from barfeed.operate.status import Bars, Runs, judge, lag_ms
from barfeed.replay.faults.script import parse_faults
from barfeed.store.duckdb import Coverage
from commands import BARS, Ended, add_run, call, execute, make_store
from process import Machine, lived_machine
from waiting import LONGEST_SEC
from world import BTCUSDT_1H, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
NOW_MS = TARGET_MS + hours(1) + 30_000
TABLE = "ohlcv_btcusdt_1h"
NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with lived_machine(tmp_path, TARGET_MS) as each:
        yield each


class OnlySlept(SystemClock):
    """The machine's clock, of which only what is slept goes by: what a busy machine takes for the rest does not."""

    def __init__(self) -> None:
        self._slept_sec = 1000.0

    def steady_sec(self) -> float:
        return self._slept_sec

    def sleep(self, sec: float) -> None:
        time.sleep(sec)
        self._slept_sec += sec


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barfeed.machine.clock.SystemClock", OnlySlept)
    monkeypatch.setattr("barfeed.cli.commands.operate.status._WAIT_SEC", LONGEST_SEC)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch, _patient: None) -> None:
    """For an exchange that nobody reaches."""
    monkeypatch.setattr("barfeed.cli.commands.operate.status._WAIT_SEC", 0.5)


def told(feeding: Machine, *words: object) -> Ended:
    return call(
        status, "--duckdb", feeding.duckdb, "--persist-dir", feeding.folder / "feed", "--base-url", feeding.url, *words
    )


def test_a_feed_that_just_ran_is_healthy(feeding: Machine) -> None:
    done = told(feeding)
    size = feeding.duckdb.stat().st_size / 1e6
    assert done.code == 0
    assert done.out == (
        "BTCUSDT 1h\n"
        "  bars        726 2024-01-11 08:00..2024-02-10 13:00, gaps 0, revisions 0\n"
        "  lag         none; the next bar closes in 0:59:30\n"
        "  last cycle  20240210_140030Z appended, target 2024-02-10 13:00\n"
        "  inference   20240210_140030Z_for_inference.csv\n"
        f"store {feeding.duckdb}, {size:.1f} MB\n"
        "time 2024-02-10 14:00:30 by the exchange's clock\n"
        "healthy\n"
    )


@pytest.mark.long
def test_a_feed_that_did_with_less_is_healthy_and_tells_until_when(feeding: Machine) -> None:
    execute(feeding.duckdb, f"DELETE FROM {TABLE} WHERE timestamp = '2024-02-09 03:00:00'")
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "hide"\nbar = 2024-02-09T03:00:00', "the test")
    assert told(feeding).code == 1
    assert feeding.feed("--min-window-hours", "24").code == 0
    done = told(feeding)
    assert done.code == 0
    assert "  inference   20240210_140030Z-2_for_inference_34h.csv\n" in done.out
    assert "  window      34 of 726 bars, from 2024-02-09 04:00 on; whole from 2024-03-10 10:00\n" in done.out
    (series,) = told(feeding, "--json").told["series"]
    assert series["short_window"] == {
        "bars": 34, "asked": 726, "first": "2024-02-09 04:00", "whole_from": "2024-03-10 10:00",
    }  # fmt: skip


@pytest.mark.long
def test_a_feed_whose_symbol_is_gone_is_told_so(feeding: Machine) -> None:
    feeding.exchange.faults = parse_faults('[[fault]]\nkind = "delist"\nat = 2024-02-10T14:30:00', "the test")
    feeding.clock.advance(hours(1))
    assert feeding.feed("--catch-up").code == 5
    done = told(feeding)
    assert done.code == 1
    gone = "BTCUSDT 1h: not in the exchange's list of symbols: delisted, or never there;"
    assert f"  trouble     the last cycle failed: {gone}" in done.out


@pytest.mark.long
def test_a_feed_whose_symbol_is_settled_is_behind_nothing(feeding: Machine) -> None:
    settled = '[[fault]]\nkind = "settle"\nat = 2024-02-10T13:30:00\nuntil_bar = 2024-02-10T13:00:00\n'
    feeding.exchange.faults = parse_faults(settled, "the test")
    feeding.clock.advance(hours(4))
    # The bar that never comes is waited for: for longer than a busy machine needs to ask.
    assert feeding.feed("--catch-up", "--max-wait-sec", "5").code == 5
    assert json.loads(max(feeding.artifacts.glob("*_run.json")).read_text())["last_bar"] == "2024-02-10 13:00"
    feeding.clock.advance(hours(90))
    done = told(feeding)
    lag, trouble = (line for line in done.out.splitlines() if line.startswith(("  lag", "  trouble")))
    settled = "BTCUSDT 1h: settled since 2024-02-10 13:30 (SETTLING): its last bar is 2024-02-10 13:00"
    assert (done.code, lag) == (1, "  lag         none; the exchange has no newer bar")
    assert trouble == f"  trouble     the last cycle failed: {settled}"
    assert told(feeding, "--json").told["series"][0]["lag_sec"] == 0


def test_json_tells_the_same(feeding: Machine) -> None:
    facts = told(feeding, "--json").told
    (series,) = facts.pop("series")
    assert facts == {
        "healthy": True,
        "time": "2024-02-10 14:00:30",
        "clock": "exchange",
        "exchange_problem": "",
        "store": {"file": str(feeding.duckdb), "bytes": feeding.duckdb.stat().st_size, "notes": []},
    }
    assert series == {
        "symbol": "BTCUSDT",
        "interval": "1h",
        "bars": 726,
        "first": "2024-01-11 08:00",
        "last": "2024-02-10 13:00",
        "gaps": [],
        "lag_sec": 0,
        "last_cycle": {
            "run_time": "20240210_140030Z",
            "status": "appended",
            "exit_code": 0,
            "target": "2024-02-10 13:00",
            "message": "",
        },
        "inference": str(feeding.artifacts / "20240210_140030Z_for_inference.csv"),
        "short_window": None,
        "revisions": 0,
        "kinds": [],
        "notes": [],
        "troubles": [],
    }


def test_the_first_five_minutes_of_an_hour_belong_to_the_feed(feeding: Machine) -> None:
    feeding.clock.advance(hours(1) + 4 * 60_000)
    assert told(feeding).code == 0
    feeding.clock.advance(60_000)
    done = told(feeding)
    assert done.code == 1
    assert "  trouble     the store is 1 bar behind 2024-02-10 14:00\n" in done.out
    assert "  lag         the next bar closed 0:05:30 ago\n" in done.out


@pytest.mark.long
def test_a_failed_last_cycle_is_not_healthy(feeding: Machine) -> None:
    feeding.clock.advance(1000)
    execute(feeding.duckdb, f"UPDATE {TABLE} SET volume = 7.5 WHERE timestamp = '2024-02-10 12:00'")
    assert feeding.feed().code == 1
    done = told(feeding)
    assert done.code == 1
    assert "  last cycle  20240210_140031Z mismatch, target 2024-02-10 13:00\n" in done.out
    assert "  inference   20240210_140030Z_for_inference.csv\n" in done.out
    assert "  trouble     the last cycle failed: BTCUSDT 1h: 1 of 6 stored bars differ from the exchange" in done.out


@pytest.mark.long
def test_a_failure_that_the_machines_clock_named_is_over_with_the_next_good_hour(feeding: Machine) -> None:
    # The exchange lives in 2024, the machine does not.
    assert feeding.feed("--base-url", NOWHERE, "--max-wait-sec", "1").code == 3
    done = told(feeding)
    assert "trouble     the last cycle failed: http://127.0.0.1:1 did not answer" in done.out
    feeding.clock.advance(hours(1))
    assert feeding.feed().code == 0
    done = told(feeding)
    assert (done.code, "last cycle  20240210_150030Z appended" in done.out) == (0, True)


@pytest.mark.usefixtures("impatient")
def test_of_two_folders_the_one_written_to_last_is_told(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb")
    add_run(tmp_path / "feed" / "before", NOW_MS + hours(9000))
    add_run(tmp_path / "feed" / "now", NOW_MS)
    done = call(status, "--duckdb", store, "--persist-dir", tmp_path / "feed", "--base-url", NOWHERE, "--json")
    assert done.told["series"][0]["last_cycle"]["run_time"] == "20240210_140030Z"


@pytest.mark.long
@pytest.mark.usefixtures("impatient")
def test_an_exchange_that_does_not_answer_is_told_and_the_rest_too(feeding: Machine) -> None:
    done = told(feeding, "--base-url", NOWHERE)
    assert done.code == 1
    assert "bars        726 " in done.out
    assert "by the machine's clock, for the exchange did not tell\n  http://127.0.0.1:1 did not answer" in done.out
    assert told(feeding, "--base-url", NOWHERE, "--json").told["clock"] == "machine"


@pytest.mark.long
def test_a_gap_in_the_window_is_trouble_and_an_older_one_is_told(feeding: Machine) -> None:
    older = duckdb.connect(feeding.duckdb)
    older.execute(f"INSERT INTO {TABLE} SELECT * REPLACE ('2023-12-01'::TIMESTAMP AS timestamp) FROM {TABLE} LIMIT 1")
    older.close()
    done = told(feeding)
    assert (done.code, "gap         2023-12-01 01:00..2024-01-11 07:00 (991 bars)" in done.out) == (0, True)
    execute(feeding.duckdb, f"DELETE FROM {TABLE} WHERE timestamp = '2024-02-01'")
    done = told(feeding)
    assert done.code == 1
    assert "trouble     the newest 726 bars have a gap: 2024-02-01 00:00\n" in done.out


@pytest.mark.long
def test_every_series_of_the_store_is_told_or_the_one_that_is_named(feeding: Machine) -> None:
    with duckdb.connect(feeding.duckdb) as connection:
        connection.execute(f"CREATE TABLE ohlcv_ethusdt_1h AS FROM {TABLE} LIMIT 3")
        connection.execute("CREATE TABLE notes AS SELECT 1 AS note")
        connection.execute("CREATE TABLE ohlcv_ethusdt_1w AS SELECT 1 AS note")
    assert [line for line in told(feeding).out.splitlines() if not line.startswith(" ")][:2] == [
        "BTCUSDT 1h",
        "ETHUSDT 1h",
    ]
    assert told(feeding).code == 1
    assert told(feeding, "--symbol", "BTCUSDT").code == 0
    assert told(feeding, "--symbol", "ETHUSDT").out.startswith("ETHUSDT 1h\n")


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_not_there_is_not_healthy_and_stays_absent(tmp_path: Path) -> None:
    done = call(status, "--duckdb", tmp_path / "none.duckdb", "--persist-dir", tmp_path, "--base-url", NOWHERE)
    assert done.code == 1
    assert "  bars        none\n" in done.out
    store = tmp_path / "none.duckdb"
    command = f"barfeed run --duckdb {store} --base-url {NOWHERE} --persist-dir {tmp_path} --catch-up"
    assert f"  trouble     {store} does not exist; start it: {command}, or point --duckdb at the store\n" in done.out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("impatient")
def test_the_folder_is_found_by_its_manifests_whatever_the_dataset_is_called(tmp_path: Path) -> None:
    store = make_store(tmp_path / "ohlcv.duckdb")
    add_run(tmp_path / "feed" / "my_label", NOW_MS)
    (tmp_path / "feed" / "other").mkdir()
    done = call(status, "--duckdb", store, "--persist-dir", tmp_path / "feed", "--base-url", NOWHERE, "--json")
    assert done.told["series"][0]["last_cycle"]["run_time"] == "20240210_140030Z"


@pytest.mark.long
def test_revisions_are_counted(feeding: Machine) -> None:
    execute(
        feeding.duckdb,
        """CREATE TABLE ohlcv_revisions (series VARCHAR, timestamp TIMESTAMP,
             old_open DOUBLE, old_high DOUBLE, old_low DOUBLE, old_close DOUBLE, old_volume DOUBLE,
             new_open DOUBLE, new_high DOUBLE, new_low DOUBLE, new_close DOUBLE, new_volume DOUBLE,
             seen_at TIMESTAMP, accepted_at TIMESTAMP, reason VARCHAR, run VARCHAR)""",
        """INSERT INTO ohlcv_revisions SELECT 'BTCUSDT 1h', '2024-02-01', 1, 1, 1, 1, 1, 1, 1, 1, 1, 2,
             '2024-02-02', '2024-02-02', 'test', 'run'""",
    )
    assert "gaps 0, revisions 1\n" in told(feeding).out


@pytest.mark.long
def test_status_works_while_the_feed_writes_and_reads(feeding: Machine) -> None:
    feeding.clock.advance(hours(1))
    running = [feeding.start("--watch", "--catch-up")]
    try:
        for _ in range(20):
            feeding.clock.advance(hours(1))
            done = told(feeding, "--json")
            assert done.code in (0, 1)
            assert done.told["series"][0]["bars"] >= 726
    finally:
        for each in running:
            each.terminate()
            each.communicate(timeout=60)


# The decision itself.

GOOD = Bars(Coverage(726, TARGET_MS - hours(725), TARGET_MS), (), 0)
NO_RUNS = Runs(Path(), None, None)


def last(exit_code: int) -> Runs:
    manifest = Manifest(1, "20240210_140030Z", "label", {}, "mismatch", exit_code, {}, message="it differs")
    return Runs(Path(), manifest, None)


@pytest.mark.parametrize(
    ("bars", "ran", "now_ms", "trouble"),
    [
        (GOOD, NO_RUNS, NOW_MS, ()),
        (GOOD, last(0), NOW_MS, ()),
        (GOOD, last(1), NOW_MS, ("the last cycle failed: it differs",)),
        (GOOD, NO_RUNS, TARGET_MS + hours(2), ()),
        (GOOD, NO_RUNS, TARGET_MS + hours(2) + 299_999, ()),
        (GOOD, NO_RUNS, TARGET_MS + hours(2) + 300_000, ("the store is 1 bar behind 2024-02-10 14:00",)),
        (GOOD, NO_RUNS, TARGET_MS + hours(4), ("the store is 3 bars behind 2024-02-10 16:00",)),
        (GOOD, NO_RUNS, TARGET_MS, ("the store ends at 2024-02-10 13:00, which is not closed yet",)),
        (Bars(Coverage(0, None, None), (), 0), NO_RUNS, NOW_MS, ("the store holds no bar",)),
        (
            GOOD._replace(gaps=(Gap(TARGET_MS - hours(725), TARGET_MS - hours(724), 2),)),
            NO_RUNS,
            NOW_MS,
            ("the newest 726 bars have a gap: 2024-01-11 08:00..2024-01-11 09:00 (2 bars)",),
        ),
        (GOOD._replace(gaps=(Gap(TARGET_MS - hours(727), TARGET_MS - hours(726), 2),)), NO_RUNS, NOW_MS, ()),
    ],
)
def test_what_is_trouble(bars: Bars, ran: Runs, now_ms: int, trouble: tuple[str, ...]) -> None:
    assert judge(BTCUSDT_1H, bars, ran, now_ms, 726).troubles == trouble


GONE, NOT_TRADING = "symbol_gone", "symbol_not_trading"


@pytest.mark.parametrize(
    ("status", "target", "last_bar", "hour", "behind"),
    [
        (GONE, "2024-02-10 14:00", "2024-02-10 13:00", 15, ""),
        (GONE, "2024-02-10 14:00", "2024-02-10 13:00", 500, ""),
        (GONE, "2024-02-10 17:00", "2024-02-10 10:00", 18, ""),
        (GONE, "2024-02-10 17:00", "2024-02-10 15:00", 18, "the store is 2 bars behind 2024-02-10 15:00"),
        (GONE, "2024-02-10 17:00", None, 18, ""),
        # What somebody wrote into the manifest is no moment.
        (GONE, "2024-02-10 17:00", "soon", 18, ""),
        (NOT_TRADING, "2024-02-10 17:00", None, 18, ""),
        (NOT_TRADING, "2024-02-10 17:00", None, 19, ""),
        # A feed that stopped in a halt knows nothing of what came since.
        (NOT_TRADING, "2024-02-10 17:00", None, 20, "the store is 6 bars behind 2024-02-10 19:00"),
        (NOT_TRADING, None, None, 18, "the store is 4 bars behind 2024-02-10 17:00"),
        ("bar_late", "2024-02-10 17:00", None, 18, "the store is 4 bars behind 2024-02-10 17:00"),
    ],
)
def test_a_store_is_behind_what_the_exchange_has(
    status: str, target: str | None, last_bar: str | None, hour: int, behind: str
) -> None:
    manifest = Manifest(1, "20240210_180030Z", "label", {}, status, 5, {}, "why", target=target, last_bar=last_bar)
    condition = judge(BTCUSDT_1H, GOOD, Runs(Path(), manifest, None), ms(2024, 2, 10) + hours(hour) + 30_000, 726)
    assert condition.troubles == tuple(each for each in (behind, "the last cycle failed: why") if each)
    assert condition.is_due is bool(behind)


def test_lag_counts_from_when_the_first_absent_bar_closed() -> None:
    assert lag_ms(BTCUSDT_1H, TARGET_MS, TARGET_MS + hours(2) + 90_000) == 90_000
    assert lag_ms(Series.of("BTCUSDT", "5m"), TARGET_MS, TARGET_MS + 600_000) == 0
    assert lag_ms(BTCUSDT_1H, None, NOW_MS) is None


@pytest.mark.long
def test_a_manifest_half_written_elsewhere_is_passed_over(feeding: Machine) -> None:
    path = feeding.artifacts / "20240210_150000Z_run.json"
    path.write_text(json.dumps({"manifest_version": 1}))
    assert "last cycle  20240210_140030Z appended" in told(feeding).out


def test_bars_of_the_world_are_what_these_tests_believe() -> None:
    assert BARS[-1].open_time_ms == TARGET_MS
