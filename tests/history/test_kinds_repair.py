"""Rows of kinds mended: what is missing is filled, what is contradicted is changed with both versions kept."""

import json
import shutil
from pathlib import Path

import pytest

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.table import KINDS
from barfeed.replay.faults.script import parse_faults
from feed.kinds.kinds_world import LATER_MS, NOW_MS, ONE_HOUR, SYMBOLS, TARGET_MS, WINDOW, KindsWorld
from market_world import MarketMachine
from process import BARFEED, Ran

MARK, INTEREST, FUNDING = KINDS["mark_price"], KINDS["open_interest"], KINDS["funding"]
ALL = "mark_price,open_interest,funding"


def made(folder: Path) -> KindsWorld:
    return KindsWorld(folder, NOW_MS + LATER_MS, "mark_price", "open_interest", "funding")


@pytest.fixture(scope="module")
def fed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a first pass leaves."""
    folder = tmp_path_factory.mktemp("fed")
    assert made(folder).run_pass(catch_up=True).exit_code == 0
    return folder


@pytest.fixture
def world(fed: Path, tmp_path: Path) -> KindsWorld:
    shutil.copytree(fed, tmp_path, dirs_exist_ok=True)
    return made(tmp_path)


def spoil(world: KindsWorld) -> None:
    """A mark that differs, and two rows of open interest, one of funding that are missing."""
    at_ms = TARGET_MS - HOUR_MS
    world.execute(
        f"UPDATE mark_price_1h SET close = close + 1 WHERE symbol = 'BTCUSDT' AND epoch_ms(timestamp) = {at_ms}"
    )
    world.execute(f"DELETE FROM open_interest_1h WHERE symbol != 'ETHUSDT' AND epoch_ms(timestamp) = {at_ms}")
    world.execute(
        "DELETE FROM funding WHERE symbol = 'ETHUSDT' AND timestamp BETWEEN '2026-03-10 07:00' AND '2026-03-10 09:00'"
    )


def command(world: KindsWorld, machine: MarketMachine, *words: str) -> Ran:
    return machine.call([str(BARFEED), *words, "--duckdb", str(world.duckdb)], BARFEED_SPOT_URL=machine.url)


def whole(world: KindsWorld) -> None:
    for kind in (MARK, INTEREST):
        for symbol in SYMBOLS:
            assert world.kept(kind, symbol) == world.told(kind, symbol, TARGET_MS - (WINDOW - 1) * HOUR_MS, TARGET_MS)


def test_a_look_tells_what_differs_and_changes_nothing(world: KindsWorld) -> None:
    spoil(world)
    before = world.duckdb.read_bytes()
    with world.served() as machine:
        told = command(world, machine, "repair", "--kinds", ALL, "--symbols", "all", "--dry-run")
        as_json = command(world, machine, "repair", "--kinds", ALL, "--symbols", "all", "--dry-run", "--json")
    assert told.code == as_json.code == 1
    lines = told.out.splitlines()
    assert lines[0].endswith(" rows compared: 4 to repair")
    assert lines[1].startswith("  BTCUSDT 1h mark_price 2026-03-10 12:00 close stored ")
    assert lines[3:] == [
        "  1000PEPEUSDT 1h open_interest 2026-03-10 12:00 missing",
        "  BTCUSDT 1h open_interest 2026-03-10 12:00 missing",
    ]
    rows = json.loads(as_json.out)["rows"]
    assert [(each["kind"], each["symbol"], each["what"], each["mended"]) for each in rows] == [
        ("mark_price", "BTCUSDT", "mismatch", False),
        ("funding", "ETHUSDT", "missing", False),
        ("open_interest", "1000PEPEUSDT", "missing", False),
        ("open_interest", "BTCUSDT", "missing", False),
    ]
    assert world.duckdb.read_bytes() == before


@pytest.mark.long
def test_all_of_it_is_mended_and_both_versions_are_kept(world: KindsWorld) -> None:
    spoil(world)
    [wrong] = [row for row in world.kept(MARK, "BTCUSDT") if row[0] == TARGET_MS - HOUR_MS]
    with world.served() as machine:
        words = ("repair", "--kinds", ALL, "--symbols", "all", "--yes", "--pause-sec", "0", "--reason", "a look")
        done = command(world, machine, *words)
        assert (done.code, done.out.splitlines()[-1]) == (0, "filled=3 revised=1 left=0")
        whole(world)
        again = command(world, machine, *words)
        assert (again.code, again.out.splitlines()) == (0, again.out.splitlines()[:1])
        listed = command(world, machine, "revisions", "--kinds", ALL, "--symbols", "all", "--json")
        one = command(world, machine, "revisions", "--kinds", ALL, "--symbol", "BTCUSDT")
        other = command(world, machine, "revisions", "--kinds", "open_interest", "--symbol", "BTCUSDT")
    [revision] = json.loads(listed.out)["revisions"]
    [right] = [row for row in world.kept(MARK, "BTCUSDT") if row[0] == TARGET_MS - HOUR_MS]
    assert (revision["kind"], revision["symbol"], revision["name"]) == ("mark_price", "BTCUSDT", "close")
    assert (revision["old"], revision["new"], revision["reason"]) == (wrong[-1], right[-1], "a look")
    assert f"BTCUSDT  mark_price  2026-03-10 12:00  close {wrong[-1]} -> {right[-1]}" in one.out
    assert other.out == "revisions=0 interval=1h\n"
    # When it was known stays what it was, and what a pass after it asks for fits.
    assert world.known(MARK)["BTCUSDT", TARGET_MS - HOUR_MS] == TARGET_MS
    world.clock.go_to(world.clock.now_ms + HOUR_MS)
    assert world.run_pass(catch_up=True).exit_code == 0


@pytest.mark.long
def test_what_the_exchange_does_not_say_twice_is_left(world: KindsWorld) -> None:
    spoil(world)
    world.exchange.faults = parse_faults(
        '[[fault]]\nkind = "text"\npath = "markPriceKlines"\ncolumn = 4\nvalue = \'"1.5"\'\nrequests = "7-"\n',
        "the test",
    )
    world.exchange.requests.clear()
    with world.served() as machine:
        done = command(
            world, machine, "repair", "--kinds", "mark_price", "--symbols", "all", "--yes", "--pause-sec", "0"
        )
    assert (done.code, done.out.splitlines()[-1]) == (1, "filled=0 revised=0 left=1")
    assert "1 of 1 rows were left as they are; first: BTCUSDT 1h mark_price 2026-03-10 12:00" in done.err


@pytest.mark.long
def test_of_one_series_and_a_span(world: KindsWorld) -> None:
    spoil(world)
    with world.served() as machine:
        words = ("repair", "--kinds", ALL, "--symbol", "BTCUSDT", "--yes", "--pause-sec", "0")
        done = command(world, machine, *words, "--from", "2026-03-10 13:00")
        assert (done.code, done.out.splitlines()[-1]) == (0, "2 rows compared: 0 to repair")
        done = command(world, machine, *words)
    assert (done.code, done.out.splitlines()[-1]) == (0, "filled=1 revised=1 left=0")
    assert len(world.kept(INTEREST, "1000PEPEUSDT")) == WINDOW - 1


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--only", "gaps"), "--only and --let-pass are about bars: they do not go with --kinds"),
        (("--from", "2026-01-02", "--to", "2026-01-01"), "--from must be before --to"),
    ],
)
def test_what_does_not_go_together_is_told(world: KindsWorld, words: tuple[str, ...], told: str) -> None:
    with world.served() as machine:
        done = command(world, machine, "repair", "--kinds", "mark_price", "--dry-run", *words)
    assert (done.code, told in done.err) == (2, True)


def test_the_kinds_of_a_feed_s_settings_do_not_turn_a_repair_of_bars_into_one_of_kinds(world: KindsWorld) -> None:
    with world.served() as machine:
        told = machine.call(
            [str(BARFEED), "repair", "--symbol", "BTCUSDT", "--dry-run", "--duckdb", str(world.duckdb)],
            BARFEED_KINDS="mark_price",
        )
    assert "bars compared" in told.out


def test_funding_is_looked_at_by_its_moments(world: KindsWorld) -> None:
    spoil(world)
    with world.served() as machine:
        done = command(world, machine, "repair", "--kinds", "funding", "--symbols", "all", "--yes", "--pause-sec", "0")
    assert (done.code, done.out.splitlines()[-1]) == (0, "filled=1 revised=0 left=0")
    kept = world.kept(FUNDING, "ETHUSDT")
    assert kept == world.told(FUNDING, "ETHUSDT", kept[0][0], FUNDING.newest_due_ms(world.clock.now_ms, ONE_HOUR))
