"""Where a row of moments may be missing, by how far apart those around are."""

from itertools import pairwise

import duckdb
import pytest

from barfeed.domain.bars import HOUR_MS
from barfeed.domain.kinds.holes import may_lack
from world import ms, shared

BEGIN_MS = ms(2026, 3, 10)


@pytest.mark.parametrize(
    ("at_hours", "spans"),
    [
        ([0, 4, 8, 12, 16], []),
        ([0, 4, 12, 16], ["2026-03-10 05:00..2026-03-10 11:00 (7 hours)"]),
        ([0, 1, 3, 4], ["2026-03-10 02:00"]),
        # From now on less often, more often, and more often for some hours.
        ([0, 4, 8, 16, 24], []),
        ([0, 8, 16, 20, 24], []),
        ([0, 8, 16, 17, 18, 24, 32], []),
        # What is that far apart is a hole, whatever is around.
        ([0, 8, 24, 32], []),
        # Before the first and behind the last nobody knows.
        ([0, 8, 12], []),
        ([0, 4, 12], []),
        ([0], []),
        ([], []),
    ],
)
def test_what_is_further_apart_than_before_and_after_may_lack_a_row(at_hours: list[int], spans: list[str]) -> None:
    # Settled some milliseconds after the hour.
    at_ms = [BEGIN_MS + each * HOUR_MS + each % 7 for each in at_hours]
    assert [each.told("hours") for each in may_lack(at_ms, HOUR_MS, 8 * HOUR_MS)] == spans


def test_of_a_real_quarter_none_is_missed_for_nothing_and_what_is_taken_out_is() -> None:
    """Payments every eight, four and one hours, and symbols that change theirs."""
    rows = duckdb.execute(
        "SELECT list(epoch_ms(timestamp) ORDER BY timestamp) FROM read_parquet(?) GROUP BY symbol ORDER BY symbol",
        [str(shared("market/funding-2026q1.parquet"))],
    ).fetchall()
    paid_ms = [each for (each,) in rows if len(each) > 10]
    assert [each for each in paid_ms if lacks(each)] == []
    without = [each[:at] + each[at + 1 :] for each in paid_ms for at in range(5, len(each) - 5, len(each) // 4)]
    assert len(without) > 2000
    assert sum(map(lacks, without)) > 0.99 * len(without)


def lacks(at_ms: list[int]) -> bool:
    """Whether a payment is missing, or may be."""
    hours = [each // HOUR_MS for each in at_ms]
    return bool(may_lack(at_ms, HOUR_MS, 8 * HOUR_MS)) or max(b - a for a, b in pairwise(hours)) > 8
