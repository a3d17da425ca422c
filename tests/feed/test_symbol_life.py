"""What becomes of a symbol: why its bar does not come, told instead of "run it again" for ever."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from barfeed.domain.bars import Series
from barfeed.feed.cycle import run_cycle
from barfeed.feed.record import Record
from barfeed.feed.watch import Pace, watch
from barfeed.operate.alerts.hearing import heard
from barfeed.replay.faults.script import parse_faults
from barfeed.replay.tapes.tape import Tape
from process import machine
from world import BTCUSDT_1H, HourIsOver, World, hours, made_up_bars, ms

DAY_MS = ms(2024, 2, 10)
INFO, KLINES = "/fapi/v1/exchangeInfo", "/fapi/v1/klines"


def at(world: World, hour: int, fault: str, **changes: object) -> Record:
    """The cycle half a minute after an hour of 2024-02-10, its requests counted anew."""
    world.clock.go_to(DAY_MS + hours(hour) + 30_000)
    world.exchange.requests.clear()
    return world.run(fault, max_wait_sec=20.0, **changes)


def said(record: Record) -> tuple[str, int, str, str]:
    assert record.failure is not None
    return record.failure.status, record.exit_code, record.failure.message, record.failure.hint


def fault(kind: str, *lines: str) -> str:
    return "\n".join(["[[fault]]", f'kind = "{kind}"', *lines, ""])


SETTLED = fault("settle", "at = 2024-02-10T14:30:00", "until_bar = 2024-02-10T14:00:00")
SETTLED_AND_FLAT = fault("settle", "at = 2024-02-10T14:30:00", "until_bar = 2024-02-10T17:00:00")
HALTED = fault("halt", "at = 2024-02-10T14:00:00", "resume = 2024-02-10T17:00:00")


def test_a_settled_symbol_gives_its_last_bar_and_is_then_told(lived: World) -> None:
    assert at(lived, 15, SETTLED).status == "appended"
    assert INFO not in lived.exchange.requests
    assert said(at(lived, 16, SETTLED)) == (
        "symbol_gone",
        5,
        "BTCUSDT 1h: settled since 2024-02-10 14:30 (SETTLING): its last bar is 2024-02-10 14:00",
        "the store has it; no more bars will come: stop this feed",
    )
    assert lived.exchange.requests[INFO] == 1


def test_a_feed_that_slept_through_the_end_is_told_how_to_get_the_rest(lived: World) -> None:
    *_, hint = said(at(lived, 20, SETTLED))
    assert hint == (
        "fetch what the store lacks up to it, then stop this feed:"
        " barfeed backfill --from '2024-02-10 14:00' --to '2024-02-10 15:00'"
    )


@pytest.mark.long
def test_flat_bars_after_the_end_are_named_once_they_cease(lived: World) -> None:
    for hour in (15, 16, 17, 18):
        assert at(lived, hour, SETTLED_AND_FLAT).status == "appended"
    status, _, message, _ = said(at(lived, 19, SETTLED_AND_FLAT))
    assert status == "symbol_gone"
    assert message.endswith(
        "its last bar is 2024-02-10 14:00; what is stored after it, up to 2024-02-10 17:00, was not traded"
    )


def test_flat_bars_are_warned_of_in_the_log(lived: World, caplog: pytest.LogCaptureFixture) -> None:
    record = at(lived, 17, SETTLED_AND_FLAT, catch_up=True)
    assert record.flat_text
    assert caplog.messages == [f"BTCUSDT 1h: {record.flat_text}"]


def test_the_last_bar_itself_may_be_late(lived: World) -> None:
    late = fault("late", "sec = 3599", "rows = 2")
    status, code, _, hint = said(at(lived, 15, SETTLED + late))
    assert (status, code, hint) == ("bar_late", 3, "run it again later, or wait longer with --max-wait-sec")


def test_a_halt_is_told_and_after_it_the_way_around_it(lived: World) -> None:
    for hour in (15, 16):
        assert said(at(lived, hour, HALTED)) == (
            "symbol_not_trading",
            3,
            "BTCUSDT 1h: halted (PENDING_TRADING); listed since 2023-12-30 22:00; the store ends at 2024-02-10 13:00",
            "the store is as it was; once it trades again, the feed tells the way around the hours without trade",
        )
    # It trades again, but not since the target: that there is none, the exchange does not say.
    assert at(lived, 17, HALTED).status == "bar_late"
    record = at(lived, 18, HALTED)
    assert (record.status, record.failure.hint if record.failure else "") == (
        "contract_broken",
        (
            "nothing was appended; if it stays so, append what there is around it (the window is whole from"
            " 2024-03-11 23:00): barfeed backfill --from '2024-02-10 09:00'"
        ),
    )


@pytest.mark.parametrize("listed", ["HALT", "BREAK"])
def test_a_halt_by_another_word(lived: World, listed: str) -> None:
    halted = fault("halt", "at = 2024-02-10T14:00:00", f'listed = "{listed}"')
    assert f"halted ({listed})" in said(at(lived, 15, halted))[2]


@pytest.mark.parametrize(("code", "text"), [
    (-1122, "Invalid symbol status."),
    (-4108, "Symbol is on delivering or delivered or settling or closed or pre-trading."),
    (-4141, "Symbol is closed."),
])  # fmt: skip
def test_a_refused_symbol_is_told_by_what_it_is_listed_as(lived: World, code: int, text: str) -> None:
    refusal = fault("status", "status = 400", f"code = {code}", f'msg = "{text}"')
    refused = f"the exchange refused: HTTP 400 {code} {text!r}"
    assert at(lived, 15, SETTLED).status == "appended"
    assert said(at(lived, 16, SETTLED + refusal)) == (
        "symbol_gone",
        5,
        f"BTCUSDT 1h: settled since 2024-02-10 14:30 (SETTLING): its last bar is 2024-02-10 14:00; {refused}",
        "the store has it; no more bars will come: stop this feed",
    )
    assert (lived.exchange.requests[INFO], lived.exchange.requests[KLINES]) == (1, 1)
    # What REST refuses cannot be fetched from there.
    lived.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp > '2024-02-10 12:00:00'")
    *_, hint = said(at(lived, 16, SETTLED + refusal))
    assert hint.endswith("barfeed backfill --source archive --from '2024-02-10 13:00' --to '2024-02-10 15:00'")
    # Where the exchange contradicts itself, nothing can be told but that.
    assert said(at(lived, 16, refusal)) == (
        "exchange_refused",
        5,
        refused,
        "the exchange lists it as trading all the same: run it again later; check --base-url if it stays",
    )


@pytest.mark.parametrize("code", [-1121, -1122, -4108, -4141])
def test_a_symbol_that_was_taken_off_the_list(lived: World, code: int) -> None:
    delisted = fault("delist", "at = 2024-02-10T14:30:00", f"refusal = {code}")
    status, exit_code, message, hint = said(at(lived, 15, delisted))
    assert (status, exit_code) == ("symbol_gone", 5)
    assert message.startswith(
        "BTCUSDT 1h: not in the exchange's list of symbols: delisted, or never there;"
        f" the store ends at 2024-02-10 13:00; the exchange refused: HTTP 400 {code} "
    )
    assert hint == "no more bars will come: stop this feed; check --base-url if it should be there"


def test_a_name_that_never_was_one_is_told_as_before(world: World) -> None:
    delisted = fault("delist", "at = 2020-01-01T00:00:00")
    assert said(at(world, 15, delisted, catch_up=True)) == (
        "exchange_refused",
        5,
        "the exchange refused: HTTP 400 -1121 'Invalid symbol.'",
        "check --symbol: it must be a USDT-M perpetual or delivery symbol, like BTCUSDT",
    )


@pytest.mark.long
def test_a_symbol_that_is_still_to_come(world: World) -> None:
    pending = fault("pending", "at = 2024-02-10T18:30:00")
    assert said(at(world, 15, pending, catch_up=True)) == (
        "symbol_not_trading",
        3,
        (
            "BTCUSDT 1h: not trading yet (PENDING_TRADING); by the exchange's list it begins 2024-02-10 18:30;"
            " the exchange refused: HTTP 400 -1122 'Invalid symbol status.'"
        ),
        "there is nothing to pull before its first bar closes, at 2024-02-10 19:00",
    )
    world.clock.go_to(DAY_MS + hours(18.75))
    assert said(world.run(pending, max_wait_sec=20.0, catch_up=True)) == (
        "symbol_not_trading",
        3,
        "BTCUSDT 1h: trading only since 2024-02-10 18:30 (TRADING)",
        "there is nothing to pull before its first bar closes, at 2024-02-10 19:00",
    )
    assert at(world, 19, pending, catch_up=True).appended == 1


def test_the_replay_of_a_tape_that_begins_later_lists_it_as_to_come(tmp_path: Path) -> None:
    world = World(tmp_path, [Tape.of(BTCUSDT_1H, made_up_bars(DAY_MS + hours(30), 10))], DAY_MS)
    assert said(at(world, 15, "", catch_up=True))[2] == (
        "BTCUSDT 1h: not trading yet (PENDING_TRADING); by the exchange's list it begins 2024-02-10 21:00"
    )


# A list that cannot be had, or says nothing of use: the trouble that led to it is the one to tell.
USELESS = {
    "an exchange that is down": 'kind = "status"\nstatus = 503',
    "silence": 'kind = "hang"\nsec = 3600',
    "HTML": 'kind = "html"',
    "half an answer": 'kind = "cut_json"',
    "no list": 'kind = "empty"',
    "another object": 'kind = "object"',
    "a refusal": 'kind = "status"\nstatus = 400',
    "a closed connection": 'kind = "truncate"',
}


@pytest.mark.parametrize("case", USELESS)
def test_a_list_that_is_of_no_use_changes_nothing(lived: World, case: str) -> None:
    useless = f'[[fault]]\n{USELESS[case]}\npath = "exchangeInfo"\n'
    record = at(lived, 16, SETTLED + useless)
    assert record.status == "bar_late"
    assert lived.exchange.requests[INFO] >= 1
    refused = fault("status", "status = 400", "code = -1122", 'msg = "Invalid symbol status."')
    assert at(lived, 16, SETTLED + refused + useless).status == "exchange_refused"


def test_a_block_that_the_question_earns_is_kept_to(lived: World) -> None:
    blocked = fault("status", "status = 418", "retry_after = 900", 'path = "exchangeInfo"')
    lived.clock.go_to(DAY_MS + hours(16) + 30_000)
    lived.exchange.faults = parse_faults(SETTLED + blocked, "the test")
    talk = lived.rest.conversation(20.0)
    assert run_cycle(lived.feed, lived.order, talk).status == "bar_late"
    assert talk.refusal is not None
    assert round(talk.refusal.retry_after_sec or 0) == 900


@pytest.mark.long
def test_a_good_hour_asks_for_no_list_though_its_bar_was_late_at_first(lived: World) -> None:
    record = at(lived, 15, fault("late", "sec = 40"))
    assert record.status == "appended"
    assert set(lived.exchange.requests) == {"/fapi/v1/time", KLINES}
    lived.exchange.requests.clear()
    assert at(lived, 16, "").status == "appended"
    assert lived.exchange.requests == {"/fapi/v1/time": 1, KLINES: 1}


@pytest.mark.long
@pytest.mark.parametrize("changes", [{"dry_run": True}, {"inference_source": "api"}, {"catch_up": True}])
def test_it_is_told_however_the_hour_is_lived(lived: World, changes: dict[str, object]) -> None:
    assert at(lived, 15, SETTLED).status == "appended"
    assert at(lived, 16, SETTLED, **changes).status == "symbol_gone"
    assert lived.exchange.requests[INFO] == 1


PACE = Pace(sleep_sec=300.0, max_wait_sec=20.0)


def watched(world: World, until_hour: float, text: str) -> list[Record]:
    """The cycles of a watch up to an hour of 2024-02-10, its requests counted anew."""
    records: list[Record] = []
    world.exchange.requests.clear()
    world.exchange.faults = parse_faults(text, "the test")

    def tell(record: Record, _talk: object) -> None:
        records.append(record)
        if world.clock.now_ms >= DAY_MS + hours(until_hour):
            raise HourIsOver

    with pytest.raises(HourIsOver):
        watch(world.feed, world.order, world.rest, PACE, tell)
    return records


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "status"), [(SETTLED, "symbol_gone"), (HALTED, "symbol_not_trading")], ids=["settled", "halted"]
)
def test_a_watch_in_trouble_asks_for_the_list_once_an_hour(lived: World, text: str, status: str) -> None:
    at(lived, 15, text)
    lived.clock.go_to(DAY_MS + hours(16) + 30_000)
    records = watched(lived, 16.5, text)
    assert {record.status for record in records} == {status}
    assert len(records) > 5
    assert lived.exchange.requests[INFO] == 1


@pytest.mark.long
def test_in_the_next_hour_the_list_is_asked_for_again(lived: World) -> None:
    lived.clock.go_to(DAY_MS + hours(16.5))
    lived.run(SETTLED, catch_up=True)
    records = watched(lived, 17.5, SETTLED)
    assert len({record.target_ms for record in records}) == lived.exchange.requests[INFO] == 2


@pytest.mark.long
def test_a_watch_with_a_short_window_asks_for_the_list_once_an_hour(lived: World) -> None:
    lived.execute("DELETE FROM ohlcv_btcusdt_1h WHERE timestamp = '2024-02-05 03:00:00'")
    records = watched(lived, 14.5, fault("hide", "bar = 2024-02-05T03:00:00"))
    assert {record.status for record in records} == {"window_gap"}
    assert len(records) > 5
    assert lived.exchange.requests[INFO] == 1


@pytest.mark.long
def test_another_trouble_is_asked_about_at_once(lived: World) -> None:
    at(lived, 15, SETTLED)
    lived.clock.go_to(DAY_MS + hours(16) + 30_000)
    closed = fault("status", "status = 400", "code = -4141", 'msg = "Symbol is closed."', "from = 2024-02-10T16:20:00")
    records = watched(lived, 16.5, SETTLED + closed)
    assert ["-4141" in said(record)[2] for record in (records[0], records[-1])] == [False, True]
    assert lived.exchange.requests[INFO] == 2


@pytest.mark.long
def test_a_list_that_explains_nothing_is_asked_for_again(lived: World) -> None:
    # The exchange is slow to list what has happened.
    hidden = fault("hide", "bar = 2024-02-10T14:00:00")
    halted = fault("halt", "at = 2024-02-10T14:00:00", "from = 2024-02-10T15:20:00")
    lived.clock.go_to(DAY_MS + hours(15) + 30_000)
    records = watched(lived, 15.5, hidden + halted)
    assert (records[0].status, records[-1].status) == ("bar_late", "symbol_not_trading")


@pytest.mark.long
def test_after_a_good_cycle_the_same_trouble_is_asked_about_anew(tmp_path: Path) -> None:
    series = Series.of("BTCUSDT", "5m")
    tape = Tape.of(series, made_up_bars(DAY_MS + hours(24), 900, interval="5m"))
    world = World(tmp_path, [tape], DAY_MS + hours(14) + 30_000)
    world.order = world.order._replace(series=series, window_bars=100, catch_up=True)
    twice = fault("halt", "at = 2024-02-10T14:05:00", "until = 2024-02-10T14:25:00")
    twice += fault("halt", "at = 2024-02-10T14:35:00", "from = 2024-02-10T14:35:00")
    troubles = [record.status for record in watched(world, 14.9, twice) if record.failure]
    assert len(troubles) > 4
    assert set(troubles) == {"symbol_not_trading"}
    assert world.exchange.requests[INFO] == 2


@pytest.mark.long
def test_the_manifest_tells_it_and_how_long_it_took_to_ask(lived: World) -> None:
    at(lived, 15, SETTLED)
    record = at(lived, 16, SETTLED)
    manifest = json.loads(Path(record.manifest_path or "").read_text())
    assert (manifest["status"], manifest["exit_code"]) == ("symbol_gone", 5)
    assert "inquiry" in manifest["durations_sec"]
    assert manifest["exchange"]["requests"] == lived.exchange.requests.total()


@pytest.mark.long
def test_alerts_say_the_same(lived: World) -> None:
    at(lived, 15, SETTLED)
    record = at(lived, 16, SETTLED)
    told, *_ = heard(record, lived.rest.conversation(1.0), 5.0)
    assert (told.status, told.message, told.hint) == (
        "symbol_gone",
        "BTCUSDT 1h: settled since 2024-02-10 14:30 (SETTLING): its last bar is 2024-02-10 14:00",
        "the store has it; no more bars will come: stop this feed",
    )


@pytest.mark.long
def test_a_good_hour_imports_nothing_of_it(tmp_path: Path) -> None:
    with machine(tmp_path, DAY_MS + hours(13)) as each:
        assert each.feed("--catch-up").code == 0
        each.clock.advance(hours(1))
        command = [sys.executable, "-X", "importtime", *each.command()[1:]]
        done = subprocess.run(command, env=each.environment(), capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "barfeed.feed.cycle" in imported
    assert not {"barfeed.domain.life", "barfeed.domain.window", "barfeed.feed.inquiry"} & imported
    # Nor of other kinds of series, where none is named.
    assert not {name for name in imported if ".kinds" in name}
