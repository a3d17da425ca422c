"""What the documents state is true."""

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from barfeed import errors
from process import ROOT, machine
from world import ms

README = (ROOT / "README.md").read_text()
TARGET_MS = ms(2024, 2, 10, 13)


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", README, re.DOTALL)


def all_errors(root: type[errors.BarfeedError] = errors.BarfeedError) -> set[type[errors.BarfeedError]]:
    return {root} | {each for child in root.__subclasses__() for each in all_errors(child)}


def test_the_command_line_page_is_up_to_date() -> None:
    printed = subprocess.run([sys.executable, ROOT / "docs" / "cli.py"], capture_output=True, text=True, check=True)
    assert (ROOT / "docs" / "cli.md").read_text() == printed.stdout, "run `make docs`"


def test_every_exit_code_is_in_the_readme_and_in_the_help() -> None:
    codes = {0, errors.INTERRUPTED_EXIT_CODE} | {each.exit_code for each in all_errors() if hasattr(each, "exit_code")}
    page = (ROOT / "docs" / "cli.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"^    (\d+) +\w", page, re.MULTILINE)} == codes


def test_every_flag_in_the_readme_exists() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    used = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", README)) - {"--now"}
    assert used
    assert {flag for flag in used if f"{flag} " not in page and f"{flag}`" not in page} == set()


def test_every_make_target_in_the_readme_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`?make (\w+)`?", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_link_in_the_readme_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 4
    for link in links:
        assert link.startswith("https://") or (ROOT / link).exists(), link


def test_the_demo_shows_the_output_that_the_readme_shows(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="the demo ends with a prediction: extra `inference`")
    done = subprocess.run(
        [sys.executable, ROOT / "run" / "demo.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = blocks("text")
    timeless = re.compile(r"\d\.\d\d s$", re.MULTILINE)
    printed = timeless.sub("", done.stdout)
    for paragraph in timeless.sub("", shown).strip().split("\n\n"):
        assert paragraph in printed


def test_the_readmes_commands_run_one_after_another(tmp_path: Path) -> None:
    (console,) = [block for block in blocks("console") if "barfeed replay" in block]
    replay, feed = [shlex.split(line.removeprefix("$ ")) for line in console.strip().splitlines()]
    barfeed = [sys.executable, "-m", "barfeed"]
    exchange = subprocess.Popen(
        [*barfeed, *replay[1:-1], "0"], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert exchange.stdout is not None
        url = next(line for line in exchange.stdout if "listens" in line).split()[-1]
        feed[feed.index("http://127.0.0.1:8080")] = url
        done = subprocess.run(
            [*barfeed, *feed[1:]], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        (snippet,) = blocks("python")
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "feed").symlink_to(tmp_path / "replay")
        used = subprocess.run([sys.executable, "-c", snippet], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert used.stdout.startswith("2024-02-10 12:00:00 ")
    finally:
        exchange.terminate()
        exchange.communicate(timeout=10)


def test_the_cron_line_runs(tmp_path: Path) -> None:
    (line,) = blocks("cron")
    when, command = re.fullmatch(r"(\S+ \S+ \S+ \S+ \S+) (.*)\n", line).groups()  # type: ignore[union-attr]
    assert when == "1 * * * *"
    folder = tmp_path / "srv"
    (folder / ".venv" / "bin").mkdir(parents=True)
    script = folder / ".venv" / "bin" / "barfeed"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m barfeed "$@"\n')
    script.chmod(0o755)
    with machine(folder, TARGET_MS) as feeding:
        shell = command.replace("/srv/barfeed", str(folder))
        subprocess.run(["sh", "-c", shell], env=feeding.environment(), timeout=60, check=True)
    assert "appended=726" in (folder / "feed.log").read_text()


def test_the_then_line_runs(tmp_path: Path) -> None:
    (block,) = [block for block in blocks("console") if "--then" in block]
    command = shlex.split(block.removeprefix("$ "))
    (tmp_path / "your_inference.py").write_text("import sys; print(open(sys.argv[1]).readline())")
    then = command[command.index("--then") + 1].replace("python", sys.executable).replace("your_", f"{tmp_path}/your_")
    with machine(tmp_path, TARGET_MS) as feeding:
        ran = feeding.feed("--catch-up", "--then", then)
    assert ran.code == 0
    assert "--then: timestamp,open,high,low,close,volume" in ran.err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for unit in [*(ROOT / "deploy").glob("*.service"), *(ROOT / "deploy").glob("*.timer")]:
        # The command is where the README says only on the user's machine.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/barfeed", sys.executable))
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    page = (ROOT / "docs" / "dependencies.md").read_text()
    for requirement in [*project["dependencies"], *(each for extra in extras.values() for each in extra)]:
        name = re.split(r"[<>=]", requirement)[0]
        assert re.search(rf"^\|[^\n]*\b{re.escape(name)}\b", page, re.MULTILINE), name
        assert "<" in requirement
        assert ">=" in requirement
