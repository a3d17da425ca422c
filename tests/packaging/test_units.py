"""The units, the launchd job and the Windows task do what the cron line does, and shut out the rest."""

import os
import plistlib
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import click
import pytest

from barfeed.cli import settings
from barfeed.cli.main import barfeed
from process import ROOT, Machine, machine
from world import ms

DEPLOY = ROOT / "deploy"
SERVICES = sorted(DEPLOY.glob("*.service"))
# In systemd's tenths, 100 is a service that may do everything.
EXPOSURE_MAX = 15
PR_SET_MDWE = 65
LIMITED = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(65, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

by_service = pytest.mark.parametrize("service", SERVICES, ids=[path.name for path in SERVICES])
needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine"
)


@by_service
@needs_systemd
def test_systemd_itself_calls_the_service_safe(service: Path) -> None:
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", f"--threshold={EXPOSURE_MAX}", service],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-200:]
    (exposure,) = re.findall(r"exposure level for \S+: (\d\.\d)", done.stdout)
    assert f"`{service.name}` {exposure}" in (ROOT / "docs" / "install.md").read_text()


@needs_systemd
def test_the_drop_in_on_the_page_lets_the_metrics_file_be_written(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    (drop_in,) = re.findall(r"```ini\n(.*?)```", page, re.DOTALL)
    (folder,) = re.findall(r"^ReadWritePaths=(.*)$", drop_in, re.MULTILINE)
    (variable, file) = re.findall(r"^Environment=(\w+)=(.*)$", drop_in, re.MULTILINE)[0]
    assert (variable, str(Path(file).parent)) == (settings.variable("metrics_file"), folder)
    assert f"`install -d -o barfeed {folder}`" in page
    # systemd itself takes every line of it.
    unit = tmp_path / "barfeed.service"
    unit.write_text((DEPLOY / unit.name).read_text().replace("/usr/local/bin/barfeed", sys.executable))
    (tmp_path / "barfeed.service.d").mkdir()
    (tmp_path / "barfeed.service.d" / "override.conf").write_text(drop_in)
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_timer_is_at_minute_one_and_makes_up_for_what_was_missed() -> None:
    timer = (DEPLOY / "barfeed.timer").read_text().splitlines()
    assert {"OnCalendar=*-*-* *:01:00 UTC", "Persistent=true", "WantedBy=timers.target"} <= set(timer)


def may_be_sandboxed() -> str:
    """Why the sandbox cannot be tried here; empty where it can."""
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("unshare", "setpriv"))):
        return "needs root on Linux, unshare and setpriv"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "may not unshare here"
    # Asked in a process of its own: it cannot be taken back.
    asked = f"import ctypes; raise SystemExit(-ctypes.CDLL(None).prctl({PR_SET_MDWE}, 1, 0, 0, 0))"
    return (
        "the kernel is older than 6.3" if subprocess.run([sys.executable, "-c", asked], check=False).returncode else ""
    )


@pytest.mark.long
def test_an_hour_runs_without_capabilities_writable_code_and_most_of_proc(tmp_path: Path) -> None:
    if reason := may_be_sandboxed():
        pytest.skip(reason)
    for service in SERVICES:
        limits = set(service.read_text().splitlines())
        assert {
            "CapabilityBoundingSet=",
            "NoNewPrivileges=yes",
            "MemoryDenyWriteExecute=yes",
            "ProcSubset=pid",
        } <= limits
    mount = 'mount -t proc -o subset=pid proc /proc && exec "$@"'
    drop = ("setpriv", "--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    with machine(tmp_path, ms(2024, 2, 10, 13)) as feeding:
        done = subprocess.run(
            [
                "unshare",
                "--mount",
                "sh",
                "-c",
                mount,
                "sh",
                *drop,
                sys.executable,
                "-c",
                LIMITED,
                *feeding.command("--catch-up"),
            ],
            env=feeding.environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, "appended=726" in done.stdout) == (0, True), done.stderr


@pytest.mark.long
@needs_systemd
@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not on this machine")
def test_an_hour_makes_no_system_call_that_the_units_forbid(tmp_path: Path) -> None:
    with machine(tmp_path, ms(2024, 2, 10, 13)) as feeding:
        log = tmp_path / "calls"
        traced = [
            "strace",
            "-f",
            "-qq",
            "-o",
            str(log),
            *feeding.command("--catch-up", "--then", "cat $BARFEED_INFERENCE_CSV"),
        ]
        done = subprocess.run(traced, env=feeding.environment(), capture_output=True, timeout=60, check=False)
    if not log.exists() or b"ptrace" in done.stderr:
        pytest.skip("may not trace here")
    made = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)(?:\(| resumed)", log.read_text(errors="replace"), re.MULTILINE))
    assert {"connect", "openat", "fsync", "rename"} <= made
    assert done.returncode == 0
    for service in SERVICES:
        assert made - allowed_calls(service) == set(), service.name


def allowed_calls(service: Path) -> set[str]:
    calls: set[str] = set()
    for without, groups in re.findall(r"^SystemCallFilter=(~?)(.+)$", service.read_text(), re.MULTILINE):
        named = {call for group in groups.split() for call in calls_of(group)}
        calls = calls - named if without else calls | named
    return calls


def calls_of(group: str) -> set[str]:
    """What systemd understands by `@system-service`."""
    done = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    lines = [line.strip() for line in done.stdout.splitlines()[1:] if line.strip() and not line.strip().startswith("#")]
    return {call for line in lines for call in (calls_of(line) if line.startswith("@") else {line})}


def flags_are_known(words: list[str]) -> None:
    command = barfeed.get_command(click.Context(barfeed), words[0])
    assert command is not None
    command.make_context(words[0], words[1:])


@pytest.mark.long
def test_the_launchd_job_runs_the_hour(tmp_path: Path) -> None:
    job = plistlib.loads((DEPLOY / "barfeed.plist").read_bytes())
    assert job["StartCalendarInterval"] == {"Minute": 1}
    program, *words = job["ProgramArguments"]
    assert program == "/usr/local/bin/barfeed"
    with machine(tmp_path, ms(2024, 2, 10, 13)) as feeding:
        assert run_as(feeding, tmp_path, words) == 0
    assert (tmp_path / "feed" / "BINANCE_BTCUSDT.P_60" / "latest_for_inference.csv").exists()
    for path in (job["WorkingDirectory"], str(Path(job["StandardOutPath"]).parent)):
        assert path in (ROOT / "docs" / "install.md").read_text()


@pytest.mark.long
def test_the_windows_task_runs_the_hour(tmp_path: Path) -> None:
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    task = ElementTree.parse(DEPLOY / "barfeed-task.xml").getroot()

    def text(name: str) -> str:
        (element,) = task.iter(f"{space}{name}")
        return element.text or ""

    assert task.tag == f"{space}Task"
    assert text("Interval") == "PT1H"
    assert re.search(r"T\d\d:01:00Z$", text("StartBoundary"))
    assert text("StartWhenAvailable") == "true"
    assert text("MultipleInstancesPolicy") == "IgnoreNew"
    with machine(tmp_path, ms(2024, 2, 10, 13)) as feeding:
        assert run_as(feeding, tmp_path, text("Arguments").split()) == 0


def run_as(feeding: Machine, folder: Path, words: list[str]) -> int:
    """The command of a job, where the job would run it."""
    flags_are_known(words)
    environment = feeding.environment(BARFEED_MAX_SKEW_SEC="1e10", PYTHONPATH=str(ROOT / "src"))
    ran = subprocess.run(
        [sys.executable, "-m", "barfeed", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return ran.returncode
