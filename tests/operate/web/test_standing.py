from collections.abc import Sequence
from datetime import UTC, datetime

from barfeed.domain.bars import HOUR_MS, Series
from barfeed.history.reading.rows import CoverageRow, ListingRow
from barfeed.operate.web.answers import Row
from barfeed.operate.web.manifests import Trouble
from barfeed.operate.web.views.standing import NOTHING, rows
from world import ms

NOW_MS = ms(2024, 2, 10, 14) + 30_000
NEWEST_MS = ms(2024, 2, 10, 13)


def at(moment_ms: int) -> datetime:
    return datetime.fromtimestamp(moment_ms / 1000, UTC)


def held(symbol: str, hours_behind: int = 0) -> CoverageRow:
    return CoverageRow(symbol, "1h", 5, at(NEWEST_MS - 10 * HOUR_MS), at(NEWEST_MS - hours_behind * HOUR_MS))


def listed(symbol: str, status: str, delivery_ms: int) -> ListingRow:
    return ListingRow(symbol, status, "PERPETUAL", "USDT", at(ms(2020, 1, 1)), at(delivery_ms), 0.1, at(NOW_MS))


def told(*holdings: CoverageRow, listings: Sequence[ListingRow] = (), troubles: Sequence[Trouble] = ()) -> list[Row]:
    known = NOTHING._replace(
        holdings=holdings,
        listings={each.symbol: each for each in listings},
        troubles={Series.of(each.symbol, "1h"): each for each in troubles},
    )
    return rows(known, NOW_MS)


def test_the_worst_stands_first_and_what_is_well_by_its_name() -> None:
    found = told(held("B"), held("A"), held("SLOW", 2), held("SLOWEST", 9))
    assert [(each.symbol, each.state) for each in found] == [
        ("SLOWEST", "trouble"), ("SLOW", "trouble"), ("A", "well"), ("B", "well"),
    ]  # fmt: skip
    # By how long the next bar has been due.
    assert [each.lag_ms for each in found] == [8 * HOUR_MS + 30_000, HOUR_MS + 30_000, 0, 0]


def test_what_is_behind_is_told_with_the_command_that_helps() -> None:
    (row,) = told(held("SLOW", 2))
    assert row.trouble == "2 bars behind: the newest is 2024-02-10 11:00"
    assert row.hint == "barfeed run --symbol SLOW --interval 1h --catch-up"


def test_what_is_delisted_is_quiet_however_long_ago_that_was_and_stands_last() -> None:
    delivery_ms = ms(2024, 2, 1)
    well, quiet = told(held("GONE", 200), held("HERE"), listings=[listed("GONE", "SETTLING", delivery_ms)])
    assert (well.symbol, quiet.symbol, quiet.state, quiet.trouble) == ("HERE", "GONE", "quiet", "")
    assert (quiet.status, quiet.onboard_ms, quiet.delivery_ms) == ("SETTLING", ms(2020, 1, 1), delivery_ms)


def test_what_failed_is_told_in_its_own_words_stored_or_not() -> None:
    late = Trouble("A", "bar_late", "it is late", "wait")
    new = Trouble("NEW", "no_bars", "it has none", "wait longer")
    found = {each.symbol: each for each in told(held("A"), troubles=[late, new])}
    assert (found["A"].state, found["A"].trouble, found["A"].hint) == ("trouble", "it is late", "wait")
    assert (found["NEW"].state, found["NEW"].trouble, found["NEW"].bars, found["NEW"].lag_ms) == (
        "trouble", "it has none", 0, None,
    )  # fmt: skip
