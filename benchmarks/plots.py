"""The pictures of docs/benchmarks.md, from the figures beside it: `python -m benchmarks.plots` draws them again."""

import json
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from benchmarks.ground import ROOT

FIGURES = ROOT / "docs" / "benchmarks.json"

_OURS, _RIVALS = "#2f7d5b", "#8a97a6"
# Read on white and on black alike.
_INK = "#76808c"
_BAR_INCHES = 0.34
_STYLE: Any = {
    # Text stays text: small, sharp, and a test can read it. The salt keeps names in the file from changing.
    "svg.fonttype": "none",
    "svg.hashsalt": "barfeed",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
}


def draw(figures: Path, folder: Path) -> None:
    """One SVG for each part of the figures, `benchmarks-cold.svg`."""
    for part, section in json.loads(figures.read_text("utf-8"))["parts"].items():
        with mpl.rc_context(_STYLE):
            _bars(section["timings"]).savefig(
                folder / f"benchmarks-{part}.svg", transparent=True, bbox_inches="tight", metadata={"Date": None}
            )


def _bars(timings: list[dict[str, Any]]) -> Figure:
    """Medians as bars, the middle half as a line across their ends; the first contender on top."""
    rows = list(reversed(timings))
    figure = Figure(figsize=(7.2, 0.5 + _BAR_INCHES * len(rows)))
    axes = figure.subplots()
    medians = [row["median_ms"] for row in rows]
    spread = [
        [row["median_ms"] - row["low_ms"] for row in rows],
        [row["high_ms"] - row["median_ms"] for row in rows],
    ]
    colours = [_RIVALS if ".py" in row["name"] else _OURS for row in rows]
    axes.barh([row["name"] for row in rows], medians, xerr=spread, color=colours, ecolor=_INK, height=0.62)
    for place, row in enumerate(rows):
        axes.annotate(
            f"{row['median_ms']:,} ms", (row["high_ms"], place), (6, 0), textcoords="offset points", va="center"
        )
    axes.set_xlim(0, 1.18 * max(row["high_ms"] for row in rows))
    axes.set_xticks([])
    axes.tick_params(axis="y", length=0)
    for side in axes.spines.values():
        side.set_visible(False)
    return figure


if __name__ == "__main__":
    draw(FIGURES, FIGURES.parent)
