"""The file goes on where it was left, and what cannot be read of it begins anew."""

import os
import shutil
from pathlib import Path

import pytest

from barfeed.exchange.stream.wire import Followed
from barfeed.machine.clock import SystemClock
from barfeed.operate.metrics.collector import Collector
from operate.metrics.metering_world import TARGET_MS, Metered, samples
from waiting import in_time
from world import BTCUSDT_1H, World, hours, made_up_tape


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "feed.prom"


@pytest.fixture(scope="module")
def first_hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first hour leaves, with the file: for each test to copy."""
    folder = tmp_path_factory.mktemp("first_hour")
    world = World(folder, [made_up_tape(TARGET_MS + hours(10), 1010)], TARGET_MS)
    Metered(world, folder / "feed.prom").live(13, 0, 30, catch_up=True)
    return folder


@pytest.fixture
def lived(first_hour: Path, world: World, tmp_path: Path) -> World:
    """A feed that has lived its first hour, as far as its files know."""
    shutil.copytree(first_hour, tmp_path, dirs_exist_ok=True)
    return world


def test_another_meter_goes_on_where_the_file_was_left(lived: World, file: Path) -> None:
    written = file.read_text()
    second = Metered(lived, file)
    assert second.says() == samples(written)
    second.live(14, 0, 30)
    says = samples(file.read_text())
    assert says == second.says()
    assert says["barfeed_bars_appended_total"] == 727
    assert says["barfeed_step_duration_seconds_count{step=store}"] == 2


def test_a_failed_hour_is_in_the_file_and_what_was_known_stays(lived: World, file: Path) -> None:
    before = samples(file.read_text())
    Metered(lived, file).live(15, 0, 30, fault='[[fault]]\nkind = "status"\nstatus = 451\npath = "*"')
    after = samples(file.read_text())
    assert after["barfeed_refusals_total{reason=exchange_refused}"] == 1
    for name in ("newest_bar_timestamp_seconds", "last_success_timestamp_seconds", "stored_bars"):
        assert after[f"barfeed_{name}"] == before[f"barfeed_{name}"]
    # This process never heard the exchange's time: the machine's stands in for it.
    assert after["barfeed_lag_seconds"] == before["barfeed_lag_seconds"] + 2 * 3600


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe", b"barfeed_bars_appended_total{", b"barfeed_bars_appended_total nonsense", b"\0" * 100, b"# TYPE x y"],
)
def test_a_file_that_cannot_be_read_begins_the_counters_anew(
    world: World, file: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    file.write_bytes(content)
    metered = Metered(world, file)
    assert "the counters begin anew" in caplog.text
    metered.live(13, 0, 30, catch_up=True)
    assert samples(file.read_text())["barfeed_bars_appended_total"] == 726


@pytest.mark.parametrize("size", range(0, 12_000, 293))
def test_a_file_cut_anywhere_is_read_or_begun_anew(world: World, file: Path, size: int, whole_text: bytes) -> None:
    file.write_bytes(whole_text[:size])
    says = Metered(world, file).says()
    assert says["barfeed_bars_appended_total"] in {0, 7, 72, 726}
    assert says.get("barfeed_step_duration_seconds_count{step=store}", 1) == 1


@pytest.fixture(scope="module")
def whole_text(first_hour: Path) -> bytes:
    return (first_hour / "feed.prom").read_bytes()


def test_what_another_series_or_version_wrote_is_not_counted_on(lived: World, file: Path) -> None:
    text = file.read_text()
    file.write_text(text.replace('le="2.5"', 'le="2.0"').replace('version="', 'version="0.0.1-'))
    other_buckets = Metered(lived, file)
    assert other_buckets.says()["barfeed_bars_appended_total"] == 726
    assert not [name for name in other_buckets.says() if "duration" in name]
    assert [name for name in other_buckets.says() if "barfeed_info" in name] == ["barfeed_info{version=0.1.0}"]
    file.write_text(text.replace('symbol="BTCUSDT"', 'symbol="ETHUSDT"'))
    assert Metered(lived, file).says() == Metered(lived).says()


def test_numbers_that_no_cycle_can_have_written_begin_anew(lived: World, file: Path) -> None:
    file.write_text(file.read_text().replace(" 726.0", " NaN"))
    assert Metered(lived, file).says()["barfeed_bars_appended_total"] == 0


@pytest.mark.parametrize("number", ["1e308", "1e17", "-1e17", "253402300800"])
def test_a_newest_bar_that_is_no_moment_begins_anew(lived: World, file: Path, number: str) -> None:
    (line,) = [each for each in file.read_text().splitlines() if each.startswith("barfeed_newest_bar_timestamp_")]
    file.write_text(file.read_text().replace(line, f"{line.rpartition(' ')[0]} {number}"))
    second = Metered(lived, file)
    assert second.meter.healths()[0].newest_ms is None
    second.live(14, 0, 30, fault='[[fault]]\nkind = "status"\nstatus = 451\npath = "*"')
    assert not second.meter.healths()[0].is_well
    assert second.says()["barfeed_bars_appended_total"] == 726


def test_a_file_that_cannot_be_written_is_a_warning(
    world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    metered = Metered(world, tmp_path / "absent" / "feed.prom")
    assert metered.live(13, 0, 30, catch_up=True).exit_code == 0
    assert f"--metrics-file {tmp_path}/absent/feed.prom cannot be written: No such file" in caplog.text
    assert metered.says()["barfeed_bars_appended_total"] == 726


def test_a_folder_in_its_place_is_a_warning(world: World, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Collector([BTCUSDT_1H], world.clock, world.duckdb, tmp_path)
    assert "cannot be read" in caplog.text


@pytest.mark.skipif(os.name != "posix", reason="no pipes with a name, no devices with one")
@pytest.mark.parametrize("what", ["a pipe", "a link to a device"])
def test_what_is_no_regular_file_is_left_as_it_is(
    world: World, file: Path, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    os.mkfifo(file) if what == "a pipe" else file.symlink_to("/dev/null")
    metered = in_time(lambda: Metered(world, file))
    assert f"--metrics-file {file} cannot be read, the counters begin anew: " in caplog.text
    assert metered.live(13, 0, 30, catch_up=True).exit_code == 0
    assert f"--metrics-file {file} cannot be written: it is no regular file" in caplog.text
    assert file.is_fifo() if what == "a pipe" else file.is_char_device()
    assert [each for each in file.parent.iterdir() if each.name.endswith(".unfinished")] == []


SEEN = Followed(2, 100, 3, 1, 1, is_connected=True, frame_age_sec=0.5)


def following(file: Path, followed: Followed | None) -> dict[str, float]:
    """What a feed on this file says of its stream."""
    clock, ask = SystemClock(), (lambda: followed) if followed else None
    meter = Collector([BTCUSDT_1H], clock, file.with_name("absent"), file, ask)
    meter._write(file)
    said = samples(meter.exposition().decode())
    return {name.removeprefix("barfeed_stream_"): value for name, value in said.items() if "_stream_" in name}


def test_what_came_of_the_stream_begins_anew_with_each_process(file: Path) -> None:
    first = following(file, SEEN)
    assert first == {
        "connected": 1, "frame_age_seconds": 0.5, "connections_total": 2, "frames_total": 100, "closes_total": 3,
        "ignored_total": 1, "silences_total": 1,
    }  # fmt: skip
    second = following(file, Followed(1, 10, 0, 0, 0, is_connected=False, frame_age_sec=9.0))
    assert second == {
        "connected": 0, "frame_age_seconds": 9.0, "connections_total": 1, "frames_total": 10, "closes_total": 0,
        "ignored_total": 0, "silences_total": 0,
    }  # fmt: skip


def test_a_feed_that_follows_no_stream_says_nothing_of_one(file: Path) -> None:
    following(file, SEEN)
    assert following(file, None) == {}
