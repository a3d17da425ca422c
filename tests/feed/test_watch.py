"""When the watch runs a cycle, and what it survives."""

import pytest

from barfeed.exchange.rest import Conversation
from barfeed.feed.record import Record
from barfeed.feed.watch import Pace, due_in_sec, failure_pause_sec, next_due_in_sec, watch
from barfeed.replay.faults.script import parse_faults
from world import HourIsOver, World, ends_after, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
HOUR_MS = 3_600_000
PACE = Pace(sleep_sec=300.0, max_wait_sec=120.0)


def watched(world: World, cycles: int, fault: str = "", pace: Pace = PACE) -> list[Record]:
    records: list[Record] = []
    world.exchange.faults = parse_faults(fault, "the test")
    with pytest.raises(HourIsOver):
        watch(world.feed, world.order, world.rest, pace, ends_after(records, cycles))
    return records


@pytest.mark.parametrize(
    ("now", "done", "expected_sec"),
    [
        (ms(2024, 2, 10, 14, 0, 30), None, -20.0),
        (ms(2024, 2, 10, 14, 0, 3), None, 7.0),
        (ms(2024, 2, 10, 14, 0, 3), ms(2024, 2, 10, 12), 7.0),
        (ms(2024, 2, 10, 14, 0, 10), ms(2024, 2, 10, 12), 0.0),
        (ms(2024, 2, 10, 14, 0, 30), ms(2024, 2, 10, 13), 3580.0),
        (ms(2024, 2, 10, 14, 59, 59), ms(2024, 2, 10, 13), 11.0),
        (ms(2024, 2, 12, 9, 0, 30), ms(2024, 2, 10, 13), -20.0),
        # The exchange's clock jumped back: nothing older than what is done is due.
        (ms(2024, 2, 10, 13, 30), ms(2024, 2, 10, 13), 5410.0),
    ],
)
def test_a_bar_is_due_when_it_is_closed_settled_and_not_done(now: int, done: int | None, expected_sec: float) -> None:
    assert due_in_sec(now, done, HOUR_MS, settle_sec=10.0) == expected_sec


@pytest.mark.parametrize(
    ("now", "done", "expected_sec"),
    [
        (ms(2024, 2, 10, 13, 59, 30), ms(2024, 2, 10, 12), 40.0),
        (ms(2024, 2, 10, 14, 0, 3), ms(2024, 2, 10, 12), 7.0),
        # The 13:00 bar is due and not done: the next to become due is that of 14:00.
        (ms(2024, 2, 10, 14, 0, 30), ms(2024, 2, 10, 12), 3580.0),
        (ms(2024, 2, 10, 14, 0, 30), None, 3580.0),
        (ms(2024, 2, 10, 14, 0, 30), ms(2024, 2, 10, 13), 3580.0),
    ],
)
def test_the_next_to_become_due_is_ahead_though_one_is_due_already(
    now: int, done: int | None, expected_sec: float
) -> None:
    assert next_due_in_sec(now, done, HOUR_MS, settle_sec=10.0) == expected_sec


@pytest.mark.parametrize(
    ("failures", "asked_sec", "expected_sec"),
    [(1, None, 5.0), (2, None, 10.0), (4, None, 40.0), (7, None, 300.0), (1000, None, 300.0), (1, 7200.0, 7200.0)],
)
def test_pauses_after_failures_grow_and_are_bounded_but_honour_what_was_asked(
    failures: int, asked_sec: float | None, expected_sec: float
) -> None:
    assert failure_pause_sec(failures, asked_sec, 300.0) == expected_sec


@pytest.mark.long
def test_a_day_is_lived_hour_by_hour_as_soon_as_each_bar_is_due(started: World) -> None:
    records = watched(started, 9)
    assert [record.status for record in records] == ["appended"] * 9
    assert [record.target_ms for record in records] == [TARGET_MS + hours(each) for each in range(9)]
    assert started.clock.now_ms - (TARGET_MS + hours(9) + 10_000) in range(500)


def test_nothing_is_pulled_while_nothing_is_due(started: World) -> None:
    watched(started, 1)
    started.exchange.requests.clear()
    watched(started, 2)
    assert started.exchange.requests["/fapi/v1/klines"] == 2
    # An hour of looks, one every 300 seconds.
    assert 12 <= started.exchange.requests["/fapi/v1/time"] <= 16


ONE_OF_EACH = """
[[fault]]
kind = "duplicate"
requests = "1"
[[fault]]
kind = "object"
requests = "2"
[[fault]]
kind = "status"
status = 451
requests = "3"
[[fault]]
kind = "revise"
bar = 2024-02-10T11:00:00
volume = 1.0
requests = "4"
[[fault]]
kind = "status"
status = 403
requests = "5"
"""


def test_every_error_of_a_cycle_is_survived_with_growing_pauses(started: World) -> None:
    started.exchange.requests.clear()
    began_ms = started.clock.now_ms
    records = watched(started, 6, ONE_OF_EACH)
    assert [record.exit_code for record in records] == [5, 5, 5, 1, 3, 0]
    assert started.clock.now_ms - began_ms == (5 + 10 + 20 + 40 + 80) * 1000


def test_a_block_is_told_though_no_bar_is_due_for_it_may_outlast_many(started: World) -> None:
    records = watched(started, 1)
    banned = '[[fault]]\nkind = "status"\nstatus = 418\npath = "*"\nfrom = 2024-02-10T14:05:00\n'
    records += watched(started, 2, banned)
    assert [record.status for record in records] == ["appended", "up_to_date", "exchange_blocked"]
    assert started.clock.now_ms < TARGET_MS + hours(2)


