import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barfeed.domain import rules
from barfeed.domain.bars import Bar, Pull, Series, Turnover
from barfeed.domain.rules import Asked
from klines import fitting_pull

HOUR = 3_600_000
# 2024-01-15 13:00 UTC; it is 13:20, so the bar that opened at 12:00 is the newest closed one.
ONE_PM = 1_705_323_600_000
NOW = ONE_PM + 20 * 60_000
SERIES = Series.of("BTCUSDT", "1h")
REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "rest" / "BTCUSDT-1h.parquet"


def bar(open_time_ms: int, **changed: float) -> Bar:
    return Bar(open_time_ms, 100.0, 110.0, 90.0, 105.0, 7.5)._replace(**changed)  # type: ignore[arg-type]


def whole(bars: int) -> list[Bar]:
    """The newest closed bars at NOW, all well."""
    return [bar(ONE_PM - back * HOUR) for back in range(bars, 0, -1)]


def pulled(bars: list[Bar]) -> Pull:
    return fitting_pull(bars)


def broken(pull: Pull, bars: int, now_ms: int = NOW) -> list[str]:
    return [finding.rule for finding in rules.check_pull(pull, Asked(SERIES, bars, now_ms))]


@pytest.mark.parametrize("bars", [1, 2, 6, 1500])
def test_a_pull_that_is_all_well_has_no_finding(bars: int) -> None:
    assert broken(pulled(whole(bars)), bars) == []


def test_a_flat_bar_without_volume_is_real_and_passes() -> None:
    flat = bar(ONE_PM - HOUR, open=10_000.0, high=10_000.0, low=10_000.0, close=10_000.0, volume=0.0)
    assert broken(pulled([flat]), 1) == []


def spoilt(index: int, **changed: float) -> Callable[[list[Bar]], list[Bar]]:
    def change(bars: list[Bar]) -> list[Bar]:
        return [each._replace(**changed) if at == index else each for at, each in enumerate(bars)]  # type: ignore[arg-type]

    return change


@pytest.mark.parametrize(
    ("change", "findings"),
    [
        (spoilt(2, low=100.5), ["high_low"]),
        (spoilt(2, high=104.9), ["high_low"]),
        (spoilt(2, open=110.1), ["high_low"]),
        (spoilt(2, open=89.9), ["high_low"]),
        (spoilt(2, close=110.1), ["high_low"]),
        (spoilt(2, close=89.9), ["high_low"]),
        (spoilt(2, high=110.0, open=110.0, low=105.0, close=105.0), []),
        (spoilt(2, volume=-0.001), ["not_negative"]),
        (spoilt(2, low=-1.0), ["not_negative"]),
        (lambda bars: bars[1:], ["count"]),
        (lambda bars: [bar(ONE_PM - 7 * HOUR), *bars], ["count"]),
        (lambda bars: [*bars[1:3], *bars[2:]], ["unique"]),
        (lambda bars: [bar(ONE_PM - 7 * HOUR), *bars[:2], *bars[3:]], ["one_interval_apart"]),
        (lambda bars: [*bars[:4], bars[5], bars[4]], ["one_interval_apart", "ascending"]),
        (lambda bars: bars[::-1], ["ascending"] * 5),
        (lambda bars: [*bars[1:], bar(ONE_PM)], ["closed", "ends_at_target"]),
        (lambda bars: [bar(bars[0].open_time_ms - 1), *bars[1:]], ["on_grid", "one_interval_apart"]),
        (lambda bars: [*bars[:2], bar(bars[2].open_time_ms + 1), *bars[3:]], ["on_grid"] + ["one_interval_apart"] * 2),
        (lambda _bars: [], ["count"]),
    ],
)
def test_each_broken_rule_is_named(change: Callable[[list[Bar]], list[Bar]], findings: list[str]) -> None:
    assert broken(pulled(change(whole(6))), 6) == findings


