"""Every TOML block is a file that the command takes: a configuration, faults, or faults of the archive."""

import tomllib
from pathlib import Path

import pytest

from barfeed.cli.commands.feed.run import run
from barfeed.cli.settings import Settings
from barfeed.domain.errors import UsageError
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from docs.pages import BLOCKS, Block

TOML = [block for block in BLOCKS if block.kind == "toml"]


def take(block: Block, folder: Path) -> None:
    """As the command would take the file; `UsageError` tells what is wrong with it."""
    keys = set(tomllib.loads(block.text))
    if "fault" in keys:
        parse_faults(block.text, str(block))
    elif "archive" in keys:
        parse_archive_faults(block.text, str(block))
    else:
        file = folder / "barfeed.toml"
        file.write_text(block.text)
        Settings(**run.make_context("run", ["--config", str(file)]).params).series()


@pytest.mark.parametrize("block", TOML, ids=str)
def test_a_toml_block_is_taken_as_it_stands(tmp_path: Path, block: Block) -> None:
    assert block.text.strip()
    take(block, tmp_path)


@pytest.mark.parametrize(
    "text", ["n_recents = 6\n", "n_recent = 1\n", '[[fault]]\nkind = "x"\n', '[[archive]]\nkind = "x"\n']
)
def test_a_block_that_would_be_refused_is_found(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError):
        take(Block("docs/x.md", 1, "toml", text), tmp_path)
