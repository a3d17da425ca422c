"""docs/reading.ipynb runs from its top to its end, on a store, and holds no output of another day."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from commands import make_store
from process import ROOT

NOTEBOOK = ROOT / "docs" / "reading.ipynb"
RUN = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
nbformat.write(notebook, "done.ipynb")
"""


def test_it_is_kept_without_its_outputs() -> None:
    cells = [cell for cell in json.loads(NOTEBOOK.read_text("utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert [cell["outputs"] for cell in cells] == [[]] * len(cells)


@pytest.mark.long
def test_it_runs_from_open_to_a_chart(tmp_path: Path) -> None:
    for needed in ("nbclient", "ipykernel", "matplotlib"):
        pytest.importorskip(needed, reason="extras `docs` and `inference`")
    make_store(tmp_path / "data" / "ohlcv.duckdb")
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", RUN, str(NOTEBOOK)],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    given = [
        kind
        for cell in json.loads((tmp_path / "done.ipynb").read_text("utf-8"))["cells"]
        for output in cell.get("outputs", [])
        for kind in output.get("data", {})
    ]
    assert "image/png" in given
    shown = "".join((tmp_path / "done.ipynb").read_text("utf-8"))
    assert "BTCUSDT 1h: 800 rows" in shown
    assert "(726, Timestamp('2024-02-10 13:00:00'))" in shown
