from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, MINUTE_MS
from barfeed.operate.web import levels
from world import ms

DAY_MS = 24 * HOUR_MS


def test_what_fits_is_given_bar_by_bar() -> None:
    assert levels.step_ms(HOUR_MS, 100 * HOUR_MS, 100) == HOUR_MS
    assert levels.step_ms(HOUR_MS, 101 * HOUR_MS, 100) == 4 * HOUR_MS


def test_a_step_is_whole_bars() -> None:
    assert levels.step_ms(30 * MINUTE_MS, 100 * HOUR_MS, 100) == HOUR_MS
    assert levels.step_ms(6 * HOUR_MS, 1000 * HOUR_MS, 100) == DAY_MS
    # Of 3-minute bars neither five minutes nor four.
    assert levels.step_ms(3 * MINUTE_MS, 11 * HOUR_MS, 100) == 15 * MINUTE_MS


def test_six_years_fit_into_a_screen() -> None:
    assert levels.step_ms(HOUR_MS, 6 * 365 * DAY_MS, 600) == 7 * DAY_MS
    assert levels.step_ms(MINUTE_MS, 60 * 365 * DAY_MS, 10) == 28 * DAY_MS


def test_weeks_begin_on_mondays() -> None:
    span = levels.whole_steps(ms(2024, 2, 10), ms(2024, 2, 12, 5), 7 * DAY_MS)
    assert span.first_ms == ms(2024, 2, 5)
    assert (span.last_ms + 1, span.bars) == (ms(2024, 2, 19), 2)


@given(
    st.integers(0, 2**41), st.integers(0, 2**38), st.sampled_from([MINUTE_MS, HOUR_MS, 4 * HOUR_MS, DAY_MS, 7 * DAY_MS])
)
def test_steps_hold_what_they_were_asked_to(first_ms: int, long_ms: int, step_ms: int) -> None:
    span = levels.whole_steps(first_ms, first_ms + long_ms, step_ms)
    assert span.first_ms <= first_ms < span.first_ms + step_ms
    assert span.last_ms - step_ms < first_ms + long_ms <= span.last_ms
    assert span.last_ms + 1 - span.first_ms == span.bars * step_ms
