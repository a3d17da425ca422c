"""`barfeed repair` and `barfeed revisions` as processes of their own, against an exchange on a socket."""

import json
import os
import pty
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from barfeed.replay.faults.script import parse_faults
from process import BARFEED, Machine, Ran, lived_machine, machine
from storage import opened
from waiting import LONGEST_SEC
from world import hours, made_up_bars, ms

TARGET_MS = ms(2024, 2, 10, 13)
TAPED = {bar.open_time_ms: bar for bar in made_up_bars(TARGET_MS + hours(400), 1400)}
QUICK = ("--pause-sec", "0")
REVISED = '[[fault]]\nkind = "revise"\nbar = 2024-02-10T11:00:00\nvolume = 77.125\n'
HIDDEN = '[[fault]]\nkind = "hide"\nbar = 2024-02-10T05:00:00\n'

Barfeed = Callable[..., Ran]


@pytest.fixture
def feeding(tmp_path: Path) -> Iterator[Machine]:
    with lived_machine(tmp_path, TARGET_MS) as ready:
        yield ready


def revise_and_delete(feeding: Machine, more: str = "") -> None:
    """11:00 is another bar on the exchange, 03:00 is missing from the store."""
    feeding.exchange.faults = parse_faults(REVISED + more, "the test")
    with opened(feeding.duckdb) as connection:
        connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 03:00:00'")


def held(feeding: Machine) -> list[tuple[object, ...]]:
    with opened(feeding.duckdb, read_only=True) as connection:
        return connection.execute("SELECT * FROM ohlcv_btcusdt_1h ORDER BY timestamp").fetchall()


def expected_plan() -> str:
    bar = TAPED[ms(2024, 2, 10, 3)]
    old = TAPED[ms(2024, 2, 10, 11)]
    return (
        "BTCUSDT 1h: 726 bars compared, 2024-01-11 08:00..2024-02-10 13:00: 2 to repair\n"
        f"  2024-02-10 03:00  missing   exchange open {bar.open}, high {bar.high}, low {bar.low}, close {bar.close},"
        f" volume {bar.volume}\n"
        f"  2024-02-10 11:00  mismatch  volume stored {old.volume}, exchange 77.125\n"
    )


def test_a_dry_run_shows_the_plan_bar_by_bar_and_changes_nothing(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding)
    before = held(feeding)
    assert barfeed(feeding, "repair", "--dry-run") == Ran(1, expected_plan(), "")
    assert held(feeding) == before


@pytest.mark.long
def test_with_yes_it_mends_and_tells(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding)
    ran = barfeed(feeding, "repair", "--yes", "--reason", "seen at night", *QUICK)
    assert (ran.code, ran.err) == (0, "")
    assert re.sub(r"'repair .*'", "RUN", ran.out) == expected_plan() + "filled=1 revised=1 left=0 run=RUN\n"
    assert len(held(feeding)) == 726
    assert feeding.feed().code == 0
    again = barfeed(feeding, "repair", "--dry-run")
    assert again == Ran(0, "BTCUSDT 1h: 726 bars compared, 2024-01-11 08:00..2024-02-10 13:00: 0 to repair\n", "")
    listed = barfeed(feeding, "revisions")
    assert (listed.code, listed.err) == (0, "")
    old = TAPED[ms(2024, 2, 10, 11)]
    assert re.fullmatch(
        rf"2024-02-10 11:00  volume {old.volume} -> 77\.125  seen=20\S+ \S+ accepted=20\S+ \S+"
        r" reason='seen at night' run='repair 2024-02-10 14:00:30'\nBTCUSDT 1h: 1 revisions\n",
        listed.out,
    )


@pytest.mark.long
@pytest.mark.parametrize(
    ("only", "kinds", "rows"),
    [("gaps", ["missing"], 726), ("mismatches", ["mismatch"], 725)],
    ids=["gaps", "mismatches"],
)
def test_only_one_kind_is_looked_at_where_it_is_said(
    feeding: Machine, barfeed: Barfeed, only: str, kinds: list[str], rows: int
) -> None:
    revise_and_delete(feeding)
    ran = barfeed(feeding, "repair", "--yes", "--only", only, "--json", *QUICK)
    assert ran.code == 0, ran.err
    assert [bar["kind"] for bar in json.loads(ran.out)["bars"]] == kinds
    assert len(held(feeding)) == rows


