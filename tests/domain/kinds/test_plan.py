"""What is asked of a kind, and what is appended of an answer: nothing that is due is left out, nothing told twice."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Series
from barfeed.domain.errors import Mismatch
from barfeed.domain.kinds.kind import Row
from barfeed.domain.kinds.plan import Reach, Subject, new_rows, repair, span
from barfeed.domain.kinds.table import KINDS

SERIES = Series.of("BTCUSDT", "1h")
TARGET_MS = 1_782_345_600_000
BTC = Subject(SERIES, TARGET_MS)
REACH = Reach(6, 48)
NOW_MS = TARGET_MS + HOUR_MS + 30_000
PREMIUM, INTEREST, FUNDING = KINDS["premium_index"], KINDS["open_interest"], KINDS["funding"]


def test_a_first_pass_asks_for_a_window() -> None:
    assert span(PREMIUM, BTC, REACH, None, NOW_MS) == (TARGET_MS - 47 * HOUR_MS, TARGET_MS)


def test_a_later_one_proves_some_and_asks_for_what_was_missed() -> None:
    assert span(PREMIUM, BTC, REACH, TARGET_MS - HOUR_MS, NOW_MS) == (TARGET_MS - 5 * HOUR_MS, TARGET_MS)
    assert span(PREMIUM, BTC, REACH, TARGET_MS - 90 * HOUR_MS, NOW_MS) == (TARGET_MS - 89 * HOUR_MS, TARGET_MS)


def test_where_all_that_is_due_is_stored_nothing_is_asked() -> None:
    assert span(PREMIUM, BTC, REACH, TARGET_MS, NOW_MS) is None


def test_what_is_published_later_is_asked_for_later() -> None:
    assert span(INTEREST, BTC, REACH, TARGET_MS - HOUR_MS, NOW_MS) is None
    published_ms = TARGET_MS + HOUR_MS + 5 * MINUTE_MS
    assert span(INTEREST, BTC, REACH, TARGET_MS - HOUR_MS, published_ms) == (TARGET_MS - 5 * HOUR_MS, TARGET_MS)


def test_what_the_exchange_has_forgotten_is_not_asked_for() -> None:
    year_ago_ms = TARGET_MS - 365 * 24 * HOUR_MS
    asked = span(INTEREST, BTC, Reach(6, 9000), year_ago_ms, NOW_MS)
    assert asked is not None
    first_ms, _ = asked
    forgotten_ms = INTEREST.forgotten_ms(first_ms, SERIES.interval)
    assert forgotten_ms is not None
    assert NOW_MS < forgotten_ms <= NOW_MS + 2 * HOUR_MS


def test_after_a_symbol_s_end_there_is_nothing() -> None:
    ended = BTC._replace(last_ms=TARGET_MS - 10 * HOUR_MS)
    assert span(PREMIUM, ended, REACH, TARGET_MS - 12 * HOUR_MS, NOW_MS) == (
        TARGET_MS - 15 * HOUR_MS, TARGET_MS - 10 * HOUR_MS,
    )  # fmt: skip
    assert span(PREMIUM, ended, REACH, TARGET_MS - 10 * HOUR_MS, NOW_MS) is None


def test_funding_is_asked_for_from_the_hour_before_the_newest() -> None:
    newest_ms = TARGET_MS - 8 * HOUR_MS + 7
    assert span(FUNDING, BTC, REACH, newest_ms, NOW_MS) == (TARGET_MS - 8 * HOUR_MS, NOW_MS - MINUTE_MS)


def test_funding_of_the_close_is_asked_for_though_it_is_told_some_milliseconds_after_it() -> None:
    later_ms = TARGET_MS + HOUR_MS + 10 * MINUTE_MS
    asked = span(FUNDING, BTC, REACH, TARGET_MS - HOUR_MS, later_ms)
    assert asked == (TARGET_MS - 5 * HOUR_MS, later_ms - MINUTE_MS)


def test_a_delivery_has_its_own_prices_and_no_funding() -> None:
    delivery = Subject(Series.of("BTCUSDT_260626", "1h"), TARGET_MS)
    assert [kind.name for kind in KINDS.values() if delivery.has(kind)] == [
        "klines", "mark_price", "index_price", "premium_index",
    ]  # fmt: skip


def row(hour: int, *values: float | None) -> Row:
    return Row(TARGET_MS + hour * HOUR_MS, TARGET_MS + (hour + 1) * HOUR_MS, values)


def test_only_what_is_not_stored_is_new() -> None:
    told = [row(0, 1.0, 2.0), row(1, 3.0, 4.0), row(2, 5.0, 6.0)]
    assert new_rows(INTEREST, SERIES, told, told[:2], repair) == told[2:]


def test_when_it_was_known_contradicts_nothing_and_neither_does_what_is_not_told() -> None:
    stored = [row(0, 1.0, None)._replace(known_at_ms=5)]
    assert new_rows(INTEREST, SERIES, [row(0, 1.0, 2.0)], stored, repair) == []


def test_what_the_exchange_contradicts_is_told_with_both_values() -> None:
    with pytest.raises(
        Mismatch, match="BTCUSDT 1h open_interest: 1 of 2 stored rows differ from the exchange"
    ) as raised:
        new_rows(INTEREST, SERIES, [row(0, 1.0, 2.5), row(2, 1.0, 1.0)], [row(0, 1.0, 2.0), row(1, 3.0, 4.0)], repair)
    [found] = raised.value.findings
    assert (found.stored, found.exchange) == ({"open_interest_value": 2.0}, {"open_interest_value": 2.5})
    assert raised.value.hint.endswith(": barfeed repair --symbol BTCUSDT --interval 1h --kinds open_interest")


@given(
    hours=st.lists(st.integers(min_value=0, max_value=50), unique=True).map(sorted),
    cut=st.integers(min_value=0, max_value=50),
)
def test_the_same_answer_twice_appends_nothing(hours: list[int], cut: int) -> None:
    told = [row(hour, float(hour), 1.0) for hour in hours]
    first = new_rows(INTEREST, SERIES, told, told[:cut], repair)
    assert new_rows(INTEREST, SERIES, told, [*told[:cut], *first], repair) == []
