"""What one hour does, in the order of the issue it was built for."""

import csv
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import duckdb
import pytest

from barfeed.artifacts.writing import keep_for
from barfeed.domain import grid
from barfeed.domain.bars import Bar
from barfeed.domain.errors import Mismatch
from barfeed.exchange.refusals import Answer
from barfeed.feed.cycle import record_of
from barfeed.feed.record import Record
from barfeed.operate.logs import JsonLines
from barfeed.replay.exchange import ReplayExchange
from barfeed.replay.tapes.tape import Tape
from barfeed.store.duckdb import Table
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

TARGET = "2024-02-10 13:00"
TARGET_MS = ms(2024, 2, 10, 13)
# A thousand hours behind the target and ten before it.
TAPED = made_up_bars(TARGET_MS + hours(10), 1010)


def manifest(record: Record) -> dict[str, Any]:
    assert record.manifest_path
    read: dict[str, Any] = json.loads(Path(record.manifest_path).read_text())
    return read


def csv_rows(world: World, name: str) -> list[dict[str, str]]:
    with (world.feed.folder / name).open(newline="") as file:
        return list(csv.DictReader(file))


class Normal(NamedTuple):
    """A normal hour, to look at: the world after it, its record, and the bars that were stored before."""

    world: World
    record: Record
    before: list[Bar]


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Normal:
    world = World(tmp_path_factory.mktemp("normal"), [Tape.of(BTCUSDT_1H, TAPED)], TARGET_MS + 30_000)
    world.live_first_hour(tmp_path_factory.getbasetemp() / "hour")
    before = world.bars()
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    return Normal(world, world.run(), before)


def test_a_normal_hour_pulls_six_proves_five_and_appends_one(normal: Normal) -> None:
    world, record, before = normal
    assert (record.status, record.exit_code, record.warnings) == ("appended", 0, [])
    assert (record.pull.rows if record.pull else 0, record.validated, record.appended) == (6, 5, 1)
    # The forming bar is neither asked for nor stored.
    assert world.bars() == [*before, world.taped()[TARGET_MS]]


def test_a_normal_hour_asks_two_questions_of_weight_one_each(started: World) -> None:
    asked = started.exchange.requests.total()
    started.clock.go_to(TARGET_MS + hours(1) + 70_000)
    record = started.run()
    assert started.exchange.requests.total() - asked == 2
    assert manifest(record)["exchange"]["used_weight"] == 2


def test_a_second_run_in_the_same_hour_finds_it_done(started: World) -> None:
    started.run()
    once = started.bars()
    record = started.run()
    assert (record.status, record.exit_code, record.validated, record.appended) == ("up_to_date", 0, 6, 0)
    assert record.inference is not None
    assert started.bars() == once


@pytest.mark.parametrize("source", ["db", "api"])
def test_a_first_start_warns_of_no_earlier_run(world: World, source: str) -> None:
    record = world.run(catch_up=True, inference_source=source)
    assert (record.status, record.warnings) == ("appended", [])


def prices(bar: Bar) -> tuple[float, float, float, float]:
    shrunk = [round(each * 1e-9, 10) for each in (bar.open, bar.high, bar.low, bar.close)]
    return shrunk[0], shrunk[1], shrunk[2], shrunk[3]


def small(tmp_path: Path) -> World:
    """An exchange of a coin whose prices are some hundred-thousandths."""
    bars = [Bar(bar.open_time_ms, *prices(bar), volume=bar.volume) for bar in made_up_bars(TARGET_MS, 1000)]
    return World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + hours(1) + 30_000)


@pytest.mark.parametrize("plain_decimals", [False, True])
def test_plain_decimals_are_in_both_csvs_and_the_latest(tmp_path: Path, plain_decimals: bool) -> None:
    world = small(tmp_path)
    record = world.run(catch_up=True, plain_decimals=plain_decimals)
    assert record.exit_code == 0
    told = manifest(record)["files"]
    for name in (told["api_pull"]["file"], told["for_inference"]["file"], "latest_for_inference.csv"):
        rows = csv_rows(world, name)
        assert all(("e-05" in row["close"]) is not plain_decimals for row in rows)
        assert [float(row["close"]) for row in rows] == [bar.close for bar in world.bars()[-len(rows) :]]


def test_the_inference_csv_is_the_last_726_bars_and_reads_back_to_the_last_digit(normal: Normal) -> None:
    world, record, _ = normal
    assert record.inference is not None
    rows = csv_rows(world, record.inference.file)
    assert len(rows) == 726
    assert list(rows[0]) == ["timestamp", "open", "high", "low", "close", "volume"]
    assert (rows[0]["timestamp"], rows[-1]["timestamp"]) == ("2024-01-11 08:00:00", "2024-02-10 13:00:00")
    read = [tuple(float(row[name]) for name in ("open", "high", "low", "close", "volume")) for row in rows]
    assert read == [bar.values for bar in world.bars()[-726:]]


