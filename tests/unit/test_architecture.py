import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2] / "src" / "barfeed"

PURE = {"bars", "grid", "rules", "verdict", "errors", "parts", "bulk_rules", "acceptance", "troubles", "checks"}
# Each may also use the parts of its own package.
ADAPTERS = {
    "clock",
    "binance",
    "store",
    "artifacts",
    "runs",
    "whole",
    "staging",
    "revisions",
    "locks",
    "ledger",
    "errands",
    "alerts",
    "metrics",
    "listening",
    "premises",
    "stopping",
}
HAPPENS = {
    "record",
    "followup",
    "cycle",
    "confirmation",
    "watch",
    "verification",
    "status",
    "export",
    "retention",
    "backfill",
    "backfill_report",
    "users_files",
    "repair",
    "logs",
    "telling",
    "measures",
    "health",
    "meter",
    "doctor",
}
TOP = {"config", "wiring", "cli", "commands", "replay", "__main__", "__init__", "wiring_history", "wiring_audience"}

# What a room may import of barfeed besides itself; "" is the version in barfeed/__init__.py.
ALLOWED = (
    dict.fromkeys(PURE, PURE)
    # A file that is whole or absent, a lock, the time, and being asked to end, are what adapters stand on themselves.
    | dict.fromkeys(ADAPTERS, PURE | {"clock", "whole", "locks", "stopping", ""})
    | dict.fromkeys(HAPPENS, PURE | ADAPTERS | HAPPENS | {""})
    | {"config": PURE | {""}, "replay": PURE | {"clock", "config", ""}}
    | dict.fromkeys(TOP - {"config", "replay"}, PURE | ADAPTERS | HAPPENS | TOP | {""})
)
STANDARD_ONLY = PURE | {"clock"}
ASKS_THE_MACHINE = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns",
    "time.clock_gettime", "time.clock_gettime_ns", "time.sleep", "datetime.now", "datetime.utcnow", "datetime.today",
    "date.today", "localtime", "time.localtime",
}  # fmt: skip


class Module(NamedTuple):
    path: Path
    tree: ast.Module

    @property
    def room(self) -> str:
        return self.path.relative_to(ROOT).parts[0].removesuffix(".py")

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


MODULES = [Module(path, ast.parse(path.read_text("utf-8"))) for path in sorted(ROOT.rglob("*.py"))]
by_module = pytest.mark.parametrize("module", MODULES, ids=[module.name for module in MODULES])


def imports(module: Module) -> Iterator[str]:
    """Every imported module's dotted name, `barfeed.x` for `from barfeed import x`."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module.name}: a relative import"
            name = node.module or ""
            yield from (f"{name}.{each.name}" for each in node.names) if name == "barfeed" else [name]


def rooms(module: Module) -> set[str]:
    """The rooms of barfeed that a module imports; "" for the version."""
    own = [name.split(".") for name in imports(module) if name.split(".")[0] == "barfeed"]
    named = {parts[1] if len(parts) > 1 else "" for parts in own}
    return {"" if name == "__version__" else name for name in named}


@by_module
def test_dependencies_point_one_way(module: Module) -> None:
    assert module.room in ALLOWED, f"{module.name} stands in no room: give it one in this test"
    assert rooms(module) - {module.room} <= ALLOWED[module.room]


def test_no_room_is_named_that_does_not_exist() -> None:
    assert {module.room for module in MODULES} >= set(ALLOWED) - {"replay"}


@pytest.mark.parametrize("room", sorted(STANDARD_ONLY))
def test_what_a_bar_is_needs_the_standard_library_only(room: str) -> None:
    used = {name.split(".")[0] for module in MODULES if module.room == room for name in imports(module)}
    assert used - {"barfeed"} <= sys.stdlib_module_names


@pytest.mark.parametrize("room", sorted(PURE))
def test_what_decides_does_no_input_or_output_and_no_logging(room: str) -> None:
    used = {name.split(".")[0] for module in MODULES if module.room == room for name in imports(module)}
    assert not used & {"logging", "os", "io", "pathlib", "socket", "random", "subprocess", "threading", "tempfile"}


@pytest.mark.parametrize(
    ("library", "home"),
    [
        ("duckdb", {"store.py", "staging.py"}),
        ("urllib3", {"binance/transport.py"}),
        ("apprise", {"alerts.py"}),
        ("prometheus_client", {"metrics.py"}),
        ("websockets", {"binance/stream.py"}),
        ("click", None),
    ],
)
def test_a_library_has_one_home(library: str, home: set[str] | None) -> None:
    homes = {
        module.name
        for module in MODULES
        if library in {name.split(".")[0] for name in imports(module)} and module.room != "replay"
    }
    # click speaks to people: only faces may.
    assert homes == home if home else all(name.split("/")[0].removesuffix(".py") in TOP for name in homes)


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


@by_module
def test_only_the_clock_asks_the_machine_for_the_time(module: Module) -> None:
    if module.name == "clock.py":
        return
    used = [dotted(node) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)]
    asked = [name for name in used if any(f".{name}".endswith(f".{each}") for each in ASKS_THE_MACHINE)]
    named = [
        f"{node.module}.{each.name}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom)
        for each in node.names
        if f"{node.module}.{each.name}" in ASKS_THE_MACHINE
    ]
    assert asked + named == []


@by_module
def test_a_module_is_under_400_lines(module: Module) -> None:
    assert len(module.path.read_text("utf-8").splitlines()) < 400


def function_lengths() -> list[int]:
    """Lines of code of every function: without the signature, the docstring, blank lines and comments."""
    lengths = []
    for module in MODULES:
        lines = module.path.read_text("utf-8").splitlines()
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) is not None else node.body
                first, last = (body[0].lineno, node.end_lineno or 0) if body else (1, 0)
                code = [line.strip() for line in lines[first - 1 : last]]
                lengths.append(sum(1 for line in code if line and not line.startswith("#")))
    return sorted(lengths)


def test_functions_are_short() -> None:
    lengths = function_lengths()
    assert len(lengths) > 100
    assert median(lengths) <= 6
    assert lengths[int(0.9 * len(lengths))] < 25


def test_the_check_of_time_itself_sees_what_it_looks_for() -> None:
    module = Module(ROOT / "x.py", ast.parse("import datetime\ndatetime.datetime.now()\n"))
    with pytest.raises(AssertionError):
        test_only_the_clock_asks_the_machine_for_the_time(module)
