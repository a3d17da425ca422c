from barfeed.replay.clocks import HandClock, ReplayClock


class Machine:
    """A machine whose steady clock is moved by hand, and whose wall clock must not be asked."""

    steady = 1000.0

    def steady_sec(self) -> float:
        return self.steady

    def utc_ms(self) -> int:
        raise AssertionError("the replay exchange has a time of its own")

    def sleep(self, sec: float) -> None:
        self.steady += sec


def test_a_replay_clock_starts_at_its_moment_and_runs_at_its_speed() -> None:
    machine = Machine()
    clock = ReplayClock(1_705_276_800_000, 60.0, machine)
    assert clock.now_ms() == 1_705_276_800_000
    machine.sleep(1.5)
    assert clock.now_ms() == 1_705_276_800_000 + 90_000


def test_a_replay_clock_can_run_at_the_machines_own_pace() -> None:
    machine = Machine()
    clock = ReplayClock(5, 1.0, machine)
    machine.sleep(0.25)
    assert clock.now_ms() == 255


def test_a_hand_clock_stands_still_until_it_is_moved() -> None:
    clock = HandClock(100)
    assert [clock.now_ms(), clock.now_ms()] == [100, 100]
    clock.advance(5)
    assert clock.now_ms() == 105
    clock.set(7)
    assert clock.now_ms() == 7
