"""What is told when, without a clock and without a channel."""

from dataclasses import replace

import pytest

from barfeed.operate.alerts.troubles import TAKEN_FOR_MS, Heard, Ledger, Letter, note, settle, span, take
from world import hours, ms

NOON_MS = ms(2024, 2, 10, 12, 0, 31)
HINTS = {"mismatch": "barfeed repair"}


def heard(status: str, matter: str = "cycle") -> Heard:
    if not status:
        return Heard(matter, "BTCUSDT 1h", newest="2024-02-10 11:00")
    return Heard(matter, "BTCUSDT 1h", status, f"there is a {status}", HINTS.get(status, ""))


def told(*statuses: str, begin_ms: int = NOON_MS, ledger: Ledger | None = None) -> list[tuple[int, str, str]]:
    """The hour, title and first line of each message when hours end so, one after another."""
    ledger = ledger or Ledger()
    messages = []
    for hour, status in enumerate(statuses):
        ledger = note(ledger, [heard(status)], ["channel 1"], begin_ms + hours(hour))
        letters, ledger = take(ledger, "channel 1", begin_ms + hours(hour))
        for letter in letters:
            ledger = settle(ledger, letter, delivered=True)
            title = letter.message.title.removeprefix("barfeed BTCUSDT 1h: ")
            messages.append((hour, title, letter.message.body.splitlines()[0]))
    return messages


def test_nothing_is_told_while_all_is_well() -> None:
    assert told(*[""] * 30) == []


def test_one_trouble_is_one_message_and_its_end_another() -> None:
    assert told("", "mismatch", "mismatch", "mismatch", "", "") == [
        (1, "mismatch", "there is a mismatch"),
        (4, "well again", "well again after 3 h, 3 failed cycles (mismatch); caught up to 2024-02-10 11:00"),
    ]


def test_a_trouble_that_lasts_is_told_again_each_day() -> None:
    assert told(*["bar_late"] * 50) == [
        (0, "bar_late", "there is a bar_late"),
        (24, "bar_late", "still, after 1 d and 25 failed cycles: there is a bar_late"),
        (48, "bar_late", "still, after 2 d and 49 failed cycles: there is a bar_late"),
    ]


def test_another_trouble_is_told_at_once_and_one_that_comes_back_is_not() -> None:
    assert [message[:2] for message in told("mismatch", "bar_late", "mismatch", "bar_late", "bar_late", "")] == [
        (0, "mismatch"),
        (1, "bar_late"),
        (5, "well again"),
    ]


def test_the_end_names_every_trouble_there_was() -> None:
    (_, _, (_, _, end)) = told("mismatch", "bar_late", "")
    assert end.startswith("well again after 2 h, 2 failed cycles (mismatch, bar_late)")


def test_a_trouble_that_comes_again_after_its_end_is_a_new_one() -> None:
    assert [title for _, title, _ in told("mismatch", "", "mismatch", "")] == ["mismatch", "well again"] * 2


def test_a_cycle_a_second_early_still_reminds_in_its_hour() -> None:
    ledger = note(Ledger(), [heard("bar_late")], ["channel 1"], NOON_MS)
    ledger = note(ledger, [heard("bar_late")], ["channel 1"], NOON_MS + hours(24) - 1000)
    assert "still" in ledger.letters[0].message.body


def test_a_clock_that_was_set_back_does_not_silence_the_reminder() -> None:
    ledger = note(Ledger(), [heard("bar_late")], ["channel 1"], NOON_MS)
    ledger = note(ledger, [heard("bar_late")], ["channel 1"], NOON_MS - hours(30))
    assert ledger.letters[0].message.made_ms == NOON_MS - hours(30)


def test_a_message_says_series_what_what_to_do_and_when() -> None:
    (letter,) = note(Ledger(), [heard("mismatch")], ["channel 1"], NOON_MS).letters
    assert (letter.message.level, letter.message.title) == ("failure", "barfeed BTCUSDT 1h: mismatch")
    assert letter.message.body == "there is a mismatch\nto do: barfeed repair\n2024-02-10 12:00:31 UTC"


