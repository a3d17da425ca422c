"""Contracts, concepts, design: every key, column and name on the page is the real one, and none is left out."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from barfeed.artifacts.retention import Keep, prune
from barfeed.domain.acceptance import Terms
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.replay.tapes.tape import Tape
from holding import held
from process import ROOT, machine
from world import BTCUSDT_1H, World, hours, made_up_bars, ms

CONTRACTS = (ROOT / "docs" / "contracts.md").read_text("utf-8")
TARGET_MS = ms(2024, 2, 10, 13)
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 9085.5'


# Whatever the exchange says twice is taken.
ANYTHING = Terms(price=1.0, volume=100.0, pause_sec=0.0)


def first_cells(heading: str) -> str:
    """What stands in the first column of the table below a heading."""
    section = CONTRACTS.split(f"{heading}\n", 1)[1].split("\n#", 1)[0]
    return "\n".join(row.split("|")[1] for row in section.splitlines() if row.startswith("| `"))


def named(heading: str) -> list[str]:
    return re.findall(r"`([^`]+)`", first_cells(heading))


@pytest.fixture
def lived(tmp_path: Path) -> World:
    """A store that ends at 13:00; it is 15:00:30 on the exchange."""
    tape = Tape.of(BTCUSDT_1H, made_up_bars(TARGET_MS + hours(10), 2010))
    world = World(tmp_path, [tape], TARGET_MS + hours(1) + 30_000)
    assert world.run(catch_up=True).exit_code == 0
    world.clock.go_to(TARGET_MS + hours(2) + 30_000)
    return world


def keys(value: Any, path: str = "") -> Iterator[str]:
    """Every key down to where values begin, `files.api_pull.rows`, `findings[].bar`."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from keys(each, f"{path}.{key}" if path else key)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        yield from keys(value[0], f"{path}[]")
    else:
        yield path


def is_told(key: str, told: list[str]) -> bool:
    """Whether a key, one above or below it, or a pattern for it stands in the table."""
    if any(re.match(rf"{re.escape(key)}[.\[]", each) for each in told):
        return True
    patterns = [re.escape(each).replace(r"\*", r"[^.]+") for each in told]
    return any(re.fullmatch(rf"{pattern}([.\[].*)?", key) for pattern in patterns)


def manifests(lived: World) -> list[dict[str, Any]]:
    """Of an hour that failed, of one that accepted a revision, of one with a command to follow."""
    records = [
        lived.run(fault=REVISED),
        lived.run(fault=REVISED, accept=ANYTHING),
        lived.run(fault=REVISED, then="true"),
    ]
    assert [each.status for each in records] == ["mismatch", "appended", "up_to_date"]
    return [each.manifest(lived.rest.conversation(1.0)) for each in records]


def test_every_key_of_a_manifest_is_told_and_no_other(lived: World) -> None:
    told = named("### The manifest")
    real = {key for each in manifests(lived) for key in keys(each)}
    assert {key for key in real if not is_told(key, told)} == set()
    nowhere = {each for each in told if not any(is_told(key, [each]) for key in real)}
    # Words of the table's first cells are keys, every one.
    assert nowhere == set()


def test_the_tables_are_the_ones_that_a_store_has(lived: World) -> None:
    assert lived.run(fault=REVISED, accept=ANYTHING).status == "appended"
    (create, *_) = re.findall(r"```sql\n(CREATE.*?)```", CONTRACTS, re.DOTALL)
    with duckdb.connect() as connection, duckdb.connect(lived.duckdb) as store:
        connection.execute(create)
        described = "DESCRIBE ohlcv_btcusdt_1h"
        assert connection.execute(described).fetchall() == store.execute(described).fetchall()
        real = [(name, kind) for name, kind, *_ in store.execute("DESCRIBE ohlcv_revisions").fetchall()]
    rows = CONTRACTS.split("### `ohlcv_revisions`\n", 1)[1].split("\n#", 1)[0].splitlines()
    cells = [row.split("|") for row in rows if row.startswith("| `")]
    assert [(name, row[2].strip()) for row in cells for name in re.findall(r"`(\w+)`", row[1])] == real


def test_every_word_of_the_exit_line_is_told(lived: World) -> None:
    told = set(named("## The exit line"))
    with held(lived.duckdb):
        beside = lived.run(catch_up=True).line()
    lines = [
        beside,
        lived.run(fault=REVISED).line(),
        lived.run(fault=REVISED, dry_run=True, accept=ANYTHING).line(),
        lived.run(fault=REVISED, accept=ANYTHING).line(),
    ]
    words = {word for line in lines for word in re.findall(r"(\w+)=", line)}
    assert words <= told
    # In a dry run nothing is revised, and would_revise is only told there.
    assert told - words <= {"--dry-run", "would_revise"}


def test_the_variables_of_then_are_told(tmp_path: Path) -> None:
    with machine(tmp_path, TARGET_MS) as feeding:
        ran = feeding.feed("--catch-up", "--then", "env")
    given = set(re.findall(r"--then: (BARFEED_\w+)=", ran.err)) - {"BARFEED_BASE_URL"}
    assert given == set(named("## What `--then` is given"))


def test_the_folder_holds_the_files_that_are_told(lived: World) -> None:
    told = named("## The files of a run")
    patterns = [re.sub(r"\\{.*?\\}", r"[0-9ZT_-]+", re.escape(each)) for each in told if not each.startswith(".")]
    assert len(patterns) == 7
    for file in lived.files():
        assert any(re.fullmatch(pattern, file) for pattern in patterns), file


def test_the_hidden_names_are_told_and_no_other(lived: World) -> None:
    folder = lived.feed.folder
    LedgerFile(folder).change(lambda ledger: (None, ledger))
    prune(folder, lived.clock.now_ms, Keep(1))
    hidden = {path.name for path in folder.iterdir() if path.name.startswith(".")}
    assert hidden == {each for each in named("## The files of a run") if each.startswith(".")}
    assert (folder / ".series").read_text() == "BTCUSDT 1h\n"
    assert [path.name for path in (folder / ".unfinished").iterdir()] == ["latest.lock"]


def test_asking_twice_is_in_the_manifest_as_told(lived: World) -> None:
    told = CONTRACTS.split("### The manifest", 1)[1]
    record = lived.run(confirm_sec=1.0)
    assert record.manifest(lived.rest.conversation(1.0))["durations_sec"]["confirm"] >= 1.0
    assert "`confirm` with `--confirm-reads`" in told


def test_the_words_are_those_of_the_code() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text("utf-8")
    words = re.findall(r"\*\*(\w[\w -]*)\*\*", page.split("## An hour")[0])
    source = "\n".join(path.read_text("utf-8") for path in (ROOT / "src" / "barfeed").rglob("*.py")).lower()
    assert len(words) > 15
    for word in words:
        assert re.search(rf"\b{re.sub('[ -]', '[ _-]', word)}", source), word
