"""`barfeed status --symbols`: how a market is, one line an interval, and what is wrong with it."""

from collections.abc import Sequence
from pathlib import Path

from barfeed.cli.market.choice import Choice
from barfeed.domain import grid
from barfeed.domain.market.telling import Word, said_once
from barfeed.operate.market import Condition, Symbol, is_short, judge, look, newest_ms, runs_of_market
from barfeed.store.duckdb import Store
from barfeed.store.kinds.holes import holes


def conditions(many: Choice, store: Store, root: Path, now_ms: int, buffer_hours: int) -> list[Condition]:
    """Each interval of the market. Raises `StoreUnusable`, `ArtifactsUnusable`."""
    found = [
        judge(
            interval,
            many.selection,
            look(store, interval, many.selection),
            runs_of_market(root, interval),
            now_ms=now_ms,
            window_bars=grid.inference_bars(buffer_hours, interval.ms),
        )
        for interval in many.intervals
    ]
    return [each._replace(troubles=(*each.troubles, *_forgotten(store, each, now_ms))) for each in found]


def _forgotten(store: Store, condition: Condition, now_ms: int) -> list[str]:
    """What is missing of kinds that the exchange forgets."""
    found = [each.of(condition.symbols.keys()) for each in holes(store, condition.interval, now_ms)]
    return [f"{each.told(now_ms)}; {each.hint}" for each in found if each.holes]


def lines(condition: Condition, buffer_hours: int, kinds: Sequence[str]) -> list[str]:
    """One line, then the last pass, `kinds`, then what is wrong, worst first, and what is the same of many once."""
    facts = _summary(condition, buffer_hours)
    first, end = facts.pop("first"), facts.pop("last")
    counted = " ".join(f"{name}={value}" for name, value in facts.items())
    last = condition.runs.last
    return [
        f"market {condition.interval}: {counted} span={f'{first}..{end}' if first else 'none'}",
        f"  last pass   {f'{last.run_time} {last.status}, target {last.target}' if last else 'none'}",
        f"  inference   {condition.runs.inference or 'none'}",
        *kinds,
        *(f"  trouble     {trouble}" for trouble in troubles(condition)),
    ]


def troubles(condition: Condition) -> list[str]:
    """What is wrong: of all at once first, then what is of most series."""
    words = [Word(symbol, each) for symbol, own in condition.symbols.items() for each in own.troubles]
    of_most = sorted(words, key=lambda word: -sum(each.message == word.message for each in words))
    return [*condition.troubles, *(said for said, _ in said_once(of_most))]


def facts(condition: Condition, buffer_hours: int) -> dict[str, object]:
    """As JSON types, with every series."""
    last, inference = condition.runs.last, condition.runs.inference
    return {
        "interval": str(condition.interval),
        **_summary(condition, buffer_hours),
        "last_cycle": last and {"run_time": last.run_time, "status": last.status, "exit_code": last.exit_code,
                                "target": last.target, "message": last.message},
        "inference": inference and str(condition.runs.folder / inference),
        "troubles": troubles(condition),
        "symbols": [_symbol_facts(symbol, each) for symbol, each in condition.symbols.items()],
    }  # fmt: skip


def _symbol_facts(symbol: str, each: Symbol) -> dict[str, object]:
    rows, first_ms, last_ms = each.bars.coverage
    return {
        "symbol": symbol,
        "stage": each.now and each.now.stage,
        "bars": rows,
        "first": None if first_ms is None else grid.text(first_ms),
        "last": None if last_ms is None else grid.text(last_ms),
        "gaps": [{"first": grid.text(gap.first_ms), "last": grid.text(gap.last_ms), "bars": gap.bars}
                 for gap in each.bars.gaps],
        "lag_sec": None if each.lag_ms is None else max(0, each.lag_ms) / 1000,
        "revisions": each.bars.revisions,
        "troubles": list(each.troubles),
    }  # fmt: skip


def _summary(condition: Condition, buffer_hours: int) -> dict[str, object]:
    symbols = condition.symbols.values()
    window_bars = grid.inference_bars(buffer_hours, condition.interval.ms)
    firsts = [each.bars.coverage.first_ms for each in symbols if each.bars.coverage.first_ms is not None]
    newest = newest_ms(condition)
    revised = [each.bars.revisions for each in symbols]
    return {
        "series": len(symbols),
        "well": sum(not each.troubles for each in symbols),
        "trouble": sum(bool(each.troubles) for each in symbols),
        "quiet": _quiet(list(symbols)),
        "short": sum(is_short(each, condition.interval, window_bars) for each in symbols),
        "bars": sum(each.bars.coverage.rows for each in symbols),
        "gaps": sum(len(each.bars.gaps) for each in symbols),
        "revisions": "unknown" if None in revised else sum(each or 0 for each in revised),
        "first": grid.text(min(firsts)) if firsts else None,
        "last": grid.text(newest) if newest else None,
    }


def _quiet(symbols: Sequence[Symbol]) -> int:
    """How many are settled, halted, gone or still to come: no bar is due of them."""
    return sum(each.now is not None and each.now.stage != "trading" for each in symbols)
