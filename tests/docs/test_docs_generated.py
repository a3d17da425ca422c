"""What is generated is up to date."""

import dataclasses
import os
import re
import sys
from pathlib import Path

import pytest

import fork_server
from barfeed.cli.commands.feed.run import run
from barfeed.cli.settings import Settings, variable
from process import ROOT

PAGES = sorted(path for path in (ROOT / "docs").glob("*.[ms][dv]*") if path.with_suffix(".py").exists())


@pytest.mark.parametrize("page", PAGES, ids=[path.name for path in PAGES])
def test_what_is_generated_is_up_to_date(page: Path) -> None:
    printed = fork_server.run([sys.executable, page.with_suffix(".py")], os.environ)
    assert (printed.returncode, printed.stderr) == (0, "")
    assert page.read_text("utf-8") == printed.stdout, "run `make docs`"


def test_the_pages_that_are_generated_are_these() -> None:
    assert {"cli.md", "configuration.md", "metrics.md", "rooms.svg"} <= {path.name for path in PAGES}


def test_every_setting_stands_on_the_page_with_all_its_names() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    for field in dataclasses.fields(Settings):
        row = f"| `--{field.name.replace('_', '-')}`<br>`{variable(field.name)}`<br>`{field.name}` |"
        assert len(re.findall(re.escape(row), page)) == 1, field.name


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"BARFEED_N_RECENT": "", "BARFEED_THEN": "", "BARFEED_WATCH": ""}, (6, "", False)),
        ({"BARFEED_N_RECENT": "9", "BARFEED_THEN": "x", "BARFEED_WATCH": "1"}, (9, "x", True)),
        ({"BARFEED_WATCH": "true"}, (6, "", True)),
        ({"BARFEED_WATCH": "yes"}, (6, "", True)),
        ({"BARFEED_WATCH": "0"}, (6, "", False)),
    ],
)
def test_variables_mean_what_the_page_says(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: tuple[object, ...]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    values = run.make_context("run", []).params
    assert (values["n_recent"], values["then"], values["watch"]) == expected