@pytest.mark.long
def test_the_json_has_both_versions_of_every_bar(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding, HIDDEN)
    with opened(feeding.duckdb) as connection:
        connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 05:00:00'")
    ran = barfeed(feeding, "repair", "--yes", "--json", *QUICK)
    assert ran.code == 1
    told = json.loads(ran.out)
    assert {name: told[name] for name in ("compared", "first", "last", "filled", "revised")} == {
        "compared": 726, "first": "2024-01-11 08:00", "last": "2024-02-10 13:00", "filled": 1, "revised": 1
    }  # fmt: skip
    assert [(bar["bar"], bar["kind"], bar["mended"]) for bar in told["bars"]] == [
        ("2024-02-10 03:00", "missing", True),
        ("2024-02-10 05:00", "absent", False),
        ("2024-02-10 11:00", "mismatch", True),
    ]
    mismatch = told["bars"][2]
    assert mismatch["exchange"] == mismatch["stored"] | {"volume": 77.125}
    listed = json.loads(barfeed(feeding, "revisions", "--json").out)
    assert listed["series"] == {"symbol": "BTCUSDT", "interval": "1h"}
    (revision,) = listed["revisions"]
    assert (revision["bar"], revision["old"], revision["new"]) == (
        "2024-02-10 11:00", mismatch["stored"], mismatch["exchange"]
    )  # fmt: skip
    assert revision["run"] == told["run"]


def test_what_is_left_is_told_with_exit_1(feeding: Machine, barfeed: Barfeed) -> None:
    feeding.exchange.faults = parse_faults(HIDDEN, "the test")
    with opened(feeding.duckdb) as connection:
        connection.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = TIMESTAMP '2024-02-10 05:00:00'")
    ran = barfeed(feeding, "repair", "--yes", *QUICK)
    assert ran.code == 1
    assert ran.err == (
        "barfeed: BTCUSDT 1h: 1 of 1 bars were left as they are; first: 2024-02-10 05:00  absent    the exchange has no"
        " such bar either: it is left\n  hint: what the exchange has not got cannot be filled: nothing is made up\n"
    )


def test_without_a_terminal_and_a_yes_nothing_is_done(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding)
    before = held(feeding)
    ran = barfeed(feeding, "repair")
    assert ran == Ran(
        2,
        "",
        "barfeed: nobody can be asked here, and a repair wants a yes\n  hint: give it --yes or --dry-run\n",
    )
    assert held(feeding) == before


