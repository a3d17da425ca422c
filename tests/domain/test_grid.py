import calendar
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain import grid

HOUR = 3_600_000
# 2024-01-15 13:00 UTC, by `date -u -d '2024-01-15 13:00' +%s`.
ONE_PM = 1_705_323_600_000

grids = st.sets(st.integers(0, 60), max_size=40)


@pytest.mark.parametrize(
    ("now_ms", "forming", "closed"),
    [
        (ONE_PM, ONE_PM, ONE_PM - HOUR),
        (ONE_PM + 1, ONE_PM, ONE_PM - HOUR),
        (ONE_PM + HOUR - 1, ONE_PM, ONE_PM - HOUR),
        (ONE_PM - 1, ONE_PM - HOUR, ONE_PM - 2 * HOUR),
    ],
)
def test_a_bar_is_closed_once_its_last_millisecond_has_passed(now_ms: int, forming: int, closed: int) -> None:
    assert grid.floor(now_ms, HOUR) == forming
    assert grid.last_closed(now_ms, HOUR) == closed


def test_the_close_time_of_a_bar_is_its_last_millisecond() -> None:
    assert grid.close_time(ONE_PM, HOUR) == 1_705_327_199_999


@pytest.mark.parametrize(("bars", "start"), [(1, ONE_PM), (2, ONE_PM - HOUR), (726, ONE_PM - 725 * HOUR)])
def test_a_window_has_as_many_bars_as_asked_for(bars: int, start: int) -> None:
    assert grid.window_start(ONE_PM, bars, HOUR) == start
    assert len(grid.opens(start, ONE_PM, HOUR)) == bars


def test_opens_are_both_ends_included_and_none_where_the_end_is_before_the_start() -> None:
    assert list(grid.opens(10, 30, 10)) == [10, 20, 30]
    assert list(grid.opens(10, 10, 10)) == [10]
    assert list(grid.opens(20, 10, 10)) == []


@pytest.mark.parametrize(
    ("missing", "gaps"),
    [
        ([], []),
        ([10], [(10, 10, 1)]),
        ([10, 20, 30], [(10, 30, 3)]),
        ([10, 30], [(10, 10, 1), (30, 30, 1)]),
        ([10, 20, 40, 50, 70], [(10, 20, 2), (40, 50, 2), (70, 70, 1)]),
    ],
)
def test_missing_open_times_join_into_maximal_runs(missing: list[int], gaps: list[tuple[int, int, int]]) -> None:
    assert [tuple(gap) for gap in grid.gaps(missing, 10)] == gaps


@given(expected=grids, held=grids)
def test_gaps_and_what_is_held_make_up_exactly_what_is_expected(expected: set[int], held: set[int]) -> None:
    absent = grid.missing(sorted(expected), held)
    assert absent == sorted(expected - held)
    runs = grid.gaps(absent, 1)
    assert [each for run in runs for each in range(run.first_ms, run.last_ms + 1)] == absent
    assert sum(run.bars for run in runs) == len(absent)


@given(missing=grids)
def test_no_gap_could_be_joined_with_its_neighbour(missing: set[int]) -> None:
    runs = grid.gaps(sorted(missing), 1)
    assert all(later.first_ms > earlier.last_ms + 1 for earlier, later in pairwise(runs))


@pytest.mark.parametrize(
    ("gap", "says"),
    [
        (grid.Gap(ONE_PM, ONE_PM, 1), "2024-01-15 13:00"),
        (grid.Gap(ONE_PM, ONE_PM + 2 * HOUR, 3), "2024-01-15 13:00..2024-01-15 15:00 (3 bars)"),
    ],
)
def test_a_gap_says_where_it_is(gap: grid.Gap, says: str) -> None:
    assert str(gap) == says


@pytest.mark.parametrize(
    ("buffer_hours", "step_ms", "bars"),
    [
        (6, HOUR, 726),
        (0, HOUR, 720),
        (6, HOUR // 4, 2904),
        (6, 4 * HOUR, 182),
        (1, 12 * HOUR, 61),
        (0, 24 * HOUR, 30),
    ],
)
def test_the_inference_window_covers_720_hours_and_the_buffer(buffer_hours: int, step_ms: int, bars: int) -> None:
    assert grid.inference_bars(buffer_hours, step_ms) == bars


@pytest.mark.parametrize(
    ("moment_ms", "in_csv", "in_messages"),
    [
        (0, "1970-01-01 00:00:00", "1970-01-01 00:00"),
        (ONE_PM, "2024-01-15 13:00:00", "2024-01-15 13:00"),
        (ONE_PM + 300_000, "2024-01-15 13:05:00", "2024-01-15 13:05"),
        (ONE_PM + 1_000, "2024-01-15 13:00:01", "2024-01-15 13:00:01"),
        (ONE_PM + 1_005, "2024-01-15 13:00:01.005", "2024-01-15 13:00:01.005"),
        (1_709_164_800_000, "2024-02-29 00:00:00", "2024-02-29 00:00"),
        (253_402_300_799_999, "9999-12-31 23:59:59.999", "9999-12-31 23:59:59.999"),
    ],
)
def test_moments_are_written_in_utc(moment_ms: int, in_csv: str, in_messages: str) -> None:
    assert grid.timestamp(moment_ms) == in_csv
    assert grid.text(moment_ms) == in_messages


@given(st.tuples(st.integers(1971, 2100), st.integers(1, 12), st.integers(1, 28), st.integers(0, 23)))
def test_the_written_hour_is_the_calendars_hour(hour: tuple[int, int, int, int]) -> None:
    year, month, day, clock = hour
    moment_ms = calendar.timegm((year, month, day, clock, 0, 0)) * 1000
    assert grid.text(moment_ms) == f"{year}-{month:02d}-{day:02d} {clock:02d}:00"


@pytest.mark.parametrize(("later_ms", "gap"), [(2 * HOUR, (HOUR, HOUR, 1)), (5 * HOUR, (HOUR, 4 * HOUR, 4))])
def test_what_is_missing_between_two_bars_is_neither_of_them(later_ms: int, gap: tuple[int, int, int]) -> None:
    assert grid.gap_between(0, later_ms, HOUR) == gap


def test_opens_end_with_the_last_even_where_a_step_is_a_millisecond() -> None:
    assert list(grid.opens(3, 5, 1)) == [3, 4, 5]


@pytest.mark.parametrize(("days", "origin_days"), [(1 / 24, 0), (1, 0), (3, 0), (7, 4), (14, 4), (28, 4)])
def test_steps_of_weeks_begin_on_mondays_and_all_others_at_the_epoch(days: float, origin_days: int) -> None:
    # 1970-01-05 was the first Monday.
    assert grid.step_origin(round(days * 24 * HOUR)) == origin_days * 24 * HOUR
