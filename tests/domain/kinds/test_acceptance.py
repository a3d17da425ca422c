"""How far the exchange's word is taken over a stored row of a kind."""

import pytest

from barfeed.domain.acceptance import Terms
from barfeed.domain.bars import Series
from barfeed.domain.errors import Mismatch
from barfeed.domain.kinds import plan
from barfeed.domain.kinds.acceptance import acceptable, with_changes
from barfeed.domain.kinds.kind import Kind, Row
from barfeed.domain.kinds.table import KINDS
from world import ms

AT_MS = ms(2026, 3, 10, 13)
TERMS = Terms(0.001, 0.2, 5.0)


def mismatch(kind: Kind, told: list[Row], stored: list[Row]) -> Mismatch:
    with pytest.raises(Mismatch) as raised:
        plan.new_rows(kind, Series.of("BTCUSDT", "1h"), told, stored, plan.repair)
    return raised.value


@pytest.mark.parametrize(
    ("kind", "column", "old", "new", "why"),
    [
        ("mark_price", "close", 100.0, 100.1, ""),
        ("mark_price", "close", 100.0, 100.2, "close is off by 0.002, --accept-within is 0.001"),
        ("klines", "trades", 100, 119, ""),
        ("klines", "taker_buy_quote_volume", 100.0, 121.0, "is off by 0.21, --accept-volume-within is 0.2"),
        ("taker_volume", "sell_volume", 100.0, 120.0, ""),
        ("open_interest", "open_interest", 100.0, 110.0, "open_interest is off by 0.1, --accept-within is 0.001"),
        ("funding", "funding_rate", 0.0, 0.0001, "funding_rate goes from 0 to 0.0001"),
        ("premium_index", "low", -0.001, -0.0010005, ""),
    ],
)
def test_volumes_have_a_bound_of_their_own_and_all_else_that_of_prices(
    kind: str, column: str, old: float, new: float, why: str
) -> None:
    of = KINDS[kind]
    stored, told = (
        Row(AT_MS, AT_MS, tuple(value if name == column else 1.0 for name in of.names)) for value in (old, new)
    )
    found = mismatch(of, [told], [stored])
    if not why:
        assert acceptable(of, [told], [stored], found, TERMS) == [(stored, told)]
        return
    with pytest.raises(Mismatch, match=f"; not accepted: 2026-03-10 13:00 .*{why}"):
        acceptable(of, [told], [stored], found, TERMS)


def test_what_either_does_not_tell_is_no_change_and_other_rows_stay() -> None:
    kind = KINDS["long_short_ratio"]
    stored = [Row(AT_MS, AT_MS, (1.0, None, None)), Row(AT_MS + 1, AT_MS, (2.0, 0.6, 0.4))]
    told = [Row(AT_MS, AT_MS, (1.0005, 0.5, 0.5)), stored[1]]
    found = mismatch(kind, told, stored)
    assert acceptable(kind, told, stored, found, TERMS) == [(stored[0], told[0])]
    assert with_changes(stored, told[:1]) == told