def test_a_bug_of_a_cycle_is_told_and_does_not_end_the_watch(started: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def stumble(*_: object, **__: object) -> None:
        monkeypatch.undo()
        raise ZeroDivisionError("of ours")

    monkeypatch.setattr("barfeed.feed.cycle.verdict.judge", stumble)
    records = watched(started, 2)
    assert [(record.status, record.exit_code) for record in records] == [("interrupted", 70), ("appended", 0)]
    assert records[0].failure is not None
    assert records[0].failure.message == "ZeroDivisionError: of ours"


def test_a_bug_in_one_hour_does_not_end_the_watch(started: World) -> None:
    records: list[Record] = []
    tell = ends_after(records, 2)

    def stumble(record: Record, talk: object) -> None:
        tell(record, talk)
        if len(records) == 1:
            raise ZeroDivisionError

    with pytest.raises(HourIsOver):
        watch(started.feed, started.order, started.rest, PACE, stumble)
    assert [record.status for record in records] == ["appended", "up_to_date"]


def test_a_bar_that_is_late_is_lived_when_it_comes(started: World) -> None:
    started.exchange.requests.clear()
    records = watched(started, 3, '[[fault]]\nkind = "late"\nrows = 2\nsec = 300\nfrom = 2024-02-10T15:00:00')
    assert [record.status for record in records] == ["appended", "bar_late", "bar_late"]
    assert [record.status for record in watched(started, 1)] == ["appended"]


def test_a_ban_is_left_alone_until_it_ends(started: World) -> None:
    started.exchange.requests.clear()
    banned = '[[fault]]\nkind = "status"\nstatus = 418\npath = "*"\nretry_after = 1800\nuntil = 2024-02-10T14:30:00'
    began_ms = started.clock.now_ms
    records = watched(started, 2, banned)
    assert [record.status for record in records] == ["exchange_blocked", "appended"]
    assert started.clock.now_ms - began_ms >= 1_800_000
    assert started.exchange.requests.total() == 3


@pytest.mark.parametrize("status", [503, 429, 418])
def test_what_is_missed_in_a_long_pause_is_told_when_due_and_the_exchange_is_left_alone(
    started: World, status: int
) -> None:
    asked_for = f'kind = "status"\nstatus = {status}\nretry_after = 14400\npath = "*"'
    started.exchange.faults = parse_faults(
        f"[[fault]]\n{asked_for}\nfrom = 2024-02-10T14:30:00\nuntil = 2024-02-10T16:00:00", "the test"
    )
    started.order = started.order._replace(catch_up=True)
    failed: list[tuple[int, int]] = []

    def tell(record: Record, _talk: Conversation) -> None:
        if record.exit_code:
            failed.append(((started.clock.now_ms - TARGET_MS - hours(1)) // 60_000, started.exchange.requests.total()))
        elif started.clock.now_ms > TARGET_MS + hours(5):
            raise HourIsOver

    with pytest.raises(HourIsOver):
        watch(started.feed, started.order, started.rest, PACE, tell)
    assert [minute for minute, _ in failed if minute != 30] == [60, 120, 180, 240]
    assert len({requests for _, requests in failed}) == 1
    assert started.clock.now_ms - TARGET_MS - hours(1) >= hours(4.5)


def test_an_outage_that_ends_before_the_close_does_not_put_the_bar_off(lived: World) -> None:
    down = (
        '[[fault]]\nkind = "status"\nstatus = 503\npath = "*"\nfrom = 2024-02-10T14:05:00\nuntil = 2024-02-10T14:58:30'
    )
    assert watched(lived, 2, down)[-1].status == "appended"
    assert lived.clock.now_ms - TARGET_MS - hours(2) - 10_000 in range(100)


def test_a_look_that_fails_while_nothing_is_due_leaves_no_manifest(lived: World) -> None:
    manifests = [name for name in lived.files() if name.endswith("run.json")]
    down = '[[fault]]\nkind = "reset"\npath = "time"\nfrom = 2024-02-10T14:01:00\nuntil = 2024-02-10T14:50:00'
    assert [record.status for record in watched(lived, 1, down)] == ["up_to_date"]
    records: list[Record] = []
    lived.exchange.faults = parse_faults(down, "the test")
    with pytest.raises(HourIsOver):
        watch(lived.feed, lived.order, lived.rest, PACE, ends_after(records, 2))
    assert [record.status for record in records] == ["up_to_date", "appended"]
    assert len([name for name in lived.files() if name.endswith("run.json")]) == len(manifests) + 3


def test_after_a_laptops_sleep_the_watch_looks_at_once(lived: World) -> None:
    sleep = lived.clock.sleep
    slept: list[float] = []

    def lid_closed(sec: float) -> None:
        # The steady clock counts a suspended machine's time: the sleep is over when the lid opens.
        slept.append(sec)
        sleep(max(sec, 5400.0) if len(slept) == 2 else sec)

    lived.clock.sleep = lid_closed  # type: ignore[method-assign]
    lived.order = lived.order._replace(catch_up=True)
    records = watched(lived, 2)
    assert records[-1].appended >= 1
    assert records[-1].target_ms == TARGET_MS + hours(1)
