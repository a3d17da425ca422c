"""The stream of a market: many on one connection, faults that choose symbols, and what becomes of the symbols."""

import json
from typing import Any

from barfeed.domain.bars import Series
from barfeed.replay.stream.session import Goodbye, Message, Out, Session
from barfeed.replay.stream.timetable import Strikes, Timetable
from barfeed.replay.tapes.klines import Columns, Contract, Decimals, Kline
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, HOUR, World, at, stream

SYMBOLS = ("ADAUSDT", "BTCUSDT", "ETHUSDT", "币安人生USDT")
NAMES = tuple(f"{each.lower()}@kline_1h" for each in SYMBOLS)


def tape(symbol: str, trades: int = 1_000_000, first: int = 0) -> Tape:
    """A day of a market's symbol, with so many trades an hour."""
    columns = Columns.empty()
    columns.extend([Kline(*bar[:5], bar.volume, bar.volume * bar.close, trades, 1.0, 100.0) for bar in BARS[first:]])
    return Tape(Series.of(symbol, "1h"), columns, Contract(Decimals(1, 3, 4)))


def market(faults: str = "", *more: Tape) -> World:
    return World(*map(tape, SYMBOLS), *more, faults=faults)


def combined(world: World, *names: str) -> Session:
    session = stream(world, "/market/stream")
    answer = session.hear(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}), 0.0)
    assert answer == [Message('{"result":null,"id":1}')]
    return session


def said(out: list[Out]) -> list[dict[str, Any]]:
    return [json.loads(each.data) for each in out if isinstance(each, Message)]


def heard(world: World, session: Session, first_ms: int, last_ms: int) -> list[tuple[int, str, bool]]:
    """When after `first_ms` each frame came, whose it is, and whether it closes a bar."""
    frames = []
    for now_ms in range(first_ms, last_ms, 2):
        world.clock.set(now_ms)
        frames += [(now_ms - first_ms, each["data"]) for each in said(session.due())]
    return [(ms, each["s"], each["k"]["x"]) for ms, each in frames]


def closes(world: World, names: tuple[str, ...] = NAMES, until_ms: int = 3000) -> dict[str, list[int]]:
    """When after 15:00 each symbol's closing frames came."""
    world.clock.set(at(14, 59, 59))
    session = combined(world, *names)
    found: dict[str, list[int]] = {}
    for ms, symbol, is_closing in heard(world, session, at(15), at(15) + until_ms):
        if is_closing:
            found.setdefault(symbol, []).append(ms)
    return found


def test_each_stream_speaks_four_times_a_second_and_never_all_at_once() -> None:
    world = market()
    world.clock.set(at(14, 30))
    frames = heard(world, combined(world, *NAMES), at(14, 30), at(14, 30, 1))
    spoke = {symbol: [ms for ms, name, _ in frames if name == symbol] for symbol in SYMBOLS}
    assert [len(each) for each in spoke.values()] == [3, 4, 4, 4]
    assert len({each[0] for each in spoke.values()}) == 4


def test_what_is_hardly_traded_hardly_speaks() -> None:
    world = World(tape("BTCUSDT"), tape("ETHUSDT", 1200), tape("ADAUSDT", 2))
    world.clock.set(at(14, 30))
    frames = heard(world, combined(world, *NAMES[:3]), at(14, 30), at(14, 31))
    counts = {symbol: len([each for each in frames if each[1] == symbol]) for symbol in SYMBOLS[:3]}
    # 1200 an hour are three seconds apart, and longer than ten seconds nobody is silent who trades.
    assert counts == {"BTCUSDT": 240, "ETHUSDT": 20, "ADAUSDT": 6}


def test_every_bar_of_the_market_is_closed_once() -> None:
    assert closes(market()) == {symbol: [6] for symbol in SYMBOLS}


def test_faults_choose_whose_closing_frames_do_not_come_or_come_twice() -> None:
    faults = "[[fault]]\nkind='no_close'\nsymbol='ADA*'\n[[fault]]\nkind='double_close'\nsymbol=['BTCUSDT','ETHUSDT']\n"
    assert closes(market(faults)) == {"BTCUSDT": [6, 6], "ETHUSDT": [6, 6], "币安人生USDT": [6]}


def test_a_share_is_another_each_hour() -> None:
    world = World(*(tape(f"S{number}USDT") for number in range(40)), faults="[[fault]]\nkind='no_close'\nshare=0.5\n")
    names = [f"s{number}usdt@kline_1h" for number in range(40)]
    told = []
    for hour in (15, 16):
        world.clock.set(at(hour) - 100)
        session = combined(world, *names)
        told.append({symbol for _, symbol, is_closing in heard(world, session, at(hour), at(hour) + 10) if is_closing})
    assert all(10 < len(each) < 30 for each in told)
    assert told[0] != told[1]