def test_the_latest_csv_is_the_one_just_published(normal: Normal) -> None:
    world, record, _ = normal
    assert record.inference is not None
    published = (world.feed.folder / record.inference.file).read_bytes()
    assert (world.feed.folder / "latest_for_inference.csv").read_bytes() == published


def test_the_manifest_vouches_for_both_files(normal: Normal) -> None:
    world, record, _ = normal
    told = manifest(record)
    assert (told["status"], told["exit_code"], told["target"]) == ("appended", 0, TARGET)
    assert told["series"] == {"symbol": "BTCUSDT", "interval": "1h"}
    assert (told["dataset"], told["inference_source"], told["dry_run"]) == ("BINANCE_BTCUSDT.P, 60", "db", False)
    assert (world.feed.folder / ".series").read_text() == "BTCUSDT 1h\n"
    assert told["counts"] == {"pulled": 6, "validated": 5, "appended": 1, "pending": 0, "would_append": 0}
    assert told["coverage"] == {"rows": 727, "first": "2024-01-11 07:00", "last": TARGET}
    for kind, rows in (("api_pull", 6), ("for_inference", 726)):
        file = told["files"][kind]
        content = (world.feed.folder / file["file"]).read_bytes()
        assert file["rows"] == rows == content.count(b"\n") - 1
        assert file["sha256"] == hashlib.sha256(content).hexdigest()


def test_the_exit_line_tells_the_hour_in_one_breath(normal: Normal) -> None:
    line = normal.record.line()
    name = "20240210_140030Z_for_inference.csv"
    assert line.startswith(
        "pulled=6 validated=5 appended=1 target=2024-02-10 13:00 coverage=2024-01-11 07:00..2024-02-10 13:00 rows=727"
        f" inference={name} "
    )
    assert line.endswith(" s")


def test_every_step_of_an_hour_is_timed(normal: Normal) -> None:
    took_sec = manifest(normal.record)["durations_sec"]
    assert list(took_sec) == ["time", "pull", "evidence", "store", "publish", "total"]


@pytest.mark.parametrize("its_end", ["2024-02-10 13:00:00", "2024-02-10 14:00:00", "2030-01-01 00:00:00"])
def test_a_latest_csv_that_is_not_of_a_newer_closed_hour_is_replaced(started: World, its_end: str) -> None:
    latest = started.feed.folder / "latest_for_inference.csv"
    latest.write_text(f"somebody's own\n{its_end},1,1,1,1,1\n")
    record = started.run()
    assert record.inference is not None
    assert latest.read_bytes() == (started.feed.folder / record.inference.file).read_bytes()


def test_two_runs_in_one_second_keep_both_their_files(started: World) -> None:
    first, second = started.run(), started.run()
    assert first.run_time == "20240210_140030Z"
    assert second.run_time == "20240210_140030Z-2"
    assert {
        f"{run}_{kind}" for run in (first.run_time, second.run_time) for kind in ("run.json", "api_pull.csv")
    } <= set(started.files())


@pytest.mark.parametrize("n_recent", [2, 99, 700])
def test_any_window_is_pulled_and_proven_to_its_length(started: World, n_recent: int) -> None:
    record = started.run(n_recent=n_recent)
    assert record.pull is not None
    assert (record.pull.rows, record.validated, record.appended) == (n_recent, n_recent - 1, 1)


def test_an_absent_store_is_refused_and_stays_absent(world: World) -> None:
    record = world.run()
    assert (record.status, record.exit_code) == ("store_empty", 1)
    assert record.failure is not None
    assert "barfeed run --catch-up" in record.failure.hint
    assert not world.duckdb.exists()
    assert record.pull is not None


def test_an_empty_store_with_catch_up_yields_an_inference_csv_in_its_first_run(world: World) -> None:
    record = world.run(catch_up=True)
    assert (record.status, record.appended, record.exit_code) == ("appended", 726, 0)
    assert manifest(record)["coverage"] == {"rows": 726, "first": "2024-01-11 08:00", "last": TARGET}
    assert [bar.open_time_ms for bar in world.bars()] == list(range(TARGET_MS - hours(725), TARGET_MS + 1, hours(1)))
    assert record.inference is not None


def test_a_young_symbol_starts_its_store_and_says_what_the_window_lacks(tmp_path: Path, world: World) -> None:
    young = World(tmp_path / "young", [Tape.of(BTCUSDT_1H, world.tapes[0].bars[900:])], world.clock.now_ms)
    record = young.run(catch_up=True)
    assert (record.status, record.exit_code, record.appended) == ("window_gap", 1, 100)
    assert record.inference is None
    assert record.failure is not None
    assert record.failure.message.startswith("BTCUSDT 1h: the inference window is not whole: 2024-01-11 08:00 and")
    assert record.failure.message.endswith("; first bar 2024-02-06 10:00; whole from 2024-03-07 16:00")
    assert "there is nothing to fetch until then" in record.failure.hint
    young.clock.sleep(3600)
    assert young.run(catch_up=True).appended == 1


