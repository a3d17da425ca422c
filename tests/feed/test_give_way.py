"""A reader may stay as long as it likes: the model gets its hour all the same, and nothing is lost."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fork_server
from barfeed.domain.bars import Bar
from barfeed.feed.record import Record
from barfeed.replay.tapes.tape import Tape
from holding import held
from process import Machine, lived_machine
from world import BTCUSDT_1H, CATCH_UP_COMMAND, World, hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
HOURS = 30
# Of the thirty, those that are lived: in each, all that have passed since the first are pending.
LIVED = (1, 2, 3, 24, HOURS)
KILLED = str(Path(__file__).parents[1] / "killed.py")


def fed(folder: Path, later: int = HOURS + 5) -> World:
    """A feed that has lived its first hour."""
    folder.mkdir()
    bars = made_up_bars(TARGET_MS + hours(later), 1000 + later)
    world = World(folder, [Tape.of(BTCUSDT_1H, bars)], TARGET_MS + 30_000)
    assert world.run(catch_up=True).exit_code == 0
    return world


def at(world: World, hour: int) -> World:
    world.clock.go_to(TARGET_MS + hours(hour) + 30_000)
    return world


def window(world: World, record: Record) -> bytes:
    assert record.inference
    return (world.feed.folder / record.inference.file).read_bytes()


def manifest(record: Record) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(Path(record.manifest_path or "").read_text())
    return told


def troubles(world: World, record: Record) -> dict[str, str]:
    """What people are told is not well, by its matter."""
    return {matter: status for matter, status in world.matters(record).items() if status}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return at(fed(tmp_path / "held"), 1)


@pytest.mark.long
def test_a_store_that_is_read_for_thirty_hours_loses_none_and_each_window_is_the_stores_own(tmp_path: Path) -> None:
    world, free = fed(tmp_path / "held"), fed(tmp_path / "free")
    with held(world.duckdb):
        for hour in LIVED:
            record, beside = at(world, hour).run(catch_up=True), at(free, hour).run(catch_up=True)
            assert (record.status, record.exit_code, record.appended, record.pending) == ("pending", 0, 0, hour)
            assert window(world, record) == window(free, beside)
            latest = (world.feed.folder / "latest_for_inference.csv").read_bytes()
            assert latest == window(free, beside)
    at(world, HOURS + 1), at(free, HOURS + 1)
    record = world.run(catch_up=True)
    assert (record.status, record.appended, record.pending) == ("appended", HOURS + 1, 0)
    assert window(world, record) == window(free, free.run(catch_up=True))
    assert world.bars() == free.bars()


def test_it_is_told_in_the_warnings_the_line_and_the_manifest(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with held(world.duckdb) as holder:
        record = world.run(catch_up=True)
    (warning,) = record.warnings
    assert caplog.messages == [f"BTCUSDT 1h: {warning}"]
    assert f"{world.duckdb} is held by " in warning
    assert f"(PID {holder}): 1 bar is in the window and not stored yet" in warning
    assert " appended=0 pending=1 target=2024-02-10 13:00 " in record.line()
    told = manifest(record)
    assert (told["status"], told["exit_code"], told["inference_from"]) == ("pending", 0, "db,api")
    assert (told["counts"]["pending"], told["warnings"]) == (1, [warning])


def test_the_file_is_not_touched_and_the_request_is_as_small_as_ever(world: World) -> None:
    before, asked = world.duckdb.read_bytes(), world.exchange.requests.total()
    with held(world.duckdb):
        world.run(catch_up=True)
    assert world.duckdb.read_bytes() == before
    assert world.exchange.requests.total() - asked == 2


def test_without_catch_up_the_hour_is_refused_with_what_helps(world: World) -> None:
    with held(world.duckdb):
        record = world.run()
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert record.failure
    assert record.failure.message.startswith(f"{world.duckdb} is held by ")
    assert "wait longer with --lock-timeout-sec; or let the model have its window meanwhile" in record.failure.hint
    assert record.failure.hint.endswith(CATCH_UP_COMMAND)


def test_of_a_dry_run_beside_a_writer_what_helps_is_said_once(world: World) -> None:
    with held(world.duckdb, to="write"):
        record = world.run(dry_run=True)
    assert record.failure
    assert record.failure.hint.count("or let the model have its window meanwhile") == 1


def test_who_holds_it_to_write_lets_nobody_read_and_the_last_window_stands_in(tmp_path: Path) -> None:
    world, free = fed(tmp_path / "held"), fed(tmp_path / "free")
    before = world.duckdb.read_bytes()
    with held(world.duckdb, to="write") as holder:
        for hour in (1, 2, 24):
            record, beside = at(world, hour).run(catch_up=True), at(free, hour).run(catch_up=True)
            assert (record.status, record.exit_code, record.appended) == ("pending", 0, 0)
            assert window(world, record) == window(free, beside)
            (warning,) = record.warnings
            assert f"{world.duckdb} is held by " in warning
            assert f"(PID {holder})" in warning
            assert warning.endswith("the next cycle that gets the file appends " + ("them" if hour == 24 else "it"))
            assert manifest(record)["inference_from"] == "db,api"
        again = world.run(catch_up=True)
        assert (again.status, window(world, again)) == ("up_to_date", window(world, record))
        assert "nothing is new, and what was last given is given again" in again.warnings[0]
    assert world.duckdb.read_bytes() == before
    assert at(world, 25).run(catch_up=True).appended == 25
    at(free, 25).run(catch_up=True)
    assert world.bars() == free.bars()


def test_where_nothing_was_ever_given_nothing_stands_in(world: World) -> None:
    (world.feed.folder / "latest_for_inference.csv").unlink()
    with held(world.duckdb, to="write"):
        record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    # One trouble, told once.
    assert troubles(world, record) == {"cycle": "store_unusable"}


def test_the_store_is_a_trouble_of_its_own_where_another_ended_the_hour_or_none(world: World) -> None:
    with held(world.duckdb, to="write"):
        assert troubles(world, world.run(catch_up=True)) == {"store": "store_unusable"}
        revised = world.run('[[fault]]\nkind = "revise"\nbar = 2024-02-10T12:00:00\nvolume = 1.5', catch_up=True)
    assert troubles(world, revised) == {"cycle": "mismatch", "store": "store_unusable"}


NO_WINDOWS = {
    "nothing": lambda _: b"",
    "its header alone": lambda whole: whole.splitlines(keepends=True)[0],
    "cut in the middle of a row": lambda whole: whole[: len(whole) // 2],
    "cut in its last number": lambda whole: whole[:-2],
    "a table of another": lambda _: b"symbol;price\nBTCUSDT;1,5\n",
    "no text": lambda _: bytes(range(256)) * 40,
}


@pytest.mark.parametrize("made", NO_WINDOWS.values(), ids=NO_WINDOWS)
def test_a_last_window_that_is_cut_or_anothers_stands_in_for_nothing(
    world: World, made: Callable[[bytes], bytes]
) -> None:
    latest = world.feed.folder / "latest_for_inference.csv"
    broken = made(latest.read_bytes())
    latest.write_bytes(broken)
    with held(world.duckdb, to="write") as holder:
        record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert record.failure
    said = f"(PID {holder}), and {latest}, which would stand in for it, is cut or none of barfeed's"
    assert record.failure.message.endswith(said)
    assert "wait longer with --lock-timeout-sec" in record.failure.hint
    assert latest.read_bytes() == broken
    again = world.run(catch_up=True)
    assert (again.appended, latest.read_bytes()) == (1, window(world, again))


def test_a_pipe_in_its_place_keeps_no_feed_waiting(world: World) -> None:
    latest = world.feed.folder / "latest_for_inference.csv"
    latest.unlink()
    os.mkfifo(latest)
    with held(world.duckdb, to="write"):
        assert world.run(catch_up=True).status == "store_unusable"


def test_a_last_window_that_is_behind_the_store_is_caught_up_from_the_exchange(tmp_path: Path) -> None:
    world, free = fed(tmp_path / "held"), fed(tmp_path / "free")
    latest = world.feed.folder / "latest_for_inference.csv"
    old = latest.read_bytes()
    for hour in (1, 2, 3, 4):
        at(world, hour).run(catch_up=True), at(free, hour).run(catch_up=True)
    latest.write_bytes(old)
    with held(world.duckdb, to="write"):
        record, beside = at(world, 5).run(catch_up=True), at(free, 5).run(catch_up=True)
        assert (record.status, record.exit_code, record.pending) == ("pending", 0, 5)
        assert window(world, record) == window(free, beside)
    assert world.run(catch_up=True).appended == 1
    assert world.bars() == free.bars()


def test_what_a_shorter_last_window_lacks_the_store_is_waited_for(world: World) -> None:
    world.run(catch_up=True, window_bars=100)
    at(world, 2)
    with held(world.duckdb, to="write"):
        record = world.run(catch_up=True)
        assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
        assert record.failure
        assert "is held by" in record.failure.message
        both = world.run(catch_up=True, inference_source="db,api")
        assert (both.status, manifest(both)["inference_from"]) == ("store_unusable", "api")
        assert window(world, both).count(b"\n") == 727
    again = world.run(catch_up=True)
    assert (again.status, window(world, again)) == ("appended", window(world, both))


@pytest.mark.parametrize("how", [{"catch_up": False}, {"catch_up": True, "inference_source": "api"}], ids=str)
def test_beside_a_writer_the_hour_is_refused_where_no_proven_window_was_asked_for(world: World, how: Any) -> None:
    with held(world.duckdb, to="write"):
        record = world.run(**how)
    assert (record.status, record.exit_code) == ("store_unusable", 4)


def test_what_the_exchange_says_otherwise_than_the_last_window_is_a_mismatch(world: World) -> None:
    latest = world.feed.folder / "latest_for_inference.csv"
    *lines, newest = latest.read_text().splitlines()
    latest.write_text("\n".join([*lines, newest + "1", ""]))
    with held(world.duckdb, to="write"):
        record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.inference) == ("mismatch", 1, None)


def test_what_the_exchange_says_otherwise_is_a_mismatch_as_ever(world: World) -> None:
    world.execute("UPDATE ohlcv_btcusdt_1h SET close = close + 1 WHERE timestamp = '2024-02-10 10:00'")
    with held(world.duckdb):
        record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.inference) == ("mismatch", 1, None)


def test_a_hole_in_the_window_is_refused_as_ever(world: World) -> None:
    world.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-01 10:00'")
    with held(world.duckdb):
        record = world.run(catch_up=True)
    assert (record.status, record.exit_code, record.inference) == ("window_gap", 1, None)


def test_a_bar_that_the_table_would_refuse_is_refused(tmp_path: Path) -> None:
    world = at(fed(tmp_path / "own"), 1)
    world.execute("CREATE TABLE kept AS FROM ohlcv_btcusdt_1h")
    world.execute("DROP TABLE ohlcv_btcusdt_1h")
    world.execute(
        "CREATE TABLE ohlcv_btcusdt_1h (timestamp TIMESTAMP PRIMARY KEY, open DOUBLE, high DOUBLE, low DOUBLE,"
        " close DOUBLE, volume DOUBLE, created_at TIMESTAMP, CHECK (timestamp < TIMESTAMP '2024-02-10 13:00'))"
    )
    world.execute("INSERT INTO ohlcv_btcusdt_1h FROM kept")
    with held(world.duckdb):
        record = world.run(catch_up=True)
    assert (record.status, record.inference) == ("store_unusable", None)
    assert record.failure
    assert "refuses the bar" in record.failure.message


def test_an_hour_that_is_stored_already_is_published_from_the_store_without_a_word(world: World) -> None:
    assert world.run(catch_up=True).status == "appended"
    with held(world.duckdb):
        record = world.run(catch_up=True)
    assert (record.status, record.warnings) == ("up_to_date", [])
    assert manifest(record)["inference_from"] == "db"


def test_a_bar_that_was_to_be_accepted_waits_for_the_file(world: World) -> None:
    from barfeed.domain.acceptance import Terms  # noqa: PLC0415

    world.execute("UPDATE ohlcv_btcusdt_1h SET volume = volume * 1.001 WHERE timestamp = '2024-02-10 10:00'")
    with held(world.duckdb):
        record = world.run(catch_up=True, accept=Terms(0.01, 0.01, 1.0))
    assert (record.status, record.exit_code, record.inference) == ("store_unusable", 4, None)
    assert world.run(catch_up=True, accept=Terms(0.01, 0.01, 1.0)).status in {"appended", "revised"}


def test_with_the_api_as_the_source_the_hour_is_good_too(world: World) -> None:
    with held(world.duckdb):
        record = world.run(catch_up=True, inference_source="api")
    assert (record.status, record.exit_code) == ("pending", 0)
    assert manifest(record)["inference_from"] == "api"


def test_a_store_of_which_nothing_is_there_yet_is_started_later(tmp_path: Path) -> None:
    world = fed(tmp_path / "new")
    world.execute("DROP TABLE ohlcv_btcusdt_1h")
    with held(world.duckdb):
        record = at(world, 1).run(catch_up=True)
    assert (record.status, record.pending) == ("pending", 726)
    assert len(window(world, record).splitlines()) == 727


def bars_of(content: bytes) -> list[Bar]:
    return [Bar(0, *map(float, line.split(b",")[1:])) for line in content.splitlines()[1:]]


@pytest.mark.long
def test_two_feeds_of_one_held_store_publish_the_same_and_append_once(world: World) -> None:
    with held(world.duckdb):
        windows = [window(world, world.run(catch_up=True)) for _ in range(2)]
    assert windows[0] == windows[1]
    assert [world.run(catch_up=True).appended for _ in range(2)] == [1, 0]
    assert bars_of(windows[0])[-1].values == world.bars()[-1].values


BESIDE = ("--catch-up", "--lock-timeout-sec", "0")


def killed_at(feeding: Machine, step: int) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, KILLED, "run", str(step), *feeding.command(*BESIDE)[2:]]
    return fork_server.run(command, feeding.environment())


def assert_what_is_there_is_whole(feeding: Machine) -> None:
    for path in feeding.artifacts.glob("*for_inference.csv"):
        assert len(path.read_bytes().splitlines()) == 727, path
    for path in feeding.artifacts.glob("*_run.json"):
        assert path.read_text().endswith("}\n")


@pytest.mark.long
def test_a_kill_beside_a_reader_loses_nothing_and_leaves_no_half_file(tmp_path: Path) -> None:
    with lived_machine(tmp_path, TARGET_MS, hours_later=1) as feeding:
        before = feeding.duckdb.read_bytes()
        with held(feeding.duckdb):
            effects = int(re.findall(r"effects=(\d+)", killed_at(feeding, 0).stderr)[0])
            assert effects > 40
            steps = range(1, effects, max(1, effects // 6))
            for step in steps:
                feeding.clock.advance(hours(1))
                assert killed_at(feeding, step).returncode == -signal.SIGKILL
                assert_what_is_there_is_whole(feeding)
                beside = feeding.feed(*BESIDE)
                assert beside.code == 0, beside.err
                assert " appended=0 pending=" in beside.out
                assert_what_is_there_is_whole(feeding)
            assert feeding.duckdb.read_bytes() == before
        healed = feeding.feed("--catch-up")
        assert healed.code == 0, healed.err
        assert f" appended={len(steps) + 1} " in healed.out
