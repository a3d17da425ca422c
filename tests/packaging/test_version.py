"""The version is written once, and the changelog knows it."""

import re
import tomllib

from barfeed import __version__
from process import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_the_version_is_written_in_one_place() -> None:
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "src/barfeed/__init__.py"
    written = re.compile(rf"\b{re.escape(__version__)}\b")
    others = [path for path in (ROOT / "src").rglob("*.py") if written.search(path.read_text())]
    assert others == [ROOT / "src" / "barfeed" / "__init__.py"]


def test_the_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\] - (.+)$", CHANGELOG, re.MULTILINE)
    version, day = headings[0]
    assert version == __version__
    assert day == "unreleased" or re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    versions = [tuple(map(int, version.split("."))) for version, _ in headings]
    assert versions == sorted(versions, reverse=True)


def test_the_changelog_has_the_kept_sections_only() -> None:
    sections = set(re.findall(r"^### (.+)$", CHANGELOG, re.MULTILINE))
    assert sections
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert PROJECT["project"]["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text().startswith("MIT License\n")
