"""The rules a pull and a store must keep, as tables: each broken one becomes a finding.

A rule never raises and never looks at a clock: what it needs to know is in `Asked`.
"""

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from barfeed.domain import grid
from barfeed.domain.bars import HOUR_MS, PRICE_COLUMNS, VALUE_COLUMNS, Bar, Pull, Series, Turnover
from barfeed.domain.grid import Gap

# The mean price of a bar, quote volume by volume, may be beside its low or high by so much: its last digit.
MEAN_WITHIN = 1e-9


class Finding(NamedTuple):
    """One rule broken by one bar.

    `stored` and `exchange` hold the differing values by column, where the rule compares two.
    """

    rule: str
    open_time_ms: int | None
    message: str
    stored: dict[str, float] | None = None
    exchange: dict[str, float] | None = None

    def __str__(self) -> str:
        where = "" if self.open_time_ms is None else f"{grid.text(self.open_time_ms)} "
        return f"{where}{self.message}"


class Asked(NamedTuple):
    """What was asked of the exchange, and when: the `bars` newest closed bars at `now_ms`."""

    series: Series
    bars: int
    now_ms: int

    @property
    def step_ms(self) -> int:
        """The series' interval in ms."""
        return self.series.interval.ms

    @property
    def target_ms(self) -> int:
        """The open_time of the newest closed bar."""
        return grid.last_closed(self.now_ms, self.step_ms)

    @property
    def first_ms(self) -> int:
        """The open_time of the oldest bar asked for."""
        return grid.window_start(self.target_ms, self.bars, self.step_ms)


class Known(NamedTuple):
    """What is odd in an answer and no news: somebody has looked at it before.

    Bars that were `let_pass`, with these very values, though their columns contradict each other; `holes` between
    two of the answer's bars, where the exchange itself has none.
    """

    let_pass: Collection[Bar] = ()
    holes: Collection[Gap] = ()


NOTHING_KNOWN = Known()

BarRule = Callable[[Bar, int, Asked], str | None]
TurnoverRule = Callable[[Bar, Turnover], str | None]
PairRule = Callable[[Bar, Bar, Asked], str | None]
PullRule = Callable[[Pull, Asked], str | None]


def _on_grid(bar: Bar, _close_time_ms: int, asked: Asked) -> str | None:
    beside = bar.open_time_ms % asked.step_ms
    return f"opens {beside} ms beside the {asked.series.interval} grid" if beside else None


def _close_time(bar: Bar, close_time_ms: int, asked: Asked) -> str | None:
    expected = grid.close_time(bar.open_time_ms, asked.step_ms)
    return None if close_time_ms == expected else f"close_time is {close_time_ms}, expected {expected}"


def _closed(bar: Bar, close_time_ms: int, asked: Asked) -> str | None:
    # Both: an exchange that errs about the close_time must not open the door to a forming bar.
    last_ms = max(close_time_ms, grid.close_time(bar.open_time_ms, asked.step_ms))
    return None if last_ms < asked.now_ms else f"is still forming: it is {grid.text(asked.now_ms)} on the exchange"


def _high_low(bar: Bar, _close_time_ms: int, _asked: Asked) -> str | None:
    if bar.low <= min(bar.open, bar.close) and max(bar.open, bar.close) <= bar.high:
        return None
    return f"low {bar.low} and high {bar.high} do not enclose open {bar.open} and close {bar.close}"


def _not_negative(bar: Bar, _close_time_ms: int, _asked: Asked) -> str | None:
    negative = [f"{name} {value}" for name, value in zip(VALUE_COLUMNS, bar.values, strict=True) if value < 0]
    return f"negative: {', '.join(negative)}" if negative else None


def _above_zero(bar: Bar, _close_time_ms: int, _asked: Asked) -> str | None:
    # Below it is negative, which is a rule of its own.
    zero = [name for name, value in zip(PRICE_COLUMNS, bar.values, strict=False) if value == 0]
    return f"a price of zero: {', '.join(zero)}" if zero else None


def _mean_price(bar: Bar, turnover: Turnover) -> str | None:
    # Where low and high enclose nothing, that is a rule of its own.
    if bar.volume <= 0 or bar.low > bar.high:
        return None
    mean = turnover.quote_volume / bar.volume
    if bar.low * (1 - MEAN_WITHIN) <= mean <= bar.high * (1 + MEAN_WITHIN):
        return None
    return (
        f"quote_volume {turnover.quote_volume} by volume {bar.volume} is a mean price of {mean:g},"
        f" not within low {bar.low} and high {bar.high}"
    )


