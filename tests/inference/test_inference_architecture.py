"""What the package is made of: parsed, not imported, so it holds without the extra."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "lgbm_inference"
MODULES = sorted(PACKAGE.glob("*.py"))
by_module = pytest.mark.parametrize("path", MODULES, ids=[path.name for path in MODULES])

STANDARD = {
    "calendar", "collections", "contextlib", "csv", "dataclasses", "datetime", "errno", "functools", "hashlib",
    "importlib", "io", "json", "logging", "math", "os", "pathlib", "platform", "re", "shutil", "sys", "tempfile",
    "time", "traceback", "typing",
}  # fmt: skip
HEAVY = {"lightgbm", "matplotlib"}
LIBRARIES = {"click", "duckdb", "numpy"} | HEAVY


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def imported(nodes: Iterator[ast.AST] | list[ast.stmt]) -> set[str]:
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {each.name.split(".")[0] for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names.add((node.module or "").split(".")[0])
    return names


@by_module
def test_it_knows_nothing_of_barfeed_and_few_libraries(path: Path) -> None:
    used = imported(ast.walk(tree(path)))
    assert "barfeed" not in used
    assert used <= STANDARD | LIBRARIES | {"lgbm_inference"}


def test_the_check_of_imports_sees_what_it_looks_for() -> None:
    assert imported(ast.walk(ast.parse("def f():\n    from barfeed.domain.bars import Bar\n"))) == {"barfeed"}


@by_module
def test_what_is_slow_to_import_is_imported_where_it_is_used(path: Path) -> None:
    assert not imported(tree(path).body) & HEAVY


@by_module
def test_a_module_is_under_400_lines(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) < 400


def code_lines(path: Path, function: ast.FunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    lines = path.read_text("utf-8").splitlines()[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in map(str.strip, lines) if line and not line.startswith("#"))


def test_functions_are_short() -> None:
    lengths = sorted(
        code_lines(path, node) for path in MODULES for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef)
    )
    assert len(lengths) > 80
    assert median(lengths) <= 5
    assert lengths[int(0.95 * len(lengths))] < 25


@pytest.mark.parametrize("name", ["run_inference_lgbm", "train_lgbm"])
def test_a_script_is_two_lines_over_the_package_and_what_ctrl_c_needs_until_then(name: str) -> None:
    (guarded, called) = ast.parse((ROOT / "run" / f"{name}.py").read_text()).body
    assert isinstance(guarded, ast.Try)
    assert isinstance(guarded.body[0], ast.ImportFrom)
    assert len(guarded.body) == len(guarded.handlers) == 1
    assert isinstance(called, ast.Expr)


def test_the_page_names_every_exit_code_of_the_help() -> None:
    page = (ROOT / "docs" / "inference.md").read_text()
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert told == {int(code) for code in re.findall(r"^  (\d+) +\w", (PACKAGE / "cli.py").read_text(), re.MULTILINE)}
