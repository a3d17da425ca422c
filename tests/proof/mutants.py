"""`make mutants`: change the code in every small way that mutmut knows; a test must notice each.

A mutant that lives is a missing test, or is explained in `survivors.toml`; this fails on any other, and on an
explanation whose mutant is dead or gone. Everything happens in a copy of the tree, and nothing is left behind.

With `--since REV` only the functions that have changed since then are mutated, at most eight of them: CI's sample.

    python tests/proof/mutants.py [--since REV] [GROUP ...]
"""

import argparse
import ast
import difflib
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
SURVIVORS = Path(__file__).with_name("survivors.toml")
# So many functions are a few minutes, the cycle's too.
TOUCHED_MAX = 8
COPIED = ("src", "tests", "docs", "run", "pyproject.toml", "README.md")


class Group(NamedTuple):
    """Modules that are mutated, and the tests that must notice."""

    modules: tuple[str, ...]
    tests: tuple[str, ...]


GROUPS = {
    # What decides is pure: its own tests alone must do, and take a minute.
    "decisions": Group(
        ("domain/rules", "domain/grid", "domain/verdict"),
        ("tests/domain/test_rules.py", "tests/domain/test_grid.py", "tests/domain/test_verdict.py"),
    ),
    "acceptance": Group(
        ("domain/acceptance", "feed/asking/confirmation"),
        (
            "tests/history/repair/test_repair_plan.py",
            "tests/history/repair/test_repair_accept.py",
            "tests/domain/kinds/test_acceptance.py",
            "tests/feed/test_stream_confirm.py",
        ),
    ),
    "cycle": Group(
        ("feed/cycle", "feed/hour"),
        (
            "tests/feed/test_cycle.py",
            "tests/feed/test_followup.py",
            "tests/feed/test_give_way.py",
            "tests/feed/test_hour.py",
            "tests/feed/test_known_hole.py",
            "tests/feed/test_lake.py",
            "tests/feed/test_own_columns.py",
            "tests/feed/test_short_window.py",
            "tests/feed/test_symbol_life.py",
            "tests/feed/kinds/test_kinds_of_series.py",
            "tests/history/repair/test_repair_accept.py",
            "tests/feed/test_stream_confirm.py",
        ),
    ),
}


class Lived(NamedTuple):
    """A mutant that no test noticed: where, and what was changed to what."""

    module: str
    old: str
    new: str

    def __str__(self) -> str:
        return f'[[survivor]]\nmodule = "{self.module}"\nold = {self.old!r}\nnew = {self.new!r}\nwhy = ""\n'


def main(words: Sequence[str]) -> int:
    """Run the groups; 1 where a survivor is not explained or an explanation explains nothing."""
    parser = argparse.ArgumentParser(
        prog="make mutants", description="Small changes, each of which a test must notice."
    )
    parser.add_argument("--since", metavar="REV", help="only functions that changed since, at most eight")
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(GROUPS)}")
    asked = parser.parse_args(words)
    wanted = {name: GROUPS[name] for name in asked.groups or GROUPS}
    if asked.since:
        return _run_touched(wanted, asked.since)
    lived = {each for group in wanted.values() for each in run(group)}
    modules = {module for group in wanted.values() for module in group.modules}
    return _judged(lived, {each for each in read() if each.module in modules})


def _run_touched(wanted: Mapping[str, Group], since: str) -> int:
    mutated = sample(touched(git("diff", "-M", "-U0", since, "--", "src"), wanted.values()), since)
    lived: set[Lived] = set()
    for name, group in wanted.items():
        patterns = [pattern for module, pattern in mutated if module in group.modules]
        print(f"{name}: {len(patterns)} functions have changed since {since}")  # noqa: T201 - a command's output
        lived |= set(run(group, patterns)) if patterns else set()
    # What of the explained ones was not mutated this time, is not known.
    return _judged(lived, {each for each in read() if each in lived})


def _judged(lived: set[Lived], explained: set[Lived]) -> int:
    for each in sorted(lived - explained):
        print(f"lives, and is not explained:\n{each}")  # noqa: T201 - a command's output
    for each in sorted(explained - lived):
        print(f"is explained, but does not live:\n{each}")  # noqa: T201
    print(f"{len(lived)} mutants live, {len(lived & explained)} of them explained")  # noqa: T201
    return int(lived != explained)


def touched(diff: str, groups: Iterable[Group]) -> list[tuple[str, str]]:
    """The functions that a diff without context changes in the groups' modules: the module, and mutmut's name."""
    found = []
    modules = {module for group in groups for module in group.modules}
    for told in diff.split("\n+++ b/src/barfeed/")[1:]:
        module = told.partition(".py\n")[0]
        if module in modules:
            spans = [
                (int(first), int(first) + int(count or 1))
                for first, count in re.findall(r"^@@ -\S+ \+(\d+)(?:,(\d+))? @@", told, re.MULTILINE)
            ]
            source = (ROOT / "src" / "barfeed" / f"{module}.py").read_text("utf-8")
            found += [(module, f"barfeed.{module.replace('/', '.')}.{name}") for name in _within(source, spans)]
    return found


