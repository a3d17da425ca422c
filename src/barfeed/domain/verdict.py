"""What a pull and the store mean together: which bars to append, or why none. Pure."""

from collections.abc import Sequence
from typing import NamedTuple

from barfeed.domain import grid, rules
from barfeed.domain.bars import HOUR_MS, Bar, Pull, Series
from barfeed.domain.errors import BarLate, ContractBroken, Mismatch, MissedBars, StoreAhead, StoreEmpty, WindowGap
from barfeed.domain.rules import NOTHING_KNOWN, Asked, Finding, Known

# Local time is at most 14 hours ahead of UTC; some zones are a quarter of an hour off the whole one.
_FARTHEST_ZONE_MS = 14 * HOUR_MS
_QUARTER_MS = HOUR_MS // 4
# The Date header of HTTP tells whole seconds.
_DATE_RESOLUTION_MS = 1000


class Held(NamedTuple):
    """What the store holds: `bars` from the first open_time that was asked for on, and its newest open_time in ms."""

    bars: Sequence[Bar]
    newest_ms: int | None


class Remedies(NamedTuple):
    """The commands that mend what a cycle refuses, as they would be typed here."""

    catch_up: str
    repair: str = "barfeed repair"
    backfill: str = "barfeed backfill"


class Verdict(NamedTuple):
    """The bars to append, and how many stored ones were proven equal to the exchange's."""

    append: tuple[Bar, ...]
    validated: int


