"""docs/benchmarks.md, the figures beside it and the pictures tell the same."""

import json
import re
from pathlib import Path

import pytest
from benchmarks.report import Section, Timing, write_part

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


def test_one_part_that_is_measured_again_takes_its_own_place(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    for name in (page.name, "benchmarks.json"):
        (tmp_path / name).write_text((DOCS / name).read_text("utf-8"), "utf-8")
    before = page.read_text("utf-8")
    timing = Timing("barfeed", [0.1, 0.2, 0.3])
    for where in ("a ship", "an island"):
        write_part(page, where, "cold", Section("A cold cycle again", [timing]))
        write_part(page, where, "newest", Section("What was never measured", [timing]))
    text = page.read_text("utf-8")
    assert text.count("| barfeed | 200 | 150 .. 250 | 300 |\n\nMeasured on an island.\n") == 2
    assert "a ship" not in text
    # The others are as they were, in their order, and what is new stands behind them.
    others = [each for each in re.findall(r"^### .*", before, re.MULTILINE) if each != f"### {PARTS['cold']['title']}"]
    assert re.findall(r"^### .*", text, re.MULTILINE) == [
        "### A cold cycle again",
        *others,
        "### What was never measured",
    ]
    assert [*json.loads((tmp_path / "benchmarks.json").read_text("utf-8"))["parts"]] == [*PARTS, "newest"]
