"""The file that remembers what was told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from barfeed.machine.locks import locked
from barfeed.operate.alerts.ledger import LedgerFile, spare_paths
from barfeed.operate.alerts.troubles import Heard, Ledger, Letter, Message, Spell, note
from waiting import in_time
from world import hours, ms

NOON_MS = ms(2024, 2, 10, 12)
TROUBLE = [Heard("cycle", "BTCUSDT 1h", "mismatch", "it differs", "barfeed repair")]

ADDING = """
import sys
from dataclasses import replace
from pathlib import Path
from barfeed.machine.clock import SystemClock
from barfeed.operate.alerts.ledger import LedgerFile
from barfeed.machine.locks import locked
from barfeed.operate.alerts.troubles import Spell

file = LedgerFile(Path(sys.argv[1]))
for _ in range(25):
    file.change(lambda ledger: (None, replace(ledger, spells={"n": Spell(0, ledger.spells["n"].cycles + 1)})))
"""


def saved(folder: Path, ledger: Ledger) -> LedgerFile:
    file = LedgerFile(folder)
    file.change(lambda _: (None, ledger))
    return file


def test_another_process_reads_what_one_wrote(tmp_path: Path) -> None:
    ledger = note(Ledger(), TROUBLE, ["channel 1", "channel 2"], NOON_MS)
    saved(tmp_path, ledger)
    assert LedgerFile(tmp_path).read() == ledger
    message = ledger.letters[0].message
    assert ledger == Ledger(
        {"cycle": Spell(NOON_MS, 1, {"mismatch": NOON_MS})},
        (Letter(message, "channel 1"), Letter(message, "channel 2")),
    )
    assert isinstance(message, Message)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"null", b'{"spells": 5}', b'{"spells": {"cycle": {}}}', b"\xff\xfe", b"[" * 100_000]
)
def test_a_file_that_cannot_be_read_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "alerts.json").write_bytes(content)
    file = LedgerFile(tmp_path)
    assert file.read() == Ledger()
    file.change(lambda ledger: (None, note(ledger, TROUBLE, ["channel 1"], NOON_MS)))
    assert len(LedgerFile(tmp_path).read().letters) == 1


def test_what_does_not_change_is_not_written(tmp_path: Path) -> None:
    file = LedgerFile(tmp_path)
    assert file.change(lambda ledger: ("seen", ledger)) == "seen"
    assert not (tmp_path / "alerts.json").exists()


@pytest.mark.parametrize("folder", ["absent", "file"])
def test_where_nothing_can_be_written_a_watch_remembers_all_the_same(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    file = saved(tmp_path / folder, note(Ledger(), TROUBLE, ["channel 1"], NOON_MS))
    file.change(lambda ledger: (None, note(ledger, TROUBLE, ["channel 1"], NOON_MS + hours(1))))
    assert file.read().spells == {"cycle": Spell(NOON_MS, 2, {"mismatch": NOON_MS})}


def test_where_the_folder_is_the_trouble_another_process_reads_what_was_told_beside_it(tmp_path: Path) -> None:
    folder, ledger = tmp_path / "feed", note(Ledger(), TROUBLE, ["channel 1"], NOON_MS)
    folder.write_text("in the way")
    spares = spare_paths(folder, (tmp_path / "feed" / "below", tmp_path / "home"))
    LedgerFile(folder, spares).change(lambda _: (None, ledger))
    assert LedgerFile(folder, spares).read() == ledger
    folder.unlink()
    folder.mkdir()
    LedgerFile(folder, spares).change(lambda told: (None, note(told, TROUBLE, ["channel 1"], NOON_MS + hours(1))))
    assert LedgerFile(folder).read().spells == {"cycle": Spell(NOON_MS, 2, {"mismatch": NOON_MS})}
    assert not any(path.exists() for path in spares)


@pytest.mark.long
def test_processes_change_it_one_after_another(tmp_path: Path) -> None:
    saved(tmp_path, Ledger({"n": Spell(0)}))
    adding = [subprocess.Popen([sys.executable, "-c", ADDING, str(tmp_path)]) for _ in range(3)]
    assert [each.wait(60) for each in adding] == [0, 0, 0]
    assert LedgerFile(tmp_path).read().spells["n"].cycles == 75


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with a name")
@pytest.mark.parametrize("name", ["alerts.json", ".alerts.lock"])
def test_a_pipe_in_its_place_or_its_locks_keeps_nobody_waiting(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    file = in_time(lambda: saved(tmp_path, note(Ledger(), TROUBLE, ["channel 1"], NOON_MS)))
    assert file.read().spells == {"cycle": Spell(NOON_MS, 1, {"mismatch": NOON_MS})}
    assert (tmp_path / name).is_fifo()


def test_a_lock_that_another_process_keeps_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("barfeed.machine.locks.WAIT_SEC", 0.2)
    ledger = note(Ledger(), TROUBLE, ["channel 1"], NOON_MS)
    with locked(tmp_path / ".alerts.lock", wait=False):
        in_time(lambda: saved(tmp_path, ledger))
    assert LedgerFile(tmp_path).read() == ledger
