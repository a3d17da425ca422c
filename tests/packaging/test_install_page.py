"""What docs/install.md and docs/doctor.md tell to type is there."""

import re
import shlex

import click
import pytest

from barfeed.cli.main import barfeed
from process import ROOT

PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("install.md", "doctor.md")}
by_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES)


@by_page
def test_the_commands_are_understood(page: str) -> None:
    lines = re.findall(r"^\$ (?:\.venv/bin/)?barfeed (.+)$", page, re.MULTILINE)
    assert lines
    for line in lines:
        name, *words = shlex.split(line)
        command = barfeed.get_command(click.Context(barfeed), name)
        assert command is not None, line
        command.make_context(name, words)


@by_page
def test_the_links_lead_somewhere(page: str) -> None:
    links = re.findall(r"\]\(([^)#]*)", page)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_the_files_and_targets_that_are_named_exist() -> None:
    page = PAGES["install.md"]
    files = {name.replace("\\", "/") for name in re.findall(r"\bdeploy[/\\][\w.-]+", page)}
    assert {"deploy/barfeed.plist", "deploy/barfeed-task.xml", "deploy/barfeed.timer"} <= files
    assert [name for name in files if not (ROOT / name).exists()] == []
    for target in re.findall(r"`make (\w+)`", page):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_the_cron_line_is_the_one_that_is_proven() -> None:
    (line,) = re.findall(r"```cron\n(.*)\n```", PAGES["install.md"])
    assert f"```cron\n{line}\n```" in (ROOT / "README.md").read_text()


def test_the_windows_lines_make_what_the_task_expects() -> None:
    (lines,) = re.findall(r"```bat\n(.*?)```", PAGES["install.md"], re.DOTALL)
    task = (ROOT / "deploy" / "barfeed-task.xml").read_text("utf-8")
    environment, folder = re.findall(r"(?:venv|mkdir) (C:\S+)\n", lines)
    assert f"<Command>{environment}\\Scripts\\barfeed.exe</Command>" in task
    assert f"<WorkingDirectory>{folder}</WorkingDirectory>" in task
    assert f"{environment}\\Scripts\\pip install .\n" in lines
    assert "/create /tn barfeed /xml deploy\\barfeed-task.xml\n" in lines
