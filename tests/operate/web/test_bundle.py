"""What is served is what its source and its packages give."""

import filecmp
import shutil
import subprocess
from pathlib import Path

import pytest

from barfeed.operate.web.app import STATIC

SOURCE = Path(__file__).resolve().parents[3] / "web"


@pytest.mark.long
def test_the_bundle_is_what_its_source_gives_and_the_chart_is_its_package_s_own(tmp_path: Path) -> None:
    node = shutil.which("node")
    if not node or not (SOURCE / "node_modules").exists():
        pytest.skip("the page's packages are not installed: make page needs Node.js")
    subprocess.run([node, "node_modules/typescript/bin/tsc", "--noEmit"], cwd=SOURCE, check=True, timeout=600)
    subprocess.run([node, "build.mjs", str(tmp_path / "static")], cwd=SOURCE, check=True, timeout=600)
    names = {each.relative_to(STATIC) for each in STATIC.rglob("*") if each.is_file()}
    assert names == {
        each.relative_to(tmp_path / "static") for each in (tmp_path / "static").rglob("*") if each.is_file()
    }
    same, changed, absent = filecmp.cmpfiles(STATIC, tmp_path / "static", map(str, names), shallow=False)
    assert (changed, absent) == ([], []), same
