"""What differs, what may be accepted, and what a repair looks at: decisions only."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain import acceptance
from barfeed.domain.acceptance import Change, Terms, differences, with_changes
from barfeed.domain.bars import Bar
from barfeed.domain.errors import Mismatch
from barfeed.domain.rules import compare
from barfeed.history.mending.repair import Wanted, within
from barfeed.store.duckdb import Coverage

HOUR = 3_600_000
# 2024-01-15 13:00 UTC.
TARGET = 1_705_323_600_000
TERMS = Terms(price=0.001, volume=0.2, pause_sec=5.0)
NAN = float("nan")


def bar(back: int, volume: float = 10.0, low: float = 90.0) -> Bar:
    return Bar(TARGET - back * HOUR, 100.0, 110.0, low, 105.0, volume)


def test_each_difference_is_told_by_its_kind_in_order_of_time() -> None:
    expected = [TARGET - back * HOUR for back in (4, 3, 2, 1, 0)]
    stored = [bar(4), bar(3, volume=9.0), bar(0), bar(5)._replace(open_time_ms=TARGET - HOUR - 1)]
    exchange = [bar(4), bar(3), bar(2), bar(0)]
    found = differences(expected, stored, exchange)
    values = "open 100.0, high 110.0, low 90.0, close 105.0, volume 10.0"
    assert [str(each) for each in found] == [
        "2024-01-15 10:00  mismatch  volume stored 9.0, exchange 10.0",
        f"2024-01-15 11:00  missing   exchange {values}",
        f"2024-01-15 11:59:59.999  unknown   stored {values}, the exchange has no such bar: it is left",
        "2024-01-15 12:00  absent    the exchange has no such bar either: it is left",
    ]


def test_a_stored_null_differs_from_every_bar() -> None:
    (found,) = differences([TARGET], [bar(0, volume=NAN)], [bar(0)])
    assert (found.kind, str(found)) == ("mismatch", "2024-01-15 13:00  mismatch  volume stored nan, exchange 10.0")


def test_json_has_a_null_for_a_stored_null() -> None:
    assert acceptance.values(bar(0, volume=NAN)) == {
        "open": 100.0, "high": 110.0, "low": 90.0, "close": 105.0, "volume": None
    }  # fmt: skip


BARS = st.dictionaries(st.integers(0, 30), st.sampled_from([1.0, 2.0, NAN]), max_size=30)


@given(BARS, BARS)
def test_after_all_that_can_be_mended_is_only_what_the_exchange_lacks_is_left(
    ours: dict[int, float], theirs: dict[int, float]
) -> None:
    stored = [bar(back, volume=volume) for back, volume in ours.items()]
    exchange = [bar(back, volume=2.0) for back in theirs]
    expected = [TARGET - back * HOUR for back in range(31)]
    found = differences(expected, stored, exchange)
    changes = [each.change for each in found if each.change]
    fills = [each.exchange for each in found if each.kind == "missing" and each.exchange]
    left = differences(expected, [*with_changes(stored, changes), *fills], exchange)
    assert {each.kind for each in left} <= {"absent", "unknown"}
    assert {(TARGET - each.open_time_ms) // HOUR for each in left} == set(range(31)) - set(theirs)


def mismatch(stored: list[Bar], exchange: list[Bar]) -> Mismatch:
    return Mismatch("they differ", hint="the repair command", findings=compare(stored, exchange))


@pytest.mark.parametrize(
    ("stored", "exchange"),
    [
        (bar(2, volume=10.0), bar(2, volume=12.0)),
        (bar(2, volume=10.0), bar(2, volume=8.0)),
        (bar(2, low=90.0), bar(2, low=89.91)),
        (bar(2, low=90.0, volume=5.0), bar(2, low=90.09, volume=5.5)),
        # An hour without a trade: what is 0 on both sides is not off.
        (bar(2, low=90.0, volume=0.0), bar(2, low=90.09, volume=0.0)),
    ],
)
def test_a_change_within_the_bounds_is_acceptable(stored: Bar, exchange: Bar) -> None:
    found = mismatch([stored, bar(1)], [exchange, bar(1)])
    assert acceptance.acceptable(found, [exchange, bar(1)], TERMS) == [Change(stored, exchange)]


@pytest.mark.parametrize(
    ("stored", "exchange", "because"),
    [
        (bar(2, volume=10.0), bar(2, volume=12.001), "volume is off by 0.2, --accept-volume-within is 0.2"),
        (bar(2, volume=10.0), bar(2, volume=0.0), "volume is off by 1, --accept-volume-within is 0.2"),
        (bar(2, volume=0.0), bar(2, volume=0.1), "volume goes from 0 to 0.1, --accept-volume-within is 0.2"),
        (bar(2, low=90.0), bar(2, low=89.8), "low is off by 0.00222, --accept-within is 0.001"),
        (bar(2, volume=NAN), bar(2), "volume is off by nan, --accept-volume-within is 0.2"),
    ],
)
def test_a_change_beyond_a_bound_is_refused_and_told(stored: Bar, exchange: Bar, because: str) -> None:
    with pytest.raises(Mismatch) as told:
        acceptance.acceptable(mismatch([stored], [exchange]), [exchange], TERMS)
    assert str(told.value) == f"they differ; not accepted: 2024-01-15 11:00 {because}"
    assert told.value.hint == "the repair command"
    assert len(told.value.findings) == 1


def test_one_change_beyond_the_bounds_refuses_all() -> None:
    exchange = [bar(2, volume=11.0), bar(1, volume=99.0)]
    with pytest.raises(Mismatch, match=r"2024-01-15 12:00 volume is off by 8\.9"):
        acceptance.acceptable(mismatch([bar(2), bar(1)], exchange), exchange, TERMS)


COVERAGE = Coverage(100, TARGET - 99 * HOUR, TARGET)


@pytest.mark.parametrize(
    ("wanted", "coverage", "back"),
    [
        (Wanted(None, None, 24), COVERAGE, (23, 0)),
        (Wanted(None, None, 726), COVERAGE, (99, 0)),
        (Wanted(TARGET - 50 * HOUR, None, 24), COVERAGE, (50, 0)),
        (Wanted(TARGET - 50 * HOUR - 1, TARGET - 40 * HOUR + 1, 24), COVERAGE, (50, 40)),
        (Wanted(TARGET - 50 * HOUR, TARGET - 40 * HOUR, 24), COVERAGE, (50, 41)),
        (Wanted(0, TARGET + 100 * HOUR, 24), COVERAGE, (99, 0)),
        (Wanted(None, None, 24), Coverage(9, TARGET - 8 * HOUR - 1, TARGET + 5 * HOUR), (8, 0)),
    ],
)
def test_a_repair_looks_only_at_what_is_inside_the_history_and_closed(
    wanted: Wanted, coverage: Coverage, back: tuple[int, int]
) -> None:
    first, last = back
    assert within(coverage, wanted, TARGET, HOUR) == range(TARGET - first * HOUR, TARGET - last * HOUR + HOUR, HOUR)


def test_outside_the_history_there_is_nothing_to_look_at() -> None:
    assert within(Coverage(0, None, None), Wanted(None, None, 24), TARGET, HOUR) is None
    before = within(COVERAGE, Wanted(0, TARGET - 200 * HOUR, 24), TARGET, HOUR)
    assert before is not None
    assert len(before) == 0
