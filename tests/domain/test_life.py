"""What exchangeInfo's words mean. The right answers are the reference's, and those of a real list of 2021."""

import json

import pytest

from barfeed.domain.bars import Series
from barfeed.domain.life import (
    Life,
    Listed,
    Listing,
    Seen,
    ended_ms,
    is_due,
    is_worth_asking,
    last_bar,
    life,
    why_no_bar,
)
from barfeed.exchange.wire import read_listings
from world import BTCUSDT_1H, hours, ms, shared

HOUR = hours(1)
NOW_MS = ms(2024, 2, 10, 14)
BEFORE_MS, AFTER_MS = ms(2024, 2, 1, 9), ms(2024, 3, 1, 9)
# As a perpetual's deliveryDate is on the wire.
NEVER_MS = 4_133_404_800_000
COMMAND = "barfeed backfill"


def listed(
    status: str, onboard_ms: int | None = BEFORE_MS, delivery_ms: int | None = NEVER_MS, kind: str = "PERPETUAL"
) -> Listing:
    return Listing("BTCUSDT", status, kind, onboard_ms, delivery_ms)


# (the listing, the stage, the moment that goes with it)
LIVES: dict[str, tuple[Listing | None, str, int | None]] = {
    "a perpetual": (listed("TRADING"), "trading", None),
    "a perpetual of stocks": (listed("TRADING", kind="TRADIFI_PERPETUAL"), "trading", None),
    "one without dates": (listed("TRADING", None, None), "trading", None),
    "a quarterly": (listed("TRADING", delivery_ms=AFTER_MS, kind="CURRENT_QUARTER"), "trading", AFTER_MS),
    "a perpetual whose end is announced": (listed("TRADING", delivery_ms=AFTER_MS), "trading", AFTER_MS),
    "one whose end has come, but not to its status": (listed("TRADING", delivery_ms=BEFORE_MS), "settled", BEFORE_MS),
    "one that ends this very moment": (listed("TRADING", delivery_ms=NOW_MS), "settled", NOW_MS),
    "one that lingers as SETTLING": (listed("SETTLING", delivery_ms=BEFORE_MS), "settled", BEFORE_MS),
    "one in its settlement": (listed("SETTLING", delivery_ms=AFTER_MS), "settling", AFTER_MS),
    "one in its settlement without a date": (listed("SETTLING"), "settling", None),
    "one before its settlement": (listed("PRE_SETTLE"), "settling", None),
    "one before its delivery": (listed("PRE_DELIVERING", delivery_ms=AFTER_MS), "settling", AFTER_MS),
    "one in its delivery": (listed("DELIVERING", delivery_ms=AFTER_MS), "settling", AFTER_MS),
    "one delivered": (listed("DELIVERED", delivery_ms=BEFORE_MS), "settled", BEFORE_MS),
    "one delivered, with no true date": (listed("DELIVERED"), "settled", None),
    "one closed": (listed("CLOSE", delivery_ms=BEFORE_MS), "settled", BEFORE_MS),
    "one delivering by its contract": (
        listed("TRADING", delivery_ms=AFTER_MS, kind="CURRENT_QUARTER DELIVERING"), "settling", AFTER_MS
    ),
    "another delivering by its contract": (listed("TRADING", kind="PERPETUAL_DELIVERING"), "settling", None),
    "one announced": (listed("PENDING_TRADING", AFTER_MS), "pending", AFTER_MS),
    "one announced, and TRADING already": (listed("TRADING", AFTER_MS), "pending", AFTER_MS),
    "one that began in this hour": (listed("TRADING", NOW_MS - 60_000), "trading", None),
    "one whose first hour is not over": (listed("TRADING", NOW_MS), "new", NOW_MS),
    "one suspended": (listed("PENDING_TRADING", BEFORE_MS, kind=""), "halted", BEFORE_MS),
    "one halted": (listed("HALT"), "halted", BEFORE_MS),
    "one in a break": (listed("BREAK"), "halted", BEFORE_MS),
    "a status that nobody knows": (listed("AUCTIONED"), "unknown", BEFORE_MS),
    "no status": (listed(""), "unknown", BEFORE_MS),
    "none": (None, "unlisted", None),
}  # fmt: skip


@pytest.mark.parametrize("case", LIVES)
def test_a_listing_means(case: str) -> None:
    listing, stage, at_ms = LIVES[case]
    found = life(listing, NOW_MS, HOUR)
    assert (found.stage, found.at_ms) == (stage, at_ms)


