"""A watch that listens: earlier by a closing frame, and never later or less safe without one."""

from collections.abc import Sequence
from typing import Any

import pytest

from barfeed.feed.record import Record
from barfeed.feed.watch import Listen, Pace, watch
from barfeed.replay.faults.script import parse_faults
from world import HourIsOver, World, ends_after, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
PACE = Pace(sleep_sec=300.0, max_wait_sec=120.0)
# When a frame comes (ms), and the bar that it says is closed.
Frames = Sequence[tuple[int, int]]


def bell(world: World, frames: Frames) -> Listen:
    """A stream that says this, and is silent else."""
    left = sorted(frames)

    def listen(sec: float) -> int | None:
        end_ms = world.clock.now_ms + round(sec * 1000)
        if not left or left[0][0] > end_ms:
            world.clock.sleep(sec)
            return None
        at_ms, bar_ms = left.pop(0)
        world.clock.sleep((at_ms - world.clock.now_ms) / 1000)
        return bar_ms

    return listen


def watched(world: World, cycles: int, frames: Frames, fault: str = "", **changes: Any) -> list[tuple[str, int, int]]:
    """Of each cycle: how it ended, its target, and when it ended after its target's close (ms)."""
    records: list[Record] = []
    seen: list[tuple[str, int, int]] = []
    collect = ends_after(records, cycles)

    def tell(record: Record, talk: object) -> None:
        target_ms = record.target_ms or 0
        seen.append((record.status, target_ms, world.clock.now_ms - target_ms - hours(1)))
        collect(record, talk)

    world.exchange.faults = parse_faults(fault, "the test")
    with pytest.raises(HourIsOver):
        watch(world.feed, world.order._replace(**changes), world.rest, PACE, tell, listen=bell(world, frames))
    return seen


def closes(*hour: int, after_ms: int = 5) -> Frames:
    """The closing frames of the bars so many hours after the target."""
    return [(TARGET_MS + hours(each + 1) + after_ms, TARGET_MS + hours(each)) for each in hour]


def late_by(seen: list[tuple[str, int, int]]) -> list[int]:
    return [late_ms for _, _, late_ms in seen]


def test_a_closing_frame_starts_the_cycle_at_once(started: World) -> None:
    seen = watched(started, 4, closes(1, 2, 3))
    assert [(status, target) for status, target, _ in seen] == [
        ("appended", TARGET_MS + hours(each)) for each in range(4)
    ]
    assert late_by(seen)[1:] == [5, 5, 5]


def test_without_a_closing_frame_the_clock_starts_it_settled(started: World) -> None:
    assert late_by(watched(started, 4, closes(1, 3)))[1:] == [5, 10_002, 5]


def test_a_closing_frame_that_comes_after_the_clock_does_nothing_more(started: World) -> None:
    seen = watched(started, 3, closes(1, 2, after_ms=15_000))
    assert [status for status, _, _ in seen] == ["appended"] * 3
    assert late_by(seen)[1:] == [10_002, 10_002]


HALF_PAST = TARGET_MS + hours(1.5)
USELESS: dict[str, Frames] = {
    "of the bar that is done, again and again": [(HALF_PAST + each, TARGET_MS) for each in range(1000)],
    "of older bars": [(HALF_PAST + each, TARGET_MS - hours(each)) for each in range(1000)],
    "of the forming bar, much too early": [(HALF_PAST + each, TARGET_MS + hours(1)) for each in range(1000)],
    "of bars to come": [(HALF_PAST + each, TARGET_MS + hours(each)) for each in range(2, 1000)],
    "of the next bar at the close before": closes(2, after_ms=5 - hours(1)),
    "off the grid": [(HALF_PAST, TARGET_MS + 1)],
}


@pytest.mark.parametrize("frames", USELESS.values(), ids=USELESS)
def test_a_frame_that_is_no_news_costs_a_look_at_most_and_no_cycle(lived: World, frames: Frames) -> None:
    seen = watched(lived, 2, frames)
    # One look's cycle at the start, and the next hour's by the clock.
    assert [status for status, _, _ in seen] == ["up_to_date", "appended"]
    assert late_by(seen)[1:] == [10_002]
    assert lived.exchange.requests["/fapi/v1/klines"] == 2
    assert lived.exchange.requests["/fapi/v1/time"] <= 17


