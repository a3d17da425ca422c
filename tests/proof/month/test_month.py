"""A watch with everything on lives through a storm: what it tells anybody is what happened, no more and no less."""

import json
import time
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("apprise", reason="extra `alerts`")
pytest.importorskip("prometheus_client", reason="extra `metrics`")

from barfeed.domain.bars import Bar
from operate.alerts.webhook import SECRET, Webhook
from operate.metrics.prometheus import Prometheus, needs_prometheus, prometheus
from proof.month.month_world import COUNTERS, FIRST_MS, TABLE, Month
from proof.month.weather import SHOWER, STORM
from world import hours

# What Prometheus must raise by each scene, if it has not yet; it lasts two of its own hours, so to the end.
RAISES = {
    "taken_back": "BarfeedMismatch", "banned": "BarfeedBlocked", "unwritable": "BarfeedDisk", "holed": "BarfeedGap",
}  # fmt: skip
LASTING = "Barfeed(Mismatch|Gap|Blocked|Disk|NoSuccess|Weight|StoreGrows|StreamDown)"


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


@pytest.mark.proof
@needs_prometheus
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
                server.raises(raised, LASTING)
        behind(month, server)
        unreachable(month, server)
        month.check()
        scraped(month, server)
        server.raises(raised, LASTING)
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
