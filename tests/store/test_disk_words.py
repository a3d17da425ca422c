"""What DuckDB says of a lock that it cannot have, as it has said it, and what a person hears."""

from pathlib import Path

import duckdb
import pytest

from barfeed.store.troubles import disk

STORE = Path("/srv/x.duckdb")
SAID = 'IO Error: Could not set lock on file "/srv/x.duckdb": {}. See also https://duckdb.org/docs/current/connect/concurrency'
NEVER = (
    "File locks are not supported for this file system, cannot open the file in read-write mode. Try opening the file"
)


@pytest.mark.parametrize(
    ("said", "told", "is_held"),
    [
        ("Conflicting lock is held in PID 0", "is held by a process of another container or host", True),
        ("Conflicting lock is held in PID -7", "is held by a process of another container or host", True),
        ("Conflicting lock is held in /usr/bin/python3 (PID 70)", "is held by /usr/bin/python3 (PID 70)", True),
        ("Conflicting lock is held in PID 70", "is held by PID 70", True),
        ("Resource temporarily unavailable", "is held by another process", True),
        ("No locks available", "is on a disk that cannot lock files: No locks available", False),
        (NEVER, "is on a disk that cannot lock files", False),
    ],
)
def test_a_lock_that_is_not_had_is_another_process_or_the_disk(said: str, told: str, is_held: bool) -> None:
    problem = duckdb.IOException(SAID.format(said))
    assert str(disk.trouble(STORE, problem)) == f"{STORE} {told}"
    assert disk.is_held(problem) is is_held


def test_what_is_wrong_with_the_file_itself_is_told_by_others() -> None:
    problem = duckdb.IOException(
        'IO Error: The file "/srv/x.duckdb" exists, but it is not a valid DuckDB database file!'
    )
    assert disk.trouble(STORE, problem) is None