@pytest.mark.parametrize(
    ("shift_ms", "findings"),
    [(-1, ["close_time"]), (1, ["close_time"]), (HOUR, ["close_time", "closed"])],
)
def test_a_close_time_of_its_own_is_found(shift_ms: int, findings: list[str]) -> None:
    pull = pulled(whole(3))
    odd = pull._replace(close_times_ms=(*pull.close_times_ms[:2], pull.close_times_ms[2] + shift_ms))
    assert broken(odd, 3) == findings


def test_an_early_close_time_does_not_open_the_door_to_a_forming_bar() -> None:
    forming = pulled([bar(ONE_PM)])._replace(close_times_ms=(ONE_PM - 1,))
    assert broken(forming, 1) == ["close_time", "closed", "ends_at_target"]


def test_a_bar_is_forming_up_to_its_last_millisecond_and_closed_after() -> None:
    last = pulled([bar(ONE_PM - HOUR)])
    assert broken(last, 1, now_ms=ONE_PM - 1) == ["closed", "ends_at_target"]
    assert broken(last, 1, now_ms=ONE_PM) == []


# Right to the last digit; each spoilt row below differs from it in what its name says, and in nothing else.
PROVEN = (
    bar(ONE_PM - HOUR),
    Turnover(quote_volume=750.0, trades=12, taker_buy_volume=3.5, taker_buy_quote_volume=360.1),
)
FLAT = (bar(ONE_PM - HOUR, open=100.0, high=100.0, low=100.0, close=100.0, volume=0.0), Turnover(0.0, 0, 0.0, 0.0))


def row_breaks(bar: Bar, turnover: Turnover) -> list[tuple[str, str]]:
    pull = Pull((bar,), (bar.open_time_ms + HOUR - 1,), (turnover,))
    return [(found.rule, found.message) for found in rules.check_pull(pull, Asked(SERIES, 1, NOW))]


@pytest.mark.parametrize(
    "row",
    [
        PROVEN,
        FLAT,
        (PROVEN[0], PROVEN[1]._replace(quote_volume=7.5 * 90.0)),
        (PROVEN[0], PROVEN[1]._replace(quote_volume=7.5 * 110.0)),
        (PROVEN[0], PROVEN[1]._replace(quote_volume=7.5 * 110.0 * (1 + 9e-10))),
        (PROVEN[0], PROVEN[1]._replace(quote_volume=7.5 * 90.0 * (1 - 9e-10))),
        (PROVEN[0]._replace(volume=4.0), PROVEN[1]._replace(quote_volume=4.0 * (110.0 * (1 + 1e-9)))),
        (
            PROVEN[0]._replace(volume=4.0),
            PROVEN[1]._replace(quote_volume=4.0 * (90.0 * (1 - 1e-9)), taker_buy_quote_volume=0),
        ),
        (PROVEN[0], PROVEN[1]._replace(taker_buy_volume=7.5, taker_buy_quote_volume=750.0)),
        (PROVEN[0], PROVEN[1]._replace(taker_buy_volume=0.0, taker_buy_quote_volume=0.0)),
    ],
)
def test_a_row_whose_columns_agree_passes(row: tuple[Bar, Turnover]) -> None:
    assert row_breaks(*row) == []


