"""A real Prometheus scrapes a real watch, and tells what happened."""

import json
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from barfeed.replay.faults import parse_faults
from metering.metering_world import TARGET_MS, get
from process import ROOT, Machine, machine
from world import hours

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus, of Debian's package, is not on this machine"
    ),
]
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T14:00:00\nvolume = 1.0\n'
WAIT_SEC = 60.0


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def prometheus(folder: Path, feed: int) -> Iterator[str]:
    """Prometheus with the shipped configuration and rules, at our ports and in a hurry."""
    port = free_port()
    shipped = (ROOT / "deploy" / "prometheus.yml").read_text()
    hurried = shipped.replace("15s", "1s").replace("127.0.0.1:9464", f"127.0.0.1:{feed}")
    (folder / "prometheus.yml").write_text(hurried.replace("127.0.0.1:9100", f"127.0.0.1:{port}"))
    shutil.copy(ROOT / "deploy" / "alert-rules.yml", folder)
    flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", "--log.level=error")
    with (folder / "prometheus.log").open("w") as log:
        server = subprocess.Popen(["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)


@contextmanager
def watching(feeding: Machine, port: int) -> Iterator[None]:
    listen = ("--listen", f"127.0.0.1:{port}", "--sleep-sec", "0.2")
    with (feeding.folder / "feed.log").open("w") as log:
        command = feeding.command("--watch", "--catch-up", *listen)
        feed = subprocess.Popen(command, env=feeding.environment(), stdout=log, stderr=log)
        try:
            yield
        finally:
            feed.terminate()
            feed.wait(timeout=30)


def asked(url: str, query: str) -> list[float]:
    answer = get(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    return [float(each["value"][1]) for each in json.loads(answer.body)["data"]["result"]]


def wait_until(what: str, is_so: Callable[[], bool]) -> None:
    end_sec = time.monotonic() + WAIT_SEC
    while time.monotonic() < end_sec:
        try:
            if is_so():
                return
        except OSError:
            # Not up yet.
            pass
        time.sleep(0.2)
    pytest.fail(f"not within {WAIT_SEC:g} s: {what}")


def test_prometheus_tells_what_happened_and_raises_the_alert(tmp_path: Path) -> None:
    port = free_port()
    with machine(tmp_path, TARGET_MS) as feeding, prometheus(tmp_path, port) as url, watching(feeding, port):

        def tells(query: str, *values: float) -> None:
            wait_until(f"{query} is {values}", lambda: asked(url, query) == list(values))

        tells("barfeed_bars_appended_total", 726)
        tells('up{job="barfeed"}', 1)
        feeding.clock.advance(hours(1))
        tells("barfeed_bars_appended_total", 727)
        tells('barfeed_cycles_total{status="appended",symbol="BTCUSDT",interval="1h"}', 2)
        tells("barfeed_newest_bar_timestamp_seconds", 1707573600)
        tells('ALERTS{alertname=~"Barfeed(Mismatch|Gap|Blocked|Disk)"}')
        feeding.exchange.faults = parse_faults(REVISED, "the test")
        feeding.clock.advance(hours(1))
        wait_until("a mismatch is counted", lambda: asked(url, "barfeed_mismatches_total")[0] >= 1)
        tells('ALERTS{alertname="BarfeedMismatch",alertstate="firing"}', 1)
        tells("barfeed_bars_appended_total", 727)
        feeding.exchange.faults = ()
        tells("barfeed_bars_appended_total", 728)
        # What it tells is what the manifests say, to the last cycle.
        manifests = [json.loads(path.read_text()) for path in feeding.artifacts.glob("*_run.json")]
        mismatches = sum(each["status"] == "mismatch" for each in manifests)
        tells("barfeed_mismatches_total", mismatches)
        tells('barfeed_refusals_total{reason="mismatch"}', mismatches)
        tells("sum(barfeed_cycles_total)", len(manifests))
        tells('ALERTS{alertname=~"Barfeed(Gap|Blocked|Disk|Down)"}')
