"""Every example of docs/replay.md loads, and does what stands above it."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from barfeed.replay.exchange import Reply
from barfeed.replay.faults import KINDS, parse_faults
from barfeed.replay.messages import Drip, Hang, Reset, Truncate
from replay.replay_world import HOUR, World, at, header

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


DOES: dict[str, Callable[[World], None]] = {
    "late": _late,
    "revise": _revise,
    "hide": _hide,
    "flat": _flat,
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
