"""A real Prometheus scrapes a real watch, and tells what happened."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from barfeed.replay.faults.script import parse_faults
from operate.metrics.metering_world import TARGET_MS
from operate.metrics.prometheus import free_port, needs_prometheus, prometheus
from process import Machine, machine
from world import hours

pytestmark = [pytest.mark.long, needs_prometheus]
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T14:00:00\nvolume = 1.0\n'


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
            feed.wait(timeout=60)


def test_prometheus_tells_what_happened_and_raises_the_alert(tmp_path: Path) -> None:
    port, alerts = free_port(), "Barfeed(Mismatch|Gap|Blocked|Disk|Down)"
    with (
        machine(tmp_path, TARGET_MS) as feeding,
        prometheus(tmp_path / "prometheus", port) as server,
        watching(feeding, port),
    ):

        def counts(name: str, value: float, labels: str = "") -> None:
            server.tells(f"barfeed_{name} > 0", {f"barfeed_{name}{labels}": value})

        counts("bars_appended_total", 726)
        server.tells('up{job="barfeed"}', {"up": 1})
        feeding.clock.advance(hours(1))
        counts("bars_appended_total", 727)
        counts("cycles_total", 2, "{status=appended}")
        counts("newest_bar_timestamp_seconds", 1707573600)
        server.raises(set(), alerts)
        feeding.exchange.faults = parse_faults(REVISED, "the test")
        feeding.clock.advance(hours(1))
        server.tells("barfeed_mismatches_total >= bool 1", {"": 1})
        server.raises({"BarfeedMismatch"}, alerts)
        counts("bars_appended_total", 727)
        feeding.exchange.faults = ()
        counts("bars_appended_total", 728)
        # What it tells is what the manifests say, to the last cycle.
        manifests = [json.loads(path.read_text()) for path in feeding.artifacts.glob("*_run.json")]
        mismatches = sum(each["status"] == "mismatch" for each in manifests)
        counts("mismatches_total", mismatches)
        counts("refusals_total", mismatches, "{reason=mismatch}")
        server.tells("sum(barfeed_cycles_total)", {"": len(manifests)})
        server.raises({"BarfeedMismatch"}, alerts)
