"""A budget by itself: what fits into the exchange's minute, and what an answer tells of it."""

import pytest

from barfeed.domain.errors import ExchangeBlocked
from barfeed.exchange.weight import Budget
from world import ms

MINUTE_MS = 60_000
BEGIN_MS = ms(2024, 2, 10, 14)


class Minute:
    """A budget of 10, twenty seconds into a minute."""

    def __init__(self) -> None:
        self.now_ms = BEGIN_MS + 20_000
        self.budget = Budget(10, lambda: self.now_ms)

    def admitted(self, weight: int = 1) -> int:
        """A request that fits, and when it was sent."""
        assert self.budget.admit(weight) == 0.0
        return self.now_ms


def test_what_does_not_fit_waits_until_just_after_the_turn_of_the_minute() -> None:
    minute = Minute()
    minute.budget.settle(9, 9, minute.admitted(9))
    assert minute.budget.admit(2) == 40.1
    assert minute.budget.admit(1) == 0.0


def test_the_exchanges_own_count_is_the_one_that_counts() -> None:
    minute = Minute()
    minute.budget.settle(1, 10, minute.admitted())
    assert minute.budget.admit(1) > 0


def test_one_that_tells_nothing_costs_what_it_weighs() -> None:
    minute = Minute()
    minute.budget.settle(4, None, minute.admitted(4))
    assert minute.budget.used == 4


def test_an_answer_that_is_overtaken_by_a_later_one_takes_nothing_back() -> None:
    minute = Minute()
    first, second = minute.admitted(), minute.admitted()
    minute.budget.settle(1, 7, second)
    minute.budget.settle(1, 6, first)
    assert minute.budget.used == 7


def test_what_is_in_flight_is_waited_for_and_not_the_next_minute() -> None:
    minute = Minute()
    sent_ms = [minute.admitted() for _ in range(6)]
    # All six had come to the exchange before it answered the first: five are counted twice until they are answered.
    minute.budget.settle(1, 6, sent_ms[0])
    assert minute.budget.admit(1) < 1.0
    for each in sent_ms[1:]:
        minute.budget.settle(1, 6, each)
    for _ in range(4):
        minute.admitted()
    assert minute.budget.admit(1) < 1.0


@pytest.mark.parametrize("is_turned_by_another", [False, True])
def test_what_is_told_of_the_old_minute_is_none_of_the_new_ones(is_turned_by_another: bool) -> None:
    minute = Minute()
    minute.budget.settle(8, 8, minute.admitted(8))
    late_ms = minute.admitted()
    minute.now_ms += MINUTE_MS
    if is_turned_by_another:
        minute.budget.settle(1, 1, minute.admitted())
    minute.budget.settle(1, 9, late_ms)
    assert minute.budget.used == 1 + is_turned_by_another
    assert minute.budget.admit(8) == 0.0


def test_a_request_that_is_never_admitted_costs_nothing() -> None:
    minute = Minute()
    minute.budget.settle(10, 10, minute.admitted(10))
    for _ in range(5):
        assert minute.budget.admit(1) > 0
    minute.now_ms += MINUTE_MS
    assert minute.budget.admit(10) == 0.0


def test_what_stopped_one_stops_all() -> None:
    minute = Minute()
    minute.budget.stop(ExchangeBlocked("blocked"))
    with pytest.raises(ExchangeBlocked):
        minute.budget.admit(1)
