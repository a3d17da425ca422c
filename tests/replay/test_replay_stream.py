"""The stream as the exchange speaks it: ways in, subscriptions, frames that agree with REST, and how it ends."""

import json
from typing import Any

import pytest

from barfeed.domain.bars import Bar
from barfeed.replay.messages import Reply
from barfeed.replay.stream.session import Goodbye, Message, Out, Session
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, HOUR, HOURLY, World, at, connection, kline, stream


def said(out: list[Out]) -> list[Any]:
    return [json.loads(each.data) for each in out if isinstance(each, Message)]


def ask(session: Session, method: str, *names: str, number: int = 7, at_sec: float = 0.0) -> list[Out]:
    return session.hear(json.dumps({"method": method, "params": names, "id": number}), at_sec)


def due(world: World, session: Session, now_ms: int) -> list[Out]:
    world.clock.set(now_ms)
    return session.due()


def test_a_frame_says_what_rest_says_at_that_moment() -> None:
    world = World()
    session = stream(world)
    for moment in (at(14, 30), at(14, 59, 59) + 999, at(15) + 5, at(15, 0, 1)):
        for frame in said(due(world, session, moment)):
            told = frame["k"]
            (row,) = [each for each in world.rows("limit=2") if each[0] == told["t"]]
            assert [told[name] for name in "tohlcvTqnVQB"] == row
            assert (frame["e"], frame["E"], frame["s"], told["s"], told["i"]) == (
                "kline", moment, "BTCUSDT", "BTCUSDT", "1h",
            )  # fmt: skip
            assert list(told) == list("tTsifLochlvnxqVQB")
            assert told["L"] - told["f"] + 1 == (told["n"] or 1)


def test_a_bar_is_closed_once_with_its_final_values_and_the_next_one_follows() -> None:
    world = World()
    session = stream(world)
    heard = []
    for ms in range(-1000, 2000, 2):
        heard += [(ms, *kline(each)) for each in due(world, session, at(15) + ms)]
    assert [each for each in heard if each[2]] == [(6, 14, True)]
    before = [each for each in heard if each[0] < 6]
    after = [each for each in heard if each[0] > 6]
    assert {each[1] for each in before} == {14}
    assert {each[1] for each in after} == {15}
    # Four a second, each side.
    assert (len(before), len(after)) == (4, 7)


def test_a_name_that_nobody_knows_moves_no_frame() -> None:
    # As ccxt opens its connections.
    heard: dict[str, list[int]] = {}
    for path in ("/market/ws", "/market/ws/0"):
        world = World()
        session = stream(world, path)
        ask(session, "SUBSCRIBE", "btcusdt@kline_1h")
        heard[path] = [ms for ms in range(0, 2000, 2) if due(world, session, at(15) + ms)]
    assert heard["/market/ws"] == heard["/market/ws/0"]


def test_nothing_traded_is_nothing_to_tell() -> None:
    still = [bar if bar.open_time_ms != at(14) else Bar(at(14), 114.0, 114.0, 114.0, 114.0, 0.0) for bar in BARS]
    world = World(Tape.of(HOURLY, still))
    session = stream(world)
    assert len(due(world, session, at(14, 30))) == 1
    assert due(world, session, at(14, 31)) == []
    (frame, _) = said(due(world, session, at(15) + 5))
    assert (frame["k"]["f"], frame["k"]["L"], frame["k"]["n"], frame["k"]["x"]) == (-1, -1, 0, True)


def test_after_a_jump_of_the_clock_the_last_closes_are_told_and_not_a_year() -> None:
    world = World()
    session = stream(world)
    assert [kline(each) for each in due(world, session, at(17, 30))] == [
        (14, True), (15, True), (16, True), (17, False),
    ]  # fmt: skip
    assert [kline(each) for each in due(world, session, at(9))] == [(9, False)]


@pytest.mark.parametrize("route", ["/market", "/public", ""])
def test_only_the_market_route_speaks(route: str) -> None:
    world = World()
    session = stream(world, f"{route}/ws")
    assert said(ask(session, "SUBSCRIBE", "btcusdt@kline_1h")) == [{"result": None, "id": 7}]
    assert len(due(world, session, at(14, 30))) == (1 if route == "/market" else 0)


