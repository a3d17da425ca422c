"""What `barfeed status` tells of the kinds beside the bars, and of tables that only have the name of one."""

import json
from pathlib import Path
from typing import Any

import pytest

from feed.kinds.kinds_world import LATER_MS, NOW_MS, KindsWorld
from process import BARFEED, Ran

KINDS = ("premium_index", "open_interest", "funding")


@pytest.fixture
def world(tmp_path: Path) -> KindsWorld:
    world = KindsWorld(tmp_path, NOW_MS + LATER_MS, *KINDS)
    assert world.run_pass(catch_up=True).exit_code == 0
    return world


def status(world: KindsWorld, *flags: str) -> Ran:
    with world.served() as machine:
        where = ["--duckdb", str(world.duckdb), "--persist-dir", str(world.feed.folder.parent)]
        return machine.call([str(BARFEED), "status", *where, *flags])


def lines(world: KindsWorld, *flags: str) -> list[str]:
    return [line.strip() for line in status(world, *flags).out.splitlines() if line.startswith("  kinds ")]


def told(world: KindsWorld, *flags: str) -> Any:
    return json.loads(status(world, "--json", *flags).out)


def test_how_far_each_kind_goes_is_told_of_a_series_and_of_a_market(world: KindsWorld) -> None:
    assert lines(world, "--symbol", "BTCUSDT") == [
        "kinds       premium_index to 2026-03-10 13:00; funding to 2026-03-10 12:00; open_interest to 2026-03-10 13:00"
    ]
    world.execute("DELETE FROM premium_index_1h WHERE symbol = 'BTCUSDT' AND timestamp > '2026-03-10 11:00'")
    assert "premium_index to 2026-03-10 11:00, 2 rows behind; " in lines(world, "--symbol", "BTCUSDT")[0]
    assert "premium_index to 2026-03-10 13:00; " in lines(world, "--symbol", "ETHUSDT")[0]
    [line] = lines(world, "--symbols", "all")
    assert line.startswith("kinds       premium_index of 3 series to 2026-03-10 13:00, 1 of them behind; funding of 3 ")
    [series] = told(world, "--symbol", "BTCUSDT")["series"]
    assert series["kinds"][:2] == [
        {"kind": "premium_index", "series": 1, "newest": "2026-03-10 11:00", "rows_behind": 2},
        {"kind": "funding", "series": 1, "newest": "2026-03-10 12:00", "rows_behind": None},
    ]
    [market] = told(world, "--symbols", "all")["markets"]
    assert market["kinds"][0] == {
        "kind": "premium_index", "series": 3, "newest": "2026-03-10 13:00", "rows_behind": 2,
    }  # fmt: skip


def test_where_no_kind_is_fed_nothing_is_said(world: KindsWorld) -> None:
    for table in ("premium_index_1h", "open_interest_1h", "funding"):
        world.execute(f"DELETE FROM {table}")
    assert lines(world, "--symbol", "BTCUSDT") == lines(world, "--symbols", "all") == []
    assert told(world, "--symbol", "BTCUSDT")["series"][0]["kinds"] == []


@pytest.mark.parametrize("flags", [("--symbol", "BTCUSDT"), ("--symbols", "all"), ("--all",)], ids=" ".join)
def test_a_table_of_ones_own_by_the_name_of_a_kind_is_a_note(world: KindsWorld, flags: tuple[str, ...]) -> None:
    before = status(world, *flags)
    world.execute("CREATE TABLE long_short_ratio_1h (moment TIMESTAMP, ratio DOUBLE)")
    done = status(world, *flags)
    said = "  note        table long_short_ratio_1h has another shape: moment TIMESTAMP, ratio DOUBLE"
    assert next(line for line in done.out.splitlines() if line.startswith("  note ")).startswith(said)
    assert (done.code, done.err) == (before.code, before.err)
    assert lines(world, *flags) == [line.strip() for line in before.out.splitlines() if line.startswith("  kinds ")]
    [note] = told(world, *flags)["store"]["notes"]
    assert "; rename that table; long_short_ratio_1h is made with symbol VARCHAR, " in note