def test_closing_frames_are_spread_each_symbol_s_another_way() -> None:
    faults = (
        "[[fault]]\nkind='late_close'\nms=100\nupto_ms=1500\n[[fault]]\nkind='late_close'\nms=24000\nsymbol='ADAUSDT'\n"
    )
    found = closes(market(faults), until_ms=26_000)
    assert 24_105 <= found.pop("ADAUSDT")[0] <= 25_505
    assert all(105 <= ms <= 1506 for (ms,) in found.values())
    assert len({ms for (ms,) in found.values()}) == 3
    assert closes(market(faults), until_ms=2000) == found


def test_one_symbol_is_silent_or_garbled_and_the_others_speak() -> None:
    world = market(
        "[[fault]]\nkind='silence'\nsymbol='ADAUSDT'\n[[fault]]\nkind='garbage'\ntext='x'\nsymbol='BTCUSDT'\n"
    )
    session = combined(world, *NAMES)
    world.clock.set(at(14, 30))
    messages = [each.data for each in session.due() if isinstance(each, Message)]
    assert [each for each in messages if each == "x"] == ["x"]
    told = [json.loads(each)["data"]["s"] for each in messages if each != "x"]
    assert sorted(told) == ["ETHUSDT", "币安人生USDT"]


def events(world: World, *moments: int) -> list[list[tuple[str, str]]]:
    session = combined(world, "!contractInfo")
    told = []
    for now_ms in moments:
        world.clock.set(now_ms)
        told.append([(each["data"]["s"], each["data"]["cs"]) for each in said(session.due())])
    return told


def test_what_becomes_of_a_symbol_is_told_on_its_own_stream() -> None:
    faults = (
        "[[fault]]\nkind='settle'\nat=2024-01-15T15:00:00\nsymbol='ADAUSDT'\n"
        "[[fault]]\nkind='delist'\nat=2024-01-15T16:00:00\nsymbol='BTCUSDT'\n"
    )
    world = market(faults, tape("NEWUSDT", first=17))
    assert events(world, at(14, 30), at(15, 0, 1), at(16, 0, 1), at(16, 30), at(17, 0, 1)) == [
        [], [("ADAUSDT", "SETTLING")], [("BTCUSDT", "CLOSE")], [], [("NEWUSDT", "TRADING")],
    ]  # fmt: skip


def test_an_event_has_what_the_list_has() -> None:
    world = market("[[fault]]\nkind='settle'\nat=2024-01-15T15:00:00\nsymbol='ADAUSDT'\n")
    session = combined(world, "!contractInfo")
    world.clock.set(at(15, 0, 1))
    ((event),) = said(session.due())
    assert event == {
        "stream": "!contractInfo",
        "data": {
            "e": "contractInfo", "E": at(15, 0, 1), "s": "ADAUSDT", "ps": "ADAUSDT", "ct": "PERPETUAL", "dt": at(15),
            "ot": at(0), "cs": "SETTLING", "st": 1,
        },
    }  # fmt: skip


def test_too_many_streams_at_the_door_end_the_connection() -> None:
    session = stream(market(), "/market/stream", "streams=" + "/".join(f"s{each}@kline_1h" for each in range(1025)))
    error, goodbye = session.due()
    assert said([error]) == [{"error": {"code": 4, "msg": "Too many subscriptions"}}]
    assert goodbye == Goodbye(1008, "Invalid request")


class Counted:
    """A stream that has something to say every hour, and counts how often it is asked."""

    def __init__(self) -> None:
        self.next_ms = HOUR
        self.asked = 0

    def due(self, now_ms: int, _strikes: Strikes) -> list[tuple[str, str]]:
        self.asked += 1
        self.next_ms = now_ms + HOUR
        return [("X", "said")]


def test_who_has_nothing_to_say_is_not_asked() -> None:
    table, speakers = Timetable(), [Counted() for _ in range(800)]
    for number, each in enumerate(speakers):
        table.add(f"s{number}", each)
    assert not any(table.due(now_ms, lambda _: ()) for now_ms in range(0, HOUR, 1000))
    assert sum(each.asked for each in speakers) == 0
    assert len(table.due(HOUR, lambda _: ())) == 800
    table.remove("s0")
    # Where the clock is put back, whoever waits for a later moment is asked again.
    assert len(table.due(HOUR // 2, lambda _: ())) == 799
