"""A feed with a meter beside it, and Prometheus's own reading of what the meter says."""

import calendar
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import HTTPError

import pytest

pytest.importorskip("prometheus_client", reason="extra `metrics`")

from prometheus_client.parser import text_string_to_metric_families

from barfeed.feed.cycle import run_cycle
from barfeed.feed.record import Record
from barfeed.operate.metrics.collector import Collector
from barfeed.replay.faults.script import parse_faults
from process import Machine
from world import BTCUSDT_1H, World

TARGET_MS = calendar.timegm((2024, 2, 10, 13, 0, 0)) * 1000


class Answer(NamedTuple):
    """What a page answered."""

    status: int
    content_type: str
    body: str


class Metered:
    """A world whose cycles are heard."""

    def __init__(self, world: World, file: Path | None = None) -> None:
        self.world = world
        self.meter = Collector([BTCUSDT_1H], world.clock, world.duckdb, file)

    def live(self, *moment: int, fault: str = "", **changes: Any) -> Record:
        """Go to a moment of 2024-02-10 and live a cycle."""
        self.world.clock.go_to(calendar.timegm((2024, 2, 10, *moment, 0, 0)[:6]) * 1000)
        self.world.exchange.faults = parse_faults(fault, "the test")
        talk = self.world.rest.conversation(10.0)
        record = run_cycle(self.world.feed, self.world.order._replace(**changes), talk)
        self.meter.hear(record, talk)
        return record

    def says(self) -> dict[str, float]:
        """Every sample now."""
        return samples(self.meter.exposition().decode())


def samples(text: str) -> dict[str, float]:
    """`{"barfeed_retries_total{reason=late}": 2.0}`; the series' own labels are proven and left out."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = dict(sample.labels)
            assert (labels.pop("symbol"), labels.pop("interval")) == ("BTCUSDT", "1h")
            inner = ",".join(f"{name}={value}" for name, value in sorted(labels.items()))
            name = f"{sample.name}{{{inner}}}" if inner else sample.name
            assert name not in found
            found[name] = sample.value
    return found


def get(url: str, method: str = "GET") -> Answer:
    """Ask for a page, whatever it answers."""
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return Answer(answer.status, answer.headers["Content-Type"], answer.read().decode())
    except HTTPError as refused:
        with refused:
            return Answer(refused.code, refused.headers["Content-Type"], refused.read().decode())


@contextmanager
def watching(feeding: Machine, *flags: str) -> Iterator[tuple[str, Iterator[str]]]:
    """A watch that listens: its address, and the exit lines as they come."""
    feed = feeding.start("--watch", "--catch-up", "--sleep-sec", "0.05", "--listen", "127.0.0.1:0", *flags)
    assert feed.stderr is not None
    assert feed.stdout is not None
    try:
        url = next(line for line in feed.stderr if "listening at" in line).split()[3].rstrip(":")
        yield url, iter(feed.stdout)
    finally:
        feed.terminate()
        feed.communicate(timeout=60)
