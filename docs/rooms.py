"""Prints docs/rooms.svg, the drawing of the house, from its folders and their imports: `make docs`."""

import ast
import sys
from collections.abc import Mapping
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "barfeed"
WIDTH = 960
MARGIN = 10
ROOM_GAP = 14
FLOOR_GAP = 44
# Where an arrow passes a floor by.
LANE = 80
LINE = 17
HEAD = 56
# A line of text takes so much of a room's width, in pixels a character.
CHARACTER = 7.4
# One a floor, from the top.
COLOURS = ("#e8eef6", "#e9f0f0", "#e6f2ea", "#fbf1dd", "#f3e9f5")
STYLE = """\
  <style>
    rect { stroke: #7a8794; stroke-width: 1; }
    text { font-family: ui-sans-serif, system-ui, sans-serif; fill: #1c2430; }
    .room { font-size: 17px; font-weight: 600; }
    .says { font-size: 12px; fill: #4a5663; }
    .module { font-size: 12px; font-family: ui-monospace, Menlo, Consolas, monospace; }
    .arrow { stroke: #7a8794; stroke-width: 1.5; fill: none; marker-end: url(#tip); }
  </style>
  <defs>
    <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
      <path d="M0 0 L8 4 L0 8 z" fill="#7a8794"/>
    </marker>
  </defs>"""


class Room(NamedTuple):
    """A folder: what it says it is, what stands in it, and the folders that it imports from."""

    name: str
    says: str
    entries: list[str]
    below: set[str]


class Placed(NamedTuple):
    """A room on the sheet."""

    room: Room
    x: float
    y: float
    width: float
    height: float
    colour: str


def rooms() -> dict[str, Room]:
    """Every room of the house, by its name."""
    folders = [path.parent for path in sorted(PACKAGE.glob("*/__init__.py"))]
    return {folder.name: _room(folder) for folder in folders}


def floors(house: dict[str, Room]) -> list[list[Room]]:
    """The rooms by how far they stand above the ground: each above all that it imports from."""
    height: dict[str, int] = {}

    def of(name: str) -> int:
        if name not in height:
            height[name] = 1 + max((of(below) for below in house[name].below), default=-1)
        return height[name]

    levels = sorted({of(name) for name in house}, reverse=True)
    return [[room for name, room in house.items() if height[name] == level] for level in levels]


def drawing() -> str:
    """The whole picture."""
    house = rooms()
    levels = floors(house)
    passing = _passing(levels)
    placed = _placed(levels, passing)
    by_name = {each.room.name: each for each in placed}
    arrows = [_arrow(each, by_name[below], passing) for each in placed for below in _nearest(each.room, house)]
    height = max(each.y + each.height for each in placed) + MARGIN
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" role="img"'
        ' aria-label="The rooms of barfeed; arrows point at what a room imports from">'
    )
    return "\n".join([head, STYLE, *arrows, *map(_drawn, placed), "</svg>"]) + "\n"


def _room(folder: Path) -> Room:
    says = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    entries = sorted(path for path in folder.iterdir() if path.name not in {"__init__.py", "__pycache__"})
    names = [f"{path.name}/" if path.is_dir() else path.stem for path in entries if path.suffix != ".typed"]
    imported = {name for path in folder.rglob("*.py") for name in _imported(ast.parse(path.read_text("utf-8")))}
    # The version is everybody's.
    below = {name.split(".")[1] for name in imported if name.count(".")} - {folder.name, "__version__"}
    return Room(folder.name, says, names, below)


def _imported(tree: ast.Module) -> set[str]:
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module]
    return {name for node in nodes if (name := node.module or "").startswith("barfeed.")}


def _passing(levels: list[list[Room]]) -> list[tuple[str, str]]:
    """The arrows that pass a floor by, the longest first: each has a lane of its own, from the right."""
    floor = {room.name: n for n, level in enumerate(levels) for room in level}
    house = {room.name: room for level in levels for room in level}
    long = [(name, below) for name, room in house.items() for below in _nearest(room, house)]
    return sorted(
        (each for each in long if floor[each[1]] - floor[each[0]] > 1), key=lambda each: floor[each[0]] - floor[each[1]]
    )


def _placed(levels: list[list[Room]], passing: list[tuple[str, str]]) -> list[Placed]:
    found, y = [], float(MARGIN)
    for level, colour in zip(levels, COLOURS, strict=True):
        names = {room.name for room in level}
        above, below = ({room.name for each in part for room in each} for part in _around(levels, level))
        lanes = sum(begin in above and end in below for begin, end in passing)
        width = (WIDTH - 2 * MARGIN - lanes * LANE - ROOM_GAP * (len(level) - 1)) / len(level)
        height = max(HEAD + LINE * (len(_lines(room, width)) + len(_says(room, width))) for room in level)
        # What a long arrow leads to stands under its lane.
        ends = {end for _, end in passing} & names
        ordered = sorted(level, key=lambda room: room.name in ends)
        places = [MARGIN + n * (width + ROOM_GAP) for n in range(len(level))]
        found += [Placed(room, x, y, width, height, colour) for room, x in zip(ordered, places, strict=True)]
        y += height + FLOOR_GAP
    return found


def _around(levels: list[list[Room]], level: list[Room]) -> tuple[list[list[Room]], list[list[Room]]]:
    at = levels.index(level)
    return levels[:at], levels[at + 1 :]


def _says(room: Room, width: float) -> list[str]:
    return wrap(room.says, int((width - 24) / 7))


def _lines(room: Room, width: float) -> list[str]:
    return wrap(" · ".join(name.replace(" ", "\u00a0") for name in room.entries), int((width - 24) / CHARACTER))


def _nearest(room: Room, names: Mapping[str, Room]) -> list[str]:
    """The rooms below that are not reached through another: an arrow each would hide the house."""
    through = {deeper for below in room.below for deeper in names[below].below}
    return sorted(room.below - through)


def _arrow(above: Placed, below: Placed, passing: list[tuple[str, str]]) -> str:
    if (both := (above.room.name, below.room.name)) in passing:
        from_x = to_x = WIDTH - MARGIN - LANE * (passing.index(both) + 0.5)
    else:
        from_x = min(max(below.x + below.width / 2, above.x + 20), above.x + above.width - 20)
        to_x = min(max(from_x, below.x + 20), below.x + below.width - 20)
    return f'  <path class="arrow" d="M{from_x:.0f} {above.y + above.height:.0f} L{to_x:.0f} {below.y - 2:.0f}"/>'


def _drawn(placed: Placed) -> str:
    room, x, y, width, height, colour = placed
    says, lines = _says(room, width), _lines(room, width)
    left, first = x + 12, y + 46
    drawn = [
        f'  <rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="8" fill="{colour}"/>',
        f'  <text class="room" x="{left:.0f}" y="{y + 26:.0f}">{escape(room.name)}/</text>',
    ]
    for n, line in enumerate(says):
        drawn.append(f'  <text class="says" x="{left:.0f}" y="{first + n * LINE:.0f}">{escape(line)}</text>')
    for n, line in enumerate(lines, len(says)):
        drawn.append(f'  <text class="module" x="{left:.0f}" y="{first + 6 + n * LINE:.0f}">{escape(line)}</text>')
    return "\n".join(drawn)


if __name__ == "__main__":
    sys.stdout.write(drawing())
