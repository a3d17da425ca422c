"""One table of kinds: what it says of each is whole, and of times never too early."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.errors import UsageError
from barfeed.domain.kinds.kind import Kind, Stamp, pair
from barfeed.domain.kinds.table import KINDS, METRICS_CHANGED_MS, kinds
from barfeed.exchange import weight

T0_MS = 1_782_345_600_000  # 2026-06-25 00:00
by_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


def test_the_kinds_are_these() -> None:
    assert list(KINDS) == [
        "klines", "mark_price", "index_price", "premium_index", "funding", "open_interest", "long_short_ratio",
        "top_long_short_accounts", "top_long_short_positions", "taker_volume", "spot_klines",
    ]  # fmt: skip


@by_kind
def test_a_kind_is_read_at_intervals_that_it_has(kind: Kind) -> None:
    assert {Interval.ONE_HOUR, Interval.FIVE_MINUTES} <= set(kind.intervals)
    assert all(kind.table(each).startswith(kind.name) for each in kind.intervals)


@by_kind
@given(steps=st.integers(min_value=0, max_value=10_000))
def test_a_label_and_the_start_of_its_period_are_each_other_s_inverse(kind: Kind, steps: int) -> None:
    start_ms = T0_MS + steps * HOUR_MS
    assert kind.stamp.start_ms(kind.stamp.stamp_ms(start_ms, HOUR_MS), HOUR_MS) == start_ms


@by_kind
@given(late_ms=st.one_of(st.none(), st.integers(min_value=0, max_value=100 * HOUR_MS)))
def test_nothing_is_known_before_it_is_over_nor_before_a_feed_had_it(kind: Kind, late_ms: int | None) -> None:
    over_ms = kind.end_ms(T0_MS, Interval.ONE_HOUR)
    had_ms = None if late_ms is None else over_ms + late_ms
    assert kind.known_at_ms(T0_MS, Interval.ONE_HOUR, had_ms) >= max(over_ms, had_ms or 0)


@by_kind
@given(late_ms=st.integers(min_value=0, max_value=100 * HOUR_MS))
def test_what_is_due_can_be_had_and_what_is_after_it_can_not(kind: Kind, late_ms: int) -> None:
    due_ms = kind.newest_due_ms(T0_MS + late_ms, Interval.ONE_HOUR)
    following_ms = due_ms + (1 if kind.stamp is Stamp.MOMENT else HOUR_MS)
    assert kind.known_at_ms(due_ms, Interval.ONE_HOUR) <= T0_MS + late_ms
    assert kind.known_at_ms(following_ms, Interval.ONE_HOUR) > T0_MS + late_ms


@pytest.mark.parametrize(
    ("name", "late_ms", "known_ms"),
    [
        # what can be had at the close is known at the close, and what is published later when it is
        ("premium_index", None, 0),
        ("open_interest", None, 5 * MINUTE_MS),
        # unless a feed was without it then
        ("premium_index", 2 * MINUTE_MS, 2 * MINUTE_MS),
        ("open_interest", 100 * MINUTE_MS, 100 * MINUTE_MS),
        # and however the clocks differ, never before
        ("open_interest", 4_000, 5 * MINUTE_MS),
    ],
)
def test_when_a_row_was_known(name: str, late_ms: int | None, known_ms: int) -> None:
    close_ms = T0_MS + HOUR_MS
    had_ms = None if late_ms is None else close_ms + late_ms
    assert KINDS[name].known_at_ms(T0_MS, Interval.ONE_HOUR, had_ms) == close_ms + known_ms


def test_funding_is_of_its_moment() -> None:
    assert KINDS["funding"].stamp is Stamp.MOMENT
    assert KINDS["funding"].known_at_ms(T0_MS + 7, Interval.ONE_HOUR) == T0_MS + 7 + MINUTE_MS


def test_the_two_files_around_the_change_mean_two_rows_by_one_label() -> None:
    metrics, step_ms = KINDS["open_interest"].archived, 5 * MINUTE_MS
    day_before_ms = METRICS_CHANGED_MS - 24 * HOUR_MS
    assert metrics.stamp_of(day_before_ms).start_ms(METRICS_CHANGED_MS, step_ms) == METRICS_CHANGED_MS - step_ms
    assert metrics.stamp_of(METRICS_CHANGED_MS).start_ms(METRICS_CHANGED_MS, step_ms) == METRICS_CHANGED_MS


@pytest.mark.parametrize("day_ms", [METRICS_CHANGED_MS - 24 * HOUR_MS, METRICS_CHANGED_MS])
def test_each_day_s_file_of_metrics_has_the_rows_of_its_day(day_ms: int) -> None:
    metrics, step_ms = KINDS["open_interest"].archived, 5 * MINUTE_MS
    first_label_ms = day_ms + (step_ms if day_ms < METRICS_CHANGED_MS else 0)
    labels = [first_label_ms + row * step_ms for row in range(288)]
    starts = [metrics.stamp_of(day_ms).start_ms(each, step_ms) for each in labels]
    assert starts == [day_ms + row * step_ms for row in range(288)]


def test_what_the_archive_calls_its_files() -> None:
    assert KINDS["premium_index"].archived.path("BTCUSDT", Interval.ONE_HOUR, "monthly", "2024-01") == (
        "futures/um/monthly/premiumIndexKlines/BTCUSDT/1h/BTCUSDT-1h-2024-01.zip"
    )
    assert KINDS["open_interest"].archived.path("BTCUSDT", Interval.ONE_HOUR, "daily", "2024-01-05") == (
        "futures/um/daily/metrics/BTCUSDT/BTCUSDT-metrics-2024-01-05.zip"
    )
    assert KINDS["funding"].archived.path("BTCUSDT", Interval.ONE_HOUR, "monthly", "2024-01") == (
        "futures/um/monthly/fundingRate/BTCUSDT/BTCUSDT-fundingRate-2024-01.zip"
    )


def test_what_is_asked_for_the_same_periods_differs_by_what_a_time_means() -> None:
    asked = [("BTCUSDT", Interval.ONE_HOUR, T0_MS, T0_MS + HOUR_MS, 2)]
    [klines] = [KINDS["premium_index"].query(*each) for each in asked]
    [interest] = [KINDS["open_interest"].query(*each) for each in asked]
    assert klines == {
        "symbol": "BTCUSDT", "interval": "1h", "startTime": T0_MS, "endTime": T0_MS + HOUR_MS, "limit": 2,
    }  # fmt: skip
    assert interest == {
        "symbol": "BTCUSDT", "period": "1h", "startTime": T0_MS + HOUR_MS, "endTime": T0_MS + 2 * HOUR_MS, "limit": 2,
    }  # fmt: skip


def test_the_index_goes_by_pair() -> None:
    assert KINDS["index_price"].query("BTCUSDT_260626", Interval.ONE_HOUR, 0, 0, 1)["pair"] == "BTCUSDT"
    assert pair("BTCUSDT") == "BTCUSDT"


@pytest.mark.parametrize("rows", [1, 100, 101, 500, 501, 1000, 1001, 1500])
def test_klines_of_all_prices_weigh_as_klines_do(rows: int) -> None:
    assert {KINDS[name].cost(rows) for name in ("klines", "mark_price", "index_price", "premium_index")} == {
        weight.of_klines(rows)
    }


def test_what_has_a_limit_of_requests_counts_each_as_one() -> None:
    assert KINDS["open_interest"].cost(1) == KINDS["open_interest"].cost(500) == KINDS["funding"].cost(1000) == 1


def test_kinds_are_named_in_any_order_and_come_in_the_table_s() -> None:
    assert [each.name for each in kinds(" open_interest,klines ", (Interval.ONE_HOUR,))] == ["klines", "open_interest"]


@pytest.mark.parametrize(
    ("text", "interval", "told"),
    [
        ("klines,liquidations", "1h", "--kinds: 'liquidations' is no kind of series"),
        ("open_interest", "1m", "--kinds: the exchange has no open_interest of 1m"),
        (" ,", "1h", "--kinds names no kind of series"),
    ],
)
def test_what_is_no_kind_is_named(text: str, interval: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        kinds(text, (Interval(interval),))


def test_what_the_exchange_forgets_is_forgotten_thirty_days_after_its_end() -> None:
    assert KINDS["open_interest"].forgotten_ms(T0_MS, Interval.ONE_HOUR) == T0_MS + HOUR_MS + 30 * 24 * HOUR_MS
    assert KINDS["klines"].forgotten_ms(T0_MS, Interval.ONE_HOUR) is None
