from barfeed.domain.bars import HOUR_MS
from barfeed.operate.web.answers import Day
from barfeed.operate.web.manifests import DAY_MS
from barfeed.operate.web.views.days import Refused, days
from world import ms

FIRST = ms(2024, 2, 9, 6)
LAST = ms(2024, 2, 10, 13)
THE_9TH, THE_10TH = ms(2024, 2, 9), ms(2024, 2, 10)
WHOLE = {THE_9TH: 18, THE_10TH: 14}


def states(held: dict[int, int], revised: tuple[int, ...] = (), refused: tuple[Refused, ...] = ()) -> list[str]:
    return [each.state for each in days((FIRST, LAST), HOUR_MS, held, revised, refused)]


def test_a_day_is_due_from_the_first_bar_to_the_last() -> None:
    assert days((FIRST, LAST), HOUR_MS, WHOLE, (), ()) == [
        Day(THE_9TH, "whole", 18, 18, 0, 0, 0),
        Day(THE_10TH, "whole", 14, 14, 0, 0, 0),
    ]


def test_a_day_without_a_bar_is_a_gap() -> None:
    assert states({THE_9TH: 18}) == ["whole", "gap"]
    assert states({THE_9TH: 17, THE_10TH: 14}) == ["gap", "whole"]


def test_what_is_true_is_counted_and_the_worst_colours() -> None:
    refused = (Refused(LAST, "mismatch"), Refused(LAST, "mismatch"), Refused(LAST - HOUR_MS, "bar_late"))
    assert days((THE_10TH, LAST), HOUR_MS, WHOLE, (LAST,), refused) == [Day(THE_10TH, "revised", 14, 14, 1, 1, 1)]
    assert states(WHOLE, (), refused) == ["whole", "refused"]
    assert states(WHOLE, (), refused[2:]) == ["whole", "late"]
    assert states({THE_9TH: 18, THE_10TH: 13}, (LAST,), refused) == ["whole", "gap"]


def test_a_day_is_a_utc_day() -> None:
    assert [each.day_ms for each in days((THE_9TH, THE_9TH + DAY_MS - 1), HOUR_MS, {}, (), ())] == [THE_9TH]