@pytest.mark.parametrize(
    ("changed", "turned", "rule", "says"),
    [
        ({"low": 0.0}, {}, "above_zero", "a price of zero: low"),
        (
            {"open": 0.0, "high": 0.0, "low": 0.0, "close": 0.0, "volume": 0.0},
            {"quote_volume": 0.0, "trades": 0, "taker_buy_volume": 0.0, "taker_buy_quote_volume": 0.0},
            "above_zero",
            "a price of zero: open, high, low, close",
        ),
        (
            {"volume": 7500.0},
            {},
            "mean_price",
            "quote_volume 750.0 by volume 7500.0 is a mean price of 0.1, not within low 90.0 and high 110.0",
        ),
        ({"volume": 0.5}, {"taker_buy_volume": 0.5}, "mean_price", ""),
        ({"low": 100.0, "high": 100.0, "close": 100.0}, {"quote_volume": 7.5 * 101.0}, "mean_price", ""),
        ({}, {"quote_volume": 7.5 * 90.0 * (1 - 2e-9), "taker_buy_quote_volume": 0.0}, "mean_price", ""),
        ({}, {"quote_volume": 7.5 * 110.0 * (1 + 2e-9)}, "mean_price", ""),
        (
            {"volume": 0.0},
            {"taker_buy_volume": 0.0},
            "all_or_nothing",
            "volume 0.0, quote_volume 750.0 and trades 12 are not all zero or all above",
        ),
        ({}, {"trades": 0}, "all_or_nothing", ""),
        (
            {"volume": 0.0},
            {"quote_volume": 0.0, "trades": 0, "taker_buy_volume": 0.0, "taker_buy_quote_volume": 0.0},
            "all_or_nothing",
            "nothing was traded, and yet open 100.0, high 110.0, low 90.0 and close 105.0 differ",
        ),
        ({}, {"taker_buy_volume": 7.6}, "taker_share", "taker_buy_volume 7.6 is above volume 7.5"),
        (
            {},
            {"taker_buy_volume": 8.0, "taker_buy_quote_volume": 751.0},
            "taker_share",
            "taker_buy_volume 8.0 is above volume 7.5, taker_buy_quote_volume 751.0 is above quote_volume 750.0",
        ),
    ],
)
def test_a_row_that_contradicts_itself_is_found(
    changed: dict[str, float], turned: dict[str, Any], rule: str, says: str
) -> None:
    bar, turnover = PROVEN
    found = row_breaks(bar._replace(**changed), turnover._replace(**turned))  # type: ignore[arg-type]
    assert [name for name, _ in found] == [rule]
    assert not says or found[0][1] == says


def test_a_volume_of_zero_beside_a_turnover_breaks_one_rule_however_prices_moved() -> None:
    bar, turnover = FLAT
    assert [rule for rule, _ in row_breaks(bar, turnover._replace(quote_volume=5.0))] == ["all_or_nothing"]
    assert [rule for rule, _ in row_breaks(bar, turnover._replace(taker_buy_volume=5.0))] == ["taker_share"]


CONTRADICTING = Pull((PROVEN[0],), (PROVEN[0].open_time_ms + HOUR - 1,), (PROVEN[1]._replace(trades=0),))


def test_a_contradiction_is_told_of_its_bar() -> None:
    (found,) = rules.contradictions(CONTRADICTING)
    assert (found.rule, found.open_time_ms) == ("all_or_nothing", ONE_PM - HOUR)


def test_only_the_very_bar_is_let_pass_and_only_its_contradictions() -> None:
    bar = PROVEN[0]
    other = bar._replace(open_time_ms=bar.open_time_ms - HOUR)
    found = rules.contradictions(CONTRADICTING)
    high_low = [found[0]._replace(rule="high_low")]
    assert rules.but_let_pass(found, [bar], [bar]) == []
    assert rules.but_let_pass(found, [bar], [bar._replace(volume=8.0)]) == found
    assert rules.but_let_pass(found, [bar, other], [other]) == found
    assert rules.but_let_pass(found, [bar], []) == found
    assert rules.but_let_pass(high_low, [bar], [bar]) == high_low


def quiet(*minutes: int, volume: float = 0.0) -> list[Bar]:
    return [bar(at * 60_000, volume=volume) for at in minutes]


@pytest.mark.parametrize(
    ("bars", "step_ms", "runs"),
    [
        (quiet(0), HOUR, []),
        (quiet(0, 60), HOUR, [(0, HOUR, 2)]),
        (quiet(0, 60, 120, 240), HOUR, [(0, 2 * HOUR, 3)]),
        (quiet(0, 60, volume=1.0), HOUR, []),
        (quiet(*range(59)), 60_000, []),
        (quiet(*range(60)), 60_000, [(0, 59 * 60_000, 60)]),
        (quiet(0), 24 * HOUR, []),
        (quiet(0, 1440), 24 * HOUR, [(0, 24 * HOUR, 2)]),
    ],
)
def test_a_run_without_a_trade_is_two_bars_and_an_hour_at_least(
    bars: list[Bar], step_ms: int, runs: list[tuple[int, int, int]]
) -> None:
    assert [tuple(run) for run in rules.flat_runs(bars, step_ms)] == runs


