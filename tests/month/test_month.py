"""A watch with everything on lives through a storm: what it tells anybody is what happened, no more and no less."""

import json
import re
import shutil
import subprocess
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

pytest.importorskip("apprise", reason="extra `alerts`")
pytest.importorskip("prometheus_client", reason="extra `metrics`")

from alerts.webhook import SECRET, Webhook
from barfeed.bars import Bar
from metering.metering_world import get
from month.month_world import COUNTERS, FIRST_MS, TABLE, Month, free_port
from month.weather import SHOWER, STORM
from process import ROOT
from world import hours

# What Prometheus must raise by each scene, if it has not yet; it lasts two of its own hours, so to the end.
RAISES = {
    "taken_back": "BarfeedMismatch", "banned": "BarfeedBlocked", "unwritable": "BarfeedDisk", "holed": "BarfeedGap",
}  # fmt: skip
LASTING = "Barfeed(Mismatch|Gap|Blocked|Disk|NoSuccess|Weight|StoreGrows|StreamDown)"


class Prometheus:
    """A real one, with the shipped configuration and rules; its minutes are seconds, as this month's hours are less."""

    def __init__(self, url: str) -> None:
        self.url = url

    def asked(self, query: str) -> dict[str, float]:
        answer = get(f"{self.url}/api/v1/query?{urllib.parse.urlencode({'query': query})}")
        return {_named(each["metric"]): float(each["value"][1]) for each in json.loads(answer.body)["data"]["result"]}

    def firing(self, names: str = LASTING) -> set[str]:
        found = self.asked(f'ALERTS{{alertname=~"{names}",alertstate="firing"}}')
        return {name.partition("alertname=")[2].split(",")[0].rstrip("}") for name in found}

    def tells(self, query: str, due: object) -> None:
        """Until it tells this."""
        self._until(lambda: self.asked(query), due)

    def raises(self, due: set[str], names: str = LASTING) -> None:
        """Until these alerts fire, and no other of the names."""
        self._until(lambda: self.firing(names), due)

    def _until(self, ask: Callable[[], object], due: object) -> None:
        end = time.monotonic() + 60
        said: object = None
        while time.monotonic() < end:
            with suppress(OSError):
                if (said := ask()) == due:
                    return
            time.sleep(0.2)
        pytest.fail(f"{said} instead of {due}")


def _named(labels: dict[str, str]) -> str:
    kept = {name: value for name, value in sorted(labels.items()) if name not in UNTOLD}
    inner = ",".join(f"{name}={value}" for name, value in kept.items())
    return labels.get("__name__", "") + (f"{{{inner}}}" if inner else "")


UNTOLD = {"__name__", "symbol", "interval", "instance", "job", "severity"}


@contextmanager
def prometheus(folder: Path, feed: int) -> Iterator[Prometheus]:
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
            yield Prometheus(f"http://127.0.0.1:{port}")
        finally:
            server.terminate()
            server.wait(timeout=30)


def assert_the_store_is_the_exchanges(month: Month, revised: int) -> None:
    """Every bar that closed, as it was made up, but for what the exchange revised for good."""
    query = f"SELECT epoch_ms(timestamp), open, high, low, close, volume FROM {TABLE} ORDER BY timestamp"
    stored = [Bar(*row) for row in month.execute(query)]
    taped = [bar for bar in month.bars if FIRST_MS - hours(725) <= bar.open_time_ms <= month.target_ms]
    differ = [one for one, other in zip(stored, taped, strict=True) if one != other]
    assert [bar.volume for bar in differ] == [1234.5] * revised


def assert_nothing_is_told_that_is_secret(month: Month) -> None:
    month.kill()
    for path in month.folder.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def assert_hours_began_in_time(month: Month) -> None:
    """At the closing frame, five milliseconds after the close, wherever it came."""
    manifests = [json.loads(path.read_text()) for path in month.machine.artifacts.glob("*_run.json")]
    begun = [each["run_time"][11:] for each in manifests if each["status"] == "appended"]
    assert (begun.count("0000Z"), begun.count("0010Z")) == (month.heard, month.settled)


