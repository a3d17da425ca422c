"""The metrics of real processes: through cron's many, and beside a watch."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import fork_server
import waiting
from barfeed.replay.faults.script import parse_faults
from operate.metrics.metering_world import TARGET_MS, get, samples, watching
from process import Machine, machine
from world import hours

KILLED = str(Path(__file__).parents[2] / "killed.py")


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with machine(tmp_path, TARGET_MS) as each:
        yield each


def manifests(feeding: Machine) -> list[dict[str, dict[str, int]]]:
    return [json.loads(path.read_text()) for path in feeding.artifacts.glob("*_run.json")]


@pytest.mark.long
def test_counters_go_on_from_process_to_process(feeding: Machine) -> None:
    file = feeding.folder / "feed.prom"
    for index in range(3):
        feeding.exchange.faults = parse_faults(
            '[[fault]]\nkind = "status"\nstatus = 503\nrequests = "1-2"' if index == 1 else "", "the test"
        )
        feeding.exchange.requests.clear()
        assert feeding.feed("--catch-up", "--metrics-file", str(file)).code == 0
        feeding.clock.advance(hours(index))
    says = samples(file.read_text())
    # The second found nothing new.
    assert says["barfeed_cycles_total{status=appended}"] == 2
    assert says["barfeed_cycles_total{status=up_to_date}"] == 1
    assert says["barfeed_bars_appended_total"] == 726 + 1
    assert says["barfeed_retries_total{reason=http_503}"] == 2
    assert says["barfeed_step_duration_seconds_count{step=store}"] == 3
    told = manifests(feeding)
    assert len(told) == 3
    assert says["barfeed_requests_total"] == sum(each["exchange"]["requests"] for each in told)
    assert says["barfeed_step_duration_seconds_sum{step=store}"] == pytest.approx(
        sum(each["durations_sec"]["store"] for each in told)
    )


def test_a_file_that_cannot_be_written_is_a_warning_and_no_failure(feeding: Machine) -> None:
    ran = feeding.feed("--catch-up", "--metrics-file", str(feeding.folder / "absent" / "feed.prom"))
    assert ran.code == 0
    assert "WARNING --metrics-file" in ran.err
    assert "cannot be written: No such file or directory" in ran.err
    assert "Traceback" not in ran.err


def live_killed(feeding: Machine, file: Path, step: int) -> "subprocess.CompletedProcess[str]":
    feeding.clock.advance(hours(1))
    command = [sys.executable, KILLED, "run", str(step), *feeding.command("--metrics-file", str(file))[2:]]
    return fork_server.run(command, feeding.environment())


def assert_old_or_new(feeding: Machine, steps_back: range) -> None:
    """Kill hours so many effects before their end: each leaves the file of before or its own."""
    file = feeding.folder / "feed.prom"
    assert feeding.feed("--catch-up", "--metrics-file", str(file)).code == 0
    effects = int(live_killed(feeding, file, 0).stderr.rpartition("effects=")[2])
    seen = set()
    for back in steps_back:
        before = samples(file.read_text())["barfeed_bars_appended_total"]
        assert live_killed(feeding, file, effects - back).returncode == -signal.SIGKILL
        grown = samples(file.read_text())["barfeed_bars_appended_total"] - before
        assert [path.name for path in feeding.folder.glob("*.prom")] == ["feed.prom"]
        seen.add(grown)
    assert seen == {0, 1}


@pytest.mark.long
def test_killed_while_it_writes_the_file_is_the_old_one_or_the_new_one(feeding: Machine) -> None:
    assert_old_or_new(feeding, range(2, 23, 20))


@pytest.mark.proof
def test_killed_at_each_step_of_writing_the_file_is_the_old_one_or_the_new_one(feeding: Machine) -> None:
    assert_old_or_new(feeding, range(2, 32))


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--listen", "127.0.0.1:9464"), "--listen is of no use without --watch: one cycle"),
        (("--watch", "--listen", "9464"), "--listen '9464' is not an address like 127.0.0.1:9464"),
        (("--watch", "--listen", "192.0.2.1:9464"), "--listen 192.0.2.1:9464 cannot be had: Cannot assign"),
    ],
)
def test_a_wrong_listen_is_told_before_anything_is_asked(feeding: Machine, flags: tuple[str, ...], says: str) -> None:
    ran = feeding.feed(*flags)
    assert ran.code == 2
    assert ran.err.startswith(f"barfeed: {says}")
    assert "  hint: " in ran.err
    assert not feeding.exchange.requests


@pytest.mark.long
def test_without_the_library_it_says_how_to_install_it(feeding: Machine) -> None:
    (feeding.folder / "prometheus_client.py").write_text("raise ModuleNotFoundError(name='prometheus_client')")
    path = f"{feeding.folder}:{feeding.environment().get('PYTHONPATH', '')}"
    ran = feeding.feed("--catch-up", "--metrics-file", str(feeding.folder / "x.prom"), PYTHONPATH=path)
    assert ran.code == 2
    assert "not installed: prometheus_client" in ran.err
    assert "hint: pip install 'barfeed[metrics]'" in ran.err
    # Nobody who does not ask for it needs it.
    assert feeding.feed("--catch-up", PYTHONPATH=path).code == 0


def until(url: str, name: str, value: float) -> None:
    """Until one of the metrics says so."""
    waiting.until(lambda: samples(get(f"{url}/metrics").body).get(name) == value)


@pytest.mark.long
def test_a_watch_answers_from_before_its_first_cycle_and_through_one_that_hangs(feeding: Machine) -> None:
    hang = '[[fault]]\nkind = "hang"\nsec = 600\n'
    feeding.exchange.faults = parse_faults(hang, "the test")
    with watching(feeding) as (url, ended):
        early = get(f"{url}/healthz")
        assert (early.status, json.loads(early.body)["reason"]) == (503, "no cycle has ended yet")
        assert get(f"{url}/metrics").content_type.startswith("text/plain; version=0.0.4")
        assert samples(get(f"{url}/metrics").body)["barfeed_cycles_total{status=appended}"] == 0
    feeding.exchange.faults = ()
    with watching(feeding, "--metrics-file", str(feeding.folder / "feed.prom")) as (url, ended):
        assert "appended=726" in next(ended)
        until(url, "barfeed_bars_appended_total", 726)
        well = get(f"{url}/healthz")
        assert (well.status, json.loads(well.body)["healthy"]) == (200, True)
        feeding.clock.advance(hours(1))
        assert "appended=1" in next(ended)
        until(url, "barfeed_bars_appended_total", 727)
        feeding.exchange.faults = parse_faults(hang, "the test")
        feeding.clock.advance(hours(1))
        assert get(f"{url}/healthz").status == 200
        assert samples(get(f"{url}/metrics").body)["barfeed_cycles_total{status=appended}"] == 2
        # It keeps its file, too: the hour before is in it, whole.
        assert samples((feeding.folder / "feed.prom").read_text())["barfeed_bars_appended_total"] >= 726
