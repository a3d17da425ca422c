"""A real Prometheus, with the shipped configuration and rules, that asks a feed on this machine."""

import json
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from operate.metrics.metering_world import get
from process import ROOT

needs_prometheus = pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus, of Debian's package, is not on this machine"
)

WAIT_SEC = 60.0
# What says whose a sample is, and not what it is of.
UNTOLD = {"__name__", "symbol", "interval", "instance", "job", "severity"}


class Prometheus:
    """What it tells, for as long as it takes to find out."""

    def __init__(self, url: str) -> None:
        self.url = url

    def tells(self, query: str, due: dict[str, float]) -> None:
        """Until it tells this, by name and labels."""
        _until(lambda: self._asked(query), due)

    def raises(self, due: set[str], names: str) -> None:
        """Until these alerts fire, and no other of the names, a regular expression."""
        _until(lambda: self._firing(names), due)

    def is_ready(self) -> bool:
        return get(f"{self.url}/-/ready").status == 200

    def _asked(self, query: str) -> dict[str, float]:
        answer = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return {_named(each["metric"]): float(each["value"][1]) for each in json.loads(answer.body)["data"]["result"]}

    def _firing(self, names: str) -> set[str]:
        found = self._asked(f'ALERTS{{alertname=~"{names}",alertstate="firing"}}')
        return {name.partition("alertname=")[2].split(",")[0].rstrip("}") for name in found}


def _until(ask: Callable[[], object], due: object) -> None:
    end_sec = time.monotonic() + WAIT_SEC
    said: object = None
    while time.monotonic() < end_sec:
        # Nothing listens in its first moments.
        with suppress(OSError):
            if (said := ask()) == due:
                return
        time.sleep(0.2)
    pytest.fail(f"{said} instead of {due}, for {WAIT_SEC:g} s")


def _named(labels: dict[str, str]) -> str:
    kept = {name: value for name, value in sorted(labels.items()) if name not in UNTOLD}
    inner = ",".join(f"{name}={value}" for name, value in kept.items())
    return labels.get("__name__", "") + (f"{{{inner}}}" if inner else "")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextmanager
def prometheus(folder: Path, feed: int) -> Iterator[Prometheus]:
    """One that is ready and asks the feed at this port, in a hurry: each of its minutes is a second."""
    port = free_port()
    folder.mkdir()
    shipped = (ROOT / "deploy" / "prometheus.yml").read_text()
    hurried = shipped.replace("15s", "1s").replace("127.0.0.1:9464", f"127.0.0.1:{feed}")
    (folder / "prometheus.yml").write_text(hurried.replace("127.0.0.1:9100", f"127.0.0.1:{port}"))
    rules = (ROOT / "deploy" / "alert-rules.yml").read_text()
    (folder / "alert-rules.yml").write_text(re.sub(r"for: (\d+)m", r"for: \1s", rules))
    flags = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/tsdb", "--log.level=error")
    with (folder / "prometheus.log").open("w") as log:
        server = subprocess.Popen(["prometheus", *flags, f"--web.listen-address=127.0.0.1:{port}"], stderr=log)
        try:
            each = Prometheus(f"http://127.0.0.1:{port}")
            # It answers 503 to every question until it has read what it kept.
            _until(each.is_ready, due=True)
            yield each
        finally:
            server.terminate()
            server.wait(timeout=60)
