import json

import pytest

from replay.replay_world import HOUR, MINUTE, SEC, World, at, header

# As measured on 2026-10-07, each edge twice.
WEIGHTS = [
    ("limit=1", 1),
    ("limit=99", 1),
    ("limit=100", 1),
    ("limit=101", 2),
    ("limit=499", 2),
    ("limit=500", 2),
    ("limit=501", 5),
    ("limit=1000", 5),
    ("limit=1001", 10),
    ("limit=1500", 10),
    ("limit=1501", 10),
    ("", 5),
]

TOO_MANY = (
    "Too many requests; current limit of IP(127.0.0.1) is 12 requests per minute. "
    "Please use the websocket for live updates to avoid polling the API."
)


def _used(world: World, path: str = "/fapi/v1/ping") -> int:
    return int(header(world.get(path), "X-MBX-USED-WEIGHT-1M") or -1)


@pytest.mark.parametrize(("asked", "weight"), WEIGHTS)
def test_klines_weigh_what_was_measured(asked: str, weight: int) -> None:
    assert header(World().klines(asked), "X-MBX-USED-WEIGHT-1M") == str(weight)


@pytest.mark.parametrize("path", ["/fapi/v1/ping", "/fapi/v1/time", "/fapi/v1/exchangeInfo"])
def test_the_other_endpoints_weigh_one(path: str) -> None:
    assert _used(World(), path) == 1


def test_a_refused_request_costs_weight_too() -> None:
    world = World()
    assert world.get(query="symbol=NOPE&interval=1h&limit=600").status == 400
    assert _used(world) == 6


def test_the_count_starts_again_at_the_exchanges_utc_minute() -> None:
    world = World(now_ms=at(14, 23, 59))
    assert [_used(world), _used(world)] == [1, 2]
    world.clock.set(at(14, 24) - 1)
    assert _used(world) == 3
    world.clock.advance(1)
    assert _used(world) == 1


def test_the_limit_itself_is_allowed_and_one_more_is_429() -> None:
    world = World(weight_limit=12)
    assert world.klines("limit=1500").status == 200
    assert [world.get("/fapi/v1/ping").status for _ in range(3)] == [200, 200, 429]


def test_429_speaks_as_the_exchange_does() -> None:
    world = World(weight_limit=12)
    world.klines("limit=1500")
    answer = world.klines("limit=1500")
    assert (answer.status, json.loads(answer.body)) == (429, {"code": -1003, "msg": TOO_MANY})
    assert header(answer, "X-MBX-USED-WEIGHT-1M") == "20"


def test_who_waits_for_the_next_minute_after_429_is_served() -> None:
    world = World(weight_limit=1)
    assert [world.get("/fapi/v1/ping").status for _ in range(2)] == [200, 429]
    world.clock.advance(MINUTE)
    assert world.get("/fapi/v1/ping").status == 200


def test_who_goes_on_after_429_is_banned_for_two_minutes() -> None:
    world = World(now_ms=at(14, 0, 10), weight_limit=1)
    answers = [world.get("/fapi/v1/ping") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 429, 418]
    assert json.loads(answers[2].body) == {
        "code": -1003,
        "msg": "Way too many requests; IP(127.0.0.1) banned until 1705327330000. "
        "Please use the websocket for live updates to avoid bans.",
    }
    world.clock.set(at(14, 2, 10) - 1)
    again = world.klines()
    assert (again.status, again.body) == (418, answers[2].body)
    world.clock.advance(1)
    assert world.get("/fapi/v1/ping").status in (200, 429)


def test_after_the_ban_ends_the_client_is_served_and_the_next_ban_is_longer() -> None:
    world = World(now_ms=at(14), weight_limit=1)
    for minutes in (2, 4, 8):
        assert [world.get("/fapi/v1/ping").status for _ in range(3)] == [200, 429, 418]
        world.clock.advance(minutes * MINUTE - 1)
        assert world.get("/fapi/v1/ping").status == 418
        world.clock.advance(1 + MINUTE)


def test_no_ban_is_longer_than_three_days() -> None:
    world = World(now_ms=at(0), weight_limit=1)
    for _ in range(15):
        for _ in range(3):
            answer = world.get("/fapi/v1/ping")
        until = int(json.loads(answer.body)["msg"].split("until ")[1].split(".")[0])
        length = until - world.clock.now_ms()
        world.clock.set(until + MINUTE)
    assert length == 72 * HOUR


def test_a_ban_begun_at_the_end_of_a_minute_outlives_the_minute() -> None:
    world = World(now_ms=at(14, 0, 59), weight_limit=1)
    for _ in range(3):
        world.get("/fapi/v1/ping")
    world.clock.advance(2 * SEC)
    assert world.get("/fapi/v1/ping").status == 418
