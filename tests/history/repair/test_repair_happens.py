"""What a repair finds and does, on a real store against an exchange in process."""

import pytest

from barfeed.domain.errors import ContractBroken, ExchangeUnavailable, StoreEmpty, Unrepaired
from barfeed.history.mending.repair import Mended, Repair, Wanted
from barfeed.replay.faults.script import parse_faults
from barfeed.store import revisions
from barfeed.store.revisions import Revision
from storage import opened
from world import BTCUSDT_1H, World, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)
WINDOW = Wanted(None, None, 726)


def at(hour: int) -> str:
    return f"timestamp = TIMESTAMP '2024-02-10 {hour:02d}:00:00'"


def revise_fault(hour: int, volume: float, more: str = "") -> str:
    return f'[[fault]]\nkind = "revise"\nbar = 2024-02-10T{hour:02d}:00:00\nvolume = {volume}\n{more}\n'


def mend(lived: World, work: Repair, fault: str = "", wanted: Wanted = WINDOW, second: str | None = None) -> Mended:
    lived.exchange.faults = parse_faults(fault, "the test")
    found = work.survey(wanted)
    if second is not None:
        lived.exchange.faults = parse_faults(second, "the test")
    return work.apply(found, work.confirmed(found, 5.0), "the test")


def listed(lived: World) -> list[Revision]:
    with lived.store.session(write=False) as connection:
        return revisions.listed(connection, BTCUSDT_1H)


def test_a_store_that_agrees_has_nothing_to_repair_and_is_not_touched(lived: World, work: Repair) -> None:
    before = lived.duckdb.read_bytes()
    assert mend(lived, work) == Mended([], [], [])
    assert lived.duckdb.read_bytes() == before


@pytest.mark.long
def test_gaps_are_filled_and_leave_no_revision(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)} OR {at(4)} OR {at(9)}")
    assert lived.run().failure is not None
    found = work.survey(WINDOW)
    assert [(each.open_time_ms, each.kind) for each in found.differences] == [
        (TARGET_MS - hours(back), "missing") for back in (10, 9, 4)
    ]
    done = mend(lived, work)
    assert done == Mended([lived.taped()[TARGET_MS - hours(back)] for back in (10, 9, 4)], [], [])
    assert lived.bars() == [lived.taped()[bar.open_time_ms] for bar in lived.bars()]
    assert len(lived.bars()) == 726
    assert listed(lived) == []


@pytest.mark.long
def test_a_repaired_hour_lets_the_next_cycle_pass_by_itself(lived: World, work: Repair) -> None:
    lived.clock.go_to(TARGET_MS + hours(2) + 30_000)
    fault = revise_fault(11, 77.125)
    assert lived.run(fault).status == "mismatch"
    done = mend(lived, work, fault)
    assert [change.new.volume for change in done.revised] == [77.125]
    record = lived.run(fault)
    assert (record.status, record.appended, record.validated) == ("appended", 1, 5)


def test_a_changed_bar_has_both_its_versions_in_the_audit_table(lived: World, work: Repair) -> None:
    before = {bar.open_time_ms: bar for bar in lived.bars()}
    mend(lived, work, revise_fault(11, 77.125))
    (told,) = listed(lived)
    old = before[TARGET_MS - hours(2)]
    assert told.change == (old, old._replace(volume=77.125))
    assert (told.reason, told.run) == ("the test", "repair 2024-02-10 14:00:30")
    assert {bar.open_time_ms: bar for bar in lived.bars()} == before | {old.open_time_ms: told.change.new}


def test_the_exchange_is_asked_twice_about_a_mismatch_with_a_pause_between(lived: World, work: Repair) -> None:
    lived.exchange.faults = parse_faults(revise_fault(11, 77.125), "the test")
    found = work.survey(WINDOW)
    asked, now_ms = lived.exchange.requests.total(), lived.clock.now_ms
    assert len(work.confirmed(found, 7.0)) == 1
    assert lived.exchange.requests.total() == asked + 1
    assert lived.clock.now_ms == now_ms + 7_000


@pytest.mark.parametrize("second", ["", revise_fault(11, 78.25)])
def test_a_mismatch_that_the_exchange_does_not_say_twice_is_left(lived: World, work: Repair, second: str) -> None:
    before = lived.bars()
    done = mend(lived, work, revise_fault(11, 77.125), second=second)
    assert [each.kind for each in done.left] == ["mismatch"]
    assert (done.filled, done.revised) == ([], [])
    assert lived.bars() == before


def test_of_several_mismatches_those_said_twice_are_mended(lived: World, work: Repair) -> None:
    done = mend(
        lived,
        work,
        revise_fault(11, 77.125) + revise_fault(5, 5.5),
        second=revise_fault(5, 5.5) + revise_fault(11, 78.25),
    )
    assert [change.new.volume for change in done.revised] == [5.5]
    assert [each.open_time_ms for each in done.left] == [TARGET_MS - hours(2)]


def test_what_the_exchange_has_not_got_either_is_told_and_left(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)} OR {at(4)}")
    done = mend(lived, work, '[[fault]]\nkind = "hide"\nbar = 2024-02-10T03:00:00')
    assert [each.open_time_ms for each in done.left] == [TARGET_MS - hours(10)]
    assert [each.kind for each in done.left] == ["absent"]
    assert [bar.open_time_ms for bar in done.filled] == [TARGET_MS - hours(9)]


def test_a_stored_bar_that_the_exchange_does_not_know_is_told_and_left(lived: World, work: Repair) -> None:
    before = lived.bars()
    done = mend(lived, work, '[[fault]]\nkind = "hide"\nbar = 2024-02-10T03:00:00')
    assert [(each.kind, each.open_time_ms) for each in done.left] == [("unknown", TARGET_MS - hours(10))]
    assert lived.bars() == before