def test_a_real_list_of_2021() -> None:
    found = read_listings(shared("captures/exchangeInfo-2021-07-22.json").read_bytes())
    read_at_ms = ms(2021, 7, 22, 12)
    lives = {name: life(each, read_at_ms, HOUR) for name, each in found.items()}
    assert len(lives) == 122
    odd = {name: (each.stage, each.at_ms) for name, each in lives.items() if each != Life("trading", "TRADING")}
    assert odd == {
        # Suspended in March 2021, four days after it was listed, and listed ever since as still to come.
        "BTCSTUSDT": ("halted", 1614754800000),
        "BTCUSDT_210924": ("trading", ms(2021, 9, 24, 8)),
        "ETHUSDT_210924": ("trading", ms(2021, 9, 24, 8)),
    }
    delivered = life(found["BTCUSDT_210924"], ms(2021, 9, 24, 8), HOUR)
    assert (delivered.stage, delivered.at_ms) == ("settled", ms(2021, 9, 24, 8))


@pytest.mark.parametrize(
    ("end", "last"),
    [
        # What opens at the settlement itself is no bar, though there may be a row of it, and a trade in that.
        (ms(2024, 2, 10, 9), ms(2024, 2, 10, 8)),
        (ms(2024, 2, 10, 9) + 1, ms(2024, 2, 10, 9)),
        (ms(2024, 2, 10, 9, 30), ms(2024, 2, 10, 9)),
    ],
)
def test_the_last_bar_opens_before_the_end(end: int, last: int) -> None:
    assert last_bar(end, HOUR) == last


@pytest.mark.parametrize(
    ("now", "target_ms", "is_owed"),
    [
        (Life("trading", "TRADING"), NOW_MS - HOUR, True),
        (Life("settled", "SETTLING", NOW_MS), NOW_MS - HOUR, True),
        (Life("settled", "SETTLING", NOW_MS), NOW_MS, False),
        (Life("settling", "SETTLING", AFTER_MS), NOW_MS, True),
        (Life("settling", "SETTLING"), NOW_MS, False),
        (Life("settled", "CLOSE"), NOW_MS, False),
        *((Life(stage, "X", BEFORE_MS), NOW_MS, False) for stage in ("halted", "pending", "new", "unknown")),
        (Life("unlisted"), NOW_MS, False),
    ],
)
def test_the_exchange_owes_a_bar_as_long_as_it_trades(now: Life, target_ms: int, is_owed: bool) -> None:
    assert is_due(now, target_ms) is is_owed


@pytest.mark.parametrize(("now", "from_ms"), [
    (Life("settled", "SETTLING", BEFORE_MS), BEFORE_MS),
    (Life("settled", "CLOSE"), NOW_MS - 3 * HOUR),
    (Life("unlisted"), NOW_MS - 3 * HOUR),
    (Life("settling", "PRE_SETTLE", AFTER_MS), None),
    (Life("halted", "HALT", BEFORE_MS), None),
    (Life("trading", "TRADING"), None),
    (Life("trading", "TRADING", AFTER_MS), None),
    (Life("unknown", "NEW_WORD"), None),
])  # fmt: skip
def test_a_bar_without_a_trade_is_none_after_the_end(now: Life, from_ms: int | None) -> None:
    assert ended_ms(now, NOW_MS - 3 * HOUR) == from_ms


@pytest.mark.parametrize(("last", "trouble", "now_ms", "is_worth_it"), [
    (None, "bar_late", NOW_MS, True),
    (Listed(None, "bar_late", NOW_MS), "bar_late", NOW_MS + HOUR - 1, False),
    (Listed(None, "bar_late", NOW_MS), "bar_late", NOW_MS + HOUR, True),
    (Listed(None, "bar_late", NOW_MS - 1), "bar_late", NOW_MS, True),
    (Listed(None, "bar_late", NOW_MS), "exchange_refused -4141", NOW_MS, True),
    # An exchange whose clock fell back.
    (Listed(None, "bar_late", NOW_MS), "bar_late", NOW_MS - 1, True),
])  # fmt: skip
def test_the_list_is_worth_asking_for_once_an_hour_and_trouble(
    last: Listed | None, trouble: str, now_ms: int, is_worth_it: bool
) -> None:
    assert is_worth_asking(last, trouble, now_ms) is is_worth_it


