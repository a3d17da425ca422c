"""How a whole market is: what is stored of each series and what is due of it, how the last pass ended."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from barfeed.artifacts import reading
from barfeed.artifacts.reading import Folder, Manifest
from barfeed.artifacts.writing import LATEST_WINDOWS_NAME
from barfeed.domain import grid, life
from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import ArtifactsUnusable, StoreUnusable
from barfeed.domain.grid import Gap
from barfeed.domain.life import Life
from barfeed.domain.market import membership
from barfeed.domain.market.membership import UNLISTED, Seen
from barfeed.domain.market.selection import Selection
from barfeed.operate import status
from barfeed.operate.status import GRACE_MS, Bars, Runs
from barfeed.store import revisions
from barfeed.store.duckdb import Coverage, Session, Store
from barfeed.store.market import MarketTable
from barfeed.store.place import alone, gaps_of, holdings, market_table

_NO_FAILURES = frozenset({"appended", "up_to_date", "quiet"})
_NOTHING = Bars(Coverage(0, None, None), (), 0)


class Stock(NamedTuple):
    """What a store holds of a market at one interval, and what it was told of it.

    `listed` are each symbol's listings, oldest first; `exchange_gaps` where the exchange was seen to have no bar.
    """

    bars: Mapping[str, Bars]
    listed: Mapping[str, Sequence[Seen]]
    exchange_gaps: Mapping[str, Sequence[Gap]]


class Symbol(NamedTuple):
    """One series of a market: what is stored, what its symbol is, and what is wrong with it.

    `now` is None where nobody noted a list. Where none `is_due`, every bar that there is to have is stored.
    """

    bars: Bars
    now: Life | None
    lag_ms: int | None
    is_due: bool
    troubles: tuple[str, ...]


class Condition(NamedTuple):
    """A market at one interval: each series, and what was run; `troubles` are of the whole."""

    interval: Interval
    symbols: Mapping[str, Symbol]
    runs: Runs
    troubles: tuple[str, ...] = ()

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong with any of it."""
        return not (self.troubles or any(each.troubles for each in self.symbols.values()))


def look(store: Store, interval: Interval, selection: Selection) -> Stock:
    """What the store holds of the symbols that are meant; nothing where there is no file. Raises `StoreUnusable`."""
    if not store.exists():
        return Stock({}, {}, {})
    with store.session(write=False) as connection:
        table = MarketTable(connection, interval)
        listed = membership.by_symbol(table.membership())
        own = [each for each in alone(connection) if each.interval is interval and selection.includes(each.symbol)]
        together = _together(connection, interval, selection) if table.exists else {}
        exchange_gaps = table.exchange_gaps(list(together))
    bars = together | {each.symbol: found for each, found in status.look(store, own).items()} if own else together
    return Stock(dict(sorted(bars.items())), listed, exchange_gaps)


def _together(connection: Session, interval: Interval, selection: Selection) -> dict[str, Bars]:
    held = {symbol: each for symbol, each in holdings(connection, interval).items() if selection.includes(symbol)}
    gaps = gaps_of(connection, interval, held)
    revised, unaudited = _revised(connection, interval)
    found = {}
    for symbol, each in held.items():
        count = None if unaudited else revised.get(symbol, 0)
        coverage = Coverage(each.rows, each.first_ms, each.last_ms)
        bars = Bars(coverage, tuple(gaps.get(symbol, ())), count, unaudited=unaudited)
        found[symbol] = bars if None not in coverage else _NOTHING._replace(trouble=_no_moment(interval))
    return found


def _no_moment(interval: Interval) -> StoreUnusable:
    return StoreUnusable(
        f"table {market_table(interval)} holds a timestamp that is no moment: NULL or infinity",
        hint="take that row out: it is no bar of any exchange",
    )


def _revised(connection: Session, interval: Interval) -> tuple[Mapping[str, int], StoreUnusable | None]:
    found: dict[str, int] = {}
    try:
        for symbol, _ in revisions.listed_of_all(connection, interval):
            found[symbol] = found.get(symbol, 0) + 1
    except StoreUnusable as problem:
        return {}, problem
    return found, None


def runs_of_market(root: Path, interval: Interval) -> Runs:
    """The artifact folder of a market at this interval below `root`; its table of windows, where it is the run's."""
    ran = status.runs_where(
        root, lambda last: "symbols" in last.series and last.series.get("interval") == str(interval)
    )
    return ran._replace(inference=_windows(ran))


