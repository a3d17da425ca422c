"""Faults of some of a market's symbols: by name, by pattern, by a share that a seed draws."""

import json

import pytest

from barfeed.domain.bars import Interval, Series
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.messages import Reply, Reset
from barfeed.replay.tapes.tape import Tape
from replay.replay_world import BARS, HOUR, KLINES, World, at

SYMBOLS = ("BTCUSDT", "ETHUSDT", "ETHUSDC", "龙虾USDT")
MANY = [f"A{number}USDT" for number in range(400)]


def _world(faults: str, symbols: tuple[str, ...] | list[str] = SYMBOLS) -> World:
    tapes = [Tape.of(Series(symbol, Interval.ONE_HOUR), BARS) for symbol in symbols]
    return World(*tapes, faults=f"[[fault]]\n{faults}", weight_limit=10**9)


def _ask(world: World, symbol: str) -> Reply:
    return world.get(KLINES, f"symbol={symbol}&interval=1h&limit=3")


def _struck(world: World, symbols: tuple[str, ...] | list[str] = SYMBOLS) -> set[str]:
    """The symbols whose connection is reset."""
    return {symbol for symbol in symbols if isinstance(_ask(world, symbol).effect, Reset)}


@pytest.mark.parametrize(
    ("chosen", "struck"),
    [
        ('"ETHUSDT"', {"ETHUSDT"}),
        ('"ethusdt"', {"ETHUSDT"}),
        ('"*USDC"', {"ETHUSDC"}),
        ('["BTCUSDT", "龙虾USDT"]', {"BTCUSDT", "龙虾USDT"}),
        ('"ETH*"', {"ETHUSDT", "ETHUSDC"}),
        ('"DOGEUSDT"', set()),
    ],
)
def test_a_fault_strikes_the_symbols_it_names(chosen: str, struck: set[str]) -> None:
    assert _struck(_world(f'kind = "reset"\nsymbol = {chosen}')) == struck


def test_without_a_choice_all_are_struck() -> None:
    assert _struck(_world('kind = "reset"')) == set(SYMBOLS)


def test_requests_of_chosen_symbols_are_counted_for_each() -> None:
    world = _world('kind = "reset"\nsymbol = "*USDT"\nrequests = "2"')
    seen = [_struck(world) for _ in range(3)]
    assert seen == [set(), {"BTCUSDT", "ETHUSDT", "龙虾USDT"}, set()]


def test_a_bar_is_hidden_of_the_chosen_symbols_only() -> None:
    world = _world('kind = "hide"\nbar = 2024-01-15T13:00:00\nsymbol = "ETHUSDT"')
    hours = {symbol: [row[0] for row in json.loads(_ask(world, symbol).body)] for symbol in ("ETHUSDT", "BTCUSDT")}
    assert hours == {"ETHUSDT": [at(11), at(12), at(14)], "BTCUSDT": [at(12), at(13), at(14)]}


def test_chosen_symbols_are_settled_and_the_others_trade_on() -> None:
    world = _world('kind = "settle"\nat = 2024-01-15T12:00:00\nsymbol = ["ETH*"]')
    listed = json.loads(world.get("/fapi/v1/exchangeInfo").body)["symbols"]
    assert {each["symbol"]: each["status"] for each in listed} == {
        "BTCUSDT": "TRADING", "ETHUSDT": "SETTLING", "ETHUSDC": "SETTLING", "龙虾USDT": "TRADING",
    }  # fmt: skip
    assert [float(row[5]) > 0 for row in json.loads(_ask(world, "ETHUSDT").body)] == [False, False, False]


def test_a_share_is_about_that_part_of_the_market_and_others_each_hour() -> None:
    world = _world('kind = "reset"\nshare = 0.1\nseed = 3', MANY)
    first = _struck(world, MANY)
    assert 20 <= len(first) <= 60
    assert _struck(world, MANY) == first
    world.clock.advance(HOUR)
    later = _struck(world, MANY)
    assert 20 <= len(later) <= 60
    assert len(first & later) < 20


def test_a_share_is_drawn_by_its_seed() -> None:
    [one, same, other] = (
        _struck(_world(f'kind = "reset"\nshare = 0.1\nseed = {seed}', MANY), MANY) for seed in (1, 1, 2)
    )
    assert one == same != other


def test_a_share_of_bars_does_not_change_with_the_clock() -> None:
    [fault] = parse_faults('[[fault]]\nkind = "hide"\nbar = 2024-01-15T12:00:00\nshare = 0.1', "a test")
    [other] = parse_faults('[[fault]]\nkind = "hide"\nbar = 2024-01-15T11:00:00\nshare = 0.1', "a test")
    now, later = ({name for name in MANY if fault.is_about(name, at(hour))} for hour in (12, 20))
    assert now == later
    assert now != {name for name in MANY if other.is_about(name, at(12))}


def test_a_share_can_be_of_the_named_symbols() -> None:
    world = _world('kind = "reset"\nshare = 0.5\nsymbol = "A1*"', MANY)
    struck = _struck(world, MANY)
    assert all(name.startswith("A1") for name in struck)
    assert 0 < len(struck) < sum(name.startswith("A1") for name in MANY)