@pytest.mark.parametrize("price", [0.0, -1.0])
def test_a_window_with_a_price_of_zero_or_below_is_none(price: float) -> None:
    window = [bar(0), bar(HOUR, low=price)]
    found = rules.check_window(window, 0, HOUR, HOUR)
    assert [tuple(each) for each in found] == [("above_zero", HOUR, "holds a price of zero or below", None, None)]


MARKET = REAL.parents[1] / "market" / "klines-1h-2026q1.parquet"


@pytest.mark.skipif(not MARKET.exists(), reason=f"real data is absent: {MARKET}")
def test_the_real_market_keeps_the_rules_of_its_own_columns() -> None:
    # Takers are not in the file: none at all breaks nothing.
    query = """
        SELECT epoch_ms(timestamp), open, high, low, close, volume, quote_volume, trades
        FROM read_parquet(?) WHERE epoch_ms(timestamp) // 3600000 % 13 = 0
    """
    rows = duckdb.execute(query, [str(MARKET)]).fetchall()
    assert len(rows) > 70_000
    contradicting = [
        row
        for row in rows
        for rule in rules.TURNOVER_RULES.values()
        if rule(Bar(*row[:6]), Turnover(row[6], row[7], 0.0, 0.0))
    ]
    assert contradicting == []


ONE_FAULT: dict[str, Callable[[Bar], Bar]] = {
    "high_low": lambda each: each._replace(high=each.low / 2),
    "not_negative": lambda each: each._replace(volume=-each.volume - 1.0),
}


@given(
    rule=st.sampled_from(sorted(ONE_FAULT)),
    index=st.integers(0, 5),
    low=st.floats(1.0, 1e6),
    spread=st.floats(0.0, 1e6),
)
def test_one_broken_rule_gives_exactly_that_finding_at_that_bar(
    rule: str, index: int, low: float, spread: float
) -> None:
    bars = [each._replace(open=low, low=low, close=low + spread, high=low + spread) for each in whole(6)]
    bars[index] = ONE_FAULT[rule](bars[index])
    findings = rules.check_pull(pulled(bars), Asked(SERIES, 6, NOW))
    assert [(finding.rule, finding.open_time_ms) for finding in findings] == [(rule, ONE_PM - (6 - index) * HOUR)]


@pytest.mark.parametrize(
    ("pull", "message"),
    [
        ([bar(ONE_PM - HOUR - 1)], "2024-01-15 11:59:59.999 opens 3599999 ms beside the 1h grid"),
        ([bar(ONE_PM - HOUR, high=99.0)], "2024-01-15 12:00 low 90.0 and high 99.0 do not enclose open 100.0 and "),
        ([bar(ONE_PM - HOUR, low=-90.0)], "2024-01-15 12:00 negative: low -90.0"),
        ([bar(ONE_PM - HOUR)] * 2, "2024-01-15 12:00 comes twice"),
        ([], "0 bars came, 1 were asked for"),
        ([bar(ONE_PM)], "2024-01-15 13:00 is still forming: it is 2024-01-15 13:20 on the exchange"),
    ],
)
def test_a_finding_says_which_bar_and_what_is_wrong(pull: list[Bar], message: str) -> None:
    first = rules.check_pull(pulled(pull), Asked(SERIES, 1, NOW))[0]
    assert str(first).startswith(message)


@pytest.mark.parametrize(
    ("bars", "late"),
    [
        ([], True),
        ([ONE_PM - 3 * HOUR, ONE_PM - 2 * HOUR], True),
        ([ONE_PM - 2 * HOUR, ONE_PM - HOUR], False),
        ([ONE_PM - 2 * HOUR, ONE_PM], False),
    ],
)
def test_a_pull_is_late_while_it_ends_before_the_target(bars: list[int], late: bool) -> None:
    assert rules.is_late(pulled([bar(each) for each in bars]), Asked(SERIES, 2, NOW)) is late