def test_an_answer_that_is_too_short_is_asked_whether_there_is_a_bar_before_it(tmp_path: Path, world: World) -> None:
    young = World(tmp_path / "young", [Tape.of(BTCUSDT_1H, world.tapes[0].bars[900:])], world.clock.now_ms)
    transport, asked = young.rest.transport, list[dict[str, list[str]]]()

    def told(url: str, left_sec: float) -> Answer:
        asked.append(parse_qs(urlsplit(url).query))
        return transport(url, left_sec)

    young.rest.transport = told
    assert young.run(catch_up=True).appended == 100
    first_ms = young.bars()[0].open_time_ms
    # The time, the bars, and then this.
    assert (asked[2]["endTime"], asked[2]["limit"]) == ([str(first_ms - 1)], ["1"])


def test_an_answer_with_a_hole_names_the_command_that_fills_what_is_around_it(started: World) -> None:
    record = started.run('[[fault]]\nkind = "hide"\nbar = 2024-02-10T11:00:00')
    assert record.status == "contract_broken"
    assert record.failure is not None
    assert record.failure.hint == (
        "nothing was appended; if it stays so, append what there is around it (the window is whole from"
        " 2024-03-11 18:00): barfeed backfill --from '2024-02-10 07:00'"
    )


def test_an_answer_that_is_too_long_is_refused(started: World) -> None:
    transport = started.rest.transport
    started.rest.transport = lambda url, left_sec: transport(url.replace("limit=6", "limit=7"), left_sec)
    record = started.run()
    assert (record.status, record.pull and record.pull.rows, record.appended) == ("contract_broken", 7, 0)
    assert record.failure is not None
    assert record.failure.message.endswith("(count)")


def test_missed_hours_without_catch_up_are_told_with_the_command_that_mends_them(started: World) -> None:
    before = started.bars()
    started.clock.sleep(3 * 3600)
    record = started.run()
    assert (record.status, record.exit_code, record.inference) == ("missed_bars", 1, None)
    assert record.failure is not None
    assert record.failure.message == (
        "BTCUSDT 1h: the store ends at 2024-02-10 12:00; before 2024-02-10 16:00 it lacks"
        " 2024-02-10 13:00..2024-02-10 15:00 (3 bars)"
    )
    assert record.failure.hint == "catch up: barfeed run --catch-up"
    assert started.bars() == before


@pytest.mark.parametrize("missed", [0, 1, 2, 9])
def test_catch_up_appends_every_missed_bar_behind_a_proven_overlap(started: World, missed: int) -> None:
    before = started.bars()
    started.clock.sleep(missed * 3600)
    record = started.run(catch_up=True)
    assert (record.status, record.validated, record.appended) == ("appended", 5, missed + 1)
    tape = started.taped()
    assert started.bars() == before + [tape[TARGET_MS + hours(each)] for each in range(missed + 1)]


def test_a_catch_up_over_more_than_a_page_loses_no_bar(tmp_path: Path) -> None:
    bars = made_up_bars(TARGET_MS, 4000)
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, bars)], bars[800].open_time_ms + 30_000)
    assert world.run(catch_up=True).appended == 726
    world.clock.go_to(TARGET_MS + hours(1) + 30_000)
    record = world.run(catch_up=True)
    assert (record.exit_code, record.appended, record.validated) == (0, 3200, 5)
    assert world.bars() == list(bars[74:])


def test_a_mismatch_is_told_with_both_values_and_appends_nothing(started: World) -> None:
    before = started.bars()
    record = started.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 1203.9')
    stored = next(bar for bar in before if bar.open_time_ms == ms(2024, 2, 10, 11))
    assert (record.status, record.exit_code, record.inference) == ("mismatch", 1, None)
    assert record.failure is not None
    assert record.failure.message == (
        "BTCUSDT 1h: 1 of 5 stored bars differ from the exchange; first: 2024-02-10 11:00"
        f" volume stored {stored.volume}, exchange 1203.9"
    )
    assert manifest(record)["coverage"]["rows"] == 726
    (found,) = manifest(record)["findings"]
    assert found["bar"] == "2024-02-10 11:00"
    assert (found["stored"], found["exchange"]) == ({"volume": stored.volume}, {"volume": 1203.9})
    assert started.bars() == before


def test_the_smallest_difference_is_a_mismatch(started: World) -> None:
    started.execute("UPDATE ohlcv_btcusdt_1h SET volume = volume + 0.001 WHERE timestamp = '2024-02-10 08:00'")
    assert started.run().status == "mismatch"


def test_a_difference_before_the_window_is_not_this_hours_business(started: World) -> None:
    started.execute("UPDATE ohlcv_btcusdt_1h SET volume = volume + 1 WHERE timestamp = '2024-02-10 07:00'")
    assert started.run().exit_code == 0


