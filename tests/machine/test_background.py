"""What is done beside the cycle, and left to itself where it hangs."""

import threading

from barfeed.machine.background import HANGING_MAX, HANGS_AFTER_SEC, BackgroundTask
from world import SteppingClock


def test_what_hangs_is_left_to_itself_after_a_minute_and_only_so_often() -> None:
    clock, over = SteppingClock(0), threading.Event()
    task = BackgroundTask("what hangs", clock)

    def hang() -> None:
        over.wait()

    def started() -> int:
        task.start(hang)
        return sum(each.name == "barfeed-what hangs" for each in threading.enumerate())

    try:
        assert (started(), started()) == (1, 1)
        clock.sleep(HANGS_AFTER_SEC - 1)
        assert started() == 1
        counted = []
        for _ in range(HANGING_MAX + 2):
            clock.sleep(HANGS_AFTER_SEC)
            counted.append(started())
        assert counted == [2, 3, 4, 5, 5, 5, 5]
    finally:
        over.set()
        task.wait(5.0)
