import pytest

from barfeed.domain import grid, verdict
from barfeed.domain.bars import Bar, Pull, Series
from barfeed.domain.errors import (
    BarfeedError,
    BarLate,
    ContractBroken,
    Mismatch,
    MissedBars,
    StoreAhead,
    StoreEmpty,
    WindowGap,
)
from barfeed.domain.grid import Gap
from barfeed.domain.rules import Asked, Finding, Known, gap_findings
from barfeed.domain.verdict import Held, Remedies
from klines import fitting_pull

HOUR = 3_600_000
REMEDIES = Remedies("the --catch-up command", "the repair command", "the backfill command")
# 2024-01-15 13:00 UTC, the target: it is 14:20.
TARGET = 1_705_323_600_000
ASKED = Asked(Series.of("BTCUSDT", "1h"), 6, TARGET + HOUR + 20 * 60_000)


def bar(back: int, volume: float = 7.5) -> Bar:
    """The bar `back` hours before the target."""
    return Bar(TARGET - back * HOUR, 100.0, 110.0, 90.0, 105.0, volume)


def bars(*backs: int) -> list[Bar]:
    return [bar(back) for back in backs]


PULLED = bars(5, 4, 3, 2, 1, 0)


def pulled(some: list[Bar]) -> Pull:
    return fitting_pull(some)


def held(some: list[Bar], newest_back: int | None = None) -> Held:
    newest = bar(newest_back).open_time_ms if newest_back is not None else some[-1].open_time_ms
    return Held(some, newest)