def test_a_store_that_holds_the_target_is_compared_on_all_of_it(started: World) -> None:
    started.run()
    record = started.run(f'[[fault]]\nkind = "revise"\nbar = {TARGET.replace(" ", "T")}:00\nvolume = 1.5')
    assert (record.status, record.exit_code) == ("mismatch", 1)


def test_a_gap_in_the_validation_window_appends_nothing(started: World) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-10 10:00'")
    before = started.bars()
    record = started.run()
    assert (record.status, record.exit_code) == ("window_gap", 1)
    assert record.failure is not None
    assert "2024-02-10 10:00" in record.failure.message
    assert started.bars() == before


def test_a_gap_in_the_older_window_keeps_the_target_and_publishes_nothing(started: World) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp BETWEEN '2024-01-20 05:00' AND '2024-01-20 07:00'")
    record = started.run()
    assert (record.status, record.exit_code, record.appended) == ("window_gap", 1, 1)
    assert record.failure is not None
    assert "2024-01-20 05:00 and the next 2 are missing" in record.failure.message
    assert record.inference is None
    assert started.bars()[-1].open_time_ms == TARGET_MS
    assert [name for name in started.files() if name.startswith("20240210_140030Z")] == [
        "20240210_140030Z_api_pull.csv",
        "20240210_140030Z_run.json",
    ]


def test_a_store_that_begins_within_the_window_is_told_with_the_command_that_fetches_what_is_before(
    started: World,
) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp < '2024-01-20'")
    record = started.run()
    assert record.failure is not None
    assert (record.status, record.appended) == ("window_gap", 1)
    assert record.failure.hint.endswith("barfeed backfill --from '2024-01-11 08:00'")


def test_a_null_or_nan_in_the_window_publishes_nothing(started: World) -> None:
    started.execute("UPDATE ohlcv_btcusdt_1h SET high = NULL WHERE timestamp = '2024-01-20 05:00'")
    assert started.run().status == "window_gap"
    started.execute("UPDATE ohlcv_btcusdt_1h SET high = 'NaN' WHERE timestamp = '2024-01-20 05:00'")
    assert started.run().status == "window_gap"


def test_a_store_from_the_future_is_refused(started: World) -> None:
    started.execute("INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-02-10 15:00', 1, 1, 1, 1, 1, now())")
    record = started.run()
    assert (record.status, record.exit_code, record.inference) == ("store_ahead", 1, None)


def test_a_users_own_table_without_a_primary_key_is_used_as_it_is(started: World) -> None:
    started.execute("CREATE TABLE own AS SELECT * EXCLUDE created_at FROM ohlcv_btcusdt_1h")
    started.execute("DROP TABLE ohlcv_btcusdt_1h")
    started.execute("ALTER TABLE own RENAME TO ohlcv_btcusdt_1h")
    started.execute("CREATE UNIQUE INDEX one_bar ON ohlcv_btcusdt_1h (timestamp)")
    assert started.run().status == "appended"


def test_a_users_own_store_of_the_newest_format_is_used_as_it_is(started: World) -> None:
    newest = started.duckdb.with_name("newest.duckdb")
    with duckdb.connect(newest, config={"storage_compatibility_version": "latest"}) as connection:
        connection.execute(f"ATTACH '{started.duckdb}' AS old")
        connection.execute(
            "CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE,"
            " low DOUBLE, close DOUBLE, volume DOUBLE, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
        )
        connection.execute("INSERT INTO ohlcv_btcusdt_1h FROM old.ohlcv_btcusdt_1h")
    newest.replace(started.duckdb)
    assert started.run().status == "appended"


def test_a_dry_run_leaves_the_store_byte_for_byte_and_publishes_nothing(started: World) -> None:
    before = started.duckdb.read_bytes()
    latest = (started.feed.folder / "latest_for_inference.csv").read_bytes()
    record = started.run(dry_run=True)
    assert (record.status, record.would_append, record.appended, record.inference) == ("dry_run", 1, 0, None)
    assert " would_append=1 " in record.line()
    assert started.duckdb.read_bytes() == before
    assert (started.feed.folder / "latest_for_inference.csv").read_bytes() == latest


def test_a_dry_run_ends_as_the_run_would(started: World) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-01-20 05:00'")
    assert [started.run(dry_run=dry).status for dry in (True, False)] == ["window_gap", "window_gap"]


def test_a_dry_run_creates_no_store(world: World) -> None:
    record = world.run(dry_run=True, catch_up=True)
    assert (record.exit_code, record.would_append) == (0, 726)
    assert not world.duckdb.exists()


def test_a_failed_hour_leaves_the_store_byte_for_byte(started: World) -> None:
    before = started.duckdb.read_bytes()
    assert started.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nlow = 1.0').exit_code == 1
    assert started.duckdb.read_bytes() == before


def test_with_the_api_as_source_the_csv_is_the_exchanges_own_window(started: World) -> None:
    record = started.run(inference_source="api")
    assert (record.exit_code, record.validated, record.appended) == (0, 5, 1)
    assert record.inference is not None
    assert record.inference.rows == 726
    assert manifest(record)["inference_source"] == "api"
    assert len(csv_rows(started, record.inference.file)) == 726


