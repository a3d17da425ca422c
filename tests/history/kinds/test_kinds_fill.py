"""The history of kinds filled in: across the archive's changed label, from both sources, around every known hole."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, Interval
from barfeed.domain.errors import ContractBroken, ExchangeRefused
from barfeed.domain.grid import Gap
from barfeed.domain.kinds.plan import gaps_between
from barfeed.domain.kinds.table import KINDS
from barfeed.history.kinds.jobs import last_ms
from barfeed.store.kinds.tables import Late, writing
from history.kinds.kinds_world import CHANGED_MS, DAY_MS, FIRST_MS, HOURLY, NOW_MS, Held, KindsWorld, notes, of, told

STOCKS = ("open_interest", "long_short_ratio", "top_long_short_accounts", "top_long_short_positions")
# Some days on both sides of the change.
AROUND: dict[str, Any] = {"from_ms": CHANGED_MS - 2 * DAY_MS, "to_ms": CHANGED_MS + 2 * DAY_MS}
BESIDE: dict[str, Any] = {"from_ms": CHANGED_MS - DAY_MS, "to_ms": CHANGED_MS + DAY_MS}
FIVE_MINUTES = Interval("5m")


def _known(rows: Held, like: Held) -> Held:
    """What REST tells, as far as the archive tells it too."""
    columns = [place for place, value in enumerate(like[0][2]) if value is not None]
    return [(symbol, at_ms, tuple(values[place] for place in columns)) for symbol, at_ms, values in rows]


@pytest.mark.parametrize("interval", [FIVE_MINUTES, HOURLY, Interval("1d")], ids=str)
def test_across_the_changed_label_the_archive_becomes_what_rest_told(tmp_path: Path, interval: Interval) -> None:
    world = KindsWorld(tmp_path)
    work = world.fill(",".join(STOCKS), "archive", symbols="BTCUSDT", interval=interval, **AROUND)
    last_ms = AROUND["to_ms"] - interval.ms
    for name in STOCKS:
        held = world.held(name, interval)
        assert [at_ms for _, at_ms, _ in held] == list(range(AROUND["from_ms"], last_ms + 1, interval.ms))
        rest = told(name, "BTCUSDT", AROUND["from_ms"], last_ms, interval)
        assert _known(held, held) == _known(rest, held)
    assert notes(work) == []
    assert world.exchange.requests["/futures/data/openInterestHist"] == 0


@pytest.mark.long
def test_what_takers_traded_comes_from_the_archive_by_five_minutes_only(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    work = world.fill("taker_volume", "archive", symbols="BTCUSDT", interval=FIVE_MINUTES, **AROUND)
    held = world.held("taker_volume", FIVE_MINUTES)
    rest = told("taker_volume", "BTCUSDT", AROUND["from_ms"], AROUND["to_ms"] - 1, FIVE_MINUTES)
    assert _known(held, held) == _known(rest, held)
    assert (len(held), work.report.exit_code) == (4 * 288, 0)
    hourly = world.fill("taker_volume", "archive", symbols="BTCUSDT", **AROUND)
    assert of(hourly, "taker_volume").holes == [Gap(AROUND["from_ms"], AROUND["to_ms"] - HOUR_MS, 96)]
    assert hourly.report.requests == 1 + 1 + 1


@pytest.mark.long
def test_what_is_remembered_comes_by_rest_and_what_is_beyond_from_the_archive(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    names = ",".join(["klines", "mark_price", "premium_index", "index_price", "funding", *STOCKS[:2]])
    work = world.fill(names, from_ms=NOW_MS - 32 * DAY_MS)
    for each in work.report.filled:
        assert (each.failure, each.holes) == (None, [])
        held = [row for row in world.held(each.kind.name) if row[0] == each.series.symbol]
        rest = told(each.kind.name, each.series.symbol, each.wanted.first_ms, last_ms(each, each.wanted))
        assert len(held) == len(rest) > 100
        # What came of files lacks some columns, and nothing else.
        for mine, theirs in zip(held, rest, strict=True):
            assert mine[:2] == theirs[:2]
            assert [(a, b) for a, b in zip(mine[2], theirs[2], strict=True) if a not in (None, b)] == []
        assert None not in held[-1][2]
    assert world.refused == 0
    assert all(limit.refused == 0 for limit in world.exchange.limits.values())
    # What is there is not asked for again.
    world.exchange.requests.clear()
    world.archive.requests.clear()
    again = world.fill("open_interest,funding,mark_price", from_ms=NOW_MS - 32 * DAY_MS)
    asked = {path for path, count in world.exchange.requests.items() if count}
    assert (asked, sum(world.archive.requests.values())) == (
        {"/fapi/v1/time", "/fapi/v1/exchangeInfo", "/fapi/v1/klines"}, 0,
    )  # fmt: skip
    assert {each.appended for each in again.report.filled} == {0}


def test_no_row_is_known_before_it_could_have_been(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    world.fill("open_interest,mark_price", symbols="BTCUSDT", from_ms=NOW_MS - 3 * DAY_MS)
    query = "SELECT DISTINCT epoch_ms(known_at) - epoch_ms(timestamp) FROM {}"
    with world.store.session(write=False) as connection:
        found = {
            name: connection.execute(query.format(f"main.{name}_1h")).fetchall()
            for name in ("open_interest", "mark_price")
        }
    assert found == {"open_interest": [(HOUR_MS + 5 * 60_000,)], "mark_price": [(HOUR_MS,)]}


def test_what_a_pass_ended_without_is_known_from_now_on(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    late_ms = grid.floor(NOW_MS, DAY_MS) - DAY_MS
    with writing(world.store, KINDS["open_interest"], HOURLY) as table:
        table.note_late([Late("BTCUSDT", late_ms, late_ms + HOUR_MS)], late_ms + 9 * HOUR_MS)
    world.fill("open_interest", symbols="BTCUSDT", from_ms=late_ms)
    query = "SELECT epoch_ms(timestamp) FROM main.open_interest_1h WHERE known_at > timestamp + INTERVAL 2 HOUR"
    with world.store.session(write=False) as connection:
        assert connection.execute(query).fetchall() == [(late_ms + HOUR_MS,)]


BEFORE, SINCE = "BTCUSDT-metrics-2026-06-24", "BTCUSDT-metrics-2026-06-25"
# What is wrong with which file, in hours from the change where the hole begins, its rows, and what is told of it.
HOLES = {
    "a day is missing": ('kind = "missing"', BEFORE, -24, 24, "missing: "),
    "a day ends at noon": (
        'kind = "lacks"\nbar = 2026-06-25T12:00:00\nuntil_bar = 2026-06-25T23:55:00', SINCE, 12, 12, "",
    ),
    "zeros": (
        'kind = "zero"\ncolumns = ["sum_open_interest"]\nbar = 2026-06-24T15:35:00\nuntil_bar = 2026-06-25T00:00:00',
        BEFORE, -9, 9, "no_interest: ",
    ),
    "doubled": (
        'kind = "doubled"\nbar = 2026-06-25T03:00:00\nuntil_bar = 2026-06-25T05:00:00', SINCE, 0, 0, "twice: ",
    ),
    "another checksum": ('kind = "wrong_checksum"', SINCE, 0, 24, "broken: "),
    "no zip": ('kind = "truncated"', BEFORE, -24, 24, "broken: "),
}  # fmt: skip


@pytest.mark.parametrize("hole", HOLES)
def test_a_hole_of_the_archive_is_told_and_nothing_is_made_up(tmp_path: Path, hole: str) -> None:
    fault, file, begins, hours, rule = HOLES[hole]
    world = KindsWorld(tmp_path)
    work = world.fill(
        "open_interest", "archive", archive_fault=f'[[archive]]\nfile = "{file}"\n{fault}', symbols="BTCUSDT", **BESIDE
    )
    first_ms = CHANGED_MS + begins * HOUR_MS
    lacking = range(first_ms, first_ms + hours * HOUR_MS, HOUR_MS)
    rest = told("open_interest", "BTCUSDT", BESIDE["from_ms"], BESIDE["to_ms"] - 1)
    assert world.held("open_interest") == [row for row in rest if row[1] not in lacking]
    assert of(work, "open_interest").holes == ([Gap(first_ms, lacking[-1], hours)] if hours else [])
    assert [note for note in notes(work) if note.startswith(rule)] != []
    # Put right there, it is filled in.
    world.fill("open_interest", "archive", symbols="BTCUSDT", **BESIDE)
    assert world.held("open_interest") == rest


def test_what_no_file_brings_rest_is_asked_for_where_it_forgets_nothing(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    lost = '[[archive]]\nkind = "missing"\nfile = "markPriceKlines/*"'
    span: dict[str, Any] = {"from_ms": FIRST_MS, "to_ms": CHANGED_MS}
    work = world.fill("mark_price", archive_fault=lost, **span)
    assert work.report.exit_code == 0
    rest = told("mark_price", "BTCUSDT", FIRST_MS, CHANGED_MS - 1)
    assert [row for row in world.held("mark_price") if row[0] == "BTCUSDT"] == rest


def test_a_contract_without_a_spot_market_is_no_trouble(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    work = world.fill("spot_klines", from_ms=NOW_MS - 3 * DAY_MS)
    assert work.report.exit_code == 0
    assert {symbol for symbol, _, _ in world.held("spot_klines")} == {"BTCUSDT"}
    assert [note for note in notes(work) if note.startswith("none: 1000PEPEUSDT")]


def test_an_answer_that_breaks_a_rule_is_refused_and_no_other_kind_suffers(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    odd = "[[fault]]\nkind = 'text'\npath = 'globalLongShortAccountRatio'\nsymbol = 'BTCUSDT'\ncolumn = 2\n"
    odd += "value = '\"-1\"'"
    work = world.fill("open_interest,long_short_ratio", fault=odd, from_ms=NOW_MS - 3 * DAY_MS)
    failure = of(work, "long_short_ratio").failure
    assert isinstance(failure, ContractBroken)
    assert "BTCUSDT 1h long_short_ratio: the exchange's answer breaks" in str(failure)
    assert {row[0] for row in world.held("long_short_ratio")} == {"1000PEPEUSDT"}
    assert {row[0] for row in world.held("open_interest")} == {"BTCUSDT", "1000PEPEUSDT"}
    assert work.report.exit_code == ContractBroken.exit_code


@pytest.mark.long
def test_limits_are_kept_and_waited_for(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    # Two pages each of five kinds and two symbols.
    world.fill(",".join([*STOCKS, "taker_volume"]), "rest", interval=FIVE_MINUTES, from_ms=NOW_MS - 3 * DAY_MS)
    limit = world.exchange.limits["data"]
    assert (limit.refused, limit.most) == (0, 20)
    assert world.refused == 0


@pytest.mark.long
def test_what_ends_it_is_raised_and_what_had_come_is_stored(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    gone = "[[fault]]\nkind = 'status'\nstatus = 451\npath = 'openInterestHist'\nrequests = '2-'"
    work = world.backfill("open_interest", fault=gone, symbols="BTCUSDT", from_ms=NOW_MS - 29 * DAY_MS)
    with pytest.raises(ExchangeRefused):
        work.run()
    assert 0 < len(world.held("open_interest")) < 29 * 24
    world.fill("open_interest", symbols="BTCUSDT", from_ms=NOW_MS - 29 * DAY_MS)
    opens = [at_ms for _, at_ms, _ in world.held("open_interest")]
    assert {later - at_ms for at_ms, later in pairwise(opens)} == {HOUR_MS}


def test_a_symbol_that_has_no_bar_is_told(tmp_path: Path) -> None:
    world = KindsWorld(tmp_path)
    work = world.fill("funding", symbols="BTCUSDT,NOPEUSDT", from_ms=NOW_MS - 3 * DAY_MS)
    assert of(work, "funding").appended > 5
    assert work.report.exit_code != 0
    assert [word.symbol for word in work.report.words] == ["NOPEUSDT"]


SEAMS: list[tuple[list[tuple[int, int | None]], list[Gap]]] = [
    ([], [Gap(0, 9, 10)]),
    ([(0, 1), (9, None)], []),
    ([(2, 3), (9, None)], [Gap(0, 1, 2)]),
    ([(0, 1), (4, 7), (9, None)], [Gap(5, 6, 2)]),
    ([(0, 1), (6, None)], [Gap(7, 9, 3)]),
    ([(5, None)], [Gap(0, 4, 5), Gap(6, 9, 4)]),
]


@pytest.mark.parametrize(("seams", "gaps"), SEAMS)
def test_gaps_are_told_by_the_rows_beside_them(seams: Sequence[tuple[int, int | None]], gaps: list[Gap]) -> None:
    assert gaps_between(Gap(0, 9, 10), seams, 1, 1) == gaps


def test_payments_are_together_up_to_eight_hours_apart() -> None:
    wanted = Gap(0, 40, 41)
    assert gaps_between(wanted, [(0, 8), (40, None)], 1, 8) == []
    assert gaps_between(wanted, [(0, 8), (8, 24), (40, None)], 1, 8) == [Gap(9, 23, 15)]


def test_every_kind_has_its_place_in_the_archive() -> None:
    assert {kind.archived.folder for kind in KINDS.values()} == {
        "klines", "markPriceKlines", "indexPriceKlines", "premiumIndexKlines", "fundingRate", "metrics",
    }  # fmt: skip
