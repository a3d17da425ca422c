"""Well is a feed whose newest bar is where it should be at the moment of asking."""

import pytest

from barfeed.operate import health
from operate.metrics.metering_world import Metered
from world import BTCUSDT_1H, hours, ms

NEWEST_MS = ms(2024, 2, 10, 13)
DOWN = '[[fault]]\nkind = "status"\nstatus = 503\npath = "time"\n'


@pytest.mark.parametrize(
    ("now", "is_well"),
    [
        (ms(2024, 2, 10, 14), True),
        (ms(2024, 2, 10, 14, 59, 59), True),
        # The next bar has closed, and the feed has five minutes for it.
        (ms(2024, 2, 10, 15), True),
        (ms(2024, 2, 10, 15, 4, 59), True),
        (ms(2024, 2, 10, 15, 5), False),
        (ms(2024, 2, 11, 15), False),
        # A bar that has not closed is not where it should be either.
        (ms(2024, 2, 10, 13, 59, 59), False),
    ],
)
def test_the_newest_bar_decides(metered: Metered, now: int, is_well: bool) -> None:
    last = metered.live(13, 0, 30, catch_up=True)
    assert health.judge(BTCUSDT_1H, NEWEST_MS, now, last).is_well is is_well


def test_before_the_first_cycle_nothing_is_well(metered: Metered) -> None:
    told = metered.meter.healths()[0].told()
    assert (told["healthy"], told["reason"]) == (False, "no cycle has ended yet")


def test_without_any_bar_it_tells_why_and_what_helps(metered: Metered) -> None:
    metered.live(13, 0, 30)
    told = metered.meter.healths()[0].told()
    assert (told["healthy"], told["reason"], told["newest"]) == (False, "the store holds no bar", None)
    assert told["last_failure"] == "BTCUSDT 1h: the store holds no bar to validate against"
    assert told["hint"] == "start it: barfeed run --catch-up"


def test_it_turns_by_itself_while_no_cycle_ends(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    assert metered.meter.healths()[0].told() == {
        "healthy": True,
        "series": {"symbol": "BTCUSDT", "interval": "1h"},
        "newest": "2024-02-10 12:00",
        "lag_sec": -3570,
        "reason": "",
        "last_failure": "",
        "hint": "",
    }
    metered.world.clock.go_to(metered.world.clock.now_ms + hours(3))
    told = metered.meter.healths()[0].told()
    assert (told["healthy"], told["lag_sec"]) == (False, 2 * 3600 + 30)
    assert told["reason"] == "the store is 3 bars behind 2024-02-10 15:00"
    assert "barfeed status" in str(told["hint"])


def test_a_settled_symbol_is_behind_nothing_and_not_well(metered: Metered) -> None:
    settled = '[[fault]]\nkind = "settle"\nat = 2024-02-10T12:30:00\nuntil_bar = 2024-02-10T12:00:00\n'
    metered.live(13, 0, 30, catch_up=True)
    metered.live(16, 0, 30, fault=settled)
    told = metered.meter.healths()[0].told()
    gone = "BTCUSDT 1h: settled since 2024-02-10 12:30 (SETTLING): its last bar is 2024-02-10 12:00"
    assert (told["healthy"], told["reason"]) == (False, gone)
    assert told["hint"] == "the store has it; no more bars will come: stop this feed"


def test_a_failed_cycle_is_told_though_it_does_no_harm_yet(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.live(14, 0, 30, fault=DOWN)
    told = metered.meter.healths()[0].told()
    assert told["healthy"] is True
    assert "did not answer /fapi/v1/time" in str(told["last_failure"])


def test_with_the_exchange_away_its_time_is_carried_on_from_its_last_answer(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    # The machine's own clock would say that all is well.
    metered.world.clock.off_sec = -3600.0
    metered.live(15, 0, 30, fault=DOWN)
    assert metered.meter.healths()[0].is_well is False


def test_when_the_bar_comes_it_is_well_again(metered: Metered) -> None:
    metered.live(13, 0, 30, catch_up=True)
    metered.live(17, 0, 30)
    assert not metered.meter.healths()[0].is_well
    metered.live(17, 10, 30, catch_up=True)
    assert metered.meter.healths()[0].is_well