@pytest.mark.parametrize(
    ("harm", "status", "exit_code"),
    [
        ("UPDATE ohlcv_btcusdt_1h SET close = 1 WHERE timestamp = '2024-02-10 11:00'", "mismatch", 1),
        ("DELETE FROM ohlcv_btcusdt_1h", "store_empty", 1),
        ("ALTER TABLE ohlcv_btcusdt_1h DROP COLUMN volume", "store_unusable", 4),
    ],
)
def test_with_the_api_as_source_the_csv_comes_even_when_the_store_is_in_trouble(
    started: World, harm: str, status: str, exit_code: int
) -> None:
    started.execute(harm)
    record = started.run(inference_source="api")
    assert (record.status, record.exit_code) == (status, exit_code)
    assert record.inference is not None
    rows = csv_rows(started, record.inference.file)
    assert (len(rows), rows[-1]["timestamp"]) == (726, "2024-02-10 13:00:00")


HARMS = [
    ("UPDATE ohlcv_btcusdt_1h SET close = 1 WHERE timestamp = '2024-02-10 11:00'", "mismatch", 1),
    ("DELETE FROM ohlcv_btcusdt_1h", "store_empty", 1),
    ("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp >= '2024-02-10 10:00'", "missed_bars", 1),
    ("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-01-20 05:00'", "window_gap", 1),
    ("INSERT INTO ohlcv_btcusdt_1h (timestamp) VALUES ('2024-02-10 15:00')", "store_ahead", 1),
    ("ALTER TABLE ohlcv_btcusdt_1h DROP COLUMN volume", "store_unusable", 4),
]


@pytest.mark.parametrize(("harm", "status", "exit_code"), HARMS)
def test_with_both_as_source_the_exchanges_window_stands_in_for_a_store_in_trouble(
    started: World, harm: str, status: str, exit_code: int, caplog: pytest.LogCaptureFixture
) -> None:
    started.execute(harm)
    plain = started.run()
    assert (plain.status, plain.exit_code, plain.inference) == (status, exit_code, None)
    assert caplog.messages == []
    record = started.run(inference_source="db,api")
    told = manifest(record)
    assert (record.status, record.exit_code) == (status, exit_code)
    assert (told["inference_source"], told["inference_from"], told["status"]) == ("db,api", "api", status)
    warning = f"the inference CSV is of the exchange's bars alone, not of the store's: {status}"
    assert (told["warnings"], caplog.messages) == ([warning], [f"BTCUSDT 1h: {warning}"])
    rows = csv_rows(started, told["files"]["for_inference"]["file"])
    taped = [bar for bar in sorted(started.taped().values()) if bar.open_time_ms <= TARGET_MS][-726:]
    assert [float(row["close"]) for row in rows] == [bar.close for bar in taped]
    assert rows[-1]["timestamp"] == "2024-02-10 13:00:00"


def test_with_both_as_source_a_store_that_is_well_gives_the_csv(started: World) -> None:
    # What only the store has tells whose window it is.
    started.execute("UPDATE ohlcv_btcusdt_1h SET volume = 4711 WHERE timestamp = '2024-01-20 05:00'")
    record = started.run(inference_source="db,api")
    told = manifest(record)
    assert (record.exit_code, record.appended, told["inference_from"], told["warnings"]) == (0, 1, "db", [])
    assert "4711.0" in {row["volume"] for row in csv_rows(started, told["files"]["for_inference"]["file"])}


def test_with_both_as_source_a_broken_file_does_not_keep_the_csv_back(world: World) -> None:
    world.duckdb.write_bytes(b"no database at all" * 1000)
    record = world.run(inference_source="db,api", catch_up=True)
    assert (record.status, record.exit_code, record.inference_from) == ("store_unusable", 4, "api")


def test_with_both_as_source_a_broken_answer_gives_no_csv(started: World) -> None:
    record = started.run('[[fault]]\nkind = "hide"\nbar = 2024-02-10T11:00:00', inference_source="db,api")
    assert (record.status, record.inference) == ("contract_broken", None)


def test_with_both_as_source_a_dry_run_publishes_nothing(started: World) -> None:
    started.execute(HARMS[0][0])
    record = started.run(inference_source="db,api", dry_run=True)
    assert (record.exit_code, record.inference, record.warnings) == (1, None, [])


def test_with_both_as_source_the_first_trouble_is_told_where_neither_has_a_window(
    started: World, caplog: pytest.LogCaptureFixture
) -> None:
    started.execute(HARMS[0][0])
    record = started.run(inference_source="db,api", window_bars=2000)
    assert (record.status, record.inference) == ("mismatch", None)
    (other,) = caplog.messages
    assert other.startswith("BTCUSDT 1h: the inference window is not whole: ")


