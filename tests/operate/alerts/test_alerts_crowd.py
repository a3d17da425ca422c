"""What is told of many series at once, without a clock and without a channel."""

from collections.abc import Mapping, Sequence

import pytest

from barfeed.operate.alerts.crowd import Crowd, note
from barfeed.operate.alerts.troubles import Heard, Ledger, Message, settle, take
from world import hours, ms

NOON_MS = ms(2026, 3, 10, 12, 0, 31)
MARKET = tuple(f"S{number:03}USDT" for number in range(540))
ALL = "540 series (S000USDT, S001USDT, S002USDT, S003USDT, S004USDT, ...)"


def crowd(troubles: Mapping[str, str], fed: Sequence[str] = MARKET, matter: str = "series") -> Crowd:
    """A pass over these in which some failed so."""
    worst_first = [*troubles, *(each for each in fed if each not in troubles)]
    ended = [
        Heard(f"{matter} {each}", f"{each} 1h", status, f"{each} 1h: {status}", f"mend {each}" if status else "")
        for each in worst_first
        for status in [troubles.get(each, "")]
    ]
    return Crowd(matter, "all 1h", ended, fed, "2026-03-10 11:00")


def told(*passes: Crowd, ledger: Ledger | None = None) -> list[tuple[int, Message]]:
    """The hour and the message of each, when passes end so one after another."""
    ledger, messages = ledger or Ledger(), []
    for hour, each in enumerate(passes):
        ledger = note(ledger, each, ["channel 1"], NOON_MS + hours(hour))
        letters, ledger = take(ledger, "channel 1", NOON_MS + hours(hour))
        for letter in letters:
            ledger = settle(ledger, letter, delivered=True)
            messages.append((hour, letter.message))
    assert not ledger.spells or passes[-1].heard
    return messages


def said(messages: Sequence[tuple[int, Message]]) -> list[tuple[int, str, list[str]]]:
    """Hour, title and lines, without the moment that each ends with."""
    return [(hour, each.title.removeprefix("barfeed all 1h: "), each.body.splitlines()[:-1]) for hour, each in messages]


def test_a_market_that_is_well_tells_nothing() -> None:
    assert told(*[crowd({})] * 30) == []


def test_the_trouble_of_all_is_one_message_and_its_end_another() -> None:
    down = crowd(dict.fromkeys(MARKET, "bar_late"))
    assert said(told(crowd({}), down, down, down, crowd({}), crowd({}))) == [
        (1, "bar_late", [
            f"bar_late: {ALL}; first: S000USDT 1h: bar_late",
            "to do: mend S000USDT",
        ]),
        (4, "well again", [
            f"well again after up to 3 h (bar_late): {ALL}; caught up to 2026-03-10 11:00",
        ]),
    ]  # fmt: skip


def test_the_trouble_of_one_is_told_as_if_it_were_alone() -> None:
    (message, _) = said(told(crowd({"S007USDT": "mismatch"}), crowd({})))
    assert message == (0, "mismatch", ["S007USDT 1h: mismatch", "to do: mend S007USDT"])


def test_two_kinds_are_one_message_worst_first() -> None:
    troubles = {"S009USDT": "mismatch", "S001USDT": "bar_late", "S002USDT": "bar_late"}
    assert said(told(crowd(troubles))) == [
        (0, "mismatch, bar_late", [
            "S009USDT 1h: mismatch",
            "to do: mend S009USDT",
            "bar_late: 2 series (S001USDT, S002USDT); first: S001USDT 1h: bar_late",
            "to do: mend S001USDT",
        ]),
    ]  # fmt: skip


def test_who_joins_is_told_at_once_and_who_lasts_is_named() -> None:
    old, both = {"S009USDT": "mismatch"}, {"S009USDT": "mismatch", "S001USDT": "bar_late"}
    assert said(told(crowd(old), crowd(both), crowd(both), crowd(old)))[1:] == [
        (1, "bar_late", [
            "S001USDT 1h: bar_late", "to do: mend S001USDT", "still in trouble: mismatch: 1 series (S009USDT)",
        ]),
        (3, "1 of its troubles ended", [
            "well again after 2 h (bar_late): 1 series (S001USDT)", "still in trouble: mismatch: 1 series (S009USDT)",
        ]),
    ]  # fmt: skip


def test_all_that_lasts_is_told_again_a_day_after_the_last_message() -> None:
    one, two = crowd({"S001USDT": "bar_late"}), crowd({"S001USDT": "bar_late", "S002USDT": "bar_late"})
    messages = said(told(*[one] * 3, *[two] * 40))
    assert [hour for hour, _, _ in messages] == [0, 3, 27]
    assert messages[-1][2][0] == (
        "bar_late: 2 series (S001USDT, S002USDT); first: still, after 1 d 3 h (bar_late): S001USDT 1h: bar_late"
    )


def test_what_is_fed_no_more_is_no_trouble_any_more() -> None:
    left = [each for each in MARKET if each != "S003USDT"]
    assert said(told(crowd({"S003USDT": "mismatch"}), crowd({}, left), crowd({}, left)))[1:] == [
        (1, "well again", ["settled, halted or fed no more after 1 h (mismatch): 1 series (S003USDT)"]),
    ]


def test_of_what_a_pass_does_not_know_nothing_is_told() -> None:
    flat = crowd({"S003USDT": "not_traded"}, matter="market")
    unknown = flat._replace(heard=[each for each in flat.heard if "S003USDT" not in each.matter])
    assert [hour for hour, _ in told(flat, unknown, unknown, crowd({}, matter="market"))] == [0, 3]


@pytest.mark.parametrize(("matter", "level"), [("series", "failure"), ("market", "warning")])
def test_how_bad_it_is_goes_by_the_matter(matter: str, level: str) -> None:
    ((_, first), (_, last)) = told(crowd({"S003USDT": "x"}, matter=matter), crowd({}, matter=matter))
    assert (first.level, last.level) == (level, "success")


def test_a_channel_that_comes_back_hears_how_all_are() -> None:
    both = {"S009USDT": "mismatch", "S001USDT": "bar_late"}
    ledger = note(Ledger(), crowd({"S009USDT": "mismatch"}), ["channel 1"], NOON_MS)
    ledger = note(ledger, crowd(both), ["channel 1"], NOON_MS + hours(1))
    (letter,) = ledger.letters
    assert "bar_late" in letter.message.title
    assert "still in trouble: mismatch: 1 series (S009USDT)" in letter.message.body


def test_the_matters_of_one_series_are_left_alone() -> None:
    own = note(Ledger(), crowd({"S009USDT": "mismatch"}), [], NOON_MS)
    after = note(own, crowd({}, matter="market"), [], NOON_MS + hours(1))
    assert after == own
