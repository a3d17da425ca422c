from pathlib import Path

import pytest

from barfeed.domain.errors import UsageError
from barfeed.replay.faults import tampering
from barfeed.replay.faults.script import KEYS, KINDS, WHEN, load_faults, parse_faults
from barfeed.replay.rest import view
from replay.replay_world import World, at

HIDE = '[[fault]]\nkind = "hide"\nbar = 2024-01-15T12:00:00\n'

WRONG = [
    # the file, what the message must name
    ("[[fault]]\nkind = 'explode'", ["fault 1", "kind = 'explode'", "late", "stale_time"]),
    ("[[fault]]\nsec = 1", ["fault 1", "kind is missing", "reset"]),
    (HIDE + "[[fault]]\nkind = 'late'", ["fault 2 (late)", "sec is missing", "seconds above 0"]),
    ("[[fault]]\nkind = 'late'\nsec = 0", ["fault 1 (late)", "sec = 0", "above 0"]),
    ("[[fault]]\nkind = 'late'\nsec = true", ["sec = True", "a number of seconds"]),
    ("[[fault]]\nkind = 'late'\nsec = 5\nbars = 1", ["fault 1 (late)", "'bars'", "sec", "requests"]),
    ("[[fault]]\nkind = 'hide'\nbar = 'noon'", ["fault 1 (hide)", "bar = 'noon'", "2024-01-15T13:00:00"]),
    ("[[fault]]\nkind = 'hide'\nbar = 2024-01-15", ["bar = datetime.date(2024, 1, 15)", "2024-01-15T13:00:00"]),
    (HIDE + "requests = '5-3'", ["requests = '5-3'", '"3-5"']),
    (HIDE + "requests = '0'", ["requests = '0'", "from 1"]),
    (HIDE + "requests = 'all'", ["requests = 'all'", '"3-5"']),
    ("[[fault]]\nkind='reset'\npath = '/fapi/v1/time'", ["path = '/fapi/v1/time'", '"time"', '"*"']),
    # Rows are of klines only; a whole answer may hold no series.
    (HIDE + "path = 'time'", ["fault 1 (hide)", "path = 'time'", "about rows", "klines"]),
    ("[[fault]]\nkind='reset'\nseries='BTCUSDT-1h'", ["fault 1 (reset)", "no key 'series'", "path"]),
    ("[[fault]]\nkind='skew'\nms=5\npath='klines'", ["fault 1 (skew)", "no key 'path'"]),
    (HIDE + "series = 'BTCUSDT'", ["series = 'BTCUSDT'", "BTCUSDT-1h"]),
    (HIDE + "from = 12", ["from = 12", "UTC datetime"]),
    ("[[fault]]\nkind = 'status'\nstatus = 299", ["status = 299", "418", "503"]),
    ("[[fault]]\nkind = 'text'\ncolumn = 12\nvalue = '1'", ["column = 12", "0 to 11"]),
    ("[[fault]]\nkind = 'text'\ncolumn = 1\nvalue = 'high'", ["value = 'high'", "JSON"]),
    ("[[fault]]\nkind = 'header_case'\ncase = 'camel'", ["case = 'camel'", '"upper"']),
    (HIDE + "symbol = 5", ["symbol = 5", '"*USDC"']),
    (HIDE + "symbol = []", ["symbol = []", "a list"]),
    (HIDE + "share = 1.5", ["share = 1.5", "at most 1"]),
    (HIDE + "share = 0", ["share = 0", "above 0"]),
    (HIDE + "seed = 'x'", ["seed = 'x'", "whole number"]),
    # Only a request for klines has a symbol.
    ("[[fault]]\nkind='reset'\npath='time'\nsymbol='BTCUSDT'", ["path = 'time'", "symbol is chosen"]),
    ("[[fault]]\nkind='reset'\npath='*'\nshare=0.5", ["path = '*'", "share is chosen"]),
    ("[[fault]]\nkind='skew'\nms=5\nshare=0.5", ["fault 1 (skew)", "no key 'share'"]),
    ("[fault]\nkind = 'reset'", ["[[fault]]"]),
    ("[[faults]]\nkind = 'reset'", ["faults", "[[fault]]"]),
    ("kind = ", ["TOML"]),
]


@pytest.mark.parametrize(("text", "named"), WRONG)
def test_a_wrong_fault_file_is_refused_naming_entry_key_seen_and_allowed(text: str, named: list[str]) -> None:
    with pytest.raises(UsageError) as caught:
        parse_faults(text, "chaos.toml")
    assert [part for part in ["chaos.toml", *named] if part not in str(caught.value)] == []


def test_a_fault_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.toml: No such file"):
        load_faults(tmp_path / "none.toml")


def test_a_fault_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "binary.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match=r"binary\.toml"):
        load_faults(path)


def test_a_fault_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "chaos.toml"
    path.write_text(HIDE)
    [fault] = load_faults(path)
    assert (fault.kind, fault.args) == ("hide", {"bar": at(12)})


def test_an_empty_file_has_no_faults() -> None:
    assert parse_faults("", "chaos.toml") == ()


def test_a_datetime_with_an_offset_is_converted_to_utc() -> None:
    [fault] = parse_faults("[[fault]]\nkind='hide'\nbar = 2024-01-15T13:00:00+01:00", "chaos.toml")
    assert fault.args["bar"] == at(12)


@pytest.mark.parametrize(
    ("requests", "struck"),
    [("2", [2]), ("2-3", [2, 3]), ("3-", [3, 4, 5]), ("1", [1])],
)
def test_requests_are_numbered_from_one(requests: str, struck: list[int]) -> None:
    world = World(faults=f"[[fault]]\nkind='empty'\nrequests='{requests}'")
    assert [number for number in range(1, 6) if world.klines().body == b"[]"] == struck


