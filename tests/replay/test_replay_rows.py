import json
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from barfeed.domain.bars import Bar
from barfeed.domain.rules import Asked, check_pull
from barfeed.exchange import wire
from barfeed.replay.tapes.klines import decimals
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import DATA, HOURLY, World, at, needs_data

TICKS = st.integers(1, 10_000_000)
UNITS = st.integers(0, 1_000_000_000)


def _row(bar: Bar) -> list[str]:
    row: list[str] = World(Tape.of(HOURLY, [bar]), now_ms=at(23)).rows("limit=1")[0]
    return row


@pytest.mark.parametrize(
    ("numbers", "most"),
    [
        ([], 0),
        ([1.0, 25.0], 0),
        ([1.5, 0.1], 1),
        ([10000.0, 10344.77], 2),
        ([0.00001234], 8),
        ([1e-05], 5),
        ([0.1 + 0.2], 17),
        ([1e17, 3.0], 0),
        ([float("nan"), 0.25], 2),
    ],
)
def test_decimals_are_the_most_that_any_number_needs(numbers: list[float], most: int) -> None:
    assert decimals(numbers) == most


@given(st.lists(TICKS, min_size=4, max_size=4), UNITS, st.integers(0, 8), st.integers(0, 3))
@settings(max_examples=150)
def test_text_reads_back_as_the_same_double_and_what_is_made_up_fits(
    ticks: list[int], units: int, price_decimals: int, volume_decimals: int
) -> None:
    low, first, second, high = (each / 10**price_decimals for each in sorted(ticks))
    bar = Bar(at(0), first, high, low, second, units / 10**volume_decimals)
    row = _row(bar)
    assert Bar(int(row[0]), *map(float, row[1:6])) == bar
    quote, trades, taker, taker_quote = map(Decimal, row[7:11])
    volume = Decimal(row[5])
    # Up to here a double holds every digit that the wire shows.
    slack = quote * Decimal("2e-15")
    assert Decimal(row[3]) * volume - slack <= quote <= Decimal(row[2]) * volume + slack
    assert (trades == 0) == (volume == 0)
    assert 0 <= taker <= volume
    assert 0 <= taker_quote <= quote
    assert row[11] == "0"


@given(st.lists(TICKS, min_size=4, max_size=4), st.integers(1, 1_000_000_000), st.integers(0, 8), st.integers(0, 3))
@settings(max_examples=50)
def test_a_row_that_is_served_keeps_the_rules_at_every_moment_of_its_hour(
    ticks: list[int], units: int, price_decimals: int, volume_decimals: int
) -> None:
    low, first, second, high = (each / 10**price_decimals for each in sorted(ticks))
    world = World(Tape.of(HOURLY, [Bar(at(0), first, high, low, second, units / 10**volume_decimals)]))
    for now_ms in (at(0), at(0, 1), at(0, 30), at(1) - 1, at(1)):
        world.clock.set(now_ms)
        pull = wire.read_klines(world.klines("limit=1").body)
        broken = {found.rule for found in check_pull(pull, Asked(HOURLY, 1, at(1)))}
        assert not broken


def test_doubles_that_are_no_short_decimals_read_back_too() -> None:
    bar = Bar(at(0), 0.1 + 0.2, 1 / 3, 0.3, 0.3, 1e-9)
    assert Bar(at(0), *map(float, _row(bar)[1:6])) == bar


def test_what_is_made_up_is_the_same_every_time() -> None:
    assert World().klines("limit=10").body == World().klines("limit=10").body


def test_a_bar_without_volume_has_no_trades() -> None:
    row = _row(Bar(at(0), 10.5, 10.5, 10.5, 10.5, 0.0))
    assert row[7:] == ["0.0", 0, "0", "0.0", "0"]


def test_a_flat_bar_is_worth_exactly_price_times_volume() -> None:
    assert _row(Bar(at(0), 10.5, 10.5, 10.5, 10.5, 0.003))[5:8:2] == ["0.003", "0.0315"]


@needs_data
def test_the_archives_twelve_columns_come_out_as_they_went_in() -> None:
    path = DATA / "archive" / "FILUSDT-1m-2024-10-01.csv"
    world = World(*Tape.load([str(path)]), now_ms=1727827200000)
    rows = json.loads(world.get(query="symbol=FILUSDT&interval=1m&limit=1500").body)
    lines = path.read_text().splitlines()[1:]
    assert len(rows) == len(lines) == 1440
    for row, line in zip(rows, lines, strict=True):
        assert [Decimal(cell) for cell in row] == [Decimal(cell) for cell in line.split(",")]


@pytest.mark.long
@needs_data
def test_every_real_bar_reads_back_as_the_same_doubles() -> None:
    [tape] = Tape.load([str(DATA / "rest" / "BTCUSDT-1h.parquet")])
    world = World(tape, now_ms=1735689600000, weight_limit=10**9)
    bars, start = [], 0
    while rows := world.rows(f"startTime={start}&limit=1500"):
        bars += [Bar(row[0], *map(float, row[1:6])) for row in rows]
        assert {len(row[4].partition(".")[2]) for row in rows} == {2}
        assert {len(row[5].partition(".")[2]) for row in rows} == {3}
        assert {len(row[7].partition(".")[2]) for row in rows} == {5}
        start = rows[-1][0] + 1
    assert len(bars) == 46_591
    assert tuple(bars) == tape.bars