@pytest.mark.parametrize("other", [0.0, 1.0])
def test_what_another_feeder_appended_meanwhile_is_compared(
    started: World, monkeypatch: pytest.MonkeyPatch, other: float
) -> None:
    append = Table.append

    def second(table: Table, bars: Sequence[Bar]) -> int:
        append(table, [bar._replace(close=bar.close + other) for bar in bars])
        return append(table, bars)

    monkeypatch.setattr(Table, "append", second)
    record = started.run()
    if not other:
        assert (record.status, record.appended, record.inference is not None) == ("up_to_date", 0, True)
        return
    assert (record.status, record.inference) == ("mismatch", None)
    assert record.failure
    assert record.failure.message.startswith(f"BTCUSDT 1h: another feeder stored {TARGET} meanwhile with other values")
    assert record.failure.hint.endswith("barfeed repair")


def test_a_second_start_of_a_history_is_told(started: World, caplog: pytest.LogCaptureFixture) -> None:
    # A disk that is not mounted, a variable with a slip of the pen.
    started.duckdb.rename(started.duckdb.with_name("elsewhere.duckdb"))
    record = started.run(catch_up=True)
    warning = (
        f"a new history is started in {started.duckdb}, though {started.feed.folder} holds earlier runs of the series"
    )
    assert (record.exit_code, record.warnings) == (0, [warning])
    assert f"{warning}; if the old one is elsewhere, point --duckdb there" in caplog.messages


def test_with_the_api_as_source_an_older_gap_in_the_store_is_told_all_the_same(started: World) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-01-20 05:00'")
    record = started.run(inference_source="api")
    assert (record.status, record.appended, record.inference is not None) == ("window_gap", 1, True)


def test_a_gap_beside_a_mismatch_is_in_the_manifest_too(started: World) -> None:
    started.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-10 10:00'")
    record = started.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 1.5')
    told = [(found["rule"], found["bar"]) for found in manifest(record)["findings"]]
    assert told == [("mismatch", "2024-02-10 11:00"), ("gap", "2024-02-10 10:00")]


def test_a_close_that_the_clock_is_not_sure_of_is_waited_out(started: World) -> None:
    # /time took four seconds, all of them on its way out: at 13:59:59 it seems to be 14:00:01.
    transport, now_ms = started.rest.transport, TARGET_MS + hours(1) - 5_000
    started.clock.go_to(now_ms)

    def slow(url: str, left_sec: float) -> Answer:
        if "time" in url:
            started.clock.sleep(4.0)
        return transport(url, left_sec)

    started.rest.transport = slow
    for _ in range(2):
        record = started.run(settle_sec=0.0)
        assert record.exit_code == 0
        assert all(bar == started.taped()[bar.open_time_ms] for bar in started.bars())
        started.clock.sleep(1.0)


def test_with_the_api_as_source_a_broken_store_file_does_not_keep_the_csv_back(world: World) -> None:
    world.duckdb.write_bytes(b"no database at all" * 1000)
    record = world.run(inference_source="api", catch_up=True)
    assert (record.status, record.exit_code) == ("store_unusable", 4)
    assert record.inference is not None


def test_with_the_store_as_source_a_broken_store_file_is_told_before_anything_is_pulled(world: World) -> None:
    world.duckdb.write_bytes(b"no database at all" * 1000)
    record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.pull) == ("store_unusable", 4, None)
    assert world.exchange.requests["/fapi/v1/klines"] == 0


def test_a_run_right_after_the_close_waits_until_the_bar_has_settled(started: World) -> None:
    started.clock.now_ms = TARGET_MS + hours(1) + 2_000
    record = started.run(settle_sec=10.0)
    assert record.exit_code == 0
    assert started.clock.now_ms == TARGET_MS + hours(1) + 10_000


def test_settling_does_not_use_up_the_patience(started: World) -> None:
    started.clock.now_ms = TARGET_MS + hours(1)
    late = '[[fault]]\nkind = "late"\nrows = 2\nsec = 15'
    assert started.run(late, max_wait_sec=8.0, settle_sec=10.0).exit_code == 0


@pytest.mark.parametrize("off_sec", [-600.0, 600.0, -1.7e9])
def test_a_wrong_machine_clock_changes_nothing_but_a_warning(started: World, off_sec: float) -> None:
    started.clock.off_sec = off_sec
    record = started.run()
    assert (record.status, record.target) == ("appended", TARGET)
    assert started.bars()[-1].open_time_ms == TARGET_MS
    assert record.warnings


def test_a_skew_over_the_bound_is_a_warning_and_one_on_it_is_none(
    started: World, caplog: pytest.LogCaptureFixture
) -> None:
    started.clock.off_sec = 5.0
    assert manifest(started.run(max_skew_sec=5.0))["warnings"] == []
    assert caplog.messages == []
    said = "the machine's clock is 5.0 s ahead of the exchange's"
    assert manifest(started.run(max_skew_sec=4.9))["warnings"] == [said]
    assert caplog.messages == [f"{said}; the exchange's is used"]