def _all_or_nothing(bar: Bar, turnover: Turnover) -> str | None:
    traded = (bar.volume, turnover.quote_volume, turnover.trades)
    if all(traded):
        return None
    if any(traded):
        return (
            f"volume {bar.volume}, quote_volume {turnover.quote_volume} and trades {turnover.trades}"
            " are not all zero or all above"
        )
    if bar.open == bar.high == bar.low == bar.close:
        return None
    return f"nothing was traded, and yet open {bar.open}, high {bar.high}, low {bar.low} and close {bar.close} differ"


def _taker_share(bar: Bar, turnover: Turnover) -> str | None:
    shares = (
        ("taker_buy_volume", turnover.taker_buy_volume, "volume", bar.volume),
        ("taker_buy_quote_volume", turnover.taker_buy_quote_volume, "quote_volume", turnover.quote_volume),
    )
    above = [f"{part} {taken} is above {whole} {all_}" for part, taken, whole, all_ in shares if taken > all_]
    return ", ".join(above) or None


def _unique(earlier: Bar, later: Bar, _asked: Asked) -> str | None:
    return "comes twice" if later.open_time_ms == earlier.open_time_ms else None


def _ascending(earlier: Bar, later: Bar, _asked: Asked) -> str | None:
    if later.open_time_ms >= earlier.open_time_ms:
        return None
    return f"comes after {grid.text(earlier.open_time_ms)}: rows are not ascending"


def _one_interval_apart(earlier: Bar, later: Bar, asked: Asked) -> str | None:
    apart = later.open_time_ms - earlier.open_time_ms
    # No step and a step back have rules of their own.
    if apart <= 0 or apart == asked.step_ms:
        return None
    return f"comes {apart / asked.step_ms:g} intervals after {grid.text(earlier.open_time_ms)}, expected 1"


def _count(pull: Pull, asked: Asked) -> str | None:
    return None if len(pull.bars) == asked.bars else f"{len(pull.bars)} bars came, {asked.bars} were asked for"


def _ends_at_target(pull: Pull, asked: Asked) -> str | None:
    last_ms = max((bar.open_time_ms for bar in pull.bars), default=asked.target_ms)
    if last_ms <= asked.target_ms:
        return None
    return f"the pull ends at {grid.text(last_ms)}, expected the target {grid.text(asked.target_ms)}"


BAR_RULES: dict[str, BarRule] = {
    "on_grid": _on_grid,
    "close_time": _close_time,
    "closed": _closed,
    "high_low": _high_low,
    "not_negative": _not_negative,
    "above_zero": _above_zero,
}
# What a row says of its bar a second time. These alone may be let pass, bar by bar.
TURNOVER_RULES: dict[str, TurnoverRule] = {
    "mean_price": _mean_price,
    "all_or_nothing": _all_or_nothing,
    "taker_share": _taker_share,
}
PAIR_RULES: dict[str, PairRule] = {
    "unique": _unique,
    "ascending": _ascending,
    "one_interval_apart": _one_interval_apart,
}
PULL_RULES: dict[str, PullRule] = {
    "count": _count,
    "ends_at_target": _ends_at_target,
}


def check_pull(pull: Pull, asked: Asked) -> list[Finding]:
    """Every rule that the pull breaks by itself, oldest bar first.

    A pull that ends before the target is not broken but late: see `is_late`.
    """
    return [
        *_bar_findings(pull, asked),
        *contradictions(pull),
        *_pair_findings(pull, asked),
        *_pull_findings(pull, asked),
    ]


def contradictions(pull: Pull) -> list[Finding]:
    """Every rule that a bar breaks by what stands beside it in its own row."""
    return [
        Finding(name, bar.open_time_ms, message)
        for bar, turnover in zip(pull.bars, pull.turnovers, strict=True)
        for name, rule in TURNOVER_RULES.items()
        if (message := rule(bar, turnover))
    ]


def but_let_pass(findings: Iterable[Finding], bars: Iterable[Bar], let_pass: Collection[Bar]) -> list[Finding]:
    """The findings without the contradictions of bars that somebody let pass, with these very values."""
    others = {bar.open_time_ms for bar in bars if bar not in let_pass}
    return [found for found in findings if found.rule not in TURNOVER_RULES or found.open_time_ms in others]


def holes(bars: Sequence[Bar], step_ms: int) -> list[Gap]:
    """What an answer leaves out between its bars, where that is whole bars."""
    apart = [(earlier.open_time_ms, later.open_time_ms) for earlier, later in pairwise(bars)]
    return [
        grid.gap_between(earlier_ms, later_ms, step_ms)
        for earlier_ms, later_ms in apart
        if later_ms - earlier_ms > step_ms and (later_ms - earlier_ms) % step_ms == 0
    ]


def is_odd(pull: Pull, step_ms: int) -> bool:
    """Whether there is anything in it that may be known: only then it is looked up."""
    return bool(contradictions(pull) or holes(pull.bars, step_ms))