def test_the_cycle_and_the_clock_are_troubles_of_their_own() -> None:
    ledger = note(Ledger(), [heard("mismatch"), heard("clock_skew", "clock")], ["channel 1"], NOON_MS)
    assert [(each.message.title, each.message.level) for each in ledger.letters] == [
        ("barfeed BTCUSDT 1h: mismatch", "failure"),
        ("barfeed BTCUSDT 1h: clock_skew", "warning"),
    ]
    ledger = note(ledger, [heard(""), heard("clock_skew", "clock")], ["channel 1"], NOON_MS + hours(1))
    assert set(ledger.spells) == {"clock"}


def test_a_matter_that_was_not_heard_of_stays_as_it_was() -> None:
    ledger = note(Ledger(), [heard("clock_skew", "clock")], ["channel 1"], NOON_MS)
    after = note(ledger, [heard("")], ["channel 1"], NOON_MS + hours(1))
    assert after.spells == ledger.spells


def test_what_was_not_delivered_is_replaced_by_what_is_true_now() -> None:
    names = ["channel 1", "channel 2"]
    ledger = note(Ledger(), [heard("mismatch")], names, NOON_MS)
    ((letter,), ledger) = take(ledger, "channel 1", NOON_MS)
    ledger = settle(ledger, letter, delivered=True)
    assert [each.channel for each in ledger.letters] == ["channel 2"]
    ledger = note(ledger, [heard("")], names, NOON_MS + hours(1))
    assert [(each.channel, each.message.title[-10:]) for each in ledger.letters] == [
        ("channel 1", "well again"),
        ("channel 2", "well again"),
    ]


def test_what_nobody_could_deliver_for_a_day_is_forgotten() -> None:
    ledger = note(note(Ledger(), [heard("mismatch")], ["a"], NOON_MS), [heard("")], ["a"], NOON_MS + hours(1))
    assert len(note(ledger, [heard("")], ["a"], NOON_MS + hours(24)).letters) == 1
    assert note(ledger, [heard("")], ["a"], NOON_MS + hours(25)) == Ledger()


def test_a_letter_is_taken_by_one_and_by_another_only_if_that_one_was_killed() -> None:
    ledger = note(Ledger(), [heard("mismatch")], ["a", "b"], NOON_MS)
    (taken,), ledger = take(ledger, "a", NOON_MS)
    assert (taken.channel, taken.tries) == ("a", 1)
    assert take(ledger, "a", NOON_MS + TAKEN_FOR_MS - 1)[0] == ()
    assert [each.tries for each in take(ledger, "a", NOON_MS + TAKEN_FOR_MS)[0]] == [2]


def test_a_letter_that_was_not_taken_is_free_at_once() -> None:
    ledger = note(Ledger(), [heard("mismatch")], ["a"], NOON_MS)
    (letter,), ledger = take(ledger, "a", NOON_MS)
    ledger = settle(ledger, letter, delivered=False)
    assert take(ledger, "a", NOON_MS + 1)[0] == (replace(letter, tries=2, taken_ms=NOON_MS + 1),)


def test_a_letter_that_was_replaced_meanwhile_settles_nothing() -> None:
    ledger = note(Ledger(), [heard("mismatch")], ["a"], NOON_MS)
    (letter,), ledger = take(ledger, "a", NOON_MS)
    after = note(ledger, [heard("bar_late")], ["a"], NOON_MS + hours(1))
    assert settle(after, letter, delivered=True) == after
    assert isinstance(after.letters[0], Letter)


@pytest.mark.parametrize(
    ("sec", "text"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (59, "59 s"),
        (61, "1 min 1 s"),
        (3 * 3600, "3 h"),
        (93_784, "1 d 2 h"),
        (97_100, "1 d 3 h"),
        (10_790, "3 h"),
        (86_399, "1 d"),
    ],
)
def test_a_span_is_told_in_its_two_largest_units(sec: int, text: str) -> None:
    assert span(sec * 1000) == text