def _windows(ran: Runs) -> str | None:
    told = ran.last.windows if ran.last else None
    with suppress(ArtifactsUnusable):
        if told and reading.sha256(Folder(ran.folder), LATEST_WINDOWS_NAME) == told.sha256:
            return LATEST_WINDOWS_NAME
    return None


def judge(
    interval: Interval, selection: Selection, stock: Stock, ran: Runs, *, now_ms: int, window_bars: int
) -> Condition:
    """What is wrong with each series, if anything: bars that should be there, a hole in its window, a pass that failed.

    A hole that the exchange has, too, or that a symbol was seen not to trade in, is none. Pure.
    """
    latest = {symbol: rows[-1].listing for symbol, rows in stock.listed.items()}
    meant = sorted({*selection.of_list(latest), *stock.bars})
    failed = _failures(ran.last)
    symbols = {
        symbol: _judged(Series(symbol, interval), stock, now_ms, window_bars, failed.get(symbol, ""))
        for symbol in meant
    }
    of_all = [status.failed(ran.last)] if ran.last and ran.last.message else []
    if not symbols:
        of_all.append("the store holds no bar")
    return Condition(interval, symbols, ran, tuple(of_all))


def _failures(last: Manifest | None) -> dict[str, str]:
    outcomes = last.outcomes if last else ()
    return {each.symbol: each.message for each in outcomes if each.status not in _NO_FAILURES}


def _judged(series: Series, stock: Stock, now_ms: int, window_bars: int, failure: str) -> Symbol:
    bars, own = stock.bars.get(series.symbol, _NOTHING), stock.listed.get(series.symbol, ())
    now = _life(series, own, now_ms)
    newest_ms = bars.coverage.last_ms
    due_ms = _due_ms(series, now, newest_ms)
    is_due = newest_ms is None or due_ms is None or newest_ms < due_ms
    if bars.trouble:
        troubles = [f"{bars.trouble}; {bars.trouble.hint}"]
    elif newest_ms is None and now and now.stage != "trading":
        troubles, is_due = [], False
    else:
        holes = [each for each in bars.gaps if not _is_known(each, series, stock)]
        window_gap = status.window_gap(series, bars._replace(gaps=tuple(holes)), window_bars)
        troubles = [status.behind(series, newest_ms, now_ms, due_ms), window_gap]
    troubles.append(f"the last pass failed: {failure}" if failure else "")
    lag = status.lag_ms(series, newest_ms, now_ms) if is_due else 0
    return Symbol(bars, now, lag, is_due, tuple(each for each in troubles if each))


def _life(series: Series, own: Sequence[Seen], now_ms: int) -> Life | None:
    """What the symbol is by what was noted of it, as of when a pass must have been done; None where nothing was."""
    if not own:
        return None
    listing = None if own[-1].listing.status == UNLISTED else own[-1].listing
    return life.life(listing, now_ms - GRACE_MS, series.interval.ms)


def _due_ms(series: Series, now: Life | None, newest_ms: int | None) -> int | None:
    """The newest bar that there is to store; None where that is the target."""
    if now is None or now.stage == "trading":
        return None
    if now.stage in {"settled", "settling"} and now.at_ms is not None:
        return life.last_bar(now.at_ms, series.interval.ms)
    return newest_ms


def _is_known(hole: Gap, series: Series, stock: Stock) -> bool:
    noted = stock.exchange_gaps.get(series.symbol, ())
    if any(each.first_ms <= hole.first_ms and hole.last_ms <= each.last_ms for each in noted):
        return True
    return membership.is_explained(hole, stock.listed.get(series.symbol, ()), series.interval.ms)


def newest_ms(condition: Condition) -> int | None:
    """The newest open_time (ms) of all; None without a bar."""
    return max((each.bars.coverage.last_ms or 0 for each in condition.symbols.values()), default=0) or None


def is_short(symbol: Symbol, interval: Interval, window_bars: int) -> bool:
    """Whether its newest window is not whole, and there is nothing wrong with that."""
    first_ms, last_ms = symbol.bars.coverage.first_ms, symbol.bars.coverage.last_ms
    if symbol.troubles or first_ms is None or last_ms is None:
        return False
    start_ms = grid.window_start(last_ms, window_bars, interval.ms)
    return first_ms > start_ms or any(gap.last_ms >= start_ms for gap in symbol.bars.gaps)
