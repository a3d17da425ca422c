"""The site is built whole, and whatever would break it for a reader breaks the build."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from process import ROOT

pytest.importorskip("furo", reason="extra `docs`")

STRICT = ("-W", "--keep-going", "-n", "-q", "-b", "html")


def build(source: Path, site: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "sphinx", *STRICT, "-d", f"{site}-trees", str(source), str(site)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.long
def test_the_site_is_built_without_a_warning_and_holds_every_page(tmp_path: Path) -> None:
    done = build(ROOT / "docs", tmp_path / "site")
    assert (done.returncode, done.stderr) == (0, "")
    built = {path.stem for path in (tmp_path / "site").glob("*.html")}
    assert {path.stem for path in (ROOT / "docs").glob("*.md")} <= built
    for page in (tmp_path / "site").glob("*.html"):
        html = page.read_text("utf-8")
        # Readable with the network unplugged: nothing is loaded from elsewhere.
        loaded = re.findall(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"(https?:[^\"]*)\"", html)
        assert loaded == [], page.name
        assert "\N{EN DASH}" not in html, f"{page.name}: a flag's dashes became another sign"
    styles = "".join(path.read_text("utf-8") for path in (tmp_path / "site" / "_static").rglob("*.css"))
    assert not re.search(r"@import\s+url\(|url\(['\"]?https?:", styles)


def test_make_site_is_as_strict_as_this() -> None:
    recipe = (ROOT / "Makefile").read_text("utf-8").split("\nsite:", 1)[1].split("\n\n", 1)[0]
    assert set(STRICT) <= set(recipe.split())


SOUND = {
    "index.md": "# One\n\n## Part\n\n[there](two.md) [part](#part)\n\n```{toctree}\ntwo\n```\n",
    "two.md": "# Two\n\n[back](index.md#part)\n",
}
BROKEN = SOUND | {
    "two.md": "# Two\n\n[x](four.md) [x](index.md#nowhere) [x](#nothing) ![x](none.svg)\n\n```{toctree}\nfive\n```\n",
    "three.md": "# Three\n",
}


def small_site(folder: Path, pages: dict[str, str]) -> "subprocess.CompletedProcess[str]":
    source = folder / "docs"
    shutil.copytree(ROOT / "docs" / "static", source / "static")
    shutil.copy(ROOT / "docs" / "conf.py", source)
    for page, content in pages.items():
        (source / page).write_text(content)
    return build(source, folder / "site")


def test_a_sound_site_is_built(tmp_path: Path) -> None:
    done = small_site(tmp_path, SOUND)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.long
def test_broken_links_missing_pages_and_orphans_fail_the_build(tmp_path: Path) -> None:
    done = small_site(tmp_path, BROKEN)
    assert done.returncode != 0
    for trouble in ("four.md", "nowhere", "nothing", "none.svg", "nonexisting document 'five'"):
        assert trouble in done.stderr
    assert re.search(r"three\.md: WARNING: document isn't included in any toctree", done.stderr)
