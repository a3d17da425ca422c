"""One broken rule gives exactly that finding; what keeps them all, however odd, gives none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.domain.kinds.checks import Asked, Checked, check
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.table import KINDS

T0_MS = 1_782_345_600_000
SERIES = Series.of("BTCUSDT", "1h")
# A good row of each kind, as the exchange tells them.
GOOD: dict[str, tuple[float, ...]] = {
    "klines": (1624590.1425, 15052, 800000.0, 770000.0),
    "mark_price": (64000.0, 64100.5, 63900.0, 64050.1),
    "index_price": (64000.0, 64100.5, 63900.0, 64050.1),
    "premium_index": (-0.00042931, -0.00023641, -0.00059406, -0.00043659),
    "funding": (-0.0375 / 100, 64012.1),
    "open_interest": (20403.637, 150570784.078),
    "long_short_ratio": (1.9559, 0.6617, 0.3383),
    "top_long_short_accounts": (1.4342, 0.5892, 0.4108),
    "top_long_short_positions": (1.4342, 0.5891, 0.4108),
    "taker_volume": (1.5586, 387.33, 248.503),
    "spot_klines": (64000.0, 64100.5, 63900.0, 64050.1, 12.5, 800000.0, 151, 6.2, 390000.0),
}


def checked(name: str, *values: tuple[float, ...], starts_ms: tuple[int, ...] = (T0_MS,)) -> Checked:
    rows = [Row(at, at, each) for at, each in zip(starts_ms, values, strict=True)]
    return check(rows, Asked(KINDS[name], SERIES, T0_MS, T0_MS + HOUR_MS, T0_MS + 3 * HOUR_MS))


def broken(name: str, **changed: float) -> tuple[list[str], list[str]]:
    values = dict(zip(KINDS[name].names, GOOD[name], strict=True)) | changed
    found = checked(name, tuple(values.values()))
    return [each.rule for each in found.refused], [each.rule for each in found.warned]


@pytest.mark.parametrize("name", KINDS)
def test_a_good_row_breaks_nothing(name: str) -> None:
    assert broken(name) == ([], [])


@pytest.mark.parametrize(
    ("name", "changed", "refused", "warned"),
    [
        ("mark_price", {"low": 64000.1}, ["high_low"], []),
        ("mark_price", {"low": 0.0}, ["above_zero"], []),
        ("premium_index", {"high": -0.00044}, ["high_low"], []),
        ("spot_klines", {"taker_buy_volume": 12.6}, ["taker_share"], []),
        ("klines", {"quote_volume": -1.0}, ["not_negative", "taker_share"], []),
        ("long_short_ratio", {"short_share": 0.34}, ["shares"], ["ratio_of_shares"]),
        ("long_short_ratio", {"ratio": 0.0}, ["ratio"], ["ratio_of_shares"]),
        ("taker_volume", {"buy_volume": -1.0}, ["not_negative"], ["ratio_of_volumes"]),
        ("taker_volume", {"sell_volume": 0.0}, [], []),
        # of a new listing it may be true
        ("open_interest", {"open_interest": 0.0, "open_interest_value": 0.0}, [], ["no_interest"]),
        ("open_interest", {"open_interest": -1.0}, ["not_negative"], ["no_interest", "worth"]),
        # odd, and its own caps tell what is possible
        ("funding", {"funding_rate": 0.031}, [], ["funding_bounds"]),
    ],
)
def test_what_is_broken_is_told(name: str, changed: dict[str, float], refused: list[str], warned: list[str]) -> None:
    assert broken(name, **changed) == (refused, warned)


@given(long=st.integers(min_value=1, max_value=9999))
def test_shares_as_the_exchange_rounds_them_are_never_refused(long: int) -> None:
    share = long / 10_000
    # each rounded by itself: together 0.9999, 1 or 1.0001
    for short in (0.9999 - share, 1 - share, 1.0001 - share):
        if short > 0:
            found = checked("long_short_ratio", (round(share / short, 4) or 0.0001, share, short))
            assert found.refused == []


@pytest.mark.parametrize(
    ("starts_ms", "rules"),
    [
        ((T0_MS, T0_MS), ["unique"]),
        ((T0_MS + HOUR_MS, T0_MS), ["ascending"]),
        ((T0_MS, T0_MS + 1), ["on_grid"]),
        ((T0_MS, T0_MS + 2 * HOUR_MS), ["as_asked"]),
        ((T0_MS, T0_MS + 3 * HOUR_MS), ["closed", "as_asked"]),
    ],
)
def test_rows_come_in_order_on_the_grid_and_as_asked(starts_ms: tuple[int, ...], rules: list[str]) -> None:
    good = GOOD["premium_index"]
    assert [each.rule for each in checked("premium_index", good, good, starts_ms=starts_ms).refused] == rules


def test_funding_may_be_some_milliseconds_beside_the_hour() -> None:
    assert checked("funding", GOOD["funding"], starts_ms=(T0_MS + 47,)).refused == []


def test_what_is_not_told_breaks_nothing() -> None:
    row = Row(T0_MS, T0_MS, (1.9559, None, None))
    assert check([row], Asked(KINDS["long_short_ratio"], SERIES, T0_MS, T0_MS, T0_MS + HOUR_MS)) == ([], [])
