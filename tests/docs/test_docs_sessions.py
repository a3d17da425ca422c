"""Every command, snippet and query of a page runs, in the page's order; what it shows is what is printed."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from docs.claims import claimed_by, why_not_run
from docs.pages import BLOCKS, Block, without_numbers
from docs.sandbox import Sandbox, sandbox
from process import ROOT

MINE = [block for block in BLOCKS if claimed_by(block) == Path(__file__).name]
# Each command is a process or more: only what everybody runs first is of the ordinary suite.
PAGES = [
    pytest.param(page, marks=[pytest.mark.long] * (page != "README.md"))
    for page in sorted({block.page for block in MINE})
]

# How a command may end besides well, and what it then says; and what is not told by an exit code.
ENDS = {
    r"barfeed run .*--then 'python .*": ({0}, "--then: timestamp,open,high,low,close,volume"),
    r"barfeed repair( --only gaps)?": ({2}, "nobody can be asked here"),
    r"barfeed web --listen 0.*": ({2}, "can be reached from other machines"),
    r"barfeed verify .*--against archive.*": ({1}, "mismatch:"),
    # It looks at the machine of the test, too: whether all is well there is not the page's to know.
    r"barfeed doctor.*": ({0, 1}, "scheduler"),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with sandbox(tmp_path_factory.mktemp("prepared")) as ready:
        yield ready


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_a_page_runs_from_its_top_to_its_end(prepared: Sandbox, tmp_path: Path, page: str) -> None:
    if page == "docs/inference.md":
        pytest.importorskip("lightgbm", reason="extra `inference`")
    with prepared.copied(tmp_path) as ready:
        for block in (each for each in MINE if each.page == page):
            LIVE[block.kind](ready, block)


def console(ready: Sandbox, block: Block) -> None:
    for command, shown in commands(block):
        if why_not_run(command):
            continue
        said = len(ready.printed)
        code = ready.run(command)
        expected, word = next((end for each, end in ENDS.items() if re.fullmatch(each, command)), ({0}, ""))
        assert code in expected, f"{block}: {command}: exit {code}\n{ready.printed[said:]}"
        assert word in ready.printed[said:]
        assert_printed(ready.printed[said:], shown, f"{block}: {command}")


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Each command behind a `$` or `#`, over all its lines, and what the page shows below it."""
    text = block.text if block.kind == "console" else re.sub(r"^(?! )", "$ ", block.text.strip(), flags=re.MULTILINE)
    found = re.split(r"^[$#] ", text.replace("\\\n", " "), flags=re.MULTILINE)
    assert found[0] == "", f"{block} begins with no command"
    for each in found[1:]:
        command, _, shown = each.partition("\n")
        yield re.sub(r" +", " ", command.partition("  # ")[0]).strip(), shown


def python(ready: Sandbox, block: Block) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text], cwd=ready.folder, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{block}\n{done.stderr}"
    ready.printed += done.stdout


def sql(ready: Sandbox, block: Block) -> None:
    with duckdb.connect(ready.store) as connection:
        for statement in filter(str.strip, block.text.split(";")):
            connection.execute(statement)


def text(ready: Sandbox, block: Block) -> None:
    assert_printed(ready.printed, block.text, str(block))


def a_json(ready: Sandbox, block: Block) -> None:
    known = [shape(json.loads(line)) for line in ready.printed.splitlines() if line.startswith("{")]
    known += [shape(json.loads(path.read_text())) for path in (ready.folder / "data").rglob("*_run.json")]
    assert shape(json.loads(block.text)) in known, f"{block}: no command or file of this page has these keys"


LIVE = {"console": console, "sh": console, "python": python, "sql": sql, "text": text, "json": a_json}


def assert_printed(printed: str, shown: str, where: str) -> None:
    there = set(map(without_numbers, printed.splitlines()))
    for line in filter(str.strip, shown.splitlines()):
        assert without_numbers(line) in there, f"{where}: not printed: {line}\n{printed}"


def shape(value: Any) -> Any:
    """The keys of a JSON text, all the way down."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return [shape(value[0])] if isinstance(value, list) and value else None


def not_run() -> list[str]:
    found = [command for block in MINE if block.kind in {"console", "sh"} for command, _ in commands(block)]
    return [command for command in found if why_not_run(command)]


def test_what_is_not_run_names_what_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in not_run():
        for target in re.findall(r"^make (\w+)", command):
            assert re.search(rf"^{target}:", makefile, re.MULTILINE), command
        for named in re.findall(r"\[([\w,-]+)\]", command):
            assert set(named.split(",")) <= set(extras), command
        for file in re.findall(r"\bdeploy/[\w.-]+", command):
            assert (ROOT / file).exists(), command


def test_a_page_that_shows_what_is_not_printed_fails() -> None:
    with pytest.raises(AssertionError, match="not printed"):
        assert_printed("appended=1 rows=727\n", "appended=1 lines=727\n", "here")
    assert_printed("appended=1 rows=727\n", "appended=2  rows=1,000\n", "here")