def sample(found: Sequence[tuple[str, str]], seed: str) -> list[tuple[str, str]]:
    """At most eight of them, by chance but the same ones each time."""
    return random.Random(seed).sample(found, min(len(found), TOUCHED_MAX))


def _within(source: str, spans: Iterable[tuple[int, int]]) -> Iterator[str]:
    """The functions that share a line with a span, as mutmut names their mutants."""
    lines = {line for first, end in spans for line in range(first, end)}
    tree = ast.parse(source)
    bodies = [("x_", tree.body)] + [
        (f"xǁ{each.name}ǁ", each.body) for each in tree.body if isinstance(each, ast.ClassDef)
    ]
    for prefix, body in bodies:
        for each in body:
            if isinstance(each, ast.FunctionDef) and lines & {*range(each.lineno, (each.end_lineno or 0) + 1)}:
                yield f"{prefix}{each.name}__mutmut_*"


def git(*words: str) -> str:
    """What git prints."""
    return subprocess.run(["git", *words], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def read() -> list[Lived]:
    """The survivors that are explained."""
    table = tomllib.loads(SURVIVORS.read_text("utf-8"))
    return [Lived(each["module"], each["old"], each["new"]) for each in table.get("survivor", ())]


def run(group: Group, patterns: Sequence[str] = ()) -> Iterator[Lived]:
    """The mutants of a group that live; of all of them, or of those whose names fit a pattern."""
    with tempfile.TemporaryDirectory(prefix="barfeed-mutants-") as folder:
        copy = Path(folder)
        for name in COPIED:
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, copy / name)
        live_alone(copy / "tests")
        with (copy / "pyproject.toml").open("a") as file:
            file.write(configuration(group))
        for line in mutmut(copy, "run", *patterns):
            if said := re.fullmatch(r"(\d+)/\1  .*", line):
                print(f"{', '.join(group.modules)}: {said[0]}")  # noqa: T201
        yield from living(copy)


def live_alone(tests: Path) -> None:
    """Let each test live what it looks at.

    For a mutant those tests are run that were seen to call its function: of an hour that many share only the first was.
    """
    for path in tests.rglob("*.py"):
        path.write_text(path.read_text("utf-8").replace('(scope="module")', ""), "utf-8")


def living(copy: Path) -> Iterator[Lived]:
    """The mutants that a run in `copy` has left alive, by their change: a number moves with every line before it."""
    ended = (line.partition(": ") for line in mutmut(copy, "results"))
    names = [name for name, _, how in ended if how in {"survived", "no tests", "suspicious"}]
    yield from changes("\n".join(shown(copy, names)))


def changes(diffs: str) -> Iterator[Lived]:
    """What each of some mutants changes, told by its diff under a line `# NAME: STATUS`."""
    # A comment beside what was changed begins with the same sign.
    for told in re.split(r"^# (?=\S+__mutmut_\d+: )", diffs, flags=re.MULTILINE)[1:]:
        diff = told.splitlines()
        old, new = (
            " ".join(line[1:].strip() for line in diff if line.startswith(sign) and not line.startswith(sign * 3))
            for sign in "-+"
        )
        dotted = told.partition(":")[0].split(".")
        yield Lived("/".join(dotted[1:-1]), *differing(old, new))


def configuration(group: Group) -> str:
    """What mutmut reads from pyproject.toml."""
    sources = [f"src/barfeed/{name}.py" for name in group.modules]
    flags = ["-m", "not long and not proof and not peers", "-p", "no:cacheprovider"]
    # A mutant that never ends is one that is noticed: it need not take the 15 times as long that mutmut gives it.
    return (
        f'\n[tool.mutmut]\nsource_paths = ["src"]\nonly_mutate = {sources}\nalso_copy = ["docs", "run"]\n'
        f"pytest_add_cli_args = {flags}\npytest_add_cli_args_test_selection = {list(group.tests)}\n"
        "timeout_multiplier = 2\ntimeout_constant = 60\n"
    )


def mutmut(copy: Path, *words: str) -> list[str]:
    """What one of its commands prints."""
    return called(copy, str(Path(sys.executable).with_name("mutmut")), *words)


def called(copy: Path, *command: str) -> list[str]:
    """A command's lines; ends all where it cannot even begin."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{command[0]} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    # Its progress is one line drawn over and over, each time behind another sign.
    return [line.strip() for line in re.split(r"[\r\n]|[\u2800-\u28ff] ", done.stdout)]


def shown(copy: Path, names: list[str]) -> list[str]:
    """The diffs of mutants, each under a line that begins with `# `; all at once, for each start takes seconds."""
    show = "import sys; from mutmut.__main__ import show; print(); [show.callback(name) for name in sys.argv[1:]]"
    return called(copy, sys.executable, "-c", show, *names)


def differing(old: str, new: str) -> tuple[str, str]:
    """Both texts around what differs, long enough to be found."""
    matches = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    changed = [each for each in matches if each[0] != "equal"]
    if not changed:
        return old, new
    _, old_from, _, new_from, _ = changed[0]
    _, _, old_to, _, new_to = changed[-1]
    return old[max(0, old_from - 40) : old_to + 40], new[max(0, new_from - 40) : new_to + 40]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