@pytest.mark.parametrize("path", ["/", "/market", "/market/wsx", "/fapi/v1/time", "/private/ws", "/market/stream/x"])
def test_any_other_way_in_is_not_found(path: str) -> None:
    answer = connection(World(), path)
    assert isinstance(answer, Reply)
    assert answer.status == 404


def test_a_combined_connection_names_each_frame_s_stream() -> None:
    world = World()
    session = stream(world, "/market/stream", "streams=btcusdt@kline_1h/nope@kline_1h")
    (frame,) = said(due(world, session, at(14, 30)))
    assert (frame["stream"], frame["data"]["k"]["t"]) == ("btcusdt@kline_1h", at(14))


def test_subscriptions_come_and_go() -> None:
    world = World()
    session = stream(world, "/market/ws")
    assert due(world, session, at(14, 30)) == []
    ask(session, "SUBSCRIBE", "btcusdt@kline_1h", "btcusdt@kline_1s")
    assert said(ask(session, "LIST_SUBSCRIPTIONS", number=3)) == [
        {"result": ["btcusdt@kline_1h", "btcusdt@kline_1s"], "id": 3}
    ]
    assert len(due(world, session, at(14, 31))) == 1
    assert said(ask(session, "UNSUBSCRIBE", "btcusdt@kline_1h", number=4)) == [{"result": None, "id": 4}]
    assert due(world, session, at(14, 32)) == []


@pytest.mark.parametrize("name", ["BTCUSDT@kline_1h", "btcusdt@kline_1s", "nope@kline_1h", "btcusdt@trade", ""])
def test_any_name_is_acknowledged_and_says_nothing(name: str) -> None:
    world = World()
    session = stream(world, "/market/ws")
    assert said(ask(session, "SUBSCRIBE", name)) == [{"result": None, "id": 7}]
    assert due(world, session, at(14, 30)) == []


@pytest.mark.parametrize(
    ("heard", "code"),
    [
        ("{", 3),
        (b"\xff", 3),
        ("[" * 100_000, 3),
        ("[]", 2),
        ('{"method":"JUMP"}', 2),
        ('{"method":"SUBSCRIBE","params":1}', 2),
    ],
)
def test_what_cannot_be_understood_is_an_error(heard: str | bytes, code: int) -> None:
    (answer,) = said(stream(World()).hear(heard, 0.0))
    assert answer["error"]["code"] == code


def test_more_than_1024_streams_end_the_connection() -> None:
    session = stream(World(), "/market/ws")
    assert said(ask(session, "SUBSCRIBE", *(f"s{each}@kline_1h" for each in range(1024)))) == [
        {"result": None, "id": 7}
    ]
    assert ask(session, "SUBSCRIBE", "s1@kline_1h") != []
    error, goodbye = ask(session, "SUBSCRIBE", "one@too_many")
    assert said([error]) == [{"error": {"code": 4, "msg": "Too many subscriptions"}}]
    assert goodbye == Goodbye(1008, "Invalid request")


def test_who_talks_too_much_is_cut_off() -> None:
    patient, hasty = (stream(World(), "/market/ws") for _ in range(2))
    assert all(isinstance(ask(patient, "SUBSCRIBE", at_sec=each / 10)[0], Message) for each in range(100))
    answers = [ask(hasty, "SUBSCRIBE", at_sec=each / 1000)[0] for each in range(40)]
    assert answers[14] == Message('{"result":null,"id":7}')
    assert answers[39] == Goodbye(1008, "Too many requests")


def test_a_connection_lives_for_a_day() -> None:
    world = World()
    session = stream(world)
    opened = world.clock.now_ms()
    assert Goodbye(1001) not in due(world, session, opened + 24 * HOUR - 1)
    assert due(world, session, opened + 24 * HOUR)[-1] == Goodbye(1001)


def test_a_revised_bar_is_revised_on_the_stream_too() -> None:
    world = World(faults="[[fault]]\nkind='revise'\nbar=2024-01-15T14:00:00\nvolume=77.5")
    (frame, _) = said(due(world, stream(world), at(15) + 5))
    assert (frame["k"]["v"], frame["k"]["x"]) == ("77.500", True)


def test_a_close_is_told_though_rest_is_late() -> None:
    world = World(faults="[[fault]]\nkind='late'\nsec=10\nrows=2")
    assert [kline(each) for each in due(world, stream(world), at(15) + 5)] == [(14, True), (15, False)]
    assert world.hours("limit=1") == [13]
