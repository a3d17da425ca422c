"""What is shipped for Prometheus and Grafana is valid, speaks of metrics that exist, and fires when it should."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from barfeed.operate.metrics.definitions import METRICS
from operate.metrics.metering_world import Metered
from process import ROOT

RULES = ROOT / "deploy" / "alert-rules.yml"
RULE_TESTS = Path(__file__).parent / "alert-rules_test.yml"
DASHBOARD = json.loads((ROOT / "deploy" / "grafana-dashboard.json").read_text())
MONITORING = (ROOT / "docs" / "monitoring.md").read_text()
FOREIGN = {"up"}

needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool, of Debian's package prometheus, is not on this machine"
)


def promtool(*words: str | Path, given: bytes = b"") -> str:
    done = subprocess.run(["promtool", *words], input=given, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr).decode()
    return (done.stdout + done.stderr).decode()


def known() -> set[str]:
    histograms = [metric.name for metric in METRICS if metric.kind == "histogram"]
    return {metric.name for metric in METRICS} | {
        name + end for name in histograms for end in ("_bucket", "_sum", "_count")
    }


def named(expression: str) -> set[str]:
    return set(re.findall(r"\b(?:barfeed_\w+|up)\b(?=[^\"]*(?:\"[^\"]*\"[^\"]*)*$)", expression))


def panels() -> list[dict[str, Any]]:
    return list(DASHBOARD["panels"])


def expressions() -> list[str]:
    return [target["expr"] for panel in panels() for target in panel["targets"]]


def anchors(page: str) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", (ROOT / page).read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@needs_promtool
def test_the_rules_and_the_configuration_are_valid() -> None:
    assert "SUCCESS: 12 rules found" in promtool("check", "rules", RULES)
    promtool("check", "config", ROOT / "deploy" / "prometheus.yml")


@pytest.mark.long
@needs_promtool
def test_each_alert_fires_when_it_should_and_only_then() -> None:
    assert "SUCCESS" in promtool("test", "rules", RULE_TESTS)


def test_each_alert_is_proven_to_fire_and_to_keep_quiet_and_is_documented() -> None:
    alerts = re.findall(r"- alert: (\w+)", RULES.read_text())
    assert len(set(alerts)) == len(alerts) == 12
    for alert in alerts:
        checks = re.findall(rf"alertname: {alert}\n +exp_alerts:( \[\])?", RULE_TESTS.read_text())
        assert {bool(quiet) for quiet in checks} == {True, False}, alert
        assert f"| `{alert}` |" in MONITORING, alert
    assert re.findall(r"^\| `(Barfeed\w+)`", MONITORING, re.MULTILINE) == alerts


def test_each_alert_says_what_and_leads_to_what_helps() -> None:
    rules = RULES.read_text().split("- alert: ")[1:]
    for rule in rules:
        assert {"summary:", "description:", "severity:"} <= set(re.findall(r"\w+:", rule))
        # A command, of barfeed or of the machine.
        assert re.search(
            r"barfeed (status|repair|verify|run)|systemctl|journalctl|timedatectl|Find the other program", rule
        ), rule
        page, _, anchor = re.findall(r"runbook: (\S+)", rule)[0].partition("#")
        assert anchor in anchors(page), anchor


@pytest.mark.parametrize("expression", [*expressions(), *re.findall(r"expr: (.*)", RULES.read_text())])
def test_no_expression_speaks_of_a_metric_that_does_not_exist(expression: str) -> None:
    assert named(expression)
    assert named(expression) <= known() | FOREIGN


def test_the_dashboard_shows_every_metric_but_the_requests() -> None:
    shown = {name for each in expressions() for name in named(each)}
    assert {metric.name for metric in METRICS} - {name.removesuffix("_bucket") for name in shown} == {
        "barfeed_requests_total"
    }


@needs_promtool
def test_every_expression_of_the_dashboard_and_of_the_page_can_be_read(tmp_path: Path) -> None:
    asked = [re.sub(r"\$(symbol|interval)", ".*", each) for each in expressions()]
    asked += re.findall(r"```promql\n(.*?)\n```", MONITORING, re.DOTALL)
    assert len(asked) > 20
    rules = [{"record": f"asked:number_{number}", "expr": each} for number, each in enumerate(asked)]
    # JSON is YAML, too.
    (tmp_path / "asked.yml").write_text(json.dumps({"groups": [{"name": "asked", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool("check", "rules", tmp_path / "asked.yml")


def test_the_dashboard_can_be_imported() -> None:
    assert "__inputs" not in DASHBOARD
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource", "symbol", "interval"]
    assert len({panel["id"] for panel in panels()}) == len(panels())
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        for each in (panel, *panel["targets"]):
            assert each["datasource"] == {"type": "prometheus", "uid": "${datasource}"}


def test_no_panel_lies_on_another() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not taken & cells, panel["title"]
        taken |= cells


@needs_promtool
def test_what_is_told_is_clean_to_promtool(metered: Metered) -> None:
    for exposition in (
        metered.meter.exposition(),
        metered.live(13, 0, 30, catch_up=True) and metered.meter.exposition(),
    ):
        assert isinstance(exposition, bytes)
        assert promtool("check", "metrics", given=exposition) == ""


def test_the_page_of_metrics_is_up_to_date() -> None:
    printed = subprocess.run([sys.executable, ROOT / "docs" / "metrics.py"], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "metrics.md").read_text() == printed.stdout, "run `make docs`"


def test_every_reason_is_one_that_operating_tells() -> None:
    words = set(re.findall(r"^### `(\w+)`, exit", (ROOT / "docs" / "operating.md").read_text(), re.MULTILINE))
    (refusals,) = [metric for metric in METRICS if metric.name == "barfeed_refusals_total"]
    # A wrong flag ends the process before a cycle; repair is another command; a lake fails no cycle.
    assert set(refusals.begins) == words - {"usage_error", "unrepaired", "lake_unusable"}


def test_every_link_and_command_of_the_page_leads_somewhere() -> None:
    for page, anchor in re.findall(r"\]\(([^)#]*)(?:#([^)]*))?\)", MONITORING):
        path = (ROOT / "docs" / page) if page else ROOT / "docs" / "monitoring.md"
        assert path.exists(), page
        assert not anchor or anchor in anchors(str(path.relative_to(ROOT))) or path.suffix != ".md", anchor
    told = (ROOT / "docs" / "cli.md").read_text()
    for flag in re.findall(r"`?barfeed [^`\n]*?(--[a-z-]+)", MONITORING):
        assert f"{flag} " in told


def test_the_shown_line_of_health_is_what_is_said(metered: Metered) -> None:
    shown, _ = re.findall(r"```json\n(.*?)\n```", MONITORING)
    metered.live(13, 0, 30, catch_up=True)
    metered.world.clock.go_to(metered.world.clock.now_ms + 3 * 3_600_000)
    assert json.dumps(metered.meter.healths()[0].told()) == shown