@pytest.mark.long
def test_two_days_of_showers_are_told_exactly(tmp_path: Path, webhook: Webhook) -> None:
    with Month(tmp_path, webhook, 80, max_wait_sec=100).begun() as month:
        for scene in SHOWER:
            scene(month)
            month.check()
            month.calm(6)
        month.check()
        assert month.health()[0] == 200
        assert month.target_ms - FIRST_MS >= hours(43)
        assert_the_store_is_the_exchanges(month, revised=0)
        assert_hours_began_in_time(month)
        assert_nothing_is_told_that_is_secret(month)


def scraped(month: Month, server: Prometheus) -> None:
    """Prometheus has every count of the ledger, and none that went back: a restart is no new beginning."""
    names = "|".join(f"barfeed_{each}_total" for each in COUNTERS)
    server.tells(f'{{__name__=~"{names}"}} > 0', month.ledger.says())
    for each in {*COUNTERS} - {"stream_closes"}:
        server.tells(f"sum(resets(barfeed_{each}_total[2h]))", {"": 0.0})


def behind(month: Month, server: Prometheus) -> None:
    """A bar that does not come for twenty minutes is an alert while it lasts."""
    server.raises(set(), "BarfeedBehind")
    month.trouble('[[fault]]\nkind = "late"\nsec = 3000\nrows = 2', "bar_late", retried="late")
    server.raises({"BarfeedBehind"}, "BarfeedBehind")
    month.look()
    month.over()
    server.raises(set(), "BarfeedBehind")


def unreachable(month: Month, server: Prometheus) -> None:
    """A feed that is killed is an alert until it is back, and catches up."""
    month.outage(48, down=lambda: server.raises({"BarfeedDown"}, "BarfeedDown"))
    server.raises(set(), "BarfeedDown")


@pytest.mark.long
@pytest.mark.skipif(
    shutil.which("prometheus") is None, reason="prometheus, of Debian's package, is not on this machine"
)
def test_a_month_of_storms_is_told_exactly(tmp_path: Path, webhook: Webhook) -> None:
    begin = time.monotonic()
    feed, raised = tmp_path / "feed", set[str]()
    feed.mkdir()
    # As long as some scenes take, and long enough for a busy machine.
    month = Month(feed, webhook, 800, max_wait_sec=8)
    with prometheus(tmp_path / "prometheus", month.port) as server, month.begun():
        server.tells("barfeed_bars_appended_total", {"barfeed_bars_appended_total": 726.0})
        for scene in STORM:
            month.calm(23)
            scene(month)
            month.check()
            if name := RAISES.get(scene.__name__):
                raised.add(name)
                server.raises(raised)
        behind(month, server)
        unreachable(month, server)
        month.check()
        scraped(month, server)
        server.raises(raised)
        assert month.health()[0] == 200
        assert month.target_ms - FIRST_MS >= hours(720)
        assert month.says()["barfeed_stream_connections_total"] == month.followed()
        assert_the_store_is_the_exchanges(month, revised=2)
        assert_hours_began_in_time(month)
        assert_nothing_is_told_that_is_secret(month)
    (tmp_path / "figures.txt").write_text(figures(month, time.monotonic() - begin))
    print((tmp_path / "figures.txt").read_text())  # noqa: T201 - `make month` shows it


def figures(month: Month, took_sec: float) -> str:
    """What the month had in it."""
    ended = Counter(month.ledger.ended)
    lived = (month.target_ms - FIRST_MS) // hours(1)
    return (
        f"{lived} hours in {took_sec:.0f} s; {len(STORM) + 2} scenes; {sum(ended.values())} cycles: "
        + ", ".join(f"{count} {status}" for status, count in ended.most_common())
        + f"; {month.ledger.appended} bars; {month.heard} hours at their closing frame, {month.settled} once settled;"
        f" {sum(month.ledger.retries.values())} retries; {len(month.ledger.messages)} messages,"
        f" {month.ledger.beats} heartbeats; {len(month.exchange.opened_ms)} connections to the stream"
    )
