"""Stored rows of kinds proven by their rules and against both sources, on both sides of the archive's changed label."""

from pathlib import Path
from typing import Any

import pytest

from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.kinds.table import kinds
from barfeed.domain.market.selection import Selection
from barfeed.history.kinds.verification import Comparison, Proven, by_rules
from barfeed.replay.faults.archive import parse_archive_faults
from barfeed.replay.faults.script import parse_faults
from barfeed.store.kinds.kept import FileKinds
from history.kinds.kinds_world import CHANGED_MS, DAY_MS, HOURLY, NOW_MS, KindsWorld

FIVE_MINUTES = Interval("5m")
AROUND: dict[str, Any] = {"from_ms": CHANGED_MS - DAY_MS, "to_ms": CHANGED_MS + DAY_MS}
# While REST remembers the day before the change.
EARLY_MS = CHANGED_MS + 3 * DAY_MS + HOUR_MS


def _proven(
    world: KindsWorld, names: str, against: Any = None, interval: Interval = HOURLY, **bounds: int
) -> list[Proven]:
    found = by_rules(FileKinds(world.store), kinds(names, (interval,)), Selection.of("all"), interval)
    if against:
        ends = (bounds.get("from_ms"), bounds.get("to_ms"))
        Comparison(world.tools(), interval, against, ends).run(found)
    return found


def _said(proven: list[Proven]) -> list[str]:
    return [f"{finding.rule}: {each}: {finding}" for each in proven for finding in each.findings]


@pytest.mark.long
@pytest.mark.parametrize("interval", [FIVE_MINUTES, HOURLY], ids=str)
@pytest.mark.parametrize("filled", ["rest", "archive"])
@pytest.mark.parametrize("against", ["rest", "archive"])
def test_what_came_of_one_source_the_other_agrees_with(
    tmp_path: Path, filled: str, against: str, interval: Interval
) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    names = "open_interest,long_short_ratio"
    world.fill(names, filled, symbols="BTCUSDT", interval=interval, **AROUND)
    proven = _proven(world, names, against, interval)
    assert _said(proven) == []
    rows = 2 * DAY_MS // interval.ms
    assert [(each.rows, each.compared) for each in proven] == [(rows, rows)] * 2
    assert [each.not_compared for each in proven] == [[], []]


