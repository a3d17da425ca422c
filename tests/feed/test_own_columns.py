"""What a cycle does with a bar whose own columns contradict each other, and with bars in which nothing was traded."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from barfeed.feed.record import Record
from barfeed.history.mending.let_pass import LetPass
from barfeed.operate.alerts.hearing import heard
from barfeed.store import revisions
from world import BTCUSDT_1H, World, hours, ms

TARGET_MS = ms(2024, 2, 10, 13)


def cell(column: int, text: str, bar: str = "2024-02-10T13:00:00") -> str:
    """One cell of a row is something else, which the exchange stands by."""
    return f'[[fault]]\nkind = "text"\nbar = {bar}\ncolumn = {column}\nvalue = \'"{text}"\'\n'


QUOTE, TAKER = 7, 9
# It would have been traded at a price that nobody saw.
DEARER = cell(QUOTE, "99999999999.5")


def manifest(record: Record) -> dict[str, Any]:
    assert record.manifest_path
    read: dict[str, Any] = json.loads(Path(record.manifest_path).read_text())
    return read


def let_pass(world: World, fault: str, open_time_ms: int = TARGET_MS) -> None:
    world.run(fault)
    work = LetPass(world.store, world.rest, BTCUSDT_1H, 60.0)
    seen = work.look(open_time_ms)
    assert work.says_it_again(seen, 1.0)
    work.note(seen, "looked at")


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        (DEARER, "mean_price"),
        (cell(5, "7500000.5"), "mean_price"),
        (cell(5, "0.0") + cell(QUOTE, "0.0") + cell(TAKER, "0.0") + cell(10, "0.0"), "all_or_nothing"),
        (cell(TAKER, "99999999.0"), "taker_share"),
        (cell(3, "0.00"), "above_zero"),
        ("".join(cell(column, "0") for column in (1, 2, 3, 4)), "above_zero"),
    ],
)
def test_such_a_bar_is_neither_stored_nor_given_to_the_model(started: World, fault: str, rule: str) -> None:
    before = started.bars()
    record = started.run(fault)
    assert (record.status, record.exit_code, record.inference) == ("contract_broken", 5, None)
    assert rule in {found["rule"] for found in manifest(record)["findings"]}
    assert started.bars() == before
    assert record.pull is not None, "the evidence is there"


def test_the_hint_names_the_bar_and_how_to_let_it_pass(started: World) -> None:
    record = started.run(DEARER)
    assert record.failure
    said = "BTCUSDT 1h: 1 rule broken by the exchange's answer; first: 2024-02-10 13:00 quote_volume 99999999999.5 by"
    assert record.failure.message.startswith(f"{said} volume ")
    assert record.failure.hint == (
        "nothing was appended; run it again later, and if the exchange stays with it and you have looked at the bar:"
        " barfeed repair --let-pass '2024-02-10 13:00'"
    )


def test_where_another_rule_is_broken_too_there_is_no_such_way(started: World) -> None:
    record = started.run(DEARER + cell(3, "0.00"))
    assert record.failure
    assert "--let-pass" not in record.failure.hint


def test_a_bar_that_was_let_pass_is_appended_and_stands_in_no_later_hours_way(started: World) -> None:
    let_pass(started, DEARER)
    record = started.run(DEARER)
    assert (record.status, record.appended) == ("appended", 1)
    assert started.bars()[-1] == started.taped()[TARGET_MS]
    started.clock.go_to(TARGET_MS + hours(2) + 30_000)
    assert started.run(DEARER).status == "appended"


def test_only_the_bar_with_those_very_values_was_let_pass(started: World) -> None:
    let_pass(started, DEARER)
    other = DEARER + '[[fault]]\nkind = "revise"\nbar = 2024-02-10T13:00:00\nvolume = 3.5\n'
    assert started.run(other).status == "contract_broken"
    assert started.run(DEARER + cell(QUOTE, "99999999999.5", "2024-02-10T12:00:00")).status == "contract_broken"
    assert started.run(DEARER).status == "appended"


def test_it_is_noted_beside_the_revisions_and_changes_no_export_of_the_past(started: World) -> None:
    let_pass(started, DEARER)
    started.run(DEARER)
    with started.store.session(write=False) as connection:
        (noted,) = revisions.listed(connection, BTCUSDT_1H)
        assert revisions.let_pass(connection, BTCUSDT_1H) == [started.taped()[TARGET_MS]]
        assert (noted.is_let_pass, noted.reason) == (True, "looked at (mean_price)")
        query = revisions.as_of_query(connection, ["BTCUSDT"], BTCUSDT_1H.interval, noted.accepted_at_ms - 1)
        then = connection.execute(f"SELECT * FROM ({query}) ORDER BY timestamp DESC LIMIT 1").fetchone()
    assert then is not None
    assert (then[1].hour, None in then) == (12, False)


def test_a_good_hour_opens_the_store_no_more_often_than_before(started: World, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    session = type(started.store).session

    def counted(store: Any, *, write: bool) -> Any:
        opened.append(write)
        return session(store, write=write)

    monkeypatch.setattr(type(started.store), "session", counted)
    assert started.run().status == "appended"
    assert opened == [True]


FLAT = '[[fault]]\nkind = "flat"\nbar = 2024-02-10T{first:02d}:00:00\nuntil_bar = 2024-02-10T{last:02d}:00:00\n'


def test_bars_without_a_trade_are_stored_and_told(started: World, caplog: pytest.LogCaptureFixture) -> None:
    fault = FLAT.format(first=13, last=15)
    assert started.run(fault).flat == [], "one alone is nothing new: young symbols have such hours"
    started.clock.go_to(TARGET_MS + hours(3) + 30_000)
    with caplog.at_level(logging.WARNING):
        record = started.run(fault, catch_up=True)
    said = "nothing was traded in 2024-02-10 13:00..2024-02-10 15:00 (3 bars): an outage, or a market after its end"
    assert (record.status, record.appended) == ("appended", 2)
    assert record.inference is not None
    assert record.warnings == [said]
    assert f"BTCUSDT 1h: {said}" in caplog.text
    assert manifest(record)["flat"] == [{"first": "2024-02-10 13:00", "last": "2024-02-10 15:00", "bars": 3}]


def test_people_are_told_of_them_until_they_are_out_of_the_pull(started: World) -> None:
    talk = started.rest.conversation(60.0)
    told = []
    for hour in range(1, 10):
        started.clock.go_to(TARGET_MS + hours(hour) + 30_000)
        record = started.run(FLAT.format(first=13, last=15), catch_up=True)
        told += [each.status for each in heard(record, talk, 2.0) if each.matter == "market"]
    # The pull is of six bars: that of 21:00 begins at 16:00.
    assert told == ["", *["not_traded"] * 7, ""]


def test_an_hour_that_did_not_come_so_far_says_nothing_of_the_market(started: World) -> None:
    record = started.run(DEARER)
    talk = started.rest.conversation(60.0)
    assert [each.matter for each in heard(record, talk, 2.0)] == ["cycle"]
