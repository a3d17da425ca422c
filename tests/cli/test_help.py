"""Help has examples that work, and the shell completes what is typed."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from barfeed.cli.commands.history import backfill
from barfeed.cli.main import COMMANDS, barfeed
from barfeed.cli.settings import Settings
from process import ROOT

PAGE = (ROOT / "docs" / "install.md").read_text()


def command_of(name: str) -> click.Command:
    command = barfeed.get_command(click.Context(barfeed), name)
    assert command is not None
    return command


def examples_of(name: str) -> list[str]:
    page = command_of(name).get_help(click.Context(command_of(name), info_name=f"barfeed {name}", terminal_width=100))
    block = re.search(r"^  Examples:\n((?:    \S.*\n?)+)", page, re.MULTILINE)
    assert block, f"barfeed {name} --help shows no example"
    return [line.strip() for line in block[1].splitlines()]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_that_it_understands(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("bars.csv.gz", "feed.duckdb", "other.duckdb"):
        Path(file).touch()
    for example in examples_of(name):
        program, command, *words = shlex.split(example)
        assert (program, command) == ("barfeed", name), example
        given = command_of(name).make_context(name, words).params
        if name == "backfill":
            # What it is asked to do must fit together, too.
            backfill._order(Settings(), given)


@pytest.mark.parametrize("words", [[], ["alert"]], ids=["barfeed", "barfeed alert"])
def test_a_command_that_needs_another_is_answered_with_its_help(words: list[str]) -> None:
    bare, asked = (
        subprocess.run(
            [sys.executable, "-m", "barfeed", *words, *more], capture_output=True, text=True, timeout=60, check=False
        )
        for more in ([], ["--help"])
    )
    assert (bare.returncode, bare.stdout) == (2, "")
    assert bare.stderr.rstrip() == asked.stdout.rstrip()


@pytest.mark.long
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this machine")
@pytest.mark.parametrize("words", ["--help", "--version", "run --help"])
@pytest.mark.parametrize("redirect", ["> /dev/full", ">&-"])
def test_help_that_nobody_can_hear_is_no_bug(words: str, redirect: str) -> None:
    command = f"{shlex.quote(sys.executable)} -m barfeed {words} {redirect}"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


ENTRIES = {
    "barfeed": ["-c", "from barfeed.__main__ import main; main()"],
    "module": ["-m", "barfeed"],
} | {path.name: [str(path)] for path in sorted((ROOT / "run").glob("*_*.py"))}


@pytest.mark.parametrize("words", ENTRIES.values(), ids=ENTRIES)
def test_ctrl_c_while_it_is_still_imported_ends_it_without_a_word(words: list[str], tmp_path: Path) -> None:
    # Each of them imports this first.
    (tmp_path / "click.py").write_text("raise KeyboardInterrupt")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, *words], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.fixture
def on_path(tmp_path: Path) -> dict[str, str]:
    """An environment in which `barfeed` is a command."""
    script = tmp_path / "barfeed"
    # As pip makes it.
    script.write_text(f"#!{sys.executable}\nfrom barfeed.__main__ import main\nmain()\n")
    script.chmod(0o755)
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")}


# How each shell asks: what is typed and where, by click's own protocol; and how it is answered.
ASKED = {
    "bash": (
        {"COMP_WORDS": "barfeed run --inference-source ", "COMP_CWORD": "3"},
        "plain,db\nplain,api\nplain,db,api\n",
    ),
    "zsh": (
        {"COMP_WORDS": "barfeed run --inference-source ", "COMP_CWORD": "3"},
        "plain\ndb\n_\nplain\napi\n_\nplain\ndb,api\n_\n",
    ),
    "fish": (
        {"COMP_WORDS": "barfeed run --inference-source ", "COMP_CWORD": ""},
        "plain,db\nplain,api\nplain,db,api\n",
    ),
}


@pytest.mark.parametrize("shell", ASKED)
def test_each_shell_is_answered(shell: str, on_path: dict[str, str]) -> None:
    asked, answer = ASKED[shell]
    environment = on_path | asked | {"_BARFEED_COMPLETE": f"{shell}_complete"}
    done = subprocess.run(["barfeed"], env=environment, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == answer.split()
    line = re.search(rf"_BARFEED_COMPLETE={shell}_source", PAGE)
    assert line, f"docs/install.md does not tell how {shell} completes"


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not on this machine")
def test_a_real_bash_completes_commands_and_flags(on_path: dict[str, str]) -> None:
    (line,) = re.findall(r"^\$ (eval .*bash_source.*)$", PAGE, re.MULTILINE)
    # What bash itself does when TAB is pressed.
    script = """
    press_tab() {
      COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
      _barfeed_completion barfeed
      echo "${COMPREPLY[@]}"
    }
    complete -p barfeed >/dev/null || exit 1
    press_tab barfeed do
    press_tab barfeed run --stream
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", f"{line}\n{script}"],
        env=on_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    commands, flags = done.stdout.splitlines()
    assert commands == "doctor"
    assert flags.split() == ["--stream", "--stream-url"]
