import ast
import re
import sys
from functools import cache
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1] / "src" / "barfeed"

# What each folder may import besides itself. The page and its picture in docs/design.md are made from the same folders.
BELOW = ("domain", "machine")
AROUND = ("exchange", "store", "artifacts", *BELOW)
ALLOWED: dict[str, tuple[str, ...]] = {
    "domain": (),
    "machine": (),
    "exchange": BELOW,
    "store": BELOW,
    "artifacts": BELOW,
    "feed": AROUND,
    "history": AROUND,
    "operate": ("feed", "history", *AROUND),
    "replay": BELOW,
    "cli": ("feed", "history", "operate", "replay", *AROUND),
}
# A library that others are spared: the one folder that may import it. The replay exchange is a program of its own.
HOMES = {
    "click": "cli",
    "duckdb": "store",
    "obstore": "store/lake",
    "psycopg": "store/postgres/link",
    "urllib3": "exchange/transport",
    "aiohttp": "exchange/transport",
    "websockets": "exchange/stream",
    "apprise": "operate/alerts",
    "prometheus_client": "operate/metrics",
    "starlette": "operate/web",
    "uvicorn": "operate/web",
}
# What the two files at the top are the way into.
TOP = {"__main__.py": {"cli"}, "__init__.py": {"history", "domain"}}
ENTRIES_MAX = 12
IMPURE = {"logging", "os", "io", "pathlib", "socket", "random", "subprocess", "threading", "tempfile"}
ASKS_THE_MACHINE = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.clock_gettime", "time.clock_gettime_ns", "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today", "localtime", "time.localtime",
}  # fmt: skip
LAST_NAMES = {name.split(".")[-1] for name in ASKS_THE_MACHINE}


class Module(NamedTuple):
    """What there is to know of one; its tree itself is large, and let go."""

    path: Path
    docstring: str
    imports: frozenset[str]
    is_relative: bool
    asks: list[str]
    lines: int
    function_lengths: list[int]

    @property
    def name(self) -> str:
        return self.path.relative_to(ROOT).as_posix()

    @property
    def room(self) -> str:
        """The folder that it stands in, "" for the two files at the top."""
        return self.path.relative_to(ROOT).parts[0] if "/" in self.name else ""

    @property
    def says_it_is_pure(self) -> bool:
        return bool(re.search(r"\b[Pp]ure\b", self.docstring))


# What is served to a browser is no room of ours.
FOLDERS = sorted({path.parent for path in ROOT.rglob("*.py")})


@cache
def modules() -> tuple[Module, ...]:
    """All that there is, parsed once, and only where a test looks at it."""
    return tuple(parsed(path, path.read_text("utf-8")) for path in sorted(ROOT.rglob("*.py")))


def parsed(path: Path, source: str) -> Module:
    tree = ast.parse(source)
    nodes = list(ast.walk(tree))
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    imports = {each.name for node in nodes if isinstance(node, ast.Import) for each in node.names}
    lines = source.splitlines()
    return Module(
        path=path,
        docstring=ast.get_docstring(tree) or "",
        imports=frozenset(imports.union(*map(imported, froms))),
        is_relative=any(node.level for node in froms),
        asks=[*asked(nodes), *named(froms)],
        lines=len(lines),
        function_lengths=[length(node, lines) for node in nodes if isinstance(node, ast.FunctionDef)],
    )


def imported(statement: ast.ImportFrom) -> list[str]:
    """The dotted name of what it imports from, `barfeed.x` for `from barfeed import x`."""
    name = statement.module or ""
    return [f"{name}.{each.name}" for each in statement.names] if name == "barfeed" else [name]


def asked(nodes: list[ast.AST]) -> list[str]:
    """What is used of the machine to know the time."""
    used = [dotted(node) for node in nodes if isinstance(node, ast.Attribute) and node.attr in LAST_NAMES]
    return [name for name in used if any(f".{name}".endswith(f".{each}") for each in ASKS_THE_MACHINE)]