def test_a_span_is_looked_at_page_by_page_and_nothing_outside_it(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)} OR timestamp = TIMESTAMP '2024-01-20 00:00:00'")
    asked = lived.exchange.requests.total()
    assert len(work.survey(WINDOW).differences) == 2
    assert lived.exchange.requests.total() == asked + 3
    found = work.survey(Wanted(None, ms(2024, 2, 1), 726)._replace(from_ms=ms(2024, 1, 15)))
    assert [each.open_time_ms for each in found.differences] == [ms(2024, 1, 20)]
    assert (found.opens[0], found.opens[-1]) == (ms(2024, 1, 15), ms(2024, 1, 31, 23))


@pytest.mark.parametrize("kind", ["duplicate", "disorder", "off_grid"])
def test_an_answer_that_breaks_a_rule_mends_nothing(lived: World, work: Repair, kind: str) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)}")
    before = lived.bars()
    more = "ms = 1000\n" if kind == "off_grid" else ""
    with pytest.raises(ContractBroken, match=r"BTCUSDT 1h: . rules? broken by the exchange's answer"):
        mend(lived, work, f'[[fault]]\nkind = "{kind}"\n{more}bar = 2024-02-10T05:00:00')
    assert lived.bars() == before


def test_a_second_answer_that_breaks_a_rule_mends_nothing(lived: World, work: Repair) -> None:
    before = lived.bars()
    bad = '[[fault]]\nkind = "duplicate"\nbar = 2024-02-10T11:00:00'
    with pytest.raises(ContractBroken):
        mend(lived, work, revise_fault(11, 77.125), second=bad)
    assert lived.bars() == before


def test_an_exchange_that_does_not_answer_mends_nothing(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)}")
    with pytest.raises(ExchangeUnavailable):
        mend(lived, work, '[[fault]]\nkind = "status"\nstatus = 503')
    assert len(lived.bars()) == 725


def test_bars_that_are_not_closed_are_not_looked_at(lived: World, work: Repair) -> None:
    lived.execute("INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-02-10 14:00:00', 1, 1, 1, 1, 1, now())")
    assert work.survey(WINDOW).opens[-1] == TARGET_MS


def test_an_empty_store_is_refused_with_what_starts_it(lived: World, work: Repair) -> None:
    lived.duckdb.unlink()
    with pytest.raises(StoreEmpty) as told:
        work.survey(WINDOW)
    assert told.value.hint == "barfeed run --catch-up"
    assert not lived.duckdb.exists()


def test_a_store_that_changed_since_the_survey_is_left_alone(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)}")
    lived.exchange.faults = parse_faults(revise_fault(11, 77.125), "the test")
    found = work.survey(WINDOW)
    changes = work.confirmed(found, 0.0)
    lived.execute(f"UPDATE ohlcv_btcusdt_1h SET volume = 3 WHERE {at(11)}")
    before = lived.bars()
    with pytest.raises(Unrepaired, match="the store was changed by another process meanwhile; nothing was repaired"):
        work.apply(found, changes, "the test")
    assert lived.bars() == before
    with opened(lived.duckdb, read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM information_schema.tables").fetchall() == [(1,)]


def test_a_gap_that_another_process_filled_otherwise_rolls_everything_back(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)} OR {at(4)}")
    found = work.survey(WINDOW)
    lived.execute("INSERT INTO ohlcv_btcusdt_1h VALUES ('2024-02-10 04:00:00', 1, 1, 1, 1, 1, now())")
    before = lived.bars()
    with pytest.raises(Unrepaired):
        work.apply(found, [], "the test")
    assert lived.bars() == before


def test_the_store_is_never_open_while_the_exchange_is_asked(lived: World, work: Repair) -> None:
    lived.execute(f"DELETE FROM ohlcv_btcusdt_1h WHERE {at(3)}")
    lived.exchange.faults = parse_faults(revise_fault(11, 77.125), "the test")
    asked = lived.rest.transport
    seen = []

    def looking(url: str, left_sec: float):  # type: ignore[no-untyped-def]
        # A store that is held cannot be opened for writing by anybody else; here by the same process it cannot, either.
        lived.execute("SELECT 1")
        seen.append(url)
        return asked(url, left_sec)

    lived.rest.transport = looking
    found = work.survey(WINDOW)
    work.apply(found, work.confirmed(found, 5.0), "the test")
    assert len(seen) == 4


def test_a_long_span_waits_for_a_new_minute_before_the_weight_is_used_up(
    lived: World, work: Repair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("barfeed.history.mending.repair.WEIGHT_MAX", 1)
    now_ms = lived.clock.now_ms
    work.survey(Wanted(None, None, 500))
    assert lived.clock.now_ms == now_ms
    # 14:00:30: the next minute is 30 s off, and only the second page has to wait for it.
    Repair(lived.store, lived.rest, BTCUSDT_1H, 60.0).survey(Wanted(None, None, 501))
    assert lived.clock.now_ms == TARGET_MS + hours(1) + 60_000


def test_a_row_beside_what_was_asked_for_fills_nothing(lived: World, work: Repair) -> None:
    # Two hours behind, and the newest row of the answer is moved on by one: closed, on the grid, and wrong.
    lived.clock.go_to(TARGET_MS + hours(3) + 30_000)
    lived.exchange.faults = parse_faults('[[fault]]\nkind = "off_grid"\nms = 3600000', "the test")
    before = lived.bars()
    with pytest.raises(ContractBroken, match="asked for"):
        work.survey(Wanted(TARGET_MS - hours(5), None, 0))
    assert lived.bars() == before
