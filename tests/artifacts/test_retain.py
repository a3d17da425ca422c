"""`--retain-days` of the feed: old runs are folded away after a cycle, which never suffers from it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from commands import names
from process import Machine, lived_machine
from waiting import until
from world import ms

pytestmark = pytest.mark.long

TARGET_MS = ms(2024, 2, 10, 13)


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    """A feed that ran at 14:00 of a day, and is about to run again two days later."""
    with lived_machine(tmp_path, TARGET_MS, hours_later=48) as each:
        yield each


def runs_in(folder: Path) -> list[str]:
    return sorted(name for name in names(folder) if name.endswith("_run.json"))


def test_it_is_off_unless_asked_for(feeding: Machine) -> None:
    assert feeding.feed("--catch-up").code == 0
    assert runs_in(feeding.artifacts) == ["20240210_140030Z_run.json", "20240212_140030Z_run.json"]


def test_the_days_first_cycle_folds_what_is_older(feeding: Machine) -> None:
    done = feeding.feed("--catch-up", "--retain-days", "1")
    assert (done.code, done.err) == (0, "")
    assert runs_in(feeding.artifacts) == ["20240212_140030Z_run.json"]
    assert "2024-02_runs.zip" in names(feeding.artifacts)


def test_a_cycle_that_published_nothing_does_not_take_the_last_good_file(feeding: Machine) -> None:
    done = feeding.feed("--retain-days", "1")
    assert done.code == 1
    assert runs_in(feeding.artifacts) == ["20240210_140030Z_run.json", "20240212_140030Z_run.json"]
    assert "20240210_140030Z_for_inference.csv" in names(feeding.artifacts)


def test_failures_that_the_machines_clock_named_keep_no_day_from_its_prune(feeding: Machine) -> None:
    for _ in range(2):
        # The exchange lives in 2024, the machine does not.
        assert feeding.feed("--base-url", "http://127.0.0.1:1", "--max-wait-sec", "1").code == 3
    assert feeding.feed("--catch-up", "--retain-days", "1").code == 0
    assert "20240210_140030Z_run.json" not in runs_in(feeding.artifacts)


def test_a_dry_run_folds_nothing(feeding: Machine) -> None:
    assert feeding.feed("--catch-up", "--retain-days", "1", "--dry-run").code == 0
    assert len(runs_in(feeding.artifacts)) == 2


def test_trouble_with_old_files_is_a_warning_and_the_hour_is_as_good_as_ever(feeding: Machine) -> None:
    (feeding.artifacts / "2024-02_runs.zip").write_text("no zip")
    done = feeding.feed("--catch-up", "--retain-days", "1")
    assert done.code == 0
    assert done.out.startswith("pulled=")
    assert "WARNING old runs were not folded away: " in done.err
    assert "Traceback" not in done.err
    assert len(runs_in(feeding.artifacts)) == 2


def test_a_watch_folds_too(feeding: Machine) -> None:
    running = feeding.start("--watch", "--catch-up", "--retain-days", "1")
    try:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("pulled=")
        until(lambda: len(runs_in(feeding.artifacts)) == 1)
    finally:
        running.terminate()
        running.communicate(timeout=60)
    assert runs_in(feeding.artifacts) == ["20240212_140030Z_run.json"]