@pytest.mark.parametrize("ms_off", [3_580_000, -3_600_000, -86_400_000])
def test_an_exchange_whose_clocks_disagree_is_refused_with_evidence(started: World, ms_off: int) -> None:
    before = started.bars()
    record = started.run(f'[[fault]]\nkind = "skew"\nms = {ms_off}')
    assert record.failure is not None
    assert (record.status, "the exchange's clocks disagree" in record.failure.message) == ("contract_broken", True)
    assert record.pull is not None
    assert started.bars() == before


def test_an_empty_answer_is_late_with_evidence(started: World) -> None:
    record = started.run('[[fault]]\nkind = "empty"', max_wait_sec=5.0)
    assert (record.status, record.pull and record.pull.rows, record.appended) == ("bar_late", 0, 0)


def test_why_a_cycle_failed_is_in_the_debug_log(started: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "barfeed.feed.cycle"):
        assert started.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nlow = 1.0').status == "mismatch"
    (told,) = [each for each in caplog.records if each.name == "barfeed.feed.cycle"]
    assert told.getMessage() == "the cycle failed"
    assert told.exc_info
    assert told.exc_info[0] is Mismatch


def test_what_is_logged_in_a_cycle_tells_which_cycle_it_was(
    started: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caplog.handler, "formatter", JsonLines())
    with caplog.at_level(logging.DEBUG, "barfeed.feed.cycle"):
        started.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nlow = 1.0')
    told = [json.loads(line) for line in caplog.text.splitlines()]
    (failed,) = [event for event in told if event["event"] == "the cycle failed"]
    assert (failed["series"], failed["target"], failed["cycle"]) == ("BTCUSDT 1h", TARGET, "20240210_140030Z")


def test_a_machine_clock_that_is_fast_does_not_let_a_forming_bar_in(started: World) -> None:
    started.clock.now_ms = TARGET_MS + hours(2) - 300_000
    started.clock.off_sec = 600.0
    assert started.run().target == TARGET


def test_an_older_duckdb_can_read_a_store_that_the_feed_made(world: World) -> None:
    world.run(catch_up=True)
    world.clock.sleep(3600)
    world.run()
    with duckdb.connect(world.duckdb, read_only=True) as connection:
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE NOT internal").fetchone()
    assert tags is not None
    assert tags[0]["storage_version"].startswith("v1.0.0")


def test_the_bar_after_a_heard_one_is_left_to_settle(started: World) -> None:
    record = started.run(heard_ms=TARGET_MS - hours(1), settle_sec=60.0)
    assert (record.status, started.clock.now_ms - TARGET_MS - hours(1)) == ("appended", 60_000)


def test_the_heard_bar_is_not_left_to_settle(started: World) -> None:
    started.clock.go_to(TARGET_MS + hours(1) + 5)
    record = started.run(heard_ms=TARGET_MS, settle_sec=60.0)
    assert (record.status, started.clock.now_ms - TARGET_MS - hours(1)) == ("appended", 5)


@pytest.mark.parametrize(("settle_sec", "past_sec"), [(0.0, 60), (30.0, 20)])
def test_an_hour_that_turns_under_the_feed_is_lived_anew(started: World, settle_sec: float, past_sec: int) -> None:
    # 13:00 is asked for, then the network is slow; meanwhile another process does 13:00 and 14:00.
    other = World(started.duckdb.parent, started.tapes, 0)
    transport = started.rest.transport

    def slow(url: str, left_sec: float) -> object:
        answer = transport(url, left_sec)
        if "klines" in url and started.clock.now_ms < TARGET_MS + hours(2):
            other.clock.now_ms = TARGET_MS + hours(2) + past_sec * 1000
            assert other.run(catch_up=True, settle_sec=0.0).appended == 2
            started.clock.go_to(TARGET_MS + hours(2) + past_sec * 1000 + 1000)
        return answer

    started.rest.transport = slow  # type: ignore[assignment]
    record = started.run(settle_sec=settle_sec, max_wait_sec=3600.0)
    assert (record.exit_code, record.status, record.target) == (0, "up_to_date", "2024-02-10 14:00")
    passed_on = json.loads((started.feed.folder / "20240210_140030Z_run.json").read_text())
    assert (passed_on["status"], passed_on["exit_code"], passed_on["target"]) == ("overtaken", 0, TARGET)
    assert passed_on["message"] == "the hour turned before this one was done: the new hour is lived instead"


@pytest.mark.parametrize(("past_ms", "target"), [(29_999, TARGET), (30_000, "2024-02-10 14:00")])
def test_an_hour_that_turns_under_the_feed_is_still_the_last_until_the_next_has_settled(
    started: World, past_ms: int, target: str
) -> None:
    transport = started.rest.transport

    def slow(url: str, left_sec: float) -> Answer:
        answer = transport(url, left_sec)
        if "klines" in url and started.clock.now_ms < TARGET_MS + hours(2):
            started.clock.go_to(TARGET_MS + hours(2) + past_ms)
        return answer

    started.rest.transport = slow
    record = started.run(settle_sec=30.0, max_wait_sec=3600.0, catch_up=True)
    assert (record.status, record.target, grid.text(started.bars()[-1].open_time_ms)) == ("appended", target, target)


