"""What of a short window the exchange itself has. The right answers are counted on fingers: ten bars are asked for."""

import pytest

from barfeed.domain.bars import Bar
from barfeed.domain.errors import WindowGap
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life
from barfeed.domain.verdict import Remedies
from barfeed.domain.window import Answer, Asked, Shortage, Told, explained, shortage
from world import BTCUSDT_1H, hours, ms

START_MS = ms(2024, 2, 10, 4)
REMEDIES = Remedies("the --catch-up command", "the repair command", "the backfill command")
# 04:00 to 13:00.
ASKED = Asked(BTCUSDT_1H, ms(2024, 2, 10, 13), 10, 0, REMEDIES)


def at(hour: int) -> int:
    return ms(2024, 2, 10) + hours(hour)


def held(*opens: int) -> list[Bar]:
    return [Bar(at(hour), 1.0, 1.0, 1.0, 1.0, 1.0) for hour in opens]


def gap(first: int, last: int) -> Gap:
    return Gap(at(first), at(last), last - first + 1)


def test_the_gaps_of_a_window() -> None:
    bars = held(6, 7, 9, 12, 13)
    assert ASKED.start_ms == START_MS
    assert ASKED.gaps(bars) == [gap(4, 5), gap(8, 8), gap(10, 11)]
    assert ASKED.gaps(held(*range(4, 14))) == []


@pytest.mark.parametrize(
    ("answer", "lacks_until"),
    [
        (Answer(gap(6, 8), None), 8),
        (Answer(gap(6, 8), at(6)), None),
        (Answer(gap(6, 8), at(8)), 7),
        (Answer(gap(6, 6), at(6)), None),
    ],
)
def test_what_the_exchange_lacks_of_a_gap_is_its_beginning(answer: Answer, lacks_until: int | None) -> None:
    assert answer.lacks_until(hours(1)) == (None if lacks_until is None else at(lacks_until))


@pytest.mark.parametrize(
    ("answers", "whole"),
    [
        # The first window without 05:00 is 06:00 to 15:00, and 15:00 closes at 16:00.
        ([Answer(gap(4, 5), None)], 16),
        ([Answer(gap(4, 5), None), Answer(gap(8, 8), None)], 19),
        ([Answer(gap(4, 5), None), Answer(gap(8, 8), at(8))], 16),
        ([Answer(gap(4, 7), at(7))], 17),
        ([Answer(gap(4, 7), at(4))], None),
    ],
)
def test_a_window_is_whole_once_the_last_lacking_bar_is_out_of_it(answers: list[Answer], whole: int | None) -> None:
    short = shortage(ASKED, [gap(4, 5), gap(11, 11)], answers)
    assert short == Shortage(2, 10, at(12), None if whole is None else at(whole))


TROUBLE = WindowGap("BTCUSDT 1h: the inference window is not whole", hint="as it was", findings=("a finding",))


def told(answers: list[Answer], first: int | None = None, now: Life | None = None) -> tuple[str, str]:
    short = shortage(ASKED, [gap(11, 11)], answers)
    error = explained(TROUBLE, ASKED, short, Told(answers, None if first is None else at(first)), now)
    assert error.findings == TROUBLE.findings
    return str(error).removeprefix(f"{TROUBLE}"), error.hint


NOTHING = "no inference CSV was published, and there is nothing to fetch until then"
LESS = f"{NOTHING}; a model that can do with less: --min-window-hours 2"
FILL = "no inference CSV was published; fill what the exchange has: "


def test_a_store_that_alone_lacks_bars_is_told_as_before() -> None:
    assert told([Answer(gap(8, 8), at(8))]) == ("", "as it was")


def test_a_young_symbol() -> None:
    assert told([Answer(gap(4, 5), None)], 6) == ("; first bar 2024-02-10 06:00; whole from 2024-02-10 16:00", LESS)


def test_a_young_symbol_of_which_the_store_lacks_the_beginning() -> None:
    assert told([Answer(gap(4, 8), at(6))], 6) == (
        "; first bar 2024-02-10 06:00; whole from 2024-02-10 16:00",
        f"{FILL}the backfill command --from '2024-02-10 06:00'",
    )


def test_a_young_symbol_with_a_hole() -> None:
    said, hint = told([Answer(gap(4, 5), None), Answer(gap(8, 9), None)], 6)
    assert said == (
        "; first bar 2024-02-10 06:00; the exchange itself has no bar of 2024-02-10 08:00..2024-02-10 09:00 (2 bars);"
        " whole from 2024-02-10 20:00"
    )
    assert hint == LESS


def test_a_hole_at_the_windows_beginning_is_no_young_symbol() -> None:
    said, _ = told([Answer(gap(4, 4), None)])
    assert said == "; the exchange itself has no bar of 2024-02-10 04:00; whole from 2024-02-10 15:00"


def test_more_holes_than_can_be_read() -> None:
    said, _ = told([Answer(gap(hour, hour), None) for hour in (4, 6, 8, 10)])
    assert said.startswith(
        "; the exchange itself has no bar of 2024-02-10 04:00, 2024-02-10 06:00, 2024-02-10 08:00, ..."
    )


@pytest.mark.parametrize(
    ("now", "ending"),
    [
        (Life("trading", "TRADING"), "whole from 2024-02-10 16:00"),
        (Life("trading", "TRADING", at(16)), "whole from 2024-02-10 16:00"),
        (Life("trading", "TRADING", at(15)), "never whole: it trades until 2024-02-10 15:00"),
        (None, "whole from 2024-02-10 16:00"),
    ],
)
def test_the_end_may_come_before_the_window_is_whole(now: Life | None, ending: str) -> None:
    said, _ = told([Answer(gap(4, 5), None)], 6, now)
    assert said.endswith(f"; {ending}")


def test_no_hours_at_all_are_not_recommended() -> None:
    short = shortage(ASKED, [gap(13, 13)], [Answer(gap(13, 13), None)])
    assert (short.bars, short.first_ms) == (0, None)
    assert explained(TROUBLE, ASKED, short, Told([Answer(gap(13, 13), None)]), None).hint == NOTHING