def at_a_terminal(feeding: Machine, typed: bytes) -> tuple[int, str]:
    """Run `barfeed repair` on a terminal of its own and type; what it says there, both outputs together."""
    ours, theirs = pty.openpty()
    code = "from barfeed.cli.main import main; from barfeed.cli.commands.history.repair import repair; main(repair)"
    command = [sys.executable, "-c", code, "--duckdb", str(feeding.duckdb), *QUICK]
    process = subprocess.Popen(command, env=feeding.environment(), stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    too_long = threading.Timer(LONGEST_SEC, process.kill)
    too_long.start()
    os.write(ours, typed)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:
        # How a terminal says that nobody is left on its other side.
        pass
    finally:
        too_long.cancel()
        os.close(ours)
    return process.wait(60), said.decode()


MORE_ANSWERS = [(b"no\n", 1, 725), (b"\n", 1, 725), (b"\x04", 130, 725)]


@pytest.mark.parametrize(
    ("typed", "code", "rows"),
    [(b"yes\n", 0, 726), (b"y\n", 1, 725), *(pytest.param(*each, marks=pytest.mark.long) for each in MORE_ANSWERS)],
)
def test_at_a_terminal_only_a_typed_yes_repairs(feeding: Machine, typed: bytes, code: int, rows: int) -> None:
    revise_and_delete(feeding)
    ended, said = at_a_terminal(feeding, typed)
    assert ended == code, said
    assert "fill 1 and change 1 stored bars? type yes" in said
    assert len(held(feeding)) == rows


@pytest.mark.long
def test_a_span_can_be_named(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding)
    span = ("--from", "2024-02-10 02:00", "--to", "2024-02-10 11:00")
    ran = barfeed(feeding, "repair", "--dry-run", *span)
    assert ran.out.startswith("BTCUSDT 1h: 9 bars compared, 2024-02-10 02:00..2024-02-10 10:00: 1 to repair\n")
    before = barfeed(feeding, "repair", "--dry-run", "--from", "2020-01-01", "--to", "2020-01-02")
    assert before == Ran(0, "BTCUSDT 1h: no stored bar lies there; nothing was compared\n", "")
    wrong = barfeed(feeding, "repair", "--dry-run", "--from", "2024-02-10", "--to", "2024-02-09")
    assert (wrong.code, wrong.err.splitlines()[0]) == (2, "barfeed: --from must be before --to")


@pytest.mark.long
def test_the_feeds_hint_is_the_very_command_that_mends(feeding: Machine, barfeed: Barfeed) -> None:
    revise_and_delete(feeding)
    feeding.clock.advance(hours(1))
    ran = feeding.feed()
    assert ran.code == 1
    assert ran.err.splitlines()[1] == (
        "  hint: nothing was appended; see both versions, and take the exchange's if it is right:"
        f" {BARFEED} repair --duckdb {feeding.duckdb}"
    )
    assert barfeed(feeding, "repair", "--yes", *QUICK).code == 0
    assert feeding.feed().code == 0


@pytest.mark.long
def test_the_hint_knows_the_file_with_the_settings_and_their_series(feeding: Machine) -> None:
    file = feeding.folder / "my feed.toml"
    file.write_text("n_recent = 7\n")
    ran = feeding.feed("--config", str(file), "--symbol", "BTCUSDT", "--max-wait-sec", "20")
    assert ran.code == 0, ran.err
    revise_and_delete(feeding)
    ran = feeding.feed("--config", str(file), "--symbol", "BTCUSDT", "--max-wait-sec", "20")
    assert ran.err.splitlines()[1].endswith(
        f": {BARFEED} repair --config '{file}' --duckdb {feeding.duckdb} --symbol BTCUSDT"
    )


@pytest.mark.long
def test_a_store_that_is_not_there_has_no_revisions_to_list(tmp_path: Path) -> None:
    with machine(tmp_path, TARGET_MS) as bare:
        code = (
            "from barfeed.cli.main import main;"
            " from barfeed.cli.commands.history.revisions import revisions; main(revisions)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, "--duckdb", str(bare.duckdb)],
            env=bare.environment(), capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr == (f"barfeed: {bare.duckdb} does not exist\n  hint: point --duckdb at the store\n")


@pytest.mark.long
def test_a_store_that_was_never_repaired_has_no_revisions(feeding: Machine, barfeed: Barfeed) -> None:
    before = feeding.duckdb.read_bytes()
    assert barfeed(feeding, "revisions") == Ran(0, "BTCUSDT 1h: 0 revisions\n", "")
    assert feeding.duckdb.read_bytes() == before


@pytest.mark.long
def test_the_feed_accepts_where_it_is_told_to(feeding: Machine, barfeed: Barfeed) -> None:
    feeding.exchange.faults = parse_faults(REVISED, "the test")
    feeding.clock.advance(hours(1))
    assert feeding.feed("--on-mismatch", "accept", *QUICK).code == 1
    ran = feeding.feed("--on-mismatch", "accept", "--accept-volume-within", "100", *QUICK)
    assert ran.code == 0, ran.err
    assert " appended=1 revised=1 " in ran.out
    assert "WARNING BTCUSDT 1h: accepted the exchange's word, as --on-mismatch says: 2024-02-10 11:00 volume" in ran.err
    assert "reason='--on-mismatch accept' run='20240210_150030Z-2'" in barfeed(feeding, "revisions").out