def test_what_was_asked_for_follows_from_the_exchanges_time() -> None:
    asked = Asked(SERIES, 6, NOW)
    assert (asked.target_ms, asked.first_ms) == (ONE_PM - HOUR, ONE_PM - 6 * HOUR)


def test_equal_bars_have_no_mismatch_and_bars_of_one_side_only_are_not_compared() -> None:
    assert rules.compare(whole(5), whole(6)) == []
    assert rules.compare(whole(6), whole(5)) == []


def test_a_mismatch_carries_both_values_of_what_differs_and_nothing_else() -> None:
    stored = [bar(ONE_PM - 2 * HOUR), bar(ONE_PM - HOUR, volume=1203.4, close=104.5)]
    exchange = [bar(ONE_PM - 2 * HOUR), bar(ONE_PM - HOUR, volume=1203.9)]
    (finding,) = rules.compare(stored, exchange)
    assert str(finding) == (
        "2024-01-15 12:00 close stored 104.5, exchange 105.0, volume stored 1203.4, exchange 1203.9"
    )
    assert finding.stored == {"close": 104.5, "volume": 1203.4}
    assert finding.exchange == {"close": 105.0, "volume": 1203.9}


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_the_smallest_possible_difference_is_a_mismatch(column: str) -> None:
    ours = bar(ONE_PM - HOUR)
    theirs = ours._replace(**{column: math.nextafter(getattr(ours, column), math.inf)})  # type: ignore[arg-type]
    (finding,) = rules.compare([ours], [theirs])
    assert list(finding.stored or {}) == [column]


def test_a_stored_null_differs_from_every_number() -> None:
    (finding,) = rules.compare([bar(ONE_PM - HOUR, open=math.nan)], [bar(ONE_PM - HOUR)])
    assert finding.rule == "mismatch"
    assert list(finding.stored or {}) == ["open"]


@pytest.mark.parametrize(
    ("window", "findings"),
    [
        ([0, 1, 2, 3], []),
        ([1, 2, 3], [("gap", 0)]),
        ([0, 1, 2], [("gap", 3)]),
        ([0, 3], [("gap", 1)]),
        ([0, 2], [("gap", 1), ("gap", 3)]),
        ([], [("gap", 0)]),
        ([0, 1, 1, 2, 3], [("unique", 1)]),
        ([0, 1, 2, 3, 4], [("on_grid", 4)]),
        ([0, 1, 1.5, 2, 3], [("on_grid", 1.5)]),
    ],
)
def test_a_window_is_whole_or_says_why_not(window: list[float], findings: list[tuple[str, float]]) -> None:
    bars = [bar(int(at * HOUR)) for at in window]
    found = rules.check_window(bars, 0, 3 * HOUR, HOUR)
    assert [(each.rule, each.open_time_ms) for each in found] == [(rule, int(at * HOUR)) for rule, at in findings]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume"])
def test_a_window_with_a_value_that_is_no_number_is_not_whole(column: str, value: float) -> None:
    bars = [bar(0), bar(HOUR, **{column: value})]
    found = rules.check_window(bars, 0, HOUR, HOUR)
    assert [(each.rule, each.open_time_ms) for each in found] == [("finite", HOUR)]


def test_a_gap_finding_tells_how_long_it_is() -> None:
    found = rules.gap_findings([ONE_PM, ONE_PM + HOUR, ONE_PM + 2 * HOUR, ONE_PM + 5 * HOUR], HOUR)
    assert [str(each) for each in found] == [
        "2024-01-15 13:00 and the next 2 are missing",
        "2024-01-15 18:00 is missing",
    ]