def test_a_close_is_heard_on_an_exchange_whose_clock_runs_faster_than_ours(started: World) -> None:
    def listen(_sec: float) -> int:
        # Nobody slept an hour, and yet it has passed there.
        started.clock.now_ms = TARGET_MS + hours(2) + 5
        return TARGET_MS + hours(1)

    records: list[Record] = []
    with pytest.raises(HourIsOver):
        watch(started.feed, started.order, started.rest, PACE, ends_after(records, 2), listen=listen)
    assert [record.status for record in records] == ["appended", "appended"]
    assert started.clock.now_ms == TARGET_MS + hours(2) + 5


def test_a_closing_frame_a_little_early_is_waited_with_until_the_close(started: World) -> None:
    seen = watched(started, 2, closes(1, after_ms=-400))
    assert seen[1][0] == "appended"
    assert 0 <= seen[1][2] <= 10


def test_a_bar_that_rest_does_not_show_yet_is_asked_for_until_it_does(started: World) -> None:
    seen = watched(started, 2, closes(1), '[[fault]]\nkind = "late"\nrows = 2\nsec = 3\nfrom = 2024-02-10T15:00:00')
    assert [status for status, _, _ in seen] == ["appended", "appended"]
    assert 3000 <= late_by(seen)[1] < 6000


@pytest.mark.parametrize("jitter", [0.0, pytest.param(0.5, marks=pytest.mark.long), 0.99])
@pytest.mark.parametrize(
    "sec", [pytest.param(5, marks=pytest.mark.long), 8, 10, pytest.param(30, marks=pytest.mark.long)]
)
@pytest.mark.parametrize(
    "fault",
    [
        'kind = "late"\nrows = 2\nsec = {sec}',
        'kind = "status"\nstatus = 503\npath = "*"\nuntil = 2024-02-10T{hour}:00:{sec:02}',
    ],
    ids=["late", "503"],
)
def test_a_frame_never_makes_a_bar_later_than_the_clock(started: World, fault: str, sec: int, jitter: float) -> None:
    started.rest.jitter = lambda: jitter

    def late(hour: int, frames: Frames) -> int:
        faults = f"[[fault]]\nfrom = 2024-02-10T{{hour}}:00:00\n{fault}".format(sec=sec, hour=hour)
        return late_by(watched(started, 2, frames, faults, catch_up=True))[1]

    by_the_clock, by_the_frame = late(15, []), late(16, closes(2))
    # This clock rounds each pause to a millisecond.
    assert by_the_frame <= by_the_clock + 1


def test_the_patience_of_a_heard_bar_counts_from_when_it_has_settled(started: World) -> None:
    never = '[[fault]]\nkind = "late"\nrows = 2\nsec = 900\nfrom = 2024-02-10T15:00:00'
    # The shortest pauses, so that the last of them leaves least of the patience.
    started.rest.jitter = lambda: 0.0
    (_, (status, _, after_ms)) = watched(started, 2, closes(1), never)
    assert status == "bar_late"
    # Counted from the frame, it would have ended by now.
    assert after_ms > 120_000


def test_a_pause_that_the_exchange_asked_for_is_not_cut_short(started: World) -> None:
    banned = '[[fault]]\nkind = "status"\nstatus = 418\npath = "*"\nretry_after = 3600\nuntil = 2024-02-10T15:00:30'
    started.exchange.requests.clear()
    seen = watched(started, 2, closes(1), banned, catch_up=True)
    assert [status for status, _, _ in seen] == ["exchange_blocked", "appended"]
    # Half a minute after the next close, though its frame came before.
    assert late_by(seen)[1] >= 30_000
    assert started.exchange.requests.total() <= 5


def test_a_machine_far_from_the_exchange_waits_as_long_as_its_time_may_be_off(started: World) -> None:
    transport = started.rest.transport

    def far(url: str, left_sec: float) -> Any:
        started.clock.sleep(0.2)
        answer = transport(url, left_sec)
        started.clock.sleep(0.2)
        return answer

    started.rest.transport = far
    seen = watched(started, 2, closes(1))
    assert seen[1][0] == "appended"
    assert late_by(seen)[1] < 10_000


def test_a_heard_bar_is_confirmed_after_it_has_settled(started: World) -> None:
    seen = watched(started, 2, closes(1), confirm_sec=10.0)
    assert seen[1][0] == "appended"
    assert late_by(seen)[1] == 10_005