def bars_to_pull(target_ms: int, newest_ms: int | None, n_recent: int, window_bars: int, step_ms: int) -> int:
    """How many bars a catch-up pulls: everything missed and an overlap of `n_recent - 1` stored bars.

    An empty store is started with a whole inference window.
    """
    if newest_ms is None:
        return max(n_recent, window_bars)
    missed = max(1, (target_ms - newest_ms) // step_ms)
    return missed + n_recent - 1


def trust_clock(asked: Asked, now_ms: int, dated_ms: int | None, settle_sec: float) -> None:
    """Return unless the exchange's answers are dated (`dated_ms`) so that its time `now_ms` cannot be true.

    By the date of the very answer the target has not closed, and no other rule can tell a forming bar from
    a closed one; or a newer bar has closed and settled, and the window would end too early. One of the two
    clocks is wrong. Raises `ContractBroken`.
    """
    if dated_ms is None:
        return
    newest_ms = grid.last_closed(dated_ms + _DATE_RESOLUTION_MS, asked.step_ms)
    settled_ms = grid.last_closed(dated_ms - int(settle_sec * 1000), asked.step_ms)
    if newest_ms < asked.target_ms or settled_ms > grid.last_closed(now_ms, asked.step_ms):
        raise ContractBroken(
            f"{asked.series}: the exchange's clocks disagree: /fapi/v1/time says {grid.text(now_ms)}, its answer"
            f" is dated {grid.text(dated_ms)}: its newest closed bar is {grid.text(asked.target_ms)} by the one,"
            f" {grid.text(newest_ms)} by the other",
            hint="nothing was appended; run it again when the exchange's clock is right",
        )


def accept_pull(
    pull: Pull,
    asked: Asked,
    *,
    may_be_short: bool,
    remedies: Remedies,
    known: Known = NOTHING_KNOWN,
    window_bars: int = 0,
) -> None:
    """Return for a pull that keeps every rule and ends at the target.

    `may_be_short` allows fewer bars than asked for: a young symbol has no more. What is `known` breaks no rule.
    `window_bars` are told to be whole again once the last hole of the exchange's own is out of them.
    Raises `ContractBroken` with all findings, `BarLate`.
    """
    findings = rules.news(rules.check_pull(pull, asked), pull, asked, known)
    findings = [found for found in findings if not (may_be_short and found.rule == "count")]
    if rules.is_late(pull, asked):
        shown = grid.text(pull.bars[-1].open_time_ms) if pull.bars else "no bar at all"
        findings = [found for found in findings if found.rule != "count"]
        late = f"{asked.series}: the exchange does not show {grid.text(asked.target_ms)} yet; its newest is {shown}"
        if not findings:
            raise BarLate(late)
    if findings:
        whole_ms = (findings[-1].open_time_ms or 0) + window_bars * asked.step_ms
        raise broken(asked.series, findings, _way_out(findings, pull, remedies, whole_ms if window_bars else None))


def broken(series: Series, findings: Sequence[Finding], hint: str = "") -> ContractBroken:
    """The error for an answer that breaks rules."""
    return ContractBroken(
        f"{series}: {_count(findings, 'rule')} broken by the exchange's answer; first: {findings[0]}"
        f" ({findings[0].rule})",
        hint=hint,
        findings=findings,
    )


def _way_out(findings: Sequence[Finding], pull: Pull, remedies: Remedies, whole_ms: int | None) -> str:
    kinds = {found.rule for found in findings}
    if kinds == {"one_interval_apart"}:
        return _around(pull, remedies, whole_ms)
    if kinds <= rules.TURNOVER_RULES.keys():
        return f"nothing was appended; {let_pass_hint(findings, remedies.repair)}"
    return ""


def let_pass_hint(findings: Sequence[Finding], repair: str) -> str:
    """What helps where nothing but a row's own columns is wrong."""
    bar = grid.text(findings[0].open_time_ms or 0)
    return (
        "run it again later, and if the exchange stays with it and you have looked at the bar:"
        f" {repair} --let-pass '{bar}'"
    )


def _around(pull: Pull, remedies: Remedies, whole_ms: int | None) -> str:
    # An hour that the exchange never had, as after an outage, stands in every pull that would catch up.
    first = grid.text(pull.bars[0].open_time_ms)
    whole = "" if whole_ms is None else f" (the window is whole from {grid.text(whole_ms)})"
    around = f"append what there is around it{whole}: {remedies.backfill} --from '{first}'"
    return f"nothing was appended; if it stays so, {around}"


def judged_from(asked: Asked, judged: Sequence[Bar]) -> int:
    """The open_time of the first bar that is compared, whether the exchange shows it or not.

    With a hole of the exchange's own among them, as many bars reach further back.
    """
    return min(asked.first_ms, judged[0].open_time_ms)


def judge(asked: Asked, pulled: Sequence[Bar], held: Held, *, catch_up: bool, remedies: Remedies) -> Verdict:
    """Compare the store with the pull and tell what to append.

    Raises `StoreEmpty`, `StoreAhead`, `Mismatch`, `WindowGap`, `MissedBars`.
    """
    if held.newest_ms is None:
        return _start(asked, pulled, catch_up=catch_up, remedies=remedies)
    _refuse_ahead(asked, held.newest_ms)
    expected = [bar for bar in pulled if bar.open_time_ms <= held.newest_ms]
    absent = _absent(expected, held.bars)
    _refuse_mismatches(asked, pulled, held, absent, remedies)
    _refuse_gaps(asked, absent, len(expected), remedies)
    new = tuple(bar for bar in pulled if bar.open_time_ms > held.newest_ms)
    # A pull that begins behind the next bar says nothing of what is before it.
    next_ms = grid.floor(held.newest_ms, asked.step_ms) + asked.step_ms
    if not catch_up and (any(bar.open_time_ms != asked.target_ms for bar in new) or pulled[0].open_time_ms > next_ms):
        raise _missed(asked, held.newest_ms, next_ms, remedies)
    return Verdict(new, len(pulled) - len(new))


def _start(asked: Asked, pulled: Sequence[Bar], *, catch_up: bool, remedies: Remedies) -> Verdict:
    if not catch_up:
        raise StoreEmpty(
            f"{asked.series}: the store holds no bar to validate against", hint=f"start it: {remedies.catch_up}"
        )
    return Verdict(tuple(pulled), 0)


def _refuse_ahead(asked: Asked, newest_ms: int) -> None:
    if newest_ms > asked.target_ms:
        raise StoreAhead(
            f"{asked.series}: the store ends at {grid.text(newest_ms)}, but the exchange's newest closed bar is"
            f" {grid.text(asked.target_ms)}",
            hint=why_ahead(newest_ms, asked.target_ms),
        )


def why_ahead(newest_ms: int, target_ms: int) -> str:
    """What mostly puts a bar into the store that opens after the newest closed one, and what else to look at."""
    ahead_ms = newest_ms - target_ms
    is_zone = ahead_ms <= _FARTHEST_ZONE_MS and ahead_ms % _QUARTER_MS == 0
    here = f", here by {ahead_ms / HOUR_MS:g} or more" if is_zone else ""
    return (
        f"usually another program wrote them: in local time instead of UTC (off by whole hours{here}), or with the bar"
        " that was still forming; else compare the exchange's /fapi/v1/time with the machine's clock"
    )


def _refuse_mismatches(
    asked: Asked, pulled: Sequence[Bar], held: Held, absent: Sequence[Finding], remedies: Remedies
) -> None:
    findings = [*rules.compare(held.bars, pulled), *_unknown(pulled, held.bars)]
    if findings:
        raise Mismatch(
            f"{asked.series}: {len(findings)} of {len(held.bars)} stored bars differ from the exchange;"
            f" first: {findings[0]}",
            hint=f"nothing was appended; see both versions, and take the exchange's if it is right: {remedies.repair}",
            findings=[*findings, *absent],
        )


def same_to_the_bit(series: Series, bars: Sequence[Bar], stored: Sequence[Bar], remedies: Remedies) -> None:
    """Return where what another feeder stored first is the same to the bit: -0.0 is not 0.0. Raises `Mismatch`."""
    theirs = {bar.open_time_ms: bar for bar in stored}
    other = [bar for bar in bars if repr(theirs.get(bar.open_time_ms)) != repr(bar)]
    if other:
        first = theirs.get(other[0].open_time_ms)
        raise Mismatch(
            f"{series}: another feeder stored {grid.text(other[0].open_time_ms)} meanwhile with other values:"
            f" {first and first.values}, the exchange says {other[0].values}",
            hint=f"see both versions, and take the exchange's if it is right: {remedies.repair}",
        )


def _unknown(pulled: Sequence[Bar], stored: Sequence[Bar]) -> list[Finding]:
    theirs = {bar.open_time_ms for bar in pulled}
    return [
        Finding("unknown", bar.open_time_ms, "is stored, but the exchange has no such bar", stored=bar._asdict())
        for bar in stored
        if bar.open_time_ms not in theirs
    ]


def _absent(expected: Sequence[Bar], held: Sequence[Bar]) -> list[Finding]:
    stored = {bar.open_time_ms for bar in held}
    return [
        Finding("gap", bar.open_time_ms, "is missing", exchange=bar._asdict())
        for bar in expected
        if bar.open_time_ms not in stored
    ]


def _refuse_gaps(asked: Asked, absent: Sequence[Finding], expected: int, remedies: Remedies) -> None:
    if absent:
        spans = _spans(asked, [found.open_time_ms for found in absent if found.open_time_ms is not None])
        raise WindowGap(
            f"{asked.series}: the store lacks {len(absent)} of the {expected} bars to validate with: {spans}",
            hint=f"nothing was appended; fill what is missing: {remedies.repair}",
            findings=absent,
        )


def window_gap(series: Series, start_ms: int, findings: Sequence[Finding], remedies: Remedies) -> WindowGap:
    """The error for an inference window from `start_ms` that is not whole, naming every finding up to five."""
    named = "; ".join(str(found) for found in findings[:5]) + ("; ..." if len(findings) > 5 else "")  # noqa: PLR2004
    return WindowGap(
        f"{series}: the inference window is not whole: {named}",
        hint=f"no inference CSV was published; fill what is missing: {_filling(start_ms, findings, remedies)}",
        findings=findings,
    )


def _filling(start_ms: int, findings: Sequence[Finding], remedies: Remedies) -> str:
    # Where the window begins before the store does, there is history to fetch, not a gap to mend.
    if any(found.rule == "gap" and found.open_time_ms == start_ms for found in findings):
        return f"{remedies.backfill} --from '{grid.text(start_ms)}'"
    return remedies.repair


def _spans(asked: Asked, open_times_ms: Sequence[int]) -> str:
    return ", ".join(str(gap) for gap in grid.gaps(open_times_ms, asked.step_ms))


def _missed(asked: Asked, newest_ms: int, next_ms: int, remedies: Remedies) -> MissedBars:
    absent = grid.opens(next_ms, asked.target_ms - asked.step_ms, asked.step_ms)
    return MissedBars(
        f"{asked.series}: the store ends at {grid.text(newest_ms)}; before {grid.text(asked.target_ms)}"
        f" it lacks {_spans(asked, absent)}",
        hint=f"catch up: {remedies.catch_up}",
        findings=rules.gap_findings(absent, asked.step_ms),
    )


def _count(findings: Sequence[Finding], noun: str) -> str:
    return f"{len(findings)} {noun}{'' if len(findings) == 1 else 's'}"
