"""What an hour of one series and one of a market share."""

import pytest

from barfeed.domain.errors import StoreUnusable
from barfeed.feed.hour import but_once_more


def told(*troubles: StoreUnusable | None) -> tuple[str | None, int]:
    """What came of something that meets one trouble after another, and how often it was done."""
    done: list[StoreUnusable | None] = []

    def do() -> str:
        done.append(troubles[len(done)])
        if trouble := done[-1]:
            raise trouble
        return "done"

    try:
        return but_once_more(do), len(done)
    except StoreUnusable:
        return None, len(done)


AWAY, HELD = StoreUnusable("it is away", is_away=True), StoreUnusable("it is held", is_held=True)


@pytest.mark.parametrize(
    ("troubles", "result"),
    [((None,), ("done", 1)), ((AWAY, None), ("done", 2)), ((AWAY, AWAY), (None, 2)), ((HELD,), (None, 1))],
)
def test_what_lost_its_store_in_the_middle_is_done_once_more(
    troubles: tuple[StoreUnusable | None, ...], result: tuple[str | None, int]
) -> None:
    assert told(*troubles) == result
