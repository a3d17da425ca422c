"""docs/benchmarks.md, the figures beside it and the pictures tell the same."""

import json
import re
from pathlib import Path

import pytest

from process import ROOT

DOCS = ROOT / "docs"
PARTS = json.loads((DOCS / "benchmarks.json").read_text("utf-8"))["parts"]


def section(title: str) -> str:
    page = (DOCS / "benchmarks.md").read_text("utf-8")
    return page.split(f"### {title}\n", 1)[1].split("\n### ", 1)[0]


@pytest.mark.parametrize("part", PARTS)
def test_the_tables_are_the_figures(part: str) -> None:
    text = section(PARTS[part]["title"])
    assert f"(benchmarks-{part}.svg)" in text
    rows = [
        f"| {each['name']} | {each['median_ms']} | {each['low_ms']} .. {each['high_ms']} | {each['most_ms']} |"
        for each in PARTS[part]["timings"]
    ]
    assert re.findall(r"^\| .*\d \|$", text, re.MULTILINE) == rows


def words(picture: Path) -> list[str]:
    """What is written in a picture."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", picture.read_text("utf-8"))


@pytest.mark.long
@pytest.mark.parametrize("part", PARTS)
def test_a_picture_is_drawn_from_the_figures(tmp_path: Path, part: str) -> None:
    pytest.importorskip("matplotlib", reason="extra `inference`")
    # Imported only here: drawing is for who has matplotlib.
    from benchmarks import plots  # noqa: PLC0415

    plots.draw(plots.FIGURES, tmp_path)
    shown = words(DOCS / f"benchmarks-{part}.svg")
    assert shown == words(tmp_path / f"benchmarks-{part}.svg"), "run `make docs`"
    medians = [f"{each['median_ms']:,} ms" for each in PARTS[part]["timings"]]
    assert sorted(medians) == sorted(word for word in shown if word.endswith(" ms"))
    assert {each["name"] for each in PARTS[part]["timings"]} <= set(shown)
