"""What is due of each series: how many bars are asked for, up to which, and whose trouble it is where none comes."""

from typing import Any

import pytest

from barfeed.domain.bars import Interval
from barfeed.domain.errors import BarfeedError, BarLate, ExchangeRefused, Mismatch
from barfeed.domain.life import Listing
from barfeed.domain.market import members, membership
from barfeed.domain.market.members import Member, Reach, Stored
from barfeed.domain.market.membership import Seen
from barfeed.domain.market.selection import Selection
from world import hours, ms

# The target is the bar of 13:00.
NOW_MS = ms(2026, 3, 10, 14) + 30_000
TARGET_MS = ms(2026, 3, 10, 13)
REACH = Reach(Interval.ONE_HOUR, 6, 726, catch_up=False)


def listing(symbol: str, status: str = "TRADING", onboard_ms: int = 0, delivery_ms: int | None = None) -> Listing:
    return Listing(symbol, status, "PERPETUAL", onboard_ms or ms(2020, 1, 1), delivery_ms, "USDT", 0.1)


def due(
    *listed: Listing, text: str = "all", reach: Reach = REACH, seen: tuple[Seen, ...] = (), **back: float | None
) -> dict[str, Member]:
    """What is due of these; `back`: how many hours before the target the store ends, by symbol."""
    newest_ms = {name: TARGET_MS - hours(by) for name, by in back.items() if by is not None}
    stored = Stored(newest_ms, membership.by_symbol(seen), {})
    found = members.members(Selection.of(text), reach, {each.symbol: each for each in listed}, stored, NOW_MS)
    assert [each.symbol for each in found] == sorted(each.symbol for each in found)
    return {each.symbol: each for each in found}


def asked(member: Member) -> tuple[int, int, bool]:
    return member.asked.bars, (TARGET_MS - member.asked.target_ms) // 3_600_000, member.catch_up


@pytest.mark.parametrize(
    ("back", "catch_up", "expected"),
    [
        (1, False, (6, 0, False)),
        (0, False, (6, 0, False)),
        # What was missed is caught up with only where somebody says so.
        (4, False, (6, 0, False)),
        (4, True, (9, 0, True)),
        (1, True, (6, 0, True)),
        # What was never fed begins with its first bar in the window, whatever was said.
        (None, False, (726, 0, True)),
        (None, True, (726, 0, True)),
    ],
)
def test_how_many_bars_are_asked_for(back: int | None, catch_up: bool, expected: tuple[int, int, bool]) -> None:
    found = due(listing("AUSDT"), reach=REACH._replace(catch_up=catch_up), AUSDT=back)
    assert asked(found["AUSDT"]) == expected


@pytest.mark.parametrize(
    ("hours_back", "expected"),
    [
        # An hour's few bars of each, all at once.
        ([1] * 40, [40]),
        # Whole windows: not so many that memory would have no room for them.
        ([None] * 40, [27, 13]),
        # One that is more by itself is asked for alone.
        ([1, 30_000, 1, 1], [1, 1, 2]),
        # Where nothing is due, nothing is asked, at once.
        ([], [0]),
    ],
)
def test_so_many_are_asked_at_once_as_memory_has_room_for(hours_back: list[int | None], expected: list[int]) -> None:
    names = [f"A{number:02d}USDT" for number in range(len(hours_back))]
    back: dict[str, Any] = dict(zip(names, hours_back, strict=True))
    found = due(*map(listing, names), reach=REACH._replace(catch_up=True), **back)
    made = members.blocks(found.values())
    assert [len(block) for block in made] == expected
    assert [member for block in made for member in block] == list(found.values())


def test_of_what_has_no_closed_bar_yet_nothing_is_due() -> None:
    new = listing("NEWUSDT", onboard_ms=ms(2026, 3, 10, 14))
    pending = listing("LATERUSDT", "PENDING_TRADING", onboard_ms=ms(2026, 3, 11))
    assert due(new, pending, text="all,NEWUSDT,LATERUSDT") == {}


@pytest.mark.parametrize("status", ["SETTLING", "TRADING", "CLOSE"])
def test_of_what_is_settled_its_last_bar_is_due_and_nothing_after(status: str) -> None:
    # It was settled at 12:00: the bar of 11:00 is its last.
    ended = listing("ENDUSDT", status, delivery_ms=ms(2026, 3, 10, 12))
    assert asked(due(ended, ENDUSDT=3)["ENDUSDT"]) == (6, 2, False)
    assert due(ended, ENDUSDT=2) == {}
    assert due(ended, ENDUSDT=0) == {}
    # Of what was never fed nothing is fetched any more.
    assert due(ended) == {}