def news(findings: Iterable[Finding], pull: Pull, asked: Asked, known: Known) -> list[Finding]:
    """The findings in the pull that are not known."""
    after_hole = {hole.last_ms + asked.step_ms for hole in known.holes}
    return [
        found
        for found in but_let_pass(findings, pull.bars, known.let_pass)
        if found.rule != "one_interval_apart" or found.open_time_ms not in after_hole
    ]


def _bar_findings(pull: Pull, asked: Asked) -> Iterator[Finding]:
    for bar, close_time_ms in zip(pull.bars, pull.close_times_ms, strict=True):
        for name, rule in BAR_RULES.items():
            if message := rule(bar, close_time_ms, asked):
                yield Finding(name, bar.open_time_ms, message)


def _pair_findings(pull: Pull, asked: Asked) -> Iterator[Finding]:
    for earlier, later in pairwise(pull.bars):
        for name, rule in PAIR_RULES.items():
            if message := rule(earlier, later, asked):
                yield Finding(name, later.open_time_ms, message)


def _pull_findings(pull: Pull, asked: Asked) -> Iterator[Finding]:
    for name, rule in PULL_RULES.items():
        if message := rule(pull, asked):
            yield Finding(name, None, message)


def is_late(pull: Pull, asked: Asked) -> bool:
    """Whether the exchange does not show the target yet, as it may for seconds after a close."""
    return all(bar.open_time_ms < asked.target_ms for bar in pull.bars)


def compare(stored: Iterable[Bar], exchange: Iterable[Bar]) -> list[Finding]:
    """A `mismatch` for every bar that both have with other values. Exact: no tolerance."""
    theirs = {bar.open_time_ms: bar for bar in exchange}
    return [
        _mismatch(bar, theirs[bar.open_time_ms])
        for bar in stored
        if bar.open_time_ms in theirs and bar != theirs[bar.open_time_ms]
    ]


def _mismatch(ours: Bar, theirs: Bar) -> Finding:
    differing = [
        (name, mine, other)
        for name, mine, other in zip(VALUE_COLUMNS, ours.values, theirs.values, strict=True)
        if mine != other
    ]
    return Finding(
        "mismatch",
        ours.open_time_ms,
        ", ".join(f"{name} stored {mine}, exchange {other}" for name, mine, other in differing),
        stored={name: mine for name, mine, _ in differing},
        exchange={name: other for name, _, other in differing},
    )


def check_window(bars: Sequence[Bar], start_ms: int, end_ms: int, step_ms: int) -> list[Finding]:
    """What keeps `bars` from being whole: every open_time from start to end once, every value finite."""
    expected = grid.opens(start_ms, end_ms, step_ms)
    held = [bar.open_time_ms for bar in bars]
    return [
        *gap_findings(grid.missing(expected, held), step_ms),
        *(Finding("unique", twice, "is stored twice") for twice, later in pairwise(held) if twice == later),
        *(Finding("on_grid", off, "is not on the grid") for off in grid.missing(held, expected)),
        *(Finding("finite", bar.open_time_ms, "holds NULL, NaN or infinity") for bar in bars if not _finite(bar)),
        *(Finding("above_zero", bar.open_time_ms, "holds a price of zero or below") for bar in bars if _free(bar)),
    ]


def flat_runs(bars: Iterable[Bar], step_ms: int) -> list[Gap]:
    """Where nothing was traded for an hour or longer: an outage, or a market after its end. It breaks no rule."""
    return long_runs([bar.open_time_ms for bar in bars if bar.volume == 0], step_ms)


def long_runs(open_times_ms: Sequence[int], step_ms: int) -> list[Gap]:
    """Ascending open_times as runs, only those of more than a bar that last an hour or longer."""
    runs = grid.gaps(open_times_ms, step_ms)
    return [run for run in runs if run.bars > 1 and run.bars * step_ms >= HOUR_MS]


def not_traded(runs: Iterable[str]) -> str:
    """What there is to say of these runs of bars without a trade; empty where there are none."""
    named = ", ".join(runs)
    return f"nothing was traded in {named}: an outage, or a market after its end" if named else ""


def gap_findings(missing_ms: Sequence[int], step_ms: int) -> list[Finding]:
    """One `gap` for each maximal run of ascending, missing open_times."""
    return [
        Finding("gap", gap.first_ms, "is missing" if gap.bars == 1 else f"and the next {gap.bars - 1} are missing")
        for gap in grid.gaps(missing_ms, step_ms)
    ]


def _free(bar: Bar) -> bool:
    # What is no number at all has a rule of its own.
    return any(price <= 0 and math.isfinite(price) for price in bar.values[: len(PRICE_COLUMNS)])


def _finite(bar: Bar) -> bool:
    # A NULL in the store arrives here as NaN: both mean that there is no number.
    return all(map(math.isfinite, bar.values))
