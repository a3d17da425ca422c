import time
from types import SimpleNamespace

import pytest

from barfeed.machine.clock import ExchangeTime, Patience, SystemClock


class SleptClock:
    """Moves only when slept on."""

    def __init__(self) -> None:
        self.now_sec = 500.0

    def steady_sec(self) -> float:
        return self.now_sec

    def utc_ms(self) -> int:
        return int(self.now_sec * 1000)

    def sleep(self, sec: float) -> None:
        self.now_sec += max(0.0, sec)


def test_half_the_round_trip_is_added_to_what_the_exchange_said() -> None:
    told = ExchangeTime.answered(1_705_323_600_000, sent_sec=500.0, received_sec=502.0, machine_ms=1_705_323_601_000)
    clock = SleptClock()
    clock.now_sec = 502.0
    assert told.now_ms(clock) == 1_705_323_601_000
    assert told.round_trip_sec == 2.0
    assert told.skew_sec == 0.0


@pytest.mark.parametrize(("machine_off_ms", "skew_sec"), [(600_000, 600.0), (-600_000, -600.0), (0, 0.0)])
def test_a_fast_machine_has_a_positive_skew_and_changes_nothing_else(machine_off_ms: int, skew_sec: float) -> None:
    machine_ms = 1_705_323_600_500 + machine_off_ms
    told = ExchangeTime.answered(1_705_323_600_000, sent_sec=500.0, received_sec=501.0, machine_ms=machine_ms)
    assert told.skew_sec == skew_sec
    assert told.now_ms(SleptClock()) == 1_705_323_599_500


def test_the_exchanges_time_is_carried_on_by_the_steady_clock() -> None:
    clock = SleptClock()
    told = ExchangeTime.answered(1_705_323_600_000, 500.0, 500.0, 0)
    clock.sleep(3_600.25)
    assert told.now_ms(clock) == 1_705_327_200_250


def test_patience_runs_out_and_never_below_zero() -> None:
    clock = SleptClock()
    patience = Patience(clock, 10.0)
    patience.pause(4.0)
    assert patience.left_sec == 6.0
    patience.pause(60.0)
    assert (patience.left_sec, clock.now_sec) == (0.0, 510.0)
    clock.sleep(5.0)
    assert patience.left_sec == 0.0


def test_waiting_aside_uses_no_patience_up() -> None:
    clock = SleptClock()
    patience = Patience(clock, 10.0)
    patience.wait_aside(600.0)
    assert (patience.left_sec, clock.now_sec) == (10.0, 1100.0)
    patience.wait_aside(-5.0)
    assert (patience.left_sec, clock.now_sec) == (10.0, 1100.0)


def test_the_machines_clocks_move_on_and_sleep_waits_for_them() -> None:
    clock = SystemClock()
    began, began_ms = time.monotonic(), time.time_ns() // 1_000_000
    steady_sec, utc_ms = clock.steady_sec(), clock.utc_ms()
    clock.sleep(0.02)
    assert 0.02 <= clock.steady_sec() - steady_sec <= time.monotonic() - began
    assert utc_ms + 19 <= clock.utc_ms() <= time.time_ns() // 1_000_000
    assert utc_ms >= began_ms


def test_a_sleep_of_nothing_or_less_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("barfeed.machine.clock.time", SimpleNamespace(**vars(time) | {"sleep": slept.append}))
    SystemClock().sleep(0.0)
    SystemClock().sleep(-5.0)
    assert slept == []