def named(froms: list[ast.ImportFrom]) -> list[str]:
    """What of it is imported by its name."""
    names = [f"{node.module}.{each.name}" for node in froms for each in node.names]
    return [name for name in names if name in ASKS_THE_MACHINE]


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def length(function: ast.FunctionDef, lines: list[str]) -> int:
    """Its lines of code: without the signature, the docstring, blank lines and comments."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    first, last = (body[0].lineno, function.end_lineno or 0) if body else (1, 0)
    code = [line.strip() for line in lines[first - 1 : last]]
    return sum(1 for line in code if line and not line.startswith("#"))


def pure() -> list[Module]:
    return [module for module in modules() if module.room == "domain" or module.says_it_is_pure]


def libraries(module: Module) -> set[str]:
    return {name.split(".")[0] for name in module.imports}


def rooms(module: Module) -> set[str]:
    """The folders of barfeed that a module imports from; its version is everybody's."""
    own = [name.split(".")[1] for name in module.imports if name.startswith("barfeed.")]
    return set(own) - {"__version__"}


def test_dependencies_point_one_way() -> None:
    def upward(module: Module) -> set[str]:
        allowed = ALLOWED[module.room] if module.room else TOP[module.name]
        return rooms(module) - {module.room, *allowed}

    assert {module.name: upward(module) for module in modules() if upward(module)} == {}


def test_nothing_is_imported_by_where_it_stands() -> None:
    assert [module.name for module in modules() if module.is_relative] == []


def test_every_folder_has_its_line() -> None:
    assert {module.room for module in modules()} == {*ALLOWED, ""}


def test_every_line_is_of_a_folder_above_those_it_imports() -> None:
    order = list(ALLOWED)
    assert all(order.index(below) < order.index(room) for room, allowed in ALLOWED.items() for below in allowed)


def test_a_folder_has_no_more_entries_than_an_eye_takes_in() -> None:
    def entries(folder: Path) -> int:
        return sum(1 for path in folder.iterdir() if path.name not in {"__pycache__", "py.typed"})

    assert {folder: entries(folder) for folder in FOLDERS if entries(folder) > ENTRIES_MAX} == {}


def test_a_folder_says_what_it_is() -> None:
    said = {module.path.parent: module.docstring for module in modules() if module.path.name == "__init__.py"}
    assert [folder for folder in FOLDERS if len(said.get(folder, "")) <= 20] == []


@pytest.mark.parametrize("room", ["domain", "machine"])
def test_what_all_stands_on_needs_the_standard_library_only(room: str) -> None:
    used = set().union(*(libraries(module) for module in modules() if module.room == room))
    assert used - {"barfeed"} <= sys.stdlib_module_names


def test_what_decides_does_no_input_or_output_and_no_logging() -> None:
    impure = {module.name: libraries(module) & IMPURE for module in pure()}
    assert {name: used for name, used in impure.items() if used} == {}


def test_what_decides_is_found_beyond_the_domain_too() -> None:
    assert {"exchange/wire.py", "exchange/refusals.py", "operate/doctor/checks.py"} <= {
        module.name for module in pure()
    }


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    homes = {
        module.path.parent.relative_to(ROOT).as_posix()
        for module in modules()
        if library in libraries(module) and module.room != "replay"
    }
    assert {home for home in homes if not home.startswith(f"{HOMES[library]}/")} == {HOMES[library]}


def test_only_the_clock_asks_the_machine_for_the_time() -> None:
    asking = {module.name: module.asks for module in modules() if module.asks}
    assert {name: asks for name, asks in asking.items() if name != "machine/clock.py"} == {}


def test_a_module_is_under_400_lines() -> None:
    assert [module.name for module in modules() if module.lines >= 400] == []


def test_functions_are_short() -> None:
    lengths = sorted(length for module in modules() for length in module.function_lengths)
    assert len(lengths) > 100
    assert median(lengths) <= 6
    assert lengths[int(0.9 * len(lengths))] < 25


def test_the_check_of_time_itself_sees_what_it_looks_for() -> None:
    module = parsed(ROOT / "x.py", "import datetime\ndatetime.datetime.now()\n")
    assert module.asks == ["datetime.datetime.now"]
