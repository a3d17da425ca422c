"""The image, the compose file and CI are what their own linters call good, and fit the project."""

import json
import re
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from barfeed.cli.settings import _NAMES, variable
from process import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE: Any = YAML(typ="safe").load((ROOT / "compose.yaml").read_text())
CI: Any = YAML(typ="safe").load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
BIN = Path(sys.executable).parent


def lint(*command: object) -> "subprocess.CompletedProcess[str]":
    program, *words = map(str, command)
    if not (BIN / program).exists():
        pytest.skip(f"{program} is not installed: extra `dev`")
    return subprocess.run([BIN / program, *words], capture_output=True, text=True, timeout=60, check=False)


def test_the_dockerfile_is_clean_and_the_linter_would_say_so(tmp_path: Path) -> None:
    done = lint("hadolint", ROOT / "Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    (tmp_path / "Dockerfile").write_text(DOCKERFILE.replace("--no-cache-dir", ""))
    assert lint("hadolint", tmp_path / "Dockerfile").returncode == 1


def test_the_image_has_a_user_of_its_own_and_settings_that_exist() -> None:
    user = re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE)
    # A number: an engine can tell by it that it is not root.
    assert user == ["10001:10001"]
    assert DOCKERFILE.index("USER") < DOCKERFILE.index("ENTRYPOINT")
    named = set(re.findall(r"\bBARFEED_\w+", DOCKERFILE))
    assert named
    assert named <= {variable(name) for name in _NAMES}


def test_what_the_dockerfile_copies_is_there_and_not_ignored() -> None:
    lines = (ROOT / ".dockerignore").read_text().split("\n")
    let_in = [line.removeprefix("!") for line in lines if line.startswith("!")]
    for sources in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (ROOT / source).exists(), source
            assert any(fnmatch(source, each) for each in let_in), source


def test_every_part_of_the_proof_has_its_machine_at_night() -> None:
    makefile = (ROOT / "Makefile").read_text()
    parts = re.findall(r"^proof-([a-z]+):", makefile, re.MULTILINE)
    assert re.findall(r"^PROOF := (.+)$", makefile, re.MULTILINE) == [" ".join(parts)]
    assert CI["jobs"]["proof"]["strategy"]["matrix"]["part"] == parts


@contextmanager
def answering(status: int) -> Iterator[int]:
    class Health(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_health_check_is_good_only_where_the_feed_is(status: int, code: int) -> None:
    (words,) = re.findall(r"^HEALTHCHECK (?:.|\n)*?CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    python, *rest = json.loads(words)
    assert python == "python"
    assert ":9464" in DOCKERFILE.partition("BARFEED_LISTEN=")[2].split()[0]
    with answering(status) as port:
        command = [sys.executable, *(word.replace(":9464", f":{port}") for word in rest)]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == code


@pytest.mark.long
@pytest.mark.parametrize(
    ("schema", "file"),
    [
        ("vendor.compose-spec", "compose.yaml"),
        ("vendor.compose-spec", "deploy/postgres/compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
    ],
)
def test_the_file_fits_its_schema_and_the_schema_sees_what_does_not(schema: str, file: str, tmp_path: Path) -> None:
    assert lint("check-jsonschema", "--builtin-schema", schema, ROOT / file).returncode == 0
    wrong = tmp_path / Path(file).name
    wrong.write_text((ROOT / file).read_text() + "\nno-such-key: 1\n")
    assert lint("check-jsonschema", "--builtin-schema", schema, wrong).returncode == 1


def test_compose_mounts_files_that_exist_and_shows_itself_to_this_machine_only() -> None:
    for service in COMPOSE["services"].values():
        sources = [each.split(":")[0] for each in service.get("volumes", ()) if each.startswith("./")]
        for source in sources:
            assert (ROOT / source).exists(), source
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert ":" in service["image"] or "build" in service
        assert not service["image"].endswith(":latest")


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not on this machine")
def test_prometheus_understands_what_compose_gives_it(tmp_path: Path) -> None:
    told = COMPOSE["configs"]["prometheus"]["content"]
    (tmp_path / "prometheus.yml").write_text(told)
    (tmp_path / "alert-rules.yml").write_text("groups: []\n")
    subprocess.run(["promtool", "check", "config", tmp_path / "prometheus.yml"], capture_output=True, check=True)
    (target,) = YAML(typ="safe").load(told)["scrape_configs"][0]["static_configs"][0]["targets"]
    assert target.split(":") == ["feed", DOCKERFILE.partition("EXPOSE ")[2].split()[0]]


def test_grafana_finds_its_datasource_and_dashboard_where_compose_puts_them() -> None:
    folder = ROOT / "deploy" / "grafana"
    (source,) = YAML(typ="safe").load((folder / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    (provider,) = YAML(typ="safe").load((folder / "dashboards.yml").read_text())["providers"]
    mounted = [volume.split(":")[1] for volume in COMPOSE["services"]["grafana"]["volumes"]]
    assert f"{provider['options']['path']}/barfeed.json" in mounted


def test_ci_is_audited_and_the_audit_would_find_a_loose_action(tmp_path: Path) -> None:
    done = lint("zizmor", "--offline", "--no-progress", ROOT / ".github" / "workflows")
    assert done.returncode == 0, done.stdout
    loose = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    (tmp_path / "ci.yml").write_text(re.sub(r"@[0-9a-f]{40} # v4\.2\.2", "@main", loose))
    assert lint("zizmor", "--offline", "--no-progress", tmp_path / "ci.yml").returncode != 0


def test_ci_runs_make_test_on_both_systems_and_every_python() -> None:
    job = CI["jobs"]["test"]
    matrix = job["strategy"]["matrix"]
    assert matrix["python"] == ["3.11", "3.12", "3.13", "3.14"]
    assert {name.split("-")[0] for name in matrix["os"]} == {"ubuntu", "macos"}
    assert CI["permissions"] == {"contents": "read"}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    runs = [step["run"].split() for each in CI["jobs"].values() for step in each["steps"] if "run" in step]
    made = {words[1] for words in runs if words[0] == "make"}
    assert {"test", "long", "mutants", "peers"} <= made <= targets


@pytest.mark.long
def test_the_image_builds_and_runs() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no container engine is at hand")
    subprocess.run(["docker", "build", "--tag", "barfeed:test", ROOT], timeout=600, check=True)
    ran = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--read-only", "barfeed:test", "--version"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert ran.stdout.startswith("barfeed, version ")