def judged(store: Held, *, pull: list[Bar] = PULLED, catch_up: bool = False) -> tuple[list[int], int]:
    """How far back the bars to append are, and how many were validated."""
    decided = verdict.judge(ASKED, pull, store, catch_up=catch_up, remedies=REMEDIES)
    return [(TARGET - each.open_time_ms) // HOUR for each in decided.append], decided.validated


def refused(store: Held, *, pull: list[Bar] = PULLED, catch_up: bool = False) -> BarfeedError:
    with pytest.raises(BarfeedError) as caught:
        judged(store, pull=pull, catch_up=catch_up)
    return caught.value


@pytest.mark.parametrize("catch_up", [False, True])
def test_only_the_target_is_appended_to_a_store_that_agrees(catch_up: bool) -> None:
    assert judged(held(bars(5, 4, 3, 2, 1)), catch_up=catch_up) == ([0], 5)


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_store_that_holds_the_target_is_compared_on_every_bar_and_left_alone(catch_up: bool) -> None:
    assert judged(held(PULLED), catch_up=catch_up) == ([], 6)
    error = refused(held([*bars(5, 4, 3, 2, 1), bar(0, volume=7.6)]), catch_up=catch_up)
    assert isinstance(error, Mismatch)


def test_missed_hours_are_appended_together_when_catching_up() -> None:
    assert judged(held(bars(5, 4, 3)), catch_up=True) == ([2, 1, 0], 3)


def test_missed_hours_are_refused_with_the_command_that_mends_them() -> None:
    error = refused(held(bars(5, 4, 3)))
    assert isinstance(error, MissedBars)
    assert str(error) == (
        "BTCUSDT 1h: the store ends at 2024-01-15 10:00; before 2024-01-15 13:00"
        " it lacks 2024-01-15 11:00..2024-01-15 12:00 (2 bars)"
    )
    assert error.hint == "catch up: the --catch-up command"
    assert [str(found) for found in error.findings] == ["2024-01-15 11:00 and the next 1 are missing"]


def test_a_store_that_ends_before_the_pull_begins_is_refused() -> None:
    error = refused(held([], newest_back=30))
    assert isinstance(error, MissedBars)
    assert "2024-01-14 08:00..2024-01-15 12:00 (29 bars)" in str(error)


@pytest.mark.parametrize("off_ms", [0, HOUR - 1])
def test_a_pull_of_the_target_alone_is_appended_right_behind_the_store_and_nowhere_else(off_ms: int) -> None:
    [before, last] = [Held([], each.open_time_ms + off_ms) for each in bars(2, 1)]
    assert judged(last, pull=bars(0)) == ([0], 0)
    assert isinstance(refused(before, pull=bars(0)), MissedBars)
    # What the exchange shows on both sides of a hole was not missed.
    assert judged(held(bars(3, 2)), pull=bars(3, 2, 0)) == ([0], 2)


def test_an_empty_store_is_refused_with_the_command_that_starts_it() -> None:
    error = refused(Held([], None))
    assert isinstance(error, StoreEmpty)
    assert error.hint == "start it: the --catch-up command"


def test_an_empty_store_is_started_with_everything_pulled() -> None:
    assert judged(Held([], None), catch_up=True) == ([5, 4, 3, 2, 1, 0], 0)


@pytest.mark.parametrize("catch_up", [False, True])
def test_a_store_with_bars_that_are_not_closed_is_refused(catch_up: bool) -> None:
    error = refused(held(bars(5, 4, 3, 2, 1, 0, -1)), catch_up=catch_up)
    assert isinstance(error, StoreAhead)
    assert str(error) == (
        "BTCUSDT 1h: the store ends at 2024-01-15 14:00, but the exchange's newest closed bar is 2024-01-15 13:00"
    )
    assert error.hint.startswith("usually another program wrote them: in local time instead of UTC")


@pytest.mark.parametrize(
    ("ahead", "here"),
    [
        # UTC+1, UTC+9, UTC+5:30, Nepal's UTC+5:45, and the farthest zone there is.
        (HOUR, ", here by 1 or more"), (9 * HOUR, ", here by 9 or more"), (round(5.5 * HOUR), ", here by 5.5 or more"),
        (round(5.75 * HOUR), ", here by 5.75 or more"), (14 * HOUR, ", here by 14 or more"),
        # No zone: a minute's forming bar, and another exchange's year.
        (60_000, ""), (15 * HOUR, ""), (24 * 365 * HOUR, ""),
    ],
)  # fmt: skip
def test_a_store_that_is_ahead_names_its_two_usual_causes(ahead: int, here: str) -> None:
    hint = verdict.why_ahead(TARGET + ahead, TARGET)
    assert f"in local time instead of UTC (off by whole hours{here})" in hint
    assert "with the bar that was still forming" in hint


@pytest.mark.parametrize("catch_up", [False, True])
def test_every_difference_is_listed_and_the_message_tells_the_first_and_the_count(catch_up: bool) -> None:
    store = [*bars(5, 4), bar(3, volume=1203.4), bar(2, volume=2.0), bar(1)]
    error = refused(held(store), catch_up=catch_up)
    assert isinstance(error, Mismatch)
    assert str(error) == (
        "BTCUSDT 1h: 2 of 5 stored bars differ from the exchange;"
        " first: 2024-01-15 10:00 volume stored 1203.4, exchange 7.5"
    )
    assert error.hint == (
        "nothing was appended; see both versions, and take the exchange's if it is right: the repair command"
    )
    assert [found.stored for found in error.findings] == [{"volume": 1203.4}, {"volume": 2.0}]
    assert [found.exchange for found in error.findings] == [{"volume": 7.5}, {"volume": 7.5}]


@pytest.mark.parametrize("catch_up", [False, True])
@pytest.mark.parametrize("back", [4, 3, 2])
def test_a_bar_that_the_store_lacks_within_the_overlap_is_a_gap(back: int, catch_up: bool) -> None:
    error = refused(held([each for each in PULLED[:-1] if each != bar(back)]), catch_up=catch_up)
    assert isinstance(error, WindowGap)
    assert [found.open_time_ms for found in error.findings] == [TARGET - back * HOUR]
    assert "lacks 1 of the 5 bars" in str(error)
    assert error.hint == "nothing was appended; fill what is missing: the repair command"


def test_a_stored_bar_that_the_exchange_does_not_know_is_a_mismatch() -> None:
    off_grid = bar(3)._replace(open_time_ms=TARGET - 3 * HOUR + 1)
    error = refused(held([*bars(5, 4, 3), off_grid, *bars(2, 1)]))
    assert isinstance(error, Mismatch)
    assert [found.rule for found in error.findings] == ["unknown"]


@pytest.mark.parametrize(
    ("newest_back", "n_recent", "bars"),
    [(1, 6, 6), (0, 6, 6), (2, 6, 7), (25, 6, 30), (1, 2, 2), (-3, 6, 6), (None, 6, 726), (None, 1500, 1500)],
)
def test_a_catch_up_pulls_what_is_missed_and_an_overlap(newest_back: int | None, n_recent: int, bars: int) -> None:
    newest_ms = None if newest_back is None else TARGET - newest_back * HOUR
    assert verdict.bars_to_pull(TARGET, newest_ms, n_recent, 726, HOUR) == bars


@pytest.mark.parametrize("may_be_short", [False, True])
def test_a_pull_that_keeps_every_rule_is_accepted(may_be_short: bool) -> None:
    verdict.accept_pull(pulled(PULLED), ASKED, may_be_short=may_be_short, remedies=REMEDIES)


def test_a_short_pull_is_accepted_only_where_the_symbol_may_be_young() -> None:
    verdict.accept_pull(pulled(PULLED[3:]), ASKED, may_be_short=True, remedies=REMEDIES)
    with pytest.raises(ContractBroken, match=r"1 rule broken by .*: 3 bars came, 6 were asked for \(count\)"):
        verdict.accept_pull(pulled(PULLED[3:]), ASKED, may_be_short=False, remedies=REMEDIES)


def test_an_hour_that_the_exchange_never_had_is_told_with_what_goes_around_it() -> None:
    with pytest.raises(ContractBroken) as told:
        verdict.accept_pull(pulled(bars(6, 5, 3, 2, 1, 0)), ASKED, may_be_short=False, remedies=REMEDIES)
    assert told.value.hint == (
        "nothing was appended; if it stays so, append what there is around it:"
        " the backfill command --from '2024-01-15 07:00'"
    )
    holed = [*bars(6, 5, 3, 2, 1), bar(0)._replace(high=1.0)]
    with pytest.raises(ContractBroken) as told:
        verdict.accept_pull(pulled(holed), ASKED, may_be_short=False, remedies=REMEDIES)
    assert told.value.hint == ContractBroken.default_hint


def test_when_the_window_is_whole_again_is_told_with_what_goes_around_it() -> None:
    with pytest.raises(ContractBroken) as told:
        verdict.accept_pull(
            pulled(bars(6, 5, 3, 2, 1, 0)), ASKED, may_be_short=False, remedies=REMEDIES, window_bars=726
        )
    # The bar of 10:00 comes behind the hole: 726 hours after it the window has left the hole behind.
    assert " (the window is whole from 2024-02-14 16:00): " in told.value.hint


def contradicting(*changes: dict[str, float]) -> Pull:
    """The last so many bars of the pull with turnovers that cannot be."""
    pull = pulled(PULLED)
    odd = [
        turnover._replace(**changed)  # type: ignore[arg-type]
        for turnover, changed in zip(pull.turnovers[-len(changes) :], changes, strict=True)
    ]
    return pull._replace(turnovers=(*pull.turnovers[: -len(changes)], *odd))


@pytest.mark.parametrize(
    ("changes", "bar"),
    [
        ([{"trades": 0}], "13:00"),
        ([{"quote_volume": 1e9}, {"trades": 0}], "12:00"),
        ([{"quote_volume": 0.0, "trades": 0, "taker_buy_volume": 8.0}], "13:00"),
    ],
)
def test_where_only_columns_contradict_each_other_the_first_bar_may_be_let_pass(
    changes: list[dict[str, float]], bar: str
) -> None:
    with pytest.raises(ContractBroken) as told:
        verdict.accept_pull(contradicting(*changes), ASKED, may_be_short=False, remedies=REMEDIES)
    assert told.value.hint == (
        "nothing was appended; run it again later, and if the exchange stays with it and you have looked at the bar:"
        f" the repair command --let-pass '2024-01-15 {bar}'"
    )


def test_a_bar_that_was_let_pass_is_accepted() -> None:
    pull = contradicting({"trades": 0})
    verdict.accept_pull(pull, ASKED, may_be_short=False, remedies=REMEDIES, known=Known(let_pass=[pull.bars[-1]]))


def hole(newest_back: int, oldest_back: int) -> Gap:
    """The hours from so many before the target to so many, which are missing."""
    return Gap(TARGET - oldest_back * HOUR, TARGET - newest_back * HOUR, oldest_back - newest_back + 1)


def test_a_hole_that_is_known_is_accepted_and_no_other_is() -> None:
    twice = pulled(bars(9, 8, 6, 5, 1, 0))
    both = Known(holes=[hole(7, 7), hole(2, 4)])
    verdict.accept_pull(twice, ASKED, may_be_short=False, remedies=REMEDIES, known=both)
    for known, news in ((hole(7, 7), "2024-01-15 12:00"), (hole(2, 4), "2024-01-15 07:00")):
        with pytest.raises(ContractBroken) as told:
            verdict.accept_pull(twice, ASKED, may_be_short=False, remedies=REMEDIES, known=Known(holes=[known]))
        assert [grid.text(found.open_time_ms or 0) for found in told.value.findings] == [news]


@pytest.mark.parametrize(
    ("shown", "first_back"),
    [
        ((5, 4, 3, 2, 1, 0), 5),
        # The exchange has forgotten two: they are compared all the same.
        ((3, 2, 1, 0), 5),
        # With a hole, as many bars reach further back.
        ((7, 6, 5, 4, 1, 0), 7),
    ],
)
def test_what_is_compared_begins_where_it_was_asked_or_further_back(shown: tuple[int, ...], first_back: int) -> None:
    assert verdict.judged_from(ASKED, bars(*shown)) == TARGET - first_back * HOUR


def test_a_known_hole_excuses_no_other_fault() -> None:
    wrong = pulled([*bars(6, 5, 4, 3, 1), bar(0)._replace(high=1.0)])
    with pytest.raises(ContractBroken) as told:
        verdict.accept_pull(
            wrong, ASKED, may_be_short=False, remedies=REMEDIES, known=Known((wrong.bars[-1],), [hole(2, 2)])
        )
    assert [found.rule for found in told.value.findings] == ["high_low"]


def test_all_broken_rules_are_told() -> None:
    wrong = [PULLED[0]._replace(high=1.0), *PULLED[1:5], PULLED[5]._replace(volume=-1.0)]
    with pytest.raises(
        ContractBroken, match="2 rules broken by the exchange's answer; first: 2024-01-15 08:00"
    ) as told:
        verdict.accept_pull(pulled(wrong), ASKED, may_be_short=False, remedies=REMEDIES)
    assert [found.rule for found in told.value.findings] == ["high_low", "not_negative"]


@pytest.mark.parametrize("may_be_short", [False, True])
@pytest.mark.parametrize(
    ("shown", "newest"),
    [(bars(6, 5, 4, 3, 2, 1), "2024-01-15 12:00"), (PULLED[:-1], "2024-01-15 12:00"), ([], "no bar at all")],
)
def test_a_pull_that_ends_before_the_target_is_late(shown: list[Bar], newest: str, may_be_short: bool) -> None:
    with pytest.raises(BarLate, match=f"does not show 2024-01-15 13:00 yet; its newest is {newest}"):
        verdict.accept_pull(pulled(shown), ASKED, may_be_short=may_be_short, remedies=REMEDIES)


def test_a_late_pull_that_breaks_a_rule_is_broken() -> None:
    with pytest.raises(ContractBroken, match="1 rule broken"):
        verdict.accept_pull(pulled([bar(2)._replace(low=200.0), bar(1)]), ASKED, may_be_short=False, remedies=REMEDIES)


def test_a_forming_bar_is_never_accepted() -> None:
    with pytest.raises(ContractBroken, match="still forming"):
        verdict.accept_pull(pulled(bars(4, 3, 2, 1, 0, -1)), ASKED, may_be_short=False, remedies=REMEDIES)


def test_a_window_with_many_gaps_names_five() -> None:
    findings = gap_findings([TARGET - back * HOUR for back in (13, 11, 9, 7, 5, 3)], HOUR)
    error = verdict.window_gap(ASKED.series, TARGET - 20 * HOUR, findings, REMEDIES)
    assert str(error).count("is missing") == 5
    assert str(error).endswith("; ...")
    assert len(error.findings) == 6
    assert error.hint == "no inference CSV was published; fill what is missing: the repair command"
    assert not str(verdict.window_gap(ASKED.series, TARGET, findings[:5], REMEDIES)).endswith("...")


def test_a_window_that_begins_before_the_store_wants_a_backfill() -> None:
    findings = gap_findings([TARGET - back * HOUR for back in (13, 12, 11, 3)], HOUR)
    error = verdict.window_gap(ASKED.series, TARGET - 13 * HOUR, findings, REMEDIES)
    assert error.hint.endswith("fill what is missing: the backfill command --from '2024-01-15 00:00'")


LAST_MS = TARGET + HOUR - 1


# 14:00 has closed an hour after the target did, and settled for ten seconds.
SETTLED_MS = LAST_MS + 1 + HOUR + 10_000


@pytest.mark.parametrize("dated_ms", [None, LAST_MS - 999, LAST_MS, LAST_MS + HOUR, SETTLED_MS - 1])
def test_a_date_that_fits_the_target_or_none_at_all_is_no_objection(dated_ms: int | None) -> None:
    verdict.trust_clock(ASKED, ASKED.now_ms, dated_ms, 10.0)


@pytest.mark.parametrize(
    ("dated_ms", "said", "newest"),
    [
        (LAST_MS - 1000, "2024-01-15 13:59:58.999", "2024-01-15 12:00"),
        (LAST_MS - 1001, "2024-01-15 13:59:58.998", "2024-01-15 12:00"),
        (LAST_MS - HOUR, "2024-01-15 12:59:59.999", "2024-01-15 12:00"),
        (SETTLED_MS, "2024-01-15 15:00:10", "2024-01-15 14:00"),
    ],
)
def test_a_date_by_which_another_bar_is_the_newest_tells_that_the_clocks_disagree(
    dated_ms: int, said: str, newest: str
) -> None:
    with pytest.raises(ContractBroken) as told:
        verdict.trust_clock(ASKED, ASKED.now_ms, dated_ms, 10.0)
    assert str(told.value) == (
        f"BTCUSDT 1h: the exchange's clocks disagree: /fapi/v1/time says 2024-01-15 14:20, its answer is dated {said}:"
        f" its newest closed bar is 2024-01-15 13:00 by the one, {newest} by the other"
    )
    assert told.value.hint == "nothing was appended; run it again when the exchange's clock is right"


def test_a_date_after_the_turn_of_the_hour_fits_a_time_that_has_turned_too() -> None:
    verdict.trust_clock(ASKED, SETTLED_MS, SETTLED_MS, 10.0)


def test_a_catch_up_pulls_whole_bars_though_the_store_ends_off_the_grid() -> None:
    assert verdict.bars_to_pull(TARGET, TARGET - HOUR - HOUR // 2, 6, 726, HOUR) == 6


def test_a_broken_pull_and_an_empty_store_are_told_with_their_series() -> None:
    with pytest.raises(ContractBroken, match=r"^BTCUSDT 1h: "):
        verdict.accept_pull(pulled(PULLED[::-1]), ASKED, may_be_short=False, remedies=REMEDIES)
    with pytest.raises(StoreEmpty, match=r"^BTCUSDT 1h: the store holds no bar to validate against$"):
        verdict.judge(ASKED, PULLED, Held([], None), catch_up=False, remedies=REMEDIES)


def test_a_bar_that_only_the_store_has_is_told_with_its_values() -> None:
    with pytest.raises(Mismatch) as told:
        verdict.judge(
            ASKED, bars(5, 4, 2, 1, 0), Held(bars(5, 4, 3, 2, 1), TARGET - HOUR), catch_up=False, remedies=REMEDIES
        )
    (found,) = told.value.findings
    assert found == (
        "unknown", TARGET - 3 * HOUR, "is stored, but the exchange has no such bar", bar(3)._asdict(), None
    )  # fmt: skip


def test_bars_that_only_the_exchange_has_are_told_with_their_values_and_spans() -> None:
    with pytest.raises(WindowGap) as told:
        verdict.judge(ASKED, PULLED, Held(bars(5, 3, 1), TARGET - HOUR), catch_up=False, remedies=REMEDIES)
    assert told.value.findings == tuple(
        ("gap", TARGET - back * HOUR, "is missing", None, bar(back)._asdict()) for back in (4, 2)
    )
    assert str(told.value).endswith(": 2024-01-15 09:00, 2024-01-15 11:00")


@pytest.mark.parametrize("count", [5, 6])
def test_a_window_that_is_not_whole_names_five_findings_at_most(count: int) -> None:
    findings = gap_findings([TARGET + 2 * back * HOUR for back in range(count)], HOUR)
    said = str(verdict.window_gap(ASKED.series, 0, findings, REMEDIES))
    assert said.startswith(
        "BTCUSDT 1h: the inference window is not whole: 2024-01-15 13:00 is missing; 2024-01-15 15:00"
    )
    assert said.endswith("2024-01-15 21:00 is missing" + ("; ..." if count > 5 else ""))


def test_rules_that_are_broken_have_the_usual_hint_where_there_is_no_better_one() -> None:
    series = Series.of("BTCUSDT", "1h")
    error = verdict.broken(series, [Finding("enclose", None, "a bar's low is above its high")])
    assert error.hint == ContractBroken("").hint
    assert "report it" in error.hint


def test_what_another_feeder_stored_first_is_the_same_to_the_bit_or_told_with_both_versions() -> None:
    earlier, mine, last = bar(2), bar(1, volume=0.0), bar(0)
    verdict.same_to_the_bit(ASKED.series, [earlier, mine], [mine, earlier, last], REMEDIES)
    theirs = bar(1, volume=-0.0)
    with pytest.raises(Mismatch) as told:
        verdict.same_to_the_bit(ASKED.series, [earlier, mine, last], [earlier, theirs], REMEDIES)
    assert str(told.value) == (
        "BTCUSDT 1h: another feeder stored 2024-01-15 12:00 meanwhile with other values:"
        f" {theirs.values}, the exchange says {mine.values}"
    )
    assert told.value.hint == "see both versions, and take the exchange's if it is right: the repair command"
    with pytest.raises(Mismatch, match=r"stored 2024-01-15 13:00 meanwhile with other values: None, the exchange"):
        verdict.same_to_the_bit(ASKED.series, [last], [], REMEDIES)