END_MS = ms(2024, 2, 10, 9)
SETTLED = Life("settled", "SETTLING", END_MS)
# (what it is, the store's newest bar, the status, the message behind the series, the hint)
ERRORS: dict[str, tuple[Life, int | None, str, str, str]] = {
    "settled, and the store has all of it": (
        SETTLED, ms(2024, 2, 10, 8), "symbol_gone",
        "settled since 2024-02-10 09:00 (SETTLING): its last bar is 2024-02-10 08:00",
        "the store has it; no more bars will come: stop this feed",
    ),
    "settled, and the store has not": (
        SETTLED, ms(2024, 2, 10, 5), "symbol_gone",
        "settled since 2024-02-10 09:00 (SETTLING): its last bar is 2024-02-10 08:00",
        ("fetch what the store lacks up to it, then stop this feed:"
        " barfeed backfill --from '2024-02-10 06:00' --to '2024-02-10 09:00'"),
    ),
    "settled, and there is no store": (
        SETTLED, None, "symbol_gone",
        "settled since 2024-02-10 09:00 (SETTLING): its last bar is 2024-02-10 08:00",
        "fetch what the store lacks up to it, then stop this feed: barfeed backfill --to '2024-02-10 09:00'",
    ),
    "settled, and the store has what came after": (
        SETTLED, ms(2024, 2, 10, 11), "symbol_gone",
        ("settled since 2024-02-10 09:00 (SETTLING): its last bar is 2024-02-10 08:00;"
        " what is stored after it, up to 2024-02-10 11:00, was not traded"),
        "the store has it; no more bars will come: stop this feed",
    ),
    "settled, nobody knows when": (
        Life("settled", "CLOSE"), ms(2024, 2, 10, 8), "symbol_gone",
        "settled (CLOSE); the store ends at 2024-02-10 08:00",
        "no more bars will come: stop this feed; check --base-url if it should be there",
    ),
    "settling": (
        Life("settling", "PRE_SETTLE"), None, "symbol_not_trading",
        "settling (PRE_SETTLE)",
        "no bar may come any more; the exchange's announcements tell when it ends",
    ),
    "halted": (
        Life("halted", "PENDING_TRADING", ms(2021, 3, 3, 7)), ms(2024, 2, 10, 8), "symbol_not_trading",
        "halted (PENDING_TRADING); listed since 2021-03-03 07:00; the store ends at 2024-02-10 08:00",
        "the store is as it was; once it trades again, the feed tells the way around the hours without trade",
    ),
    "not trading yet": (
        Life("pending", "PENDING_TRADING", ms(2024, 2, 10, 18, 30)), None, "symbol_not_trading",
        "not trading yet (PENDING_TRADING); by the exchange's list it begins 2024-02-10 18:30",
        "there is nothing to pull before its first bar closes, at 2024-02-10 19:00",
    ),
    "in its first hour": (
        Life("new", "TRADING", ms(2024, 2, 10, 13, 30)), None, "symbol_not_trading",
        "trading only since 2024-02-10 13:30 (TRADING)",
        "there is nothing to pull before its first bar closes, at 2024-02-10 14:00",
    ),
    "of a status that nobody knows": (
        Life("unknown", "AUCTIONED", None), None, "symbol_not_trading",
        "listed as AUCTIONED, which may mean that it is halted",
        "the store is as it was; once it trades again, the feed tells the way around the hours without trade",
    ),
    "in no list, and never was": (
        Life("unlisted"), None, "symbol_gone",
        "not in the exchange's list of symbols: delisted, or never there",
        "check --symbol and --base-url; what was delisted has no more bars",
    ),
    "in no list any more": (
        Life("unlisted"), ms(2024, 2, 10, 8), "symbol_gone",
        "not in the exchange's list of symbols: delisted, or never there; the store ends at 2024-02-10 08:00",
        "no more bars will come: stop this feed; check --base-url if it should be there",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_the_error_says_what_it_is_and_what_helps(case: str) -> None:
    now, stored_ms, status, message, hint = ERRORS[case]
    error = why_no_bar(BTCUSDT_1H, now, Seen(stored_ms, COMMAND))
    assert (error.status, str(error), error.hint) == (status, f"BTCUSDT 1h: {message}", hint)


@pytest.mark.parametrize("now", [SETTLED, Life("halted", "HALT"), Life("unlisted")])
def test_what_the_exchange_refused_with_is_kept(now: Life) -> None:
    error = why_no_bar(Series.of("BTCUSDT", "1h"), now, Seen(None, COMMAND, "the exchange refused: HTTP 400 -4141"))
    assert str(error).endswith("; the exchange refused: HTTP 400 -4141")


def test_a_list_is_read_by_its_symbols_and_nothing_else() -> None:
    body = {"symbols": [{"symbol": "AUSDT"}, {"symbol": "我踏马来了USDT", "status": "TRADING", "deliveryDate": 0}]}
    assert read_listings(json.dumps(body).encode()) == {
        "AUSDT": Listing("AUSDT", "", "", None, None),
        "我踏马来了USDT": Listing("我踏马来了USDT", "TRADING", "", None, None),
    }


def test_a_foreign_status_is_nothing_that_a_terminal_obeys() -> None:
    for stage in ("unknown", "settling"):
        said = str(Life(stage, "\x1b[2J" + "x" * 1000))
        assert said.isprintable()
        assert len(said) < 120
    assert str(Life("unknown")) == "listed as '', which may mean that it is halted"
