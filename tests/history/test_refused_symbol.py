"""What the commands around the feed say of a symbol that the exchange refuses: what it is, and what goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from barfeed.cli.commands.history.backfill import backfill
from barfeed.cli.commands.history.repair import repair
from barfeed.cli.commands.history.verify import verify
from commands import call
from process import Machine, lived_machine
from world import ms

TARGET_MS = ms(2024, 2, 10, 13)
CLOSED = """
[[fault]]
kind = "settle"
at = 2024-02-10T13:30:00
until_bar = 2024-02-10T13:00:00

[[fault]]
kind = "status"
status = 400
code = -4141
msg = "Symbol is closed."
"""


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Machine]:
    """A feed that has lived up to 13:00, in which its symbol settled; two hours later."""
    with lived_machine(tmp_path, TARGET_MS, hours_later=2, faults=CLOSED) as ready:
        yield ready


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (backfill, ["--from", "2023-01-01", "--source", "rest"]),
        (repair, ["--dry-run"]),
        (repair, ["--let-pass", "2024-02-10 12:00", "--dry-run"]),
        (verify, ["--against", "rest"]),
    ],
    ids=["backfill", "repair", "repair --let-pass", "verify"],
)
def test_a_symbol_that_is_refused_is_told_by_what_it_is(closed: Machine, command: object, words: list[str]) -> None:
    flags = ["--duckdb", str(closed.duckdb), "--base-url", closed.url]
    done = call(command, *words, *flags)  # type: ignore[arg-type]
    assert done.code == 5
    assert (
        "BTCUSDT 1h: settled since 2024-02-10 13:30 (SETTLING): its last bar is 2024-02-10 13:00; the exchange refused:"
        " HTTP 400 -4141 'Symbol is closed.'"
    ) in done.err
    assert done.hint == "the store has it; no more bars will come: stop this feed"
