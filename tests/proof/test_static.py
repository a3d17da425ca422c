"""The commands of `make audit` and `make mutants` say what is so."""

import sys
import tomllib
from pathlib import Path

import pytest

from proof import audit, mutants


def fails(said: str) -> list[str]:
    return [sys.executable, "-c", f"import sys; sys.stderr.write({said!r}); sys.exit(1)"]


def test_an_audit_without_a_network_is_skipped_with_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert audit.main(fails("requests.exceptions.ConnectionError: HTTPSConnectionPool(...)")) == 0
    assert capfd.readouterr().out == "audit: skipped: no network\n"


def test_an_audit_that_finds_something_fails(capfd: pytest.CaptureFixture[str]) -> None:
    assert audit.main(fails("Found 1 known vulnerability in 1 package")) == 1
    assert "known vulnerability" in capfd.readouterr().err


def test_every_explained_survivor_still_stands_in_its_module() -> None:
    for each in mutants.read():
        source = " ".join((mutants.ROOT / "src" / "barfeed" / f"{each.module}.py").read_text("utf-8").split())
        assert " ".join(each.old.split()) in source, each


def test_every_survivor_has_its_reason() -> None:
    told = tomllib.loads(mutants.SURVIVORS.read_text("utf-8"))["survivor"]
    assert all(each["why"] for each in told)


def test_a_mutant_is_known_by_what_it_changes() -> None:
    old, new = "a = 1 if x else 2", "a = 1 if not x else 2"
    assert mutants.differing(old, new) == (old, new)


def test_a_comment_beside_a_mutant_is_none() -> None:
    diffs = """
# barfeed.domain.grid.x_floor__mutmut_1: survived
--- src/barfeed/domain/grid.py
+++ src/barfeed/domain/grid.py
# Why it is so.
-    return a - b
+    return a + b
# barfeed.domain.grid.x_floor__mutmut_2: survived
-    return a - b
+    return a - None
"""
    assert list(mutants.changes(diffs)) == [
        mutants.Lived("domain/grid", "return a - b", "return a + b"),
        mutants.Lived("domain/grid", "return a - b", "return a - None"),
    ]


def test_the_functions_that_a_change_touches_are_known_by_their_lines() -> None:
    source = mutants.ROOT / "src" / "barfeed" / "domain" / "grid.py"
    (at,) = [n for n, line in enumerate(source.read_text("utf-8").splitlines(), 1) if line.startswith("def floor(")]
    diff = f"""
--- a/src/barfeed/bars.py
+++ b/src/barfeed/domain/bars.py
@@ -1 +1 @@
--- a/src/barfeed/grid.py
+++ b/src/barfeed/domain/grid.py
@@ -1,0 +{at + 1} @@ def floor
"""
    group = mutants.GROUPS["decisions"]
    assert mutants.touched(diff, [group]) == [("domain/grid", "barfeed.domain.grid.x_floor__mutmut_*")]


def test_a_sample_is_the_same_each_time_and_no_more_than_eight() -> None:
    found = [("domain/grid", str(number)) for number in range(40)]
    assert mutants.sample(found, "a") == mutants.sample(found, "a") != mutants.sample(found, "b")
    assert len(mutants.sample(found, "a")) == 8
    assert len(mutants.sample(found[:3], "a")) == 3


def test_an_hour_that_many_tests_share_is_lived_by_each_of_them_beside_a_mutant(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text('@pytest.fixture(scope="module")\ndef normal() -> None: ...\n')
    mutants.live_alone(tmp_path)
    assert (tmp_path / "test_it.py").read_text() == "@pytest.fixture\ndef normal() -> None: ...\n"
