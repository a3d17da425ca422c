"""A market's stored bars, proven by the rules of one series: a few statements for all of them."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

from barfeed.domain.bars import Interval, Series
from barfeed.domain.errors import BarfeedError
from barfeed.domain.market.selection import Selection
from barfeed.domain.rules import Finding
from barfeed.history.market.universe import universe
from barfeed.history.verification import Held, broken_bars, by_time, check_table, gap_findings
from barfeed.store.duckdb import Session
from barfeed.store.market import MarketTable
from barfeed.store.place import Span, gaps_of, holdings, market_table
from barfeed.store.port.whole import WholeHistory


class Checked(NamedTuple):
    """What there is of a series, and every rule that it breaks, in the order of time."""

    held: Held
    findings: list[Finding]


def check_market(store: WholeHistory, interval: Interval, selection: Selection) -> dict[str, Checked | BarfeedError]:
    """Each symbol that is meant, sorted: what was found of it, or why it could not be looked at.

    Raises `StoreUnusable` for what is wrong with the file, or with the table of all.
    """
    store.expect_there()
    symbols = universe(store, interval, selection)
    together: dict[str, Checked] = {}
    for some in store.portions(interval, symbols):
        with store.looking_at(Span(tuple(some), interval)) as connection:
            together |= _together(connection, interval, set(some))
    return {each: together.get(each) or _alone(store, Series(each, interval)) for each in symbols}


def _together(connection: Session, interval: Interval, symbols: Collection[str]) -> Mapping[str, Checked]:
    """Those of the table of all. Its key keeps a bar from coming twice."""
    if not MarketTable(connection, interval).exists:
        return {}
    held = {symbol: each for symbol, each in holdings(connection, interval).items() if symbol in symbols}
    gaps = gaps_of(connection, interval, held)
    found: dict[str, list[Finding]] = {symbol: [] for symbol in held}
    for symbol, finding in broken_bars(connection, f"store.main.{market_table(interval)}", interval.ms):
        if symbol in held:
            found[symbol].append(finding)
    return {
        symbol: Checked(
            Held(each.rows, each.span(interval.ms), gaps.get(symbol, ())),
            by_time([*found[symbol], *gap_findings(gaps.get(symbol, ()))]),
        )
        for symbol, each in held.items()
    }


def _alone(store: WholeHistory, series: Series) -> Checked | BarfeedError:
    try:
        return Checked(*check_table(store, series))
    except BarfeedError as problem:
        return problem
