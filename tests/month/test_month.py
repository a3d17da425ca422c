"""A watch with everything on lives through a storm: what it tells anybody is what happened, no more and no less."""

import json
from pathlib import Path

import pytest

pytest.importorskip("apprise", reason="extra `alerts`")
pytest.importorskip("prometheus_client", reason="extra `metrics`")

from alerts.webhook import SECRET, Webhook
from barfeed.bars import Bar
from month.month_world import FIRST_MS, TABLE, Month
from month.weather import SHOWER
from world import hours


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


def test_two_days_of_showers_are_told_exactly(tmp_path: Path, webhook: Webhook) -> None:
    with Month(tmp_path, webhook, 80).begun() as month:
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
