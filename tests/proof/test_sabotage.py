"""The patches of `make sabotage` fit the tree, the page and the suite; that each is seen, the command itself shows."""

import re
import subprocess
from pathlib import Path

import pytest

from process import ROOT
from proof import sabotage

ALL = sabotage.all_of_them()
by_patch = pytest.mark.parametrize("patch", ALL, ids=[each.path.stem for each in ALL])


@by_patch
def test_an_old_fault_still_fits_the_code(patch: sabotage.Sabotage, tmp_path: Path) -> None:
    named = re.findall(r"^--- a/(\S+)$", patch.path.read_text("utf-8"), re.MULTILINE)
    assert named
    for name in named:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    done = subprocess.run(
        ["git", "apply", "-p1", patch.path], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@by_patch
def test_an_old_fault_is_one_of_the_page(patch: sabotage.Sabotage) -> None:
    page = (ROOT / "docs" / "proof.md").read_text("utf-8")
    assert f"| {patch.fault} |" in page


@by_patch
def test_what_sees_an_old_fault_is_run_with_every_change(patch: sabotage.Sabotage) -> None:
    for test in patch.tests:
        path, _, name = test.partition("::")
        source = (ROOT / path).read_text("utf-8")
        before, found, _ = source.partition(f"\ndef {name.partition('[')[0]}(")
        assert found, test
        marks = before[before.rfind("\n\n\n") :]
        assert "mark.proof" not in marks, test


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
