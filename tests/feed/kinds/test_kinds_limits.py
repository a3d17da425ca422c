"""Each limit is counted by itself: what has no room is waited for, or left to the next pass, and never refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain.bars import HOUR_MS, MINUTE_MS, Interval
from barfeed.domain.kinds.kind import Limit
from barfeed.domain.kinds.plan import Reach
from barfeed.domain.kinds.table import DATA_REQUESTS, KINDS
from barfeed.exchange.kinds.asking import Limits
from barfeed.exchange.kinds.limits import Requests
from barfeed.feed.kinds.gathering import Kinds
from barfeed.feed.kinds.order import KindsOrder
from feed.kinds.kinds_world import LATER_MS, NOW_MS, SYMBOLS, TARGET_MS, FirstPass, KindsWorld
from world import SteppingClock

# What a market of hundreds meets at a thousand requests, three symbols meet at ten.
NARROW = Limit("data", 10, DATA_REQUESTS.span_ms, is_weight=False)
ASKED = 9
# When all of it is published.
BEGIN_MS = NOW_MS + LATER_MS
OF_DATA = [kind._replace(limit=NARROW) for kind in KINDS.values() if kind.limit == DATA_REQUESTS]
LATE_BAR = '[[fault]]\nkind = "hide"\nbar = 2026-03-10T14:00:00\nsymbol = "BTCUSDT"\n'


def narrowed(world: KindsWorld) -> KindsWorld:
    """A market of three symbols with the five kinds of /futures/data: fifteen requests a pass."""
    order = KindsOrder((*OF_DATA, KINDS["premium_index"]), Reach(6, 48), 15.0)
    world.feed = world.feed._replace(kinds=Kinds(order, world.store.kinds, world.rest, Limits(world.clock)))
    return world


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> FirstPass:
    """Its first pass, to look at."""
    world = narrowed(KindsWorld(tmp_path_factory.mktemp("first"), BEGIN_MS))
    return FirstPass(world, world.run_pass(catch_up=True))


def test_a_single_pass_waits_its_limits_out(first: FirstPass) -> None:
    world, record = first
    assert (record.exit_code, record.kinds and record.kinds.appended) == (0, 6 * 3 * 48)
    assert world.clock.now_ms - BEGIN_MS >= DATA_REQUESTS.span_ms
    limiter = world.exchange.limits["data"]
    assert (limiter.most, limiter.refused) == (ASKED, 0)


@pytest.mark.long
def test_a_watch_leaves_the_rest_to_its_next_look_where_bars_are_missing(first: FirstPass, tmp_path: Path) -> None:
    world = narrowed(first.copy(tmp_path))
    world.clock.go_to(TARGET_MS + 2 * HOUR_MS + 6 * MINUTE_MS)
    begin_ms = world.clock.now_ms
    record = world.run_pass(LATE_BAR, catch_up=True, kinds_within=Interval.ONE_HOUR, series_wait_sec=3.0)
    # Nobody waits for a limit while a bar is missing.
    assert world.clock.now_ms - begin_ms < 10_000
    assert record.status == "bar_late"
    assert record.kinds
    assert len(record.kinds.complaints) > 0
    assert all("its limit left no room in time" in message for message, _ in record.kinds.complaints)
    assert world.exchange.limits["data"].refused == 0
    world.clock.go_to(begin_ms + 6 * MINUTE_MS)
    assert world.run_pass(catch_up=True, kinds_within=Interval.ONE_HOUR).exit_code == 0
    for kind in OF_DATA:
        rows = {symbol: world.kept(kind, symbol)[-1][0] for symbol in SYMBOLS}
        assert rows == dict.fromkeys(SYMBOLS, TARGET_MS + HOUR_MS)
    # What was left was known to nobody when it was due.
    known = world.known(OF_DATA[-1])
    assert known["ETHUSDT", TARGET_MS + HOUR_MS] == world.clock.now_ms


@given(pauses_sec=st.lists(st.floats(min_value=0.0, max_value=120.0), max_size=60))
def test_no_span_has_more_requests_than_are_allowed(pauses_sec: list[float]) -> None:
    now_sec, sent_sec = [1000.0], []
    requests = Requests(NARROW, lambda: now_sec[0])
    for pause_sec in pauses_sec:
        now_sec[0] += pause_sec
        while wait_sec := requests.admit(1):
            now_sec[0] += wait_sec
        sent_sec.append(now_sec[0])
    span_sec = NARROW.span_ms / 1000
    for end_sec in sent_sec:
        assert sum(end_sec - span_sec < each <= end_sec for each in sent_sec) <= ASKED


def test_every_limit_is_the_address_s_and_counted_over_passes() -> None:
    limits = Limits(SteppingClock(NOW_MS))
    assert limits.of(DATA_REQUESTS) is limits.of(DATA_REQUESTS)
    assert limits.of(KINDS["funding"].limit) is not limits.of(DATA_REQUESTS)
