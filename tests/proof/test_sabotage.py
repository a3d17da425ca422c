"""The patches of `make sabotage` fit the tree, the page and the suite; that each is seen, the command itself shows."""

import re
import subprocess
from pathlib import Path

import pytest

from process import ROOT
from proof import sabotage

ALL = sabotage.all_of_them()


def test_each_old_fault_still_fits_the_code() -> None:
    assert [each.path.stem for each in ALL if not fits(each)] == []


def fits(patch: sabotage.Sabotage) -> bool:
    """Whether it could be put back: looked at, for the tree stays as it is."""
    done = subprocess.run(["git", "apply", "--check", patch.path], cwd=ROOT, check=False)
    return done.returncode == 0 and "\n--- a/" in patch.path.read_text("utf-8")


def test_each_old_fault_is_one_of_the_page() -> None:
    page = (ROOT / "docs" / "proof.md").read_text("utf-8")
    assert [each.fault for each in ALL if f"| {each.fault} |" not in page] == []


def test_what_sees_an_old_fault_is_run_with_every_change() -> None:
    assert [test for each in ALL for test in each.tests if not is_run_by_ci(test)] == []


def is_run_by_ci(test: str) -> bool:
    """Whether there is such a test, and no proof, which is run nightly."""
    path, _, name = test.partition("::")
    before, found, _ = (ROOT / path).read_text("utf-8").partition(f"\ndef {name.partition('[')[0]}(")
    marks = before[before.rfind("\n\n\n") :]
    return bool(found) and "mark.proof" not in marks


def faults() -> list[str]:
    """What went wrong once, row by row of the page's tables of faults."""
    page = (ROOT / "docs" / "proof.md").read_text("utf-8")
    tables = re.findall(r"^\| (?:found by \| )?fault \|.*\n\|[- |]+\n((?:\|.*\n)+)", page, re.MULTILINE)
    # The last table says first who found it.
    *by_fault, by_finder = [[row.strip("| ").split(" | ") for row in table.splitlines()] for table in tables]
    return [cells[0] for table in by_fault for cells in table if not cells[0].startswith("`")] + [
        cells[1] for cells in by_finder
    ]


def test_every_fault_of_the_page_can_be_put_back() -> None:
    told = faults()
    assert len(told) > 60
    # It was in a library, whose range keeps it out.
    elsewhere = "urllib3 before 2.6 unpacked nested encodings without bound"
    assert set(told) - {each.fault for each in ALL} == {elsewhere}


def test_a_patch_without_its_words_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.patch").write_text("seen by: tests/x.py::test_x\n--- a/src/x.py\n")
    with pytest.raises(SystemExit, match="one `fault:`"):
        sabotage.read(tmp_path / "x.patch")
