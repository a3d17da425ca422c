"""`make sabotage`: put each fault that was once found back, one at a time; the test that holds it must see it.

A patch in `sabotage/` begins with lines `fault:`, the words of its row in docs/proof.md, and `seen by:`, a test of the
ordinary suite or of CI's sample. Everything happens in copies of the tree; nothing is left behind.

    python tests/proof/sabotage.py [NAME ...]
"""

import re
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("sabotage")
COPIED = ("src", "tests", "docs", "run", "deploy", "benchmarks", "pyproject.toml", "README.md", "CHANGELOG.md")
# Of pytest: some tests failed. Whatever else ends it, a patch that breaks an import too, proves nothing.
TESTS_FAILED = 1
COPIES = 2


class Sabotage(NamedTuple):
    """An old fault: the patch that puts it back, its words, and the tests that must fail with it."""

    path: Path
    fault: str
    tests: tuple[str, ...]


def all_of_them() -> list[Sabotage]:
    """Every old fault, by the name of its patch."""
    return [read(path) for path in sorted(FOLDER.glob("*.patch"))]


def read(path: Path) -> Sabotage:
    """A patch with what its first lines say."""
    text = path.read_text("utf-8")
    head = text.partition("\n--- ")[0]
    faults = re.findall(r"^fault: (.+)$", head, re.MULTILINE)
    tests = re.findall(r"^seen by: (.+)$", head, re.MULTILINE)
    if len(faults) != 1 or not tests:
        sys.exit(f"{path.name}: its first lines must be one `fault:` and at least one `seen by:`")
    return Sabotage(path, faults[0], tuple(tests))


def main(names: Sequence[str]) -> int:
    """Put them back, or those that are named; 1 where one is not seen."""
    wanted = [each for each in all_of_them() if not names or each.path.stem in names]
    copies: SimpleQueue[Path] = SimpleQueue()

    def proven(each: Sabotage) -> str:
        copy = copies.get()
        try:
            return unseen(copy, each)
        finally:
            copies.put(copy)

    with tempfile.TemporaryDirectory(prefix="barfeed-sabotage-") as folder, ThreadPoolExecutor(COPIES) as pool:
        for number in range(COPIES):
            copies.put(copied(Path(folder) / str(number)))
        missed = 0
        for each, problem in zip(wanted, pool.map(proven, wanted), strict=True):
            missed += bool(problem)
            print(f"{'NOT SEEN' if problem else 'seen'}  {each.path.stem}{problem}", flush=True)  # noqa: T201
    print(f"{len(wanted) - missed} passed, {missed} failed")  # noqa: T201 - a command's output
    return int(bool(missed) or not wanted)


def copied(folder: Path) -> Path:
    """A copy of the tree whose Python imports that copy, and every library of this one."""
    folder.mkdir()
    for name in COPIED:
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, folder / name)
    shared = ROOT.parent / "shared"
    if shared.exists() and not (folder.parent / "shared").exists():
        (folder.parent / "shared").symlink_to(shared)
    venv.create(folder / ".venv", symlinks=True)
    (site,) = (folder / ".venv").glob("lib/python*/site-packages")
    libraries = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "tree.pth").write_text(f"{folder / 'src'}\n{libraries}\n")
    program = folder / ".venv" / "bin" / "barfeed"
    program.write_text(f"#!{folder / '.venv' / 'bin' / 'python'}\nfrom barfeed.__main__ import main\nmain()\n")
    program.chmod(0o755)
    return folder


def unseen(copy: Path, sabotage: Sabotage) -> str:
    """Why it is not seen; "" where its tests pass without the fault, and one fails with it."""
    code, said = tested(copy, sabotage.tests)
    if code:
        return f": its tests do not pass without it (exit {code})\n{said}"
    with patched(copy, sabotage.path):
        code, said = tested(copy, sabotage.tests)
    return "" if code == TESTS_FAILED else f": its tests ended with exit {code}\n{said}"


def tested(copy: Path, tests: Sequence[str]) -> tuple[int, str]:
    """How pytest ended, and the last that it said."""
    python = copy / ".venv" / "bin" / "python"
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "300", *tests]
    done = subprocess.run(command, cwd=copy, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    return done.returncode, done.stdout[-2000:] + done.stderr[-1000:]


@contextmanager
def patched(copy: Path, patch: Path) -> Iterator[None]:
    """The tree with the fault in it."""
    subprocess.run(["git", "apply", "-p1", patch], cwd=copy, check=True)
    try:
        yield
    finally:
        subprocess.run(["git", "apply", "-p1", "-R", patch], cwd=copy, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