@pytest.mark.long
def test_every_other_kind_agrees_with_both(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    names = "klines,mark_price,index_price,premium_index,funding,spot_klines,top_long_short_accounts"
    world.fill(names, "auto", symbols="BTCUSDT", **AROUND)
    for against in ("rest", "archive"):
        proven = _proven(world, names, against)
        assert _said(proven) == []
        compared = {each.kind.name: each.compared for each in proven}
        # The month of funding is not over.
        assert [name for name, rows in compared.items() if not rows] == (["funding"] if against == "archive" else [])


def test_a_row_that_was_changed_is_found_by_both(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    world.fill("open_interest", "rest", symbols="BTCUSDT", **AROUND)
    moments = {"before": CHANGED_MS - 5 * HOUR_MS, "since": CHANGED_MS + 5 * HOUR_MS}
    for at_ms in moments.values():
        world.execute(f"UPDATE open_interest_1h SET open_interest = 5 WHERE timestamp = make_timestamp_ms({at_ms})")
    for against, whose in (("rest", "exchange"), ("archive", "archive")):
        [proven] = _proven(world, "open_interest", against)
        assert [finding.open_time_ms for finding in proven.findings] == list(moments.values())
        assert {finding.rule for finding in proven.findings} == {"mismatch"}
        assert f"open_interest stored 5.0, {whose} " in str(proven.findings[0])


def test_a_row_that_is_missing_or_alone_is_found(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    world.fill("open_interest", "rest", symbols="BTCUSDT", **AROUND)
    gone, alone = CHANGED_MS - 7 * HOUR_MS, CHANGED_MS + 7 * HOUR_MS
    world.execute(f"DELETE FROM open_interest_1h WHERE timestamp = make_timestamp_ms({gone})")
    # Whether anybody has it is not known without a source.
    [proven] = _proven(world, "open_interest")
    assert (proven.findings, [note.rule for note in proven.notes]) == ([], ["hole"])
    assert proven.notes[0].message.startswith("nothing is stored of 2026-06-24 17:00")
    world.execute(f"DELETE FROM open_interest_1h WHERE timestamp = make_timestamp_ms({gone + HOUR_MS})")
    [proven] = _proven(world, "open_interest")
    assert proven.notes[0].message == "nothing is stored of 2026-06-24 17:00..2026-06-24 18:00 (2 rows)"
    world.fill("open_interest", "rest", symbols="BTCUSDT", from_ms=gone + HOUR_MS, to_ms=gone + 2 * HOUR_MS)
    bar = "2026-06-25T07:00:00"
    world.exchange.faults = parse_faults(f"[[fault]]\nkind='hide'\npath='openInterestHist'\nbar={bar}", "the test")
    [proven] = _proven(world, "open_interest", "rest")
    assert [(each.rule, each.open_time_ms) for each in proven.findings] == [("gap", gone), ("unknown", alone)]
    world.exchange.faults = ()
    # The archive has holes of its own: what it lacks is told, and found of nothing.
    lacks = f"[[archive]]\nkind='lacks'\nfile='metrics/*'\nbar={bar}\nuntil_bar=2026-06-25T07:55:00"
    world.archive.faults = parse_archive_faults(lacks, "the test")
    [proven] = _proven(world, "open_interest", "archive")
    assert [(each.rule, each.open_time_ms) for each in proven.findings] == [("gap", gone)]
    assert proven.not_compared == [alone]


def test_a_stored_row_that_breaks_its_rules_is_found_without_a_source(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    world.fill("long_short_ratio", "rest", symbols="BTCUSDT", **AROUND)
    world.execute("UPDATE long_short_ratio_1h SET long_share = 0.9 WHERE timestamp = '2026-06-25 03:00:00'")
    assert [said.partition(":")[0] for said in _said(_proven(world, "long_short_ratio"))] == ["shares"]


def test_what_the_exchange_has_forgotten_is_noted(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    world.fill("open_interest", "auto", symbols="BTCUSDT", from_ms=NOW_MS - 31 * DAY_MS)
    [proven] = _proven(world, "open_interest", "rest")
    assert _said([proven]) == []
    assert [note.rule for note in proven.notes] == ["forgotten"]
    assert 0 < proven.compared < proven.rows
    assert world.refused == 0


def test_a_month_of_payments_ends_with_its_last_hour(tmp_path: Path) -> None:
    # A month later, when its file is there, but not that of the next.
    world = KindsWorld(tmp_path, CHANGED_MS + 15 * DAY_MS)
    world.fill("funding", "auto", from_ms=CHANGED_MS - 2 * DAY_MS)
    for proven in _proven(world, "funding", "archive"):
        assert (proven.findings, proven.not_compared) == ([], [])
        # The seven days to the end of June, of those and fifteen.
        assert 0 < proven.compared < proven.rows


def test_a_payment_that_is_missing_between_closer_ones_is_noted(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path, EARLY_MS)
    world.fill("funding", "rest", symbols="BTCUSDT", **AROUND)
    [proven] = _proven(world, "funding")
    assert (proven.notes, proven.findings) == ([], [])
    world.execute("DELETE FROM funding WHERE timestamp BETWEEN '2026-06-24 20:00' AND '2026-06-24 20:01'")
    [proven] = _proven(world, "funding")
    assert (proven.findings, [note.rule for note in proven.notes]) == ([], ["hole"])
    assert proven.notes[0].message == (
        "one may be missing in 2026-06-24 17:00..2026-06-24 23:00 (7 hours): those before and after are closer together"
    )
    world.execute("DELETE FROM funding WHERE timestamp BETWEEN '2026-06-25 00:00' AND '2026-06-25 00:01'")
    [proven] = _proven(world, "funding")
    assert [note.message for note in proven.notes] == [
        "nothing is stored of 2026-06-24 17:00..2026-06-25 03:00 (11 hours)"
    ]
