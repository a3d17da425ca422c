"""No block of any page stands there unproven."""

import re

import pytest

from docs.claims import BY_KIND, BY_PAGE, LIVED, NOT_RUN, claimed_by
from docs.pages import BLOCKS, Block
from process import ROOT


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_a_block_is_claimed_by_a_test(block: Block) -> None:
    assert claimed_by(block), f"{block}: nobody claims a block of kind {block.kind!r}; see tests/docs/claims.py"


def test_a_claim_names_a_file_of_tests_and_blocks_that_exist() -> None:
    for file in {*BY_KIND.values(), *BY_PAGE.values()}:
        assert list((ROOT / "tests").rglob(file)), file
    there = {(block.page, block.kind) for block in BLOCKS}
    assert set(BY_PAGE) <= there
    assert set(BY_KIND) <= {kind for _, kind in there}


def test_what_is_not_run_has_its_reason_and_is_written_somewhere() -> None:
    assert all(NOT_RUN.values())
    lines = [line[2:] for block in BLOCKS if block.kind == "console" for line in block.text.splitlines()]
    for pattern in NOT_RUN:
        assert any(re.fullmatch(pattern, line) for line in lines), pattern


def test_a_kind_is_claimed_once() -> None:
    assert not LIVED & set(BY_KIND)


def test_an_unknown_kind_is_not_claimed() -> None:
    assert claimed_by(Block("docs/x.md", 1, "ruby", "")) == ""
