"""What is decided while history is filled in, of one series or of each of many. Pure.

Times are ms since 1970-01-01 UTC.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

from barfeed.domain import grid, rules, sources
from barfeed.domain.bars import Series
from barfeed.domain.errors import ContractBroken, ExchangeUnavailable
from barfeed.domain.grid import Gap
from barfeed.domain.rules import TURNOVER_RULES, Finding
from barfeed.domain.sources import Note, named
from barfeed.domain.verdict import let_pass_hint
from barfeed.exchange import archive
from barfeed.exchange.paging import PAGE_ROWS

SourceName = Literal["auto", "rest", "archive", "csv", "table"]

# So much of what has come may wait to be stored.
KEEP_ROWS = 100_000
# A month's file and its checksum are two requests and far more bytes: it saves time from about so many pages.
PAGES_WORTH_A_FILE = 8


def end_ms(to_ms: int | None, settled_ms: int, step_ms: int) -> int:
    """Up to where bars are wanted, not included: what has closed and is settled, and no more than is asked for."""
    closed_ms = grid.last_closed(settled_ms, step_ms) + step_ms
    return closed_ms if to_ms is None else min(closed_ms, to_ms)


def plan(
    source: SourceName, missing: Sequence[Gap], now_ms: int, step_ms: int
) -> Iterator[tuple[Literal["rest", "archive"], list[Gap]]]:
    """Whom to ask for what, ascending; `auto` takes the archive for whole months where it saves time."""
    if source in {"rest", "archive"} or not missing:
        if missing:
            yield "archive" if source == "archive" else "rest", list(missing)
        return
    pieces = [
        ("archive" if _is_worth_a_file(month, inside, now_ms, step_ms) else "rest", inside)
        for month in archive.months(missing[0].first_ms, missing[-1].last_ms)
        if (inside := sources.cut(missing, month.from_ms, month.to_ms - 1, step_ms))
    ]
    for name, run in groupby(pieces, key=lambda piece: piece[0]):
        yield "archive" if name == "archive" else "rest", [each for _, inside in run for each in inside]


def _is_worth_a_file(month: archive.Period, inside: Sequence[Gap], now_ms: int, step_ms: int) -> bool:
    there = month.from_ms >= archive.FIRST_MS and month.to_ms <= now_ms - archive.TRUSTED_AFTER_MS
    return there and len(list(sources.pages(inside, PAGE_ROWS, step_ms))) > PAGES_WORTH_A_FILE


def no_bar_yet(series: Series) -> ExchangeUnavailable:
    """What there is to say of a symbol whose first bar has not come."""
    return ExchangeUnavailable(f"{series}: the exchange has no bar of it yet")


def broken_answer(
    series: Series, findings: Sequence[Finding], rules: int, repair: str, *, is_begun: bool
) -> ContractBroken:
    """Why bars of the exchange are not stored: the first `findings` of so many broken rules.

    `is_begun`: some came before them, and are stored; `repair` is the command that lets a bar pass.
    """
    before = "what came before is stored" if is_begun else "nothing was stored"
    let_pass = all(found.rule in TURNOVER_RULES for found in findings)
    helps = let_pass_hint(findings, repair) if let_pass else "run it again, and report it if it stays"
    return ContractBroken(
        f"{series}: {_rules(rules)} broken by the exchange's answer; first: {findings[0]} ({findings[0].rule})",
        hint=f"{before}; {helps}",
        findings=findings,
    )


def broken_file(findings: Sequence[Finding], rules: int) -> str:
    """What is wrong with a file: the first `findings` of so many broken rules."""
    return f"{_rules(rules)} broken; first: {findings[0]}"


def _rules(count: int) -> str:
    return f"{count} rule{'' if count == 1 else 's'}"


def not_of_its_time(bars: int) -> str:
    """What is wrong with a file that holds so many bars of another month or day."""
    return f"{bars} bars are not of its time"


def lacking(name: str, spans: Sequence[Gap]) -> Note:
    """What there is to say of a file that lacks bars."""
    return Note("lacking", name, f"lacks {named(spans)}; asked of REST")


def flat(name: str, spans: Sequence[Gap], traded: int) -> Note:
    """What there is to say of a file's hours without a trade, of which REST shows so many `traded`."""
    still = sources.bars_in(spans) - traded
    said = f"says that nothing was traded in {named(spans)}; REST says so of {still} of them and was taken"
    return Note("flat", name, said)


def last_notes(series: Series, ended: str, not_traded_ms: Sequence[int]) -> list[Note]:
    """What there is to tell of the symbol's end, and of hours in what was appended that were not traded."""
    runs = rules.long_runs(sorted(not_traded_ms), series.interval.ms)
    said = {"end": ended, "not_traded": rules.not_traded([named(runs)] if runs else [])}
    return [Note(rule, str(series), message) for rule, message in said.items() if message]