def test_what_is_no_longer_listed_or_halted_was_fed_and_is_asked_for() -> None:
    assert asked(due(ENDUSDT=1)["ENDUSDT"]) == (6, 0, False)
    assert asked(due(listing("AUSDT", "HALT"), AUSDT=1)["AUSDT"]) == (6, 0, False)
    assert due(listing("AUSDT", "HALT")) == {}
    assert due(text="all,!END*", ENDUSDT=1) == {}


def test_what_comes_back_under_its_name_goes_on_from_there() -> None:
    back = listing("AUSDT", onboard_ms=ms(2026, 3, 10, 9))
    seen = tuple(
        Seen(listing("AUSDT", status), TARGET_MS - hours(by))
        for status, by in (("TRADING", 500), ("SETTLING", 300), ("TRADING", 4))
    )
    assert asked(due(back, seen=seen, AUSDT=310)["AUSDT"]) == (315, 0, True)


LATE = BarLate("late")
REFUSED = ExchangeRefused("the exchange refused: HTTP 400 -4108", code=-4108)


@pytest.mark.parametrize(
    ("status", "trouble", "is_refused", "is_named", "told"),
    [
        ("TRADING", LATE, False, False, ("bar_late", True)),
        ("TRADING", REFUSED, True, False, ("exchange_refused", True)),
        ("HALT", LATE, False, False, ("symbol_not_trading", False)),
        ("HALT", LATE, False, True, ("symbol_not_trading", True)),
        ("SETTLING", REFUSED, True, False, ("symbol_gone", False)),
        ("SETTLING", REFUSED, True, True, ("symbol_gone", False)),
        ("HALT", Mismatch("differs"), False, False, ("mismatch", True)),
    ],
)
def test_what_the_exchange_does_to_a_symbol_is_trouble_only_to_who_named_it(
    status: str, trouble: BarfeedError, is_refused: bool, is_named: bool, told: tuple[str, bool]
) -> None:
    delivery_ms = ms(2026, 3, 10, 12) if status == "SETTLING" else None
    found = due(listing("AUSDT", status, delivery_ms=delivery_ms), AUSDT=4)
    why = members.explained(
        found["AUSDT"], trouble, is_refused=is_refused, is_named=is_named, backfill="barfeed backfill"
    )
    assert (why.why.status, why.is_trouble) == told


def test_a_bar_of_an_hour_in_which_it_was_seen_not_to_trade_is_not_owed() -> None:
    rows = [(TARGET_MS - hours(5), "TRADING"), (TARGET_MS + 30_000, "HALT"), (NOW_MS, "TRADING")]
    seen = tuple(Seen(listing("AUSDT", status), at_ms) for at_ms, status in rows)
    away = due(listing("AUSDT"), seen=seen, AUSDT=1)["AUSDT"]
    why = members.explained(away, LATE, is_refused=False, is_named=True, backfill="")
    assert (str(why.why), why.is_trouble) == (
        "AUSDT 1h: it was seen not to trade while 2026-03-10 13:00 was open: there is no such bar",
        False,
    )


def test_a_last_bar_that_the_exchange_still_owes_is_late() -> None:
    found = due(listing("AUSDT", "SETTLING", delivery_ms=ms(2026, 3, 10, 12)), AUSDT=3)
    why = members.explained(found["AUSDT"], LATE, is_refused=False, is_named=False, backfill="")
    assert (why.why.status, why.is_trouble) == ("bar_late", True)


@pytest.mark.parametrize(
    ("text", "told", "is_due"),
    [
        # Asked for once more as it goes; then it is known, and would be asked for as long as the store has it.
        ("all", False, True),
        ("all", True, False),
        ("AUSDT", True, True),
    ],
)
def test_what_is_listed_no_more_is_asked_for_until_that_is_told(text: str, told: bool, is_due: bool) -> None:
    rows = [Seen(listing("AUSDT"), 1)] + [Seen(listing("AUSDT", "UNLISTED"), 2)] * told
    assert ("AUSDT" in due(listing("BUSDT"), text=text, seen=tuple(rows), AUSDT=1, BUSDT=1)) is is_due
