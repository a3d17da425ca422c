"""What the documents state is true."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from barfeed.domain import errors
from barfeed.operate.web import api
from docs.pages import BLOCKS, PAGES, Block, name, prose
from process import ROOT, machine
from world import ms, shared

README = (ROOT / "README.md").read_text()
TARGET_MS = ms(2024, 2, 10, 13)


PROSE = {name(path): prose(path) for path in PAGES}

# Of tools that are not ours: what follows them on a page is no flag of barfeed.
OTHERS_FLAGS = {"--now", "--build-arg", "--env", "--volume", "--collector.textfile.directory", "--market"}


def blocks(kind: str) -> list[str]:
    return [block.text for block in BLOCKS if (block.page, block.kind) == ("README.md", kind)]


def all_errors(root: type[errors.BarfeedError] = errors.BarfeedError) -> set[type[errors.BarfeedError]]:
    return {root} | {each for child in root.__subclasses__() for each in all_errors(child)}


def test_every_exit_code_is_in_the_readme_and_in_the_help() -> None:
    codes = {0, errors.INTERRUPTED_EXIT_CODE} | {each.exit_code for each in all_errors() if hasattr(each, "exit_code")}
    page = (ROOT / "docs" / "cli.md").read_text()
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", README, re.MULTILINE)} == codes
    assert {int(code) for code in re.findall(r"^    (\d+) +\w", page, re.MULTILINE)} == codes


def known_flags() -> set[str]:
    """Of every command that is ours, as its own source or the generated page tells them."""
    scripts = [*(ROOT / "src" / "lgbm_inference").rglob("*.py"), ROOT / "benchmarks" / "__main__.py"]
    declared = re.findall(r'"(--[a-z][a-z-]+)"', "\n".join(path.read_text("utf-8") for path in scripts))
    return {*declared, *re.findall(r"(?<![\w-])--[a-z][a-z-]+", (ROOT / "docs" / "cli.md").read_text("utf-8"))}


def test_every_flag_that_is_written_of_exists() -> None:
    known = known_flags() | OTHERS_FLAGS
    for page, text in PROSE.items():
        # A link's own dashes are no flag.
        used = set(re.findall(r"(?<![\w(#/-])--[a-z][a-z.-]*[a-z]", text))
        assert used <= known, page


def flags_of(command: str) -> set[str]:
    """What a command of ours knows, as the generated page shows it."""
    page = (ROOT / "docs" / "cli.md").read_text("utf-8")
    section = page.split(f"## `barfeed {command}`\n", 1)[1].split("\n## ", 1)[0]
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", section))


def test_every_command_that_is_named_in_a_sentence_has_its_flags() -> None:
    named = [(page, code) for page, text in PROSE.items() for code in re.findall(r"`barfeed (\w+[^`]*)`", text)]
    assert len(named) > 30
    for page, code in named:
        command, *words = code.split()
        used = {word for word in words if word.startswith("--")}
        assert used <= flags_of(command), f"{page}: barfeed {code}"


def test_every_make_target_that_is_written_of_exists() -> None:
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page, text in PROSE.items():
        assert set(re.findall(r"`make (\w+)", text)) <= targets, page


def test_every_link_leads_somewhere_on_the_repositorys_host_too() -> None:
    found = 0
    for page, text in PROSE.items():
        for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
            found += 1
            assert link.startswith("https://") or (ROOT / page).parent.joinpath(link).exists(), f"{page}: {link}"
    assert found > 10


@pytest.mark.long
def test_the_demo_shows_the_output_that_the_readme_shows(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="the demo has a prediction: extra `inference`")
    done = subprocess.run(
        [sys.executable, ROOT / "run" / "demo.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (shown,) = blocks("text")
    timeless = re.compile(r"\d\.\d\d s$", re.MULTILINE)
    printed = timeless.sub("", done.stdout)
    for paragraph in timeless.sub("", shown).strip().split("\n\n"):
        assert paragraph in printed


def test_the_page_s_views_are_all_told() -> None:
    (told,) = [block.text for block in BLOCKS if (block.page, block.kind) == ("docs/web.md", "text")]
    assert told.split() == [f"/api/{view.path}" for view in api.VIEWS]


@pytest.mark.proof
def test_the_skill_that_is_told_is_what_the_real_bars_give(tmp_path: Path) -> None:
    pytest.importorskip("lightgbm", reason="extra `inference`")
    bars = shared("rest/BTCUSDT-1h.parquet")
    train = [sys.executable, "run/train_lgbm.py", "--source", str(bars), "--model-root", str(tmp_path)]
    done = subprocess.run(train, cwd=ROOT, capture_output=True, text=True, timeout=300, check=True)
    (shown,) = [each.text for each in BLOCKS if (each.page, each.kind) == ("docs/inference.md", "text")]
    # Another LightGBM grows other trees; what is told of them stays as it is.
    numberless = re.compile(r"[\d.,]+")
    assert numberless.sub("0", shown) in numberless.sub("0", done.stdout)


def test_every_test_and_file_that_is_named_as_a_proof_exists() -> None:
    page = (ROOT / "docs" / "proof.md").read_text("utf-8")
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    tests = re.findall(r"^(?:async )?def (test_\w+)\(", source, re.MULTILINE)
    # `test_a_body_that_drips_...` is any that begins so.
    named = re.findall(r"`(test_\w+)(\.\.\.)?(?:\[[^`]*\])?`", page)
    assert len(named) > 15
    for test, rest in named:
        assert any(each.startswith(test) if rest else each == test for each in tests), test
    for file in re.findall(r"\btests/[\w/.]+\.\w+", page):
        assert (ROOT / file).exists(), file


CRON = [block for block in BLOCKS if block.kind == "cron"]


@pytest.mark.parametrize("block", CRON, ids=str)
def test_a_cron_line_runs(tmp_path: Path, block: Block) -> None:
    line = block.text
    when, command = re.fullmatch(r"(\S+ \S+ \S+ \S+ \S+) (.*)\n", line).groups()  # type: ignore[union-attr]
    assert when == "1 * * * *"
    folder = tmp_path / "srv"
    (folder / ".venv" / "bin").mkdir(parents=True)
    script = folder / ".venv" / "bin" / "barfeed"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m barfeed "$@"\n')
    script.chmod(0o755)
    with machine(folder, TARGET_MS) as feeding:
        shell = command.replace("/srv/barfeed", str(folder))
        subprocess.run(["sh", "-c", shell], env=feeding.environment(), timeout=300, check=True)
    assert "appended=726" in (folder / "feed.log").read_text()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_the_units_are_valid(tmp_path: Path) -> None:
    for unit in [*(ROOT / "deploy").glob("*.service"), *(ROOT / "deploy").glob("*.timer")]:
        # The command is where the README says only on the user's machine.
        (tmp_path / unit.name).write_text(unit.read_text().replace("/usr/local/bin/barfeed", sys.executable))
    units = sorted(str(unit) for unit in tmp_path.iterdir())
    assert len(units) == 3
    done = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_dependency_has_a_line_with_its_reason() -> None:
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = told["project"]
    wanted = {"": project["dependencies"], "build": told["build-system"]["requires"]} | project["optional-dependencies"]
    rows = [line.strip("| ").split(" | ") for line in (ROOT / "docs" / "dependencies.md").read_text().splitlines()]
    lines = {(row[0], row[1]) if len(row) == 4 else ("", row[0]) for row in rows if len(row) in {3, 4}}
    for extra, requirements in wanted.items():
        for requirement in requirements:
            assert (extra, re.split(r"[<>=\[]", requirement)[0]) in lines, requirement
            assert "<" in requirement
            assert ">=" in requirement