def test_an_hour_that_turns_while_the_exchange_is_out_of_reach_publishes_no_old_window(started: World) -> None:
    started.run()
    before = (started.feed.folder / "latest_for_inference.csv").read_bytes()
    started.clock.go_to(TARGET_MS + hours(2) - 20_000)
    outage = '[[fault]]\nkind = "status"\nstatus = 503\nuntil = 2024-02-10T15:00:40'
    record = started.run(outage)
    assert (record.status, record.target) == ("appended", "2024-02-10 14:00")
    passed_on, lived = (
        json.loads(path.read_text()) for path in sorted(started.feed.folder.glob("20240210_1[45]*_run.json"))[-2:]
    )
    assert (passed_on["target"], passed_on["files"]["for_inference"], lived["target"]) == (TARGET, None, record.target)
    assert passed_on["status"] == "overtaken"
    assert (started.feed.folder / "latest_for_inference.csv").read_bytes() != before


@pytest.mark.parametrize(("out_sec", "before_ms"), [(0.0, 10), (2.0, 3020)])
def test_an_hour_that_turns_between_two_looks_at_the_clock_is_left_to_settle(
    started: World, monkeypatch: pytest.MonkeyPatch, out_sec: float, before_ms: int
) -> None:
    started.run()
    asked: list[int] = []

    def transport(url: str, left_sec: float) -> Answer:
        started.clock.sleep(out_sec if "/time" in url else 0.05)
        asked.append(started.clock.now_ms)
        return started._transport(url, left_sec)

    def slow_disk(folder: Path, series: str) -> None:
        started.clock.sleep(0.03)
        keep_for(folder, series)

    monkeypatch.setattr(started.rest, "transport", transport)
    monkeypatch.setattr("barfeed.feed.hour.keep_for", slow_disk)
    close_ms = TARGET_MS + hours(2)
    started.clock.go_to(close_ms - before_ms)
    record = started.run()
    assert (record.status, record.target) == ("appended", "2024-02-10 14:00")
    # What was said 2 s before it came may be a second older than it seems.
    assert asked[1] >= close_ms + 10_000 - out_sec * 500
    assert started.bars()[-1] == started.taped()[TARGET_MS + hours(1)]


@pytest.mark.parametrize(("hours_later", "shown", "differ"), [(1, 1, 5), (5, 2, 5), (5, 5, 5)])
def test_an_exchange_that_has_forgotten_what_is_stored_is_a_mismatch(
    started: World, hours_later: int, shown: int, differ: int
) -> None:
    started.run()
    before = started.bars()
    started.clock.go_to(TARGET_MS + hours(hours_later + 1) + 30_000)
    newest_ms = TARGET_MS + hours(hours_later)
    kept = [bar for bar in started.tapes[0].bars if bar.open_time_ms > newest_ms - hours(shown)]
    started.exchange = ReplayExchange([Tape.of(BTCUSDT_1H, kept)], started.clock.exchange_ms)
    record = started.run(catch_up=True)
    assert (record.status, record.exit_code, record.pull and record.pull.rows) == ("mismatch", 1, shown)
    assert record.failure
    assert [found.rule for found in record.failure.findings] == ["unknown"] * differ
    assert started.bars() == before


def test_an_exchange_that_has_forgotten_all_before_the_bar_appends_nothing_behind_missed_hours(started: World) -> None:
    before = started.bars()
    started.clock.go_to(TARGET_MS + hours(8) + 30_000)
    target_ms = TARGET_MS + hours(7)
    newest = [bar for bar in started.tapes[0].bars if bar.open_time_ms >= target_ms]
    started.exchange = ReplayExchange([Tape.of(BTCUSDT_1H, newest)], started.clock.exchange_ms)
    record = started.run()
    assert (record.status, record.exit_code, record.pull and record.pull.rows) == ("missed_bars", 1, 1)
    assert record.failure
    assert "it lacks 2024-02-10 13:00..2024-02-10 19:00 (7 bars)" in record.failure.message
    assert started.bars() == before


def test_a_bug_is_told_of_the_hour_that_was_ordered(world: World) -> None:
    order = world.order._replace(inference_source="api", dry_run=True)
    record = record_of(ZeroDivisionError("no bars"), world.feed, order)
    assert (record.series, record.dataset) == (BTCUSDT_1H, "BINANCE_BTCUSDT.P, 60")
    assert (record.inference_source, record.dry_run, record.clock) == ("api", True, world.clock)
    assert record.failure is not None
    assert (record.status, record.failure.message) == ("interrupted", "ZeroDivisionError: no bars")
