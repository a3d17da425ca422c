"""Every example of docs/replay.md loads, and does what stands above it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from barfeed.replay.exchange import Reply
from barfeed.replay.faults.script import KINDS, parse_faults
from barfeed.replay.messages import Drip, Hang, Reset, Truncate
from barfeed.replay.stream.session import Goodbye, Message
from replay.replay_world import HOUR, World, at, connection, header, kline, stream

DOCUMENT = Path(__file__).parents[2] / "docs" / "replay.md"
EXAMPLES = dict(re.findall(r"^#### (\w+)\n.*?^```toml\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))


def _late(world: World) -> None:
    world.clock.set(at(14, 0, 9))
    assert world.hours("limit=2") == [11, 12]
    world.clock.set(at(14, 0, 10))
    assert world.hours("limit=2") == [13, 14]


def _revise(world: World) -> None:
    seen = []
    for minute in (0, 5, 10):
        world.clock.set(at(14, minute))
        seen.append(world.rows(f"startTime={at(13)}&limit=1")[0][1:6])
    assert seen == [
        ["113.0", "116.5", "111.0", "114.0", "23.125"],
        ["113.0", "116.5", "111.0", "114.0", "24.500"],
        ["113.0", "116.5", "110.5", "114.0", "25.125"],
    ]


def _hide(world: World) -> None:
    assert world.hours("limit=3") == [11, 13, 14]


def _flat(world: World) -> None:
    rows = world.rows(f"startTime={at(9)}&endTime={at(13)}")
    traded = [float(row[5]) for row in rows]
    assert traded == [19.125, 0.0, 0.0, 0.0, 23.125]
    assert [row[1:6] + row[8:9] for row in rows[1:4]] == [["110.0"] * 4 + ["0.000", 0]] * 3


def _listed(world: World, moment: int) -> tuple[str, int] | None:
    """Status and deliveryDate of the symbol at a moment; None where it is not listed."""
    world.clock.set(moment)
    listed = json.loads(world.get("/fapi/v1/exchangeInfo").body)["symbols"]
    return (listed[0]["status"], listed[0]["deliveryDate"]) if listed else None


def _code(world: World) -> int:
    answer = world.klines()
    return int(json.loads(answer.body)["code"]) if answer.status == 400 else 0


# A perpetual's deliveryDate: 2100-12-25 08:00.
NEVER = 4_133_404_800_000


def _pending(world: World) -> None:
    assert (_listed(world, at(12, 29)), _code(world)) == (("PENDING_TRADING", NEVER), -1122)
    assert (_listed(world, at(12, 30)), _code(world)) == (("TRADING", NEVER), 0)
    world.clock.set(at(14, 23))
    assert world.hours() == [12, 13, 14]


def _halt(world: World) -> None:
    assert [_listed(world, at(hour, 30)) for hour in (10, 11, 13)] == [
        ("TRADING", NEVER), ("PENDING_TRADING", NEVER), ("TRADING", NEVER),
    ]  # fmt: skip
    world.clock.set(at(12, 59))
    assert world.hours("limit=2") == [9, 10]
    world.clock.set(at(14, 23))
    assert world.hours() == [8, 9, 10, 13, 14]


def _settle(world: World) -> None:
    assert [_listed(world, at(*moment)) for moment in ((9, 29), (9, 30))] == [
        ("TRADING", at(9, 30)), ("SETTLING", at(9, 30)),
    ]  # fmt: skip
    world.clock.set(at(14, 23))
    traded = [(row[0], float(row[5]) > 0) for row in world.rows("limit=4")]
    assert traded == [(at(8), True), (at(9), True), (at(10), False), (at(11), False)]


def _delist(world: World) -> None:
    assert (_listed(world, at(12, 59)), _code(world)) == (("TRADING", NEVER), 0)
    assert (_listed(world, at(13)), _code(world)) == (None, -4141)


def _duplicate(world: World) -> None:
    assert world.hours("limit=4") == [11, 12, 12, 13, 14]


def _disorder(world: World) -> None:
    assert world.hours("limit=4") == [12, 11, 13, 14]


def _off_grid(world: World) -> None:
    row = world.rows("limit=3")[0]
    # 12:28:15, as hours of February 2018 opened.
    assert (row[0], row[6]) == (at(12, 28, 15), at(12, 28, 15) + HOUR - 1)


def _forming(world: World) -> None:
    assert world.hours(f"startTime={at(10)}&endTime={at(14) - 1}") == [11, 12, 13, 14]


def _text(world: World) -> None:
    assert [row[4] for row in world.rows("limit=3")] == ["NaN", "114.0", World().rows("limit=1")[0][4]]


def _missing_field(world: World) -> None:
    rows = world.rows("limit=2")
    assert [len(row) for row in rows] == [12, 11]
    assert [type(cell) for cell in rows[1][6:9]] == [int, str, str]


def _empty(world: World) -> None:
    assert [len(world.rows()) for _ in range(3)] == [0, 0, 5]


def _object(world: World) -> None:
    answer = world.klines()
    assert (answer.status, type(json.loads(answer.body))) == (200, dict)


def _html(world: World) -> None:
    answer = world.klines()
    assert (answer.status, header(answer, "content-type")) == (200, "text/html")
    assert answer.body.startswith(b"<!DOCTYPE html>")


def _cut_json(world: World) -> None:
    answer = world.klines()
    assert header(answer, "content-length") == str(len(answer.body))
    assert World().klines().body.startswith(answer.body)
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.body)


def _status(world: World) -> None:
    first, second, third = (world.klines() for _ in range(3))
    assert (first.status, header(first, "Retry-After")) == (429, "7")
    assert json.loads(first.body)["code"] == -1003
    assert (second.status, json.loads(second.body)) == (400, {"code": -1122, "msg": "Invalid symbol status."})
    ping = world.get("/fapi/v1/ping")
    assert (third.status, ping.status, json.loads(ping.body)["code"]) == (451, 451, 0)


def _redirect(world: World) -> None:
    answer = world.klines()
    assert (answer.status, header(answer, "Location")) == (302, "https://www.binance.com/en/fapi")


def _header_case(world: World) -> None:
    names = [name for name, _ in world.klines().headers]
    assert "X-MBX-USED-WEIGHT-1M" in names
    assert "CONTENT-TYPE" in names
    assert names == [name.upper() for name in names]


def _wire(effect: object) -> Callable[[World], None]:
    def check(world: World) -> None:
        answer: Reply = world.klines()
        assert (answer.effect, answer.body) == (effect, World().klines().body)

    return check


def _skew(world: World) -> None:
    assert json.loads(world.get("/fapi/v1/time").body) == {"serverTime": at(14, 22, 15)}


def _stale_time(world: World) -> None:
    assert json.loads(world.get("/fapi/v1/time").body) == {"serverTime": at(14, 23)}
    world.clock.set(at(14, 24, 30))
    assert json.loads(world.get("/fapi/v1/time").body) == {"serverTime": at(14, 24)}


def _streamed(world: World, *moments: int) -> list[tuple[float, bool]]:
    """What one connection hears at these moments: the open_time as an hour of the day, and whether it is closed."""
    session = stream(world)
    heard = []
    for moment in moments:
        world.clock.set(moment)
        heard += [kline(each) for each in session.due()]
    return heard


def _no_close(world: World) -> None:
    assert _streamed(world, at(14, 59, 59), at(15, 0, 1), at(15, 59, 59), at(16, 0, 1)) == [
        (14, False), (15, False), (15, False), (15, True), (16, False),
    ]  # fmt: skip


def _late_close(world: World) -> None:
    moments = (at(15) + 5, at(15, 0, 2) + 4, at(15, 0, 2) + 5, at(15, 0, 3))
    # The next bar's frames wait for it, too.
    assert _streamed(world, *moments) == [(14, True), (15, False)]


def _double_close(world: World) -> None:
    assert _streamed(world, at(15) + 5, at(15, 0, 1)) == [(14, True), (14, True), (15, False), (15, False)]


def _garbage(world: World) -> None:
    session = stream(world)
    world.clock.set(at(14, 30))
    assert session.due() == [Message("[" * 100_000)]
    world.clock.set(at(14, 50))
    assert session.due() == [Message(b"\x00\x01")]


def _silence(world: World) -> None:
    session = stream(world)
    for moment, frames in ((at(14, 59, 59), 1), (at(15) + 5, 0), (at(15, 0, 30), 1)):
        world.clock.set(moment)
        assert len(session.due()) == frames, moment


def _disconnect(world: World) -> None:
    session = stream(world)
    assert session.due() == [Goodbye(1008)]
    assert stream(world).due() == []


def _refuse(world: World) -> None:
    answer = connection(world)
    assert isinstance(answer, Reply)
    assert (answer.status, header(answer, "Retry-After")) == (503, "30")
    assert not isinstance(connection(world), Reply)


DOES: dict[str, Callable[[World], None]] = {
    "late": _late,
    "revise": _revise,
    "hide": _hide,
    "flat": _flat,
    "pending": _pending,
    "halt": _halt,
    "settle": _settle,
    "delist": _delist,
    "duplicate": _duplicate,
    "disorder": _disorder,
    "off_grid": _off_grid,
    "forming": _forming,
    "text": _text,
    "missing_field": _missing_field,
    "empty": _empty,
    "object": _object,
    "html": _html,
    "cut_json": _cut_json,
    "status": _status,
    "redirect": _redirect,
    "header_case": _header_case,
    "truncate": _wire(Truncate()),
    "reset": _wire(Reset()),
    "hang": _wire(Hang(30)),
    "drip": _wire(Drip(2000)),
    "skew": _skew,
    "stale_time": _stale_time,
    "no_close": _no_close,
    "late_close": _late_close,
    "double_close": _double_close,
    "garbage": _garbage,
    "silence": _silence,
    "disconnect": _disconnect,
    "refuse": _refuse,
}


def test_every_kind_is_documented_with_an_example_in_the_tables_order() -> None:
    assert list(EXAMPLES) == list(KINDS) == list(DOES)


def test_every_example_uses_its_own_kind_only() -> None:
    for kind, example in EXAMPLES.items():
        assert {fault.kind for fault in parse_faults(example, kind)} == {kind}


@pytest.mark.parametrize("kind", DOES)
def test_every_example_does_what_it_says(kind: str) -> None:
    DOES[kind](World(faults=EXAMPLES[kind]))


def test_every_key_of_a_kind_is_documented() -> None:
    sections = dict(re.findall(r"^#### (\w+)\n(.*?)(?=^#|\Z)", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL))
    for kind, spec in KINDS.items():
        for key in {*spec.needs, *spec.may} - {"bar"}:
            assert re.search(rf"\b{key}\b", sections[kind]), (kind, key)