@pytest.mark.skipif(not REAL.exists(), reason=f"real data is absent: {REAL}")
def test_every_real_bar_since_2019_keeps_every_rule() -> None:
    query = "SELECT epoch_ms(timestamp), open, high, low, close, volume FROM read_parquet(?) ORDER BY 1"
    bars = [Bar(*row) for row in duckdb.execute(query, [str(REAL)]).fetchall()]
    assert len(bars) == 46_591
    now_ms = bars[-1].open_time_ms + HOUR
    assert rules.check_pull(pulled(bars), Asked(SERIES, len(bars), now_ms)) == []


def hostile_bar(open_time_ms: int, *values: float) -> Bar:
    return Bar(open_time_ms, *values)


def said(bars: list[Bar]) -> set[str]:
    asked = Asked(Series.of("BTCUSDT", "1h"), len(bars), 1_705_327_200_000)
    return {found.message for found in rules.check_pull(fitting_pull(bars), asked)}


def test_every_negative_value_is_named() -> None:
    seen = said([hostile_bar(1_705_323_600_000, -2.0, 110.0, -3.0, 105.0, -1.0)])
    assert "negative: open -2.0, low -3.0, volume -1.0" in seen


@pytest.mark.parametrize(
    ("opens", "holes"),
    [
        ([], []),
        ([1], []),
        ([1, 2, 3], []),
        ([1, 3], ["2024-01-15 14:00"]),
        ([1, 2, 5, 6, 8], ["2024-01-15 15:00..2024-01-15 16:00 (2 bars)", "2024-01-15 19:00"]),
        # Two of the same, a step back and one beside the grid are no hole: each breaks a rule of its own.
        ([1, 1, 0, 1], []),
        ([1, 2.5, 4.5], ["2024-01-15 15:30"]),
        ([1.25, 3.25], ["2024-01-15 14:15"]),
    ],
)
def test_what_an_answer_leaves_out_between_its_bars(opens: list[float], holes: list[str]) -> None:
    bars = [bar(ONE_PM + int((each - 1) * HOUR)) for each in opens]
    assert [str(each) for each in rules.holes(bars, HOUR)] == holes


def test_what_was_not_traded_is_told_in_one_sentence() -> None:
    assert rules.not_traded(["Monday", "Tuesday"]) == (
        "nothing was traded in Monday, Tuesday: an outage, or a market after its end"
    )
    assert rules.not_traded([]) == ""


def test_what_may_be_known_of_an_answer_is_a_hole_or_a_row_that_contradicts_itself() -> None:
    pull = pulled(whole(3))
    assert not rules.is_odd(pull, HOUR)
    assert rules.is_odd(pulled([whole(3)[0], whole(3)[2]]), HOUR)
    odd = pull.turnovers[1]._replace(trades=0)
    assert rules.is_odd(pull._replace(turnovers=(pull.turnovers[0], odd, pull.turnovers[2])), HOUR)


@pytest.mark.parametrize(("apart_ms", "intervals"), [(1, "2.77778e-07"), (1_800_000, "0.5"), (7_200_000, "2")])
def test_how_far_two_bars_are_apart_is_told_in_intervals(apart_ms: int, intervals: str) -> None:
    earlier_ms = 1_705_320_000_000
    seen = said([hostile_bar(at, 1.0, 1.0, 1.0, 1.0, 1.0) for at in (earlier_ms, earlier_ms + apart_ms)])
    assert f"comes {intervals} intervals after 2024-01-15 12:00, expected 1" in seen


def test_a_window_tells_what_is_wrong_with_it_in_words() -> None:
    step = 3_600_000
    window = [
        hostile_bar(at, 1.0, 1.0, 1.0, value, 1.0) for at, value in ((0, 1.0), (0, 1.0), (5, 1.0), (step, math.nan))
    ]
    assert [(found.rule, found.open_time_ms, found.message) for found in rules.check_window(window, 0, step, step)] == [
        ("unique", 0, "is stored twice"),
        ("on_grid", 5, "is not on the grid"),
        ("finite", step, "holds NULL, NaN or infinity"),
    ]