def test_requests_of_another_path_do_not_count() -> None:
    world = World(faults="[[fault]]\nkind='empty'\nrequests='2'")
    bodies = [world.klines().body, world.get("/fapi/v1/time").body, world.klines().body]
    assert [body == b"[]" for body in bodies] == [False, False, True]


def test_a_fault_on_every_path_counts_them_together() -> None:
    world = World(faults="[[fault]]\nkind='status'\nstatus=502\npath='*'\nrequests='2-3'")
    answers = [world.get("/fapi/v1/ping"), world.get("/fapi/v1/time"), world.klines(), world.klines()]
    assert [answer.status for answer in answers] == [200, 502, 502, 200]


def test_a_fault_strikes_from_its_first_moment_until_just_before_its_last() -> None:
    world = World(faults="[[fault]]\nkind='empty'\nfrom=2024-01-15T14:00:00\nuntil=2024-01-15T15:00:00")
    struck = []
    for now_ms in (at(14) - 1, at(14), at(15) - 1, at(15)):
        world.clock.set(now_ms)
        struck.append(world.klines().body == b"[]")
    assert struck == [False, True, True, False]


def test_a_fault_of_another_series_does_not_strike() -> None:
    other = World(faults=HIDE + "series = 'ETHUSDT-1h'")
    same = World(faults=HIDE + "series = 'BTCUSDT-1h'")
    assert (other.hours("limit=3"), same.hours("limit=3")) == ([12, 13, 14], [11, 13, 14])


def test_faults_can_be_set_between_requests() -> None:
    world = World()
    assert world.hours("limit=2") == [13, 14]
    world.exchange.faults = parse_faults(HIDE.replace("T12", "T13"), "now.toml")
    assert world.hours("limit=2") == [12, 14]


def test_several_faults_apply_in_their_order() -> None:
    world = World(faults="[[fault]]\nkind='html'\n[[fault]]\nkind='cut_json'\n[[fault]]\nkind='hang'\nsec=1")
    answer = world.klines()
    assert answer.body.startswith(b"<!DOCTYPE html>")
    assert not answer.body.endswith(b"</html>")
    assert answer.effect == (1,)


ROW_FAULTS = (
    "duplicate", "disorder", "off_grid\nms=1", "forming", "missing_field\ncolumn=0", "missing_field\ncolumn=6",
    "text\ncolumn=0\nvalue='null'", "text\ncolumn=6\nvalue='\"x\"'", "text\ncolumn=0\nvalue='[1, [2]]'",
)  # fmt: skip


@pytest.mark.parametrize("first", ROW_FAULTS)
@pytest.mark.parametrize("second", ROW_FAULTS)
def test_any_two_row_faults_strike_the_same_answer(first: str, second: str) -> None:
    said = [each.partition("\n") for each in (first, second)]
    world = World(faults="\n".join(f"[[fault]]\nkind='{name}'\n{keys}" for name, _, keys in said))
    assert world.klines("limit=3").status == 200


def test_a_row_fault_whose_bar_is_not_in_the_answer_changes_nothing() -> None:
    kinds = ["duplicate", "disorder", "off_grid\nms=1", "text\ncolumn=1\nvalue='0'", "missing_field\ncolumn=1"]
    for kind in kinds:
        name, _, keys = kind.partition("\n")
        world = World(faults=f"[[fault]]\nkind='{name}'\nbar=2024-01-15T02:00:00\n{keys}")
        assert world.klines("limit=3").body == World().klines("limit=3").body


@pytest.mark.parametrize("kind", ["duplicate", "disorder", "off_grid\nms=1", "forming", "missing_field\ncolumn=1"])
def test_row_faults_leave_an_empty_answer_alone(kind: str) -> None:
    name, _, keys = kind.partition("\n")
    assert World(faults=f"[[fault]]\nkind='{name}'\n{keys}").rows(f"startTime={at(20)}") == []


def test_hidden_bars_leave_their_places_to_others() -> None:
    world = World(faults=HIDE)
    assert world.hours("limit=3") == [11, 13, 14]
    assert world.hours(f"startTime={at(11)}&limit=2") == [11, 13]


def test_a_late_exchange_is_on_time_again_after_its_seconds() -> None:
    world = World(faults="[[fault]]\nkind='late'\nsec=2.5")
    seen = []
    for ms in (0, 2499, 2500):
        world.clock.set(at(14) + ms)
        seen.append(world.hours("limit=1"))
    assert seen == [[13], [13], [14]]


def test_every_kind_has_exactly_one_room_that_does_it() -> None:
    rooms = [
        # What a symbol's life does to its bars; where it is settled, they are flat first.
        {"late", "hide", *view.EDITS, *view.ABSENT},
        set(tampering.ROWS),
        set(tampering.BODIES),
        set(tampering.WIRE),
        set(tampering.TIMES),
        # On the stream: a bar's closing frame, what a connection says, whether there is one.
        {"no_close", "late_close", "double_close"},
        {"garbage", "silence", "disconnect"},
        {"refuse"},
    ]
    assert sorted(kind for room in rooms for kind in room) == sorted(KINDS)


def test_no_kind_has_a_key_that_says_when() -> None:
    assert not {key for kind in KINDS.values() for key in (*kind.needs, *kind.may, *kind.scope)} & set(WHEN)


def test_every_key_is_of_some_kind() -> None:
    assert {key for kind in KINDS.values() for key in kind.keys} == set(KEYS)
