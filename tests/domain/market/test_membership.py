"""What the exchange listed when: only changes are noted, each is told once, and any moment can be asked for."""

import pytest

from barfeed.domain.grid import Gap
from barfeed.domain.life import NEVER_MS, Listing
from barfeed.domain.market import membership
from barfeed.domain.market.membership import Seen
from world import hours, ms

DAY_MS = ms(2026, 3, 10)
BTC = Listing("BTCUSDT", "TRADING", "PERPETUAL", DAY_MS, NEVER_MS + 1, "USDT", 0.1)
FTM = Listing("FTMUSDT", "TRADING", "PERPETUAL", DAY_MS, NEVER_MS + 1, "USDT", 0.0001)
ETH = Listing("ETHUSDT", "TRADING", "PERPETUAL", DAY_MS, NEVER_MS + 1, "USDT", 0.01)


def listed(*each: Listing) -> dict[str, Listing]:
    return {one.symbol: one for one in each}


def test_only_what_is_new_another_or_gone_is_noted() -> None:
    known = listed(BTC, FTM)
    assert membership.changes(known, listed(BTC, FTM)) == []
    assert membership.changes({}, known) == [BTC, FTM]
    settling = FTM._replace(status="SETTLING", delivery_ms=DAY_MS)
    assert membership.changes(known, listed(BTC, settling, ETH)) == [ETH, settling]
    gone = FTM._replace(status="UNLISTED")
    assert membership.changes(known, listed(BTC)) == [gone]
    # Once noted it is no news; back again it is.
    assert membership.changes(listed(BTC, gone), listed(BTC)) == []
    assert membership.changes(listed(BTC, gone), known) == [FTM]


@pytest.mark.parametrize(
    ("before", "now", "what"),
    [
        (None, ETH, "newly listed (TRADING, PERPETUAL)"),
        (
            FTM,
            FTM._replace(status="SETTLING", delivery_ms=DAY_MS),
            "TRADING became SETTLING; is settled at 2026-03-10 00:00",
        ),
        (FTM, FTM._replace(status="UNLISTED"), "TRADING became UNLISTED"),
        (FTM._replace(status="UNLISTED"), FTM, "UNLISTED became TRADING"),
        (FTM, FTM._replace(tick=0.001), "tick 0.0001 became 0.001"),
        (FTM, FTM._replace(tick=None), "tick 0.0001 became unknown"),
    ],
)
def test_each_change_is_told_once(before: Listing | None, now: Listing, what: str) -> None:
    known = listed(BTC, *([before] if before else []))
    assert [str(each) for each in membership.events(known, [now])] == [f"{now.symbol}: {what}"]


def test_a_first_look_and_what_means_nothing_to_a_feed_are_not_told() -> None:
    assert membership.events({}, [BTC, FTM]) == []
    assert membership.events(listed(BTC), [BTC._replace(onboard_ms=DAY_MS + 1)]) == []


def test_what_was_listed_at_a_moment_is_told_later() -> None:
    rows = [
        Seen(BTC, DAY_MS),
        Seen(FTM, DAY_MS),
        Seen(FTM._replace(status="SETTLING"), DAY_MS + hours(5)),
        Seen(ETH, DAY_MS + hours(6)),
    ]
    assert membership.latest(rows)["FTMUSDT"].status == "SETTLING"
    assert set(membership.latest(rows, DAY_MS + hours(5.9))) == {"BTCUSDT", "FTMUSDT"}
    assert membership.latest(rows, DAY_MS + hours(4.9))["FTMUSDT"].status == "TRADING"
    assert membership.latest(rows, DAY_MS - 1) == {}


def halted(*seen: tuple[str, float]) -> list[Seen]:
    return [Seen(FTM._replace(status=status), DAY_MS + hours(hour)) for status, hour in seen]


@pytest.mark.parametrize(
    ("rows", "is_explained"),
    [
        ([], False),
        (halted(("TRADING", 0)), False),
        # The bars of 3:00 to 5:00 are missing.
        (halted(("TRADING", 0), ("HALT", 3.02), ("TRADING", 6.02)), True),
        (halted(("TRADING", 0), ("HALT", 5.02), ("TRADING", 6.02)), True),
        (halted(("TRADING", 0), ("HALT", 2.9), ("TRADING", 3.02)), True),
        (halted(("TRADING", 0), ("HALT", 1.02), ("TRADING", 2.02)), False),
        (halted(("TRADING", 0), ("HALT", 6.02)), False),
        (halted(("TRADING", 0), ("UNLISTED", 1)), True),
    ],
)
def test_a_hole_is_explained_by_what_was_seen_not_to_trade_in_it(rows: list[Seen], is_explained: bool) -> None:
    hole = Gap(DAY_MS + hours(3), DAY_MS + hours(5), 3)
    assert membership.is_explained(hole, rows, 3_600_000) is is_explained


@pytest.mark.parametrize(
    ("rows", "has_returned"),
    [
        ([], False),
        (halted(("TRADING", 0)), False),
        (halted(("TRADING", 0), ("SETTLING", 3)), False),
        (halted(("TRADING", 0), ("SETTLING", 3), ("TRADING", 9)), True),
        # That was before the bar that it ends with.
        (halted(("SETTLING", 0), ("TRADING", 1)), False),
    ],
)
def test_what_comes_back_is_known_from_what_was_seen_meanwhile(rows: list[Seen], has_returned: bool) -> None:
    assert membership.has_returned(rows, DAY_MS + hours(2)) is has_returned
