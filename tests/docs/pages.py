"""The pages as they stand in the tree, and the fenced blocks in them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from process import ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])

_BLOCK = re.compile(r"^(?P<fence>`{3,})(?P<kind>\S*)[^\n]*\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A fenced block: `kind` is what stands behind its fence, `line` where that is."""

    page: str
    line: int
    kind: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def name(path: Path) -> str:
    """`docs/replay.md`."""
    return path.relative_to(ROOT).as_posix()


def blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text("utf-8")
    for found in _BLOCK.finditer(text):
        yield Block(name(path), text.count("\n", 0, found.start()) + 1, found["kind"], found["text"])


BLOCKS = [block for path in PAGES for block in blocks_of(path)]


def prose(path: Path) -> str:
    """A page without its blocks."""
    return _BLOCK.sub("", path.read_text("utf-8"))


def without_numbers(line: str) -> str:
    """What a line says, whatever the hour: a page shows other bars than a test has."""
    return re.sub(r"\s+", " ", re.sub(r"[-+]?\d[\d,.:]*", "0", line)).strip()
